/*-------------------------------------------------------------------------
 * decisions.c
 *		Finds the decision on record about a row, and what stands by now.
 *
 * Reads the leaves of agentpay.decisions, the newest first, by their index on
 * (point, row_id), without SQL: the INSERT path asks for rows that repeat an
 * idempotency key.
 *
 * Locking: AccessShareLock on each leaf that is read, kept to the end of the
 * transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/appender.h"
#include "base/compat.h"
#include "evidence/decisions.h"

/* The decision that stands, as agentpay._standing() has it. */
typedef struct Standing
{
	char *verdict; /* NULL: the rules' */
	bool by_person;
	TimestampTz decided_at;
} Standing;

static bool find_in_leaf(Oid leaf_oid, Datum point, Datum row_id,
						 AgentpayDecided *decided, Standing *standing);
static void look_at_other(Relation leaf, TupleTableSlot *slot, const char *kind,
						  Standing *standing);
static char *text_or_null(TupleTableSlot *slot, AttrNumber attno);
static Oid row_index(Relation leaf);
static AttrNumber column(Relation leaf, const char *name);

bool
agentpay_decisions_find(const char *point, const char *row_id,
						AgentpayDecided *decided)
{
	Datum point_text = CStringGetTextDatum(point);
	Datum row_id_text = CStringGetTextDatum(row_id);
	List *leaves =
		find_inheritance_children(agentpay_log_relation(AGENTPAY_LOG_DECISIONS),
								  AccessShareLock);
	Standing standing = {0};
	bool found = false;

	/* by oid, so that the newest come last; whatever followed the rules
	 * decision is in its leaf or in a newer one */
	for (int i = list_length(leaves) - 1; i >= 0 && !found; i--)
		found = find_in_leaf(list_nth_oid(leaves, i), point_text, row_id_text,
							 decided, &standing);
	if (found && standing.verdict != NULL)
	{
		decided->verdict = standing.verdict;
		decided->answer = NULL;
	}
	return found;
}

/* Whether the leaf has a rules decision; what it says. */
static bool
find_in_leaf(Oid leaf_oid, Datum point, Datum row_id, AgentpayDecided *decided,
			 Standing *standing)
{
	Relation leaf = table_open(leaf_oid, NoLock);
	Oid index_oid = row_index(leaf);
	AttrNumber kind = column(leaf, "kind");
	AttrNumber propensity = column(leaf, "propensity");
	Relation index;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	TupleTableSlot *slot;
	bool found = false;

	if (!OidIsValid(index_oid))
	{
		table_close(leaf, NoLock);
		return false;
	}
	index = index_open(index_oid, AccessShareLock);
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, TEXTOID,
						   index->rd_indcollation[0], F_TEXTEQ, point);
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, TEXTOID,
						   index->rd_indcollation[1], F_TEXTEQ, row_id);
	slot = table_slot_create(leaf, NULL);
	scan = AGENTPAY_INDEX_BEGINSCAN(leaf, index, SnapshotSelf, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		char *kind_text = text_or_null(slot, kind);
		bool isnull;

		if (found || strcmp(kind_text, "rules") != 0)
		{
			look_at_other(leaf, slot, kind_text, standing);
			continue;
		}
		decided->verdict = text_or_null(slot, column(leaf, "verdict"));
		decided->answer = text_or_null(slot, column(leaf, "answer"));
		decided->assignment = text_or_null(slot, column(leaf, "assignment"));
		decided->propensity = DatumGetFloat4(
			slot_getattr(slot, propensity, &isnull));
		found = true;
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(leaf, NoLock);
	return found;
}

/* Notes the decision if it stands in place of the rules', and is the latest. */
static void
look_at_other(Relation leaf, TupleTableSlot *slot, const char *kind,
			  Standing *standing)
{
	bool by_person = strcmp(kind, "human") == 0;
	bool isnull;
	TimestampTz decided_at;

	if ((!by_person && strcmp(kind, "agent") != 0) ||
		strcmp(text_or_null(slot, column(leaf, "authority")), "live") != 0 ||
		DatumGetInt32(slot_getattr(slot, column(leaf, "repeat_no"), &isnull)) !=
			0)
		return;
	decided_at = DatumGetTimestampTz(
		slot_getattr(slot, column(leaf, "decided_at"), &isnull));
	if (standing->verdict != NULL && (standing->by_person > by_person ||
									  (standing->by_person == by_person &&
									   standing->decided_at > decided_at)))
		return;
	standing->verdict = text_or_null(slot, column(leaf, "verdict"));
	standing->by_person = by_person;
	standing->decided_at = decided_at;
}

static char *
text_or_null(TupleTableSlot *slot, AttrNumber attno)
{
	bool isnull;
	Datum value = slot_getattr(slot, attno, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The leaf's index on (point, row_id). */
static Oid
row_index(Relation leaf)
{
	List *indexes = RelationGetIndexList(leaf);
	AttrNumber point = column(leaf, "point");
	AttrNumber row_id = column(leaf, "row_id");
	Oid found = InvalidOid;
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && index->rd_index->indnkeyatts == 2 &&
			index->rd_index->indkey.values[0] == point &&
			index->rd_index->indkey.values[1] == row_id)
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

static AttrNumber
column(Relation leaf, const char *name)
{
	AttrNumber attno = get_attnum(RelationGetRelid(leaf), name);

	if (attno == InvalidAttrNumber)
		elog(ERROR, "column \"%s\" is missing in %s", name,
			 RelationGetRelationName(leaf));
	return attno;
}
