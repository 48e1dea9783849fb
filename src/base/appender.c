/*-------------------------------------------------------------------------
 * appender.c
 *		Appends rows to agentpay's partitioned logs without SQL.
 *
 * The INSERT path writes one decision per payment, so it does not go through
 * the executor: rows are buffered and go to the leaf by table_multi_insert(),
 * as COPY does.
 *
 * What it takes to write to a leaf (compiled constraints, index information,
 * slots) costs several times as much as a row, so a session keeps it from one
 * appender to the next, without any relation open.  While an appender uses it,
 * it belongs to that appender and goes away with it after an error.  A change
 * of any relation makes it stale; functions that it calls are built-in ones.
 *
 * Locking: the parent, then the leaf, RowExclusiveLock each, kept to the end
 * of the transaction.  The leaf is looked up after the parent's lock is held,
 * so a DETACH is either seen or waits for us.
 *
 * Whoever appends a task wakes the dispatcher with its commit.
 *
 * A partition that nobody made ahead is made here, in the inserting
 * transaction, as the extension's owner.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/xid8.h"

#include "base/appender.h"
#include "base/compat.h"
#include "base/owner.h"
#include "base/shmem.h"

/* Rows buffered before a flush, as many as COPY's. */
#define BUFFERED_ROWS 1000
#define BUFFERED_BYTES 65536

/* The second column of every log is the time that it is partitioned by. */
#define TIME_COLUMN 1

/* How to write to one leaf. */
typedef struct Leaf
{
	MemoryContext context;
	Oid relid;
	uint64 generation; /* when it was made */
	EState *estate;
	ResultRelInfo *result; /* its relations are open only within an appender */
	Oid *indexes;
	TupleDesc desc;
	TupleConversionMap *map;	 /* NULL when the parent's columns are equal */
	TupleTableSlot *parent_slot; /* only with a map */
	TupleTableSlot **slots;
	int slot_count; /* made so far */
} Leaf;

struct AgentpayAppender
{
	MemoryContext context;
	AgentpayLog log;
	Oid parent;
	int columns;			/* of the parent; xid is the last one */
	Leaf *leaf;				/* the open one; NULL before the first row */
	TimestampTz leaf_from;	/* inclusive */
	TimestampTz leaf_until; /* exclusive */
	int used;				/* slots that hold a row */
	Size bytes;
};

/* Leaves that no appender uses, and how often anything changed. */
static Leaf *kept[AGENTPAY_LOG_COUNT];
static uint64 generation;

static const char *const log_names[AGENTPAY_LOG_COUNT] = {
	[AGENTPAY_LOG_DECISIONS] = "decisions",
	[AGENTPAY_LOG_AGENT_CALLS] = "agent_calls",
	[AGENTPAY_LOG_OUTCOMES] = "outcomes",
	[AGENTPAY_LOG_GOVERNANCE] = "governance_log",
	[AGENTPAY_LOG_TASKS] = "_tasks",
};

static void open_leaf(AgentpayAppender *appender, TimestampTz at);
static bool find_leaf(AgentpayAppender *appender, TimestampTz at, Oid *leaf);
static void make_partition(AgentpayLog log, TimestampTz at);
static Leaf *take_leaf(AgentpayAppender *appender, Relation relation);
static Leaf *make_leaf(AgentpayAppender *appender, Relation relation);
static void watch_changes(void);
static void close_leaf(AgentpayAppender *appender);
static void flush(AgentpayAppender *appender);
static TupleTableSlot *next_slot(AgentpayAppender *appender);
static void fill_slot(AgentpayAppender *appender, TupleTableSlot *slot,
					  Datum *values, bool *nulls);

static AgentpayLog log_of_type(Oid type);
static void
put_record(AgentpayAppender *appender, HeapTupleHeader record, TupleDesc desc);

PG_FUNCTION_INFO_V1(agentpay_sql_append);
PG_FUNCTION_INFO_V1(agentpay_sql_append_all);

Oid
agentpay_relation(const char *name)
{
	Oid schema = get_namespace_oid("agentpay", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

Oid
agentpay_log_relation(AgentpayLog log)
{
	Oid relid = agentpay_relation(log_names[log]);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agentpay.%s\" does not exist",
						log_names[log]),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	return relid;
}

AgentpayAppender *
agentpay_appender_open(AgentpayLog log)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay appender",
												  ALLOCSET_DEFAULT_SIZES);
	AgentpayAppender *appender =
		MemoryContextAllocZero(context, sizeof(AgentpayAppender));
	MemoryContext old = MemoryContextSwitchTo(context);
	Relation parent;

	appender->context = context;
	appender->log = log;
	appender->parent = agentpay_log_relation(log);
	parent = table_open(appender->parent, RowExclusiveLock);
	appender->columns = RelationGetNumberOfAttributes(parent);
	table_close(parent, NoLock);
	MemoryContextSwitchTo(old);
	return appender;
}

/* Adds one row; it reaches the leaf at the latest in close(). */
void
agentpay_appender_put(AgentpayAppender *appender, TimestampTz at, Datum *values,
					  bool *nulls)
{
	TupleTableSlot *slot;
	MemoryContext old = MemoryContextSwitchTo(appender->context);

	if (appender->leaf == NULL || at < appender->leaf_from ||
		at >= appender->leaf_until)
		open_leaf(appender, at);

	if (nulls[appender->columns - 1])
	{
		values[appender->columns - 1] = FullTransactionIdGetDatum(
			GetTopFullTransactionId());
		nulls[appender->columns - 1] = false;
	}

	slot = next_slot(appender);
	fill_slot(appender, slot, values, nulls);
	slot->tts_tableOid = appender->leaf->relid;
	/* before it is a tuple, out of which they would have to be taken again */
	if (appender->leaf->result->ri_RelationDesc->rd_att->constr)
		ExecConstraints(appender->leaf->result, slot, appender->leaf->estate);
	ResetPerTupleExprContext(appender->leaf->estate);
	ExecMaterializeSlot(slot);
	appender->bytes += ((BufferHeapTupleTableSlot *) slot)->base.tuple->t_len;

	appender->used++;
	if (appender->used >= BUFFERED_ROWS || appender->bytes >= BUFFERED_BYTES)
		flush(appender);
	MemoryContextSwitchTo(old);
}

void
agentpay_appender_close(AgentpayAppender *appender)
{
	close_leaf(appender);
	MemoryContextDelete(appender->context);
}

void
agentpay_append(AgentpayLog log, TimestampTz at, Datum *values, bool *nulls)
{
	AgentpayAppender *appender = agentpay_appender_open(log);

	agentpay_appender_put(appender, at, values, nulls);
	agentpay_appender_close(appender);
}

/* Opens the leaf for that moment, and makes it when there is none. */
static void
open_leaf(AgentpayAppender *appender, TimestampTz at)
{
	Oid relid;
	Relation relation;

	close_leaf(appender);
	if (!find_leaf(appender, at, &relid))
	{
		make_partition(appender->log, at);
		if (!find_leaf(appender, at, &relid))
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("agentpay.%s has no partition for %s",
							log_names[appender->log], timestamptz_to_str(at)),
					 errhint("SELECT agentpay._make_partitions();")));
	}
	relation = table_open(relid, RowExclusiveLock);
	appender->leaf = take_leaf(appender, relation);
	if (appender->leaf == NULL)
		appender->leaf = make_leaf(appender, relation);
}

/* Needs a lock on the parent.  Sets the leaf's bounds in the appender. */
static bool
find_leaf(AgentpayAppender *appender, TimestampTz at, Oid *leaf)
{
	Relation parent = table_open(appender->parent, NoLock);
	bool found = agentpay_log_leaf(parent, at, leaf, &appender->leaf_from,
								   &appender->leaf_until);

	table_close(parent, NoLock);
	return found;
}

bool
agentpay_log_leaf(Relation log, TimestampTz at, Oid *leaf, TimestampTz *from,
				  TimestampTz *until)
{
	PartitionKey key = RelationGetPartitionKey(log);
	PartitionDesc desc = RelationGetPartitionDesc(log, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	Datum value = TimestampTzGetDatum(at);
	bool equal;
	int lower;
	int part;

	if (desc->nparts == 0)
		return false;
	lower = partition_range_datum_bsearch(key->partsupfunc, key->partcollation,
										  bounds, 1, &value, &equal);
	part = bounds->indexes[lower + 1];
	if (part < 0)
		return false;
	*leaf = desc->oids[part];
	*from = DatumGetTimestampTz(bounds->datums[lower][0]);
	*until = DatumGetTimestampTz(bounds->datums[lower + 1][0]);
	return true;
}

/* Runs agentpay._make_partition() as the extension's owner. */
static void
make_partition(AgentpayLog log, TimestampTz at)
{
	Oid types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum args[2] = {CStringGetTextDatum(log_names[log]),
					 TimestampTzGetDatum(at)};
	AgentpayOwnerState saved;

	agentpay_owner_enter(&saved);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("SELECT agentpay._make_partition($1, $2)", 2,
							  types, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not make a partition of agentpay.%s",
			 log_names[log]);
	SPI_finish();
	agentpay_owner_leave(&saved);
}

/*
 * The leaf that the session kept, with its relations open, now the appender's;
 * or NULL when there is none, or it is stale.  Needs a lock on the relation.
 */
static Leaf *
take_leaf(AgentpayAppender *appender, Relation relation)
{
	Leaf *leaf = kept[appender->log];
	ResultRelInfo *result;

	if (leaf == NULL)
		return NULL;
	kept[appender->log] = NULL;
	MemoryContextSetParent(leaf->context, appender->context);
	if (leaf->relid != RelationGetRelid(relation) ||
		leaf->generation != generation)
	{
		MemoryContextDelete(leaf->context);
		return NULL;
	}
	result = leaf->result;
	result->ri_RelationDesc = relation;
	for (int i = 0; i < result->ri_NumIndices; i++)
		result->ri_IndexRelationDescs[i] = index_open(leaf->indexes[i],
													  RowExclusiveLock);
	return leaf;
}

/* A new one, in the appender's memory. */
static Leaf *
make_leaf(AgentpayAppender *appender, Relation relation)
{
	MemoryContext context = AllocSetContextCreate(appender->context,
												  "agentpay leaf",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Leaf *leaf = palloc0(sizeof(Leaf));
	ResultRelInfo *result = makeNode(ResultRelInfo);
	Relation parent;
	TupleDesc parent_desc;

	watch_changes();
	leaf->context = context;
	leaf->relid = RelationGetRelid(relation);
	leaf->generation = generation;
	leaf->estate = CreateExecutorState();
	leaf->result = result;
	InitResultRelInfo(result, relation, 0, NULL, 0);
	ExecOpenIndices(result, false);
	leaf->indexes = palloc(Max(result->ri_NumIndices, 1) * sizeof(Oid));
	for (int i = 0; i < result->ri_NumIndices; i++)
		leaf->indexes[i] = RelationGetRelid(result->ri_IndexRelationDescs[i]);

	/* copies, since the relation's own is counted and may go */
	leaf->desc = CreateTupleDescCopy(RelationGetDescr(relation));
	parent = table_open(appender->parent, NoLock);
	parent_desc = CreateTupleDescCopy(RelationGetDescr(parent));
	table_close(parent, NoLock);
	leaf->map = convert_tuples_by_name(parent_desc, leaf->desc);
	if (leaf->map != NULL)
		leaf->parent_slot = MakeSingleTupleTableSlot(parent_desc,
													 &TTSOpsVirtual);
	leaf->slots = palloc(BUFFERED_ROWS * sizeof(TupleTableSlot *));
	MemoryContextSwitchTo(old);
	return leaf;
}

/* A callback: what was compiled before is stale. */
static void
relation_changed(Datum arg, Oid relid)
{
	generation++;
}

static void
watch_changes(void)
{
	static bool watching = false;

	if (watching)
		return;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	watching = true;
}

/* Writes what is buffered; the session keeps the leaf unless it is stale. */
static void
close_leaf(AgentpayAppender *appender)
{
	Leaf *leaf = appender->leaf;

	if (leaf == NULL)
		return;
	flush(appender);
	ExecCloseIndices(leaf->result);
	table_close(leaf->result->ri_RelationDesc, NoLock);
	leaf->result->ri_RelationDesc = NULL;
	appender->leaf = NULL;
	if (leaf->generation == generation && kept[appender->log] == NULL)
	{
		MemoryContextSetParent(leaf->context, CacheMemoryContext);
		kept[appender->log] = leaf;
	}
	else
		MemoryContextDelete(leaf->context);
}

/* Writes what is buffered, then the index entries. */
static void
flush(AgentpayAppender *appender)
{
	EState *estate = appender->leaf->estate;
	ResultRelInfo *leaf = appender->leaf->result;
	TupleTableSlot **slots = appender->leaf->slots;
	MemoryContext old;
	CommandId command = GetCurrentCommandId(true);

	if (appender->used == 0)
		return;
	if (appender->log == AGENTPAY_LOG_TASKS)
		agentpay_shmem_wake_at_commit(AGENTPAY_WORKER_DISPATCHER);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	if (appender->used == 1)
		table_tuple_insert(leaf->ri_RelationDesc, slots[0], command, 0, NULL);
	else
		table_multi_insert(leaf->ri_RelationDesc, slots, appender->used,
						   command, 0, NULL);
	MemoryContextSwitchTo(old);

	for (int i = 0; i < appender->used; i++)
	{
		if (leaf->ri_NumIndices > 0)
			list_free(
				AGENTPAY_EXEC_INSERT_INDEX_TUPLES(leaf, slots[i], estate));
		ExecClearTuple(slots[i]);
		ResetPerTupleExprContext(estate);
	}
	appender->used = 0;
	appender->bytes = 0;
}

static TupleTableSlot *
next_slot(AgentpayAppender *appender)
{
	Leaf *leaf = appender->leaf;
	MemoryContext old;

	if (appender->used == leaf->slot_count)
	{
		old = MemoryContextSwitchTo(leaf->context);
		leaf->slots[leaf->slot_count++] = MakeSingleTupleTableSlot(
			leaf->desc, table_slot_callbacks(leaf->result->ri_RelationDesc));
		MemoryContextSwitchTo(old);
	}
	return leaf->slots[appender->used];
}

/* The slot points to the values until it is materialized. */
static void
fill_slot(AgentpayAppender *appender, TupleTableSlot *slot, Datum *values,
		  bool *nulls)
{
	Leaf *leaf = appender->leaf;
	TupleTableSlot *target = leaf->map ? leaf->parent_slot : slot;
	int columns = appender->columns;

	Assert(target->tts_tupleDescriptor->natts == columns);
	ExecClearTuple(target);
	memcpy(target->tts_values, values, columns * sizeof(Datum));
	memcpy(target->tts_isnull, nulls, columns * sizeof(bool));
	ExecStoreVirtualTuple(target);
	if (leaf->map)
		execute_attr_map_slot(leaf->map->attrMap, target, slot);
}

/*
 * agentpay._append(record): the record has the row type of a log, which says
 * where it goes.
 */
Datum
agentpay_sql_append(PG_FUNCTION_ARGS)
{
	HeapTupleHeader record = PG_GETARG_HEAPTUPLEHEADER(0);
	Oid type = HeapTupleHeaderGetTypeId(record);
	AgentpayAppender *appender = agentpay_appender_open(log_of_type(type));
	TupleDesc desc = lookup_rowtype_tupdesc(type,
											HeapTupleHeaderGetTypMod(record));

	put_record(appender, record, desc);
	ReleaseTupleDesc(desc);
	agentpay_appender_close(appender);
	PG_RETURN_VOID();
}

/* agentpay._append_all(record[]): the same with rows of one log. */
Datum
agentpay_sql_append_all(PG_FUNCTION_ARGS)
{
	ArrayType *records = PG_GETARG_ARRAYTYPE_P(0);
	Oid type = ARR_ELEMTYPE(records);
	AgentpayAppender *appender = agentpay_appender_open(log_of_type(type));
	TupleDesc desc = lookup_rowtype_tupdesc(type, -1);
	Datum *elements;
	bool *nulls;
	int n;

	deconstruct_array(records, type, -1, false, TYPALIGN_DOUBLE, &elements,
					  &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			put_record(appender, DatumGetHeapTupleHeader(elements[i]), desc);
	ReleaseTupleDesc(desc);
	agentpay_appender_close(appender);
	PG_RETURN_VOID();
}

static AgentpayLog
log_of_type(Oid type)
{
	Oid relid = get_typ_typrelid(type);

	for (int log = 0; log < AGENTPAY_LOG_COUNT; log++)
		if (OidIsValid(relid) && relid == agentpay_log_relation(log))
			return log;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("type %s is not the row type of a log of agentpay",
					format_type_be(type)),
			 errhint("Cast the row, as in ROW(...)::agentpay.outcomes.")));
}

static void
put_record(AgentpayAppender *appender, HeapTupleHeader record, TupleDesc desc)
{
	HeapTupleData tuple;
	Datum values[MaxTupleAttributeNumber];
	bool nulls[MaxTupleAttributeNumber];

	tuple.t_len = HeapTupleHeaderGetDatumLength(record);
	tuple.t_data = record;
	heap_deform_tuple(&tuple, desc, values, nulls);
	if (nulls[TIME_COLUMN])
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("a row of agentpay.%s needs its time",
							   log_names[appender->log])));
	agentpay_appender_put(appender, DatumGetTimestampTz(values[TIME_COLUMN]),
						  values, nulls);
}
