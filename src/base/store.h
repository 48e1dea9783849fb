/*-------------------------------------------------------------------------
 * store.h
 *		Rows of one of agentpay's own tables, without SQL.
 *
 * For what every call of an agent reads and writes.  A direct write skips
 * defaults, triggers and privileges, so a caller gives every column; NOT NULL
 * and CHECK constraints hold.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_STORE_H
#define AGENTPAY_STORE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct AgentpayStore
{
	Relation relation;
	Relation index; /* by which rows are found */
	IndexScanDesc scan;
	Snapshot snapshot;
	ResultRelInfo *result;
	EState *estate;
	TupleTableSlot *row;	 /* what was found last */
	TupleTableSlot *written; /* what is being written */
	bool writable;			 /* its indexes are open for new rows */
} AgentpayStore;

/*
 * Opens a table of the schema agentpay, RowExclusiveLock to the end of the
 * transaction, with the index by which rows are found as the active snapshot
 * sees them.
 */
extern void
agentpay_store_open(AgentpayStore *store, const char *table, const char *index);
extern void agentpay_store_close(AgentpayStore *store);

/* The row whose key is this bigint, in store->row; false: there is none. */
extern bool agentpay_store_find(AgentpayStore *store, int64 key);

/*
 * Begins anew with the rows that these keys of the index ask for; each is then
 * in store->row, false: there is no other.
 */
extern void agentpay_store_seek(AgentpayStore *store, ScanKey keys, int n);
extern bool agentpay_store_next(AgentpayStore *store, ScanDirection direction);

/* A key for it: how a column of the index, from 1, compares to a value. */
extern void
agentpay_store_key(AgentpayStore *store, ScanKey key, int column,
				   StrategyNumber strategy, RegProcedure compares, Datum value);

/*
 * Waits for whoever has changed the row that was found, and locks it as it is
 * now; false when it is gone.
 */
extern bool agentpay_store_lock_latest(AgentpayStore *store);

/*
 * Locks the row that was found; false when somebody else has it, or has changed
 * it meanwhile.
 */
extern bool agentpay_store_try_lock(AgentpayStore *store);

/*
 * Deletes, or replaces by these values, the row that was found.  False when a
 * transaction that committed meanwhile, or this command, has changed it: it is
 * as it was left.
 */
extern bool agentpay_store_delete(AgentpayStore *store);
extern bool agentpay_store_update(AgentpayStore *store, const Datum *values,
								  const bool *nulls);
/* Deletes the row that was found at this place. */
extern bool agentpay_store_delete_at(AgentpayStore *store, ItemPointer place);

extern void agentpay_store_insert(AgentpayStore *store, const Datum *values,
								  const bool *nulls);

#endif /* AGENTPAY_STORE_H */
