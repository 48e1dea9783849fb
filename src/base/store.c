/*-------------------------------------------------------------------------
 * store.c
 *		Rows of one of agentpay's own tables, without SQL.
 *
 * To set up a plan for a batch costs as much as some ten of its rows; a
 * dispatcher that is asked about single payments does little else.
 *
 * Locking: RowExclusiveLock on the table and AccessShareLock on the index, to
 * the end of the transaction.  Whoever has changed a row and not ended is
 * waited for.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "base/appender.h"
#include "base/compat.h"
#include "base/store.h"

static void open_indexes(AgentpayStore *store);
static void fill(AgentpayStore *store, const Datum *values, const bool *nulls);
static bool was_changed(TM_Result result);

void
agentpay_store_open(AgentpayStore *store, const char *table, const char *index)
{
	Oid relid = agentpay_relation(table);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agentpay.%s\" does not exist", table),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	memset(store, 0, sizeof(*store));
	store->relation = table_open(relid, RowExclusiveLock);
	store->index = index_open(agentpay_relation(index), AccessShareLock);
	store->snapshot = RegisterSnapshot(GetActiveSnapshot());
	store->estate = CreateExecutorState();
	store->result = makeNode(ResultRelInfo);
	InitResultRelInfo(store->result, store->relation, 0, NULL, 0);
	store->row = table_slot_create(store->relation, NULL);
	store->written = table_slot_create(store->relation, NULL);
}

void
agentpay_store_close(AgentpayStore *store)
{
	ExecDropSingleTupleTableSlot(store->written);
	ExecDropSingleTupleTableSlot(store->row);
	if (store->writable)
		ExecCloseIndices(store->result);
	FreeExecutorState(store->estate);
	if (store->scan)
		index_endscan(store->scan);
	UnregisterSnapshot(store->snapshot);
	index_close(store->index, NoLock);
	table_close(store->relation, NoLock);
}

bool
agentpay_store_find(AgentpayStore *store, int64 key)
{
	ScanKeyData scan_key;

	agentpay_store_key(store, &scan_key, 1, BTEqualStrategyNumber, F_INT8EQ,
					   Int64GetDatum(key));
	agentpay_store_seek(store, &scan_key, 1);
	return agentpay_store_next(store, ForwardScanDirection);
}

void
agentpay_store_key(AgentpayStore *store, ScanKey key, int column,
				   StrategyNumber strategy, RegProcedure compares, Datum value)
{
	ScanKeyEntryInitialize(key, 0, column, strategy, InvalidOid,
						   store->index->rd_indcollation[column - 1], compares,
						   value);
}

void
agentpay_store_seek(AgentpayStore *store, ScanKey keys, int n)
{
	if (store->scan && store->scan->numberOfKeys != n)
	{
		index_endscan(store->scan);
		store->scan = NULL;
	}
	if (store->scan == NULL)
		store->scan = AGENTPAY_INDEX_BEGINSCAN(store->relation, store->index,
											   store->snapshot, n);
	index_rescan(store->scan, keys, n, NULL, 0);
}

bool
agentpay_store_next(AgentpayStore *store, ScanDirection direction)
{
	if (!index_getnext_slot(store->scan, direction, store->row))
		return false;
	slot_getallattrs(store->row);
	return true;
}

bool
agentpay_store_lock_latest(AgentpayStore *store)
{
	TM_FailureData failure;
	ItemPointerData tid = store->row->tts_tid;
	TM_Result result = table_tuple_lock(store->relation, &tid, store->snapshot,
										store->row, GetCurrentCommandId(true),
										LockTupleExclusive, LockWaitBlock,
										TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
										&failure);

	if (was_changed(result))
		return false;
	slot_getallattrs(store->row);
	return true;
}

bool
agentpay_store_try_lock(AgentpayStore *store)
{
	TM_FailureData failure;
	ItemPointerData tid = store->row->tts_tid;
	TM_Result result = table_tuple_lock(store->relation, &tid, store->snapshot,
										store->row, GetCurrentCommandId(true),
										LockTupleExclusive, LockWaitSkip, 0,
										&failure);

	if (result == TM_WouldBlock || was_changed(result))
		return false;
	slot_getallattrs(store->row);
	return true;
}

bool
agentpay_store_delete(AgentpayStore *store)
{
	return agentpay_store_delete_at(store, &store->row->tts_tid);
}

bool
agentpay_store_delete_at(AgentpayStore *store, ItemPointer place)
{
	TM_FailureData failure;

	return !was_changed(table_tuple_delete(store->relation, place,
										   GetCurrentCommandId(true),
										   store->snapshot, InvalidSnapshot,
										   true, &failure, false));
}

bool
agentpay_store_update(AgentpayStore *store, const Datum *values,
					  const bool *nulls)
{
	TM_FailureData failure;
	LockTupleMode mode;
	AGENTPAY_UPDATED_INDEXES which;

	fill(store, values, nulls);
	if (was_changed(table_tuple_update(store->relation, &store->row->tts_tid,
									   store->written,
									   GetCurrentCommandId(true),
									   store->snapshot, InvalidSnapshot, true,
									   &failure, &mode, &which)))
		return false;
	AGENTPAY_EXEC_UPDATE_INDEX_TUPLES(store->result, store->written,
									  store->estate, which);
	ResetPerTupleExprContext(store->estate);
	return true;
}

void
agentpay_store_insert(AgentpayStore *store, const Datum *values,
					  const bool *nulls)
{
	fill(store, values, nulls);
	table_tuple_insert(store->relation, store->written,
					   GetCurrentCommandId(true), 0, NULL);
	list_free(AGENTPAY_EXEC_INSERT_INDEX_TUPLES(store->result, store->written,
												store->estate));
	ResetPerTupleExprContext(store->estate);
}

/* Where nothing is written, they are not needed. */
static void
open_indexes(AgentpayStore *store)
{
	MemoryContext old = MemoryContextSwitchTo(store->estate->es_query_cxt);

	ExecOpenIndices(store->result, false);
	MemoryContextSwitchTo(old);
	store->writable = true;
}

static void
fill(AgentpayStore *store, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = store->written;
	int n = slot->tts_tupleDescriptor->natts;

	if (!store->writable)
		open_indexes(store);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, n * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, n * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(store->relation);
	if (store->relation->rd_att->constr)
		ExecConstraints(store->result, slot, store->estate);
}

/*
 * By a transaction that has committed, or by this command; what else went
 * wrong is an error.
 */
static bool
was_changed(TM_Result result)
{
	if (result == TM_Ok)
		return false;
	if (result == TM_Updated || result == TM_Deleted ||
		result == TM_SelfModified)
		return true;
	elog(ERROR, "could not write a row of agentpay: %d", (int) result);
}
