/*-------------------------------------------------------------------------
 * labels.c
 *		How rows of a point's table turned out, as it was known at a time.
 *
 * Of a row's labels that were effective by then, the one observed last counts,
 * and of those observed in the same instant the one with the greatest id.
 * Labels that are committed count, and this transaction's own; those of other
 * transactions in flight do not.  They are judged by a snapshot of their own,
 * which is newer than the one that the rows were judged by.
 *
 * agentpay.outcomes has a leaf for each month of observation, and a label can
 * be in any of them.  So each leaf that is not empty is asked, by its index on
 * (point, row_id); it is opened at the first row that asks, and stays open
 * to the end of the reading.
 *
 * Locking: AccessShareLock on the leaves and their indexes while they are open.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "base/arguments.h"
#include "base/compat.h"
#include "scoring/labels.h"
#include "scoring/velocity.h"

/* Columns of agentpay.outcomes. */
typedef enum LabelColumn
{
	COLUMN_LABEL,
	COLUMN_SOURCE,
	COLUMN_AMOUNT,
	COLUMN_OBSERVED,
	COLUMN_EFFECTIVE,
	COLUMN_ID,
	N_COLUMNS
} LabelColumn;

/* The first ones, in the order of the parameters. */
#define N_VALUES AGENTPAY_LABEL_PARAMS

static const char *const column_names[N_COLUMNS] = {
	[COLUMN_LABEL] = "label",
	[COLUMN_SOURCE] = "source",
	[COLUMN_AMOUNT] = "amount_lost",
	[COLUMN_OBSERVED] = "observed_at",
	[COLUMN_EFFECTIVE] = "effective_at",
	[COLUMN_ID] = "outcome_id",
};

/* A leaf while it is open. */
typedef struct Leaf
{
	Relation relation;
	Relation index;
	IndexScanDesc scan;
	SnapshotData not_dead;
	TupleTableSlot *slot;
	AttrNumber columns[N_COLUMNS];
	Oid collations[2]; /* of the index */
} Leaf;

/* The label that counts so far. */
typedef struct Label
{
	bool found;
	TimestampTz observed_at;
	pg_uuid_t id;
	Datum values[N_VALUES];
	bool nulls[N_VALUES];
} Label;

struct AgentpayLabels
{
	MemoryContext context;
	MemoryContext reading; /* reset when a reading begins */
	Datum point;		   /* text */
	char *id_column;
	bool unlabelled_is_legit;
	Datum legit; /* text */
	/* of the leaf whose rows were read last */
	Oid table;
	AttrNumber id;
	Oid id_type;
	FmgrInfo id_output;
	/* while it reads */
	TimestampTz as_of;
	bool opened;
	AgentpayVelocityJudge *judge;
	int n_leaves;
	Leaf *leaves;
	TupleTableSlot *row;
	bool known; /* label is the row's */
	Label label;
};

static void find_label(AgentpayLabels *labels);
static char *row_id_of(AgentpayLabels *labels);
static void open_leaves(AgentpayLabels *labels);
static bool open_leaf(AgentpayLabels *labels, Oid relid, Leaf *leaf);
static Relation open_index(Relation leaf);
static bool is_index_of(Relation leaf, Relation index);
static void close_leaf(Leaf *leaf);
static void scan_leaf(AgentpayLabels *labels, Leaf *leaf, Datum row_id);
static void consider(AgentpayLabels *labels, Leaf *leaf);
static bool is_later(const Label *than, TimestampTz observed_at, Datum id);

AgentpayLabels *
agentpay_labels_make(const AgentpayPointConfig *point)
{
	AgentpayLabels *labels = palloc0(sizeof(AgentpayLabels));

	labels->context = CurrentMemoryContext;
	labels->reading = AllocSetContextCreate(CurrentMemoryContext,
											"agentpay labels",
											ALLOCSET_SMALL_SIZES);
	labels->point = CStringGetTextDatum(point->name);
	labels->id_column = pstrdup(point->id_column);
	labels->unlabelled_is_legit = strcmp(point->role, "fraud") == 0;
	labels->legit = CStringGetTextDatum("legit");
	return labels;
}

/* What an error left open was let go with its subtransaction. */
void
agentpay_labels_begin(AgentpayLabels *labels, TimestampTz as_of)
{
	MemoryContextReset(labels->reading);
	labels->as_of = as_of;
	labels->opened = false;
	labels->known = false;
	labels->row = NULL;
}

void
agentpay_labels_end(AgentpayLabels *labels)
{
	if (!labels->opened)
		return;
	(void) agentpay_velocity_judge_end(labels->judge);
	for (int i = 0; i < labels->n_leaves; i++)
		close_leaf(&labels->leaves[i]);
	labels->opened = false;
}

void
agentpay_labels_next(AgentpayLabels *labels, TupleTableSlot *row)
{
	labels->row = row;
	labels->known = false;
}

void
agentpay_labels_fill(AgentpayLabels *labels, AgentpayExpression *expression,
					 MemoryContext context)
{
	MemoryContext old;
	ParamExternData *params;

	if (expression->params == NULL)
		return;
	if (!labels->known)
	{
		memset(&labels->label, 0, sizeof(Label));
		old = MemoryContextSwitchTo(context);
		if (labels->row != NULL)
			find_label(labels);
		MemoryContextSwitchTo(old);
		labels->known = true;
	}
	params = &expression->values->params[expression->first_label];
	for (int i = 0; i < N_VALUES; i++)
	{
		params[i].value = labels->label.values[i];
		params[i].isnull = !labels->label.found || labels->label.nulls[i];
	}
	if (!labels->label.found && labels->unlabelled_is_legit)
	{
		params[COLUMN_LABEL].value = labels->legit;
		params[COLUMN_LABEL].isnull = false;
	}
}

static void
find_label(AgentpayLabels *labels)
{
	Datum row_id;

	if (!labels->opened)
		open_leaves(labels);
	row_id = CStringGetTextDatum(row_id_of(labels));
	for (int i = 0; i < labels->n_leaves; i++)
		scan_leaf(labels, &labels->leaves[i], row_id);
}

/* As agentpay_row_id() makes it of a row that is inserted. */
static char *
row_id_of(AgentpayLabels *labels)
{
	TupleTableSlot *row = labels->row;
	bool isnull;
	Datum id;

	if (labels->table != row->tts_tableOid)
	{
		Oid output;
		bool varlena;

		labels->table = InvalidOid;
		labels->id = get_attnum(row->tts_tableOid, labels->id_column);
		if (labels->id <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the point has lost its id column \"%s\"",
							labels->id_column),
					 errdetail("Labels are found by it."),
					 errhint("Detach the point, then attach() it with the "
							 "column's new name.")));
		labels->id_type = getBaseType(
			get_atttype(row->tts_tableOid, labels->id));
		getTypeOutputInfo(labels->id_type, &output, &varlena);
		fmgr_info_cxt(output, &labels->id_output, labels->context);
		labels->table = row->tts_tableOid;
	}
	id = slot_getattr(row, labels->id, &isnull);
	if (isnull)
		return pstrdup("");
	return agentpay_text_form(labels->id_type,
							  OutputFunctionCall(&labels->id_output, id));
}

static void
open_leaves(AgentpayLabels *labels)
{
	MemoryContext old = MemoryContextSwitchTo(labels->reading);
	Relation parent = table_open(agentpay_log_relation(AGENTPAY_LOG_OUTCOMES),
								 AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(parent, true);

	labels->leaves = palloc0(sizeof(Leaf) * Max(desc->nparts, 1));
	labels->n_leaves = 0;
	for (int i = 0; i < desc->nparts; i++)
		if (open_leaf(labels, desc->oids[i], &labels->leaves[labels->n_leaves]))
			labels->n_leaves++;
	table_close(parent, AccessShareLock);
	labels->judge = agentpay_velocity_judge_make(true);
	labels->judge->settled_only = true;
	agentpay_velocity_judge_begin(labels->judge);
	labels->opened = true;
	MemoryContextSwitchTo(old);
}

/* False when it is gone or has no rows. */
static bool
open_leaf(AgentpayLabels *labels, Oid relid, Leaf *leaf)
{
	Relation relation = try_table_open(relid, AccessShareLock);

	if (relation == NULL)
		return false;
	if (RelationGetNumberOfBlocks(relation) == 0)
	{
		table_close(relation, AccessShareLock);
		return false;
	}
	leaf->relation = relation;
	leaf->index = open_index(relation);
	for (int i = 0; i < N_COLUMNS; i++)
		leaf->columns[i] = get_attnum(relid, column_names[i]);
	for (int i = 0; i < lengthof(leaf->collations); i++)
		leaf->collations[i] = leaf->index->rd_indcollation[i];
	leaf->slot = MakeSingleTupleTableSlot(RelationGetDescr(relation),
										  &TTSOpsBufferHeapTuple);
	InitNonVacuumableSnapshot(leaf->not_dead, GlobalVisTestFor(relation));
	leaf->scan = AGENTPAY_INDEX_BEGINSCAN(relation, leaf->index,
										  &leaf->not_dead, 2);
	return true;
}

/* The one that the leaf was made with. */
static Relation
open_index(Relation leaf)
{
	List *indexes = RelationGetIndexList(leaf);
	ListCell *cell;

	foreach(cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);

		if (is_index_of(leaf, index))
			return index;
		index_close(index, AccessShareLock);
	}
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("\"%s\" has lost its index on (point, row_id)",
						   RelationGetRelationName(leaf)),
					errdetail("A row's labels are found by it."),
					errhint("CREATE INDEX ON agentpay.%s (point, row_id);",
							quote_identifier(RelationGetRelationName(leaf)))));
}

static bool
is_index_of(Relation leaf, Relation index)
{
	Oid relid = RelationGetRelid(leaf);
	Form_pg_index form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID && form->indisvalid &&
		   form->indnkeyatts == 2 &&
		   heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		   form->indkey.values[0] == get_attnum(relid, "point") &&
		   form->indkey.values[1] == get_attnum(relid, "row_id");
}

static void
close_leaf(Leaf *leaf)
{
	index_endscan(leaf->scan);
	ExecDropSingleTupleTableSlot(leaf->slot);
	index_close(leaf->index, AccessShareLock);
	table_close(leaf->relation, AccessShareLock);
}

static void
scan_leaf(AgentpayLabels *labels, Leaf *leaf, Datum row_id)
{
	const Datum values[] = {labels->point, row_id};
	ScanKeyData keys[lengthof(values)];
	MemoryContext row_context;

	/* what the scan keeps must last as long as the scan */
	row_context = MemoryContextSwitchTo(labels->reading);
	for (int i = 0; i < lengthof(values); i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber,
							   TEXTOID, leaf->collations[i], F_TEXTEQ,
							   values[i]);
	index_rescan(leaf->scan, keys, lengthof(keys), NULL, 0);
	while (index_getnext_slot(leaf->scan, ForwardScanDirection, leaf->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!agentpay_velocity_judge(labels->judge, leaf->slot))
			continue;
		MemoryContextSwitchTo(row_context);
		consider(labels, leaf);
		MemoryContextSwitchTo(labels->reading);
	}
	ExecClearTuple(leaf->slot);
	MemoryContextSwitchTo(row_context);
}

/* Takes the label in the leaf's slot if it counts instead of the one before. */
static void
consider(AgentpayLabels *labels, Leaf *leaf)
{
	Label *label = &labels->label;
	Datum values[N_COLUMNS];
	bool nulls[N_COLUMNS];

	for (int i = 0; i < N_COLUMNS; i++)
		values[i] = slot_getattr(leaf->slot, leaf->columns[i], &nulls[i]);
	if (nulls[COLUMN_EFFECTIVE] || nulls[COLUMN_OBSERVED] || nulls[COLUMN_ID] ||
		DatumGetTimestampTz(values[COLUMN_EFFECTIVE]) > labels->as_of ||
		!is_later(label, DatumGetTimestampTz(values[COLUMN_OBSERVED]),
				  values[COLUMN_ID]))
		return;
	label->found = true;
	label->observed_at = DatumGetTimestampTz(values[COLUMN_OBSERVED]);
	label->id = *DatumGetUUIDP(values[COLUMN_ID]);
	for (int i = 0; i < N_VALUES; i++)
	{
		label->nulls[i] = nulls[i];
		if (!nulls[i])
			label->values[i] = PointerGetDatum(
				PG_DETOAST_DATUM_COPY(values[i]));
	}
}

static bool
is_later(const Label *than, TimestampTz observed_at, Datum id)
{
	if (!than->found || observed_at != than->observed_at)
		return !than->found || observed_at > than->observed_at;
	return memcmp(DatumGetUUIDP(id)->data, than->id.data, UUID_LEN) > 0;
}
