/*-------------------------------------------------------------------------
 * stat_workers.c
 *		What the workers say about themselves, as rows.
 *
 * Reads the slots under agentpay_shared->lock, into a copy.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/shmem.h"

#define COLUMNS 8

PG_FUNCTION_INFO_V1(agentpay_sql_stat_workers);

/* agentpay._stat_workers(): the launcher, and this database's workers. */
Datum
agentpay_sql_stat_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AgentpayWorkerSlot *slots = palloc(sizeof(agentpay_shared->slots));

	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	memcpy(slots, agentpay_shared->slots, sizeof(agentpay_shared->slots));
	LWLockRelease(agentpay_shared->lock);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &slots[i];
		Datum values[COLUMNS];
		bool nulls[COLUMNS] = {false};

		if (!slot->in_use || (slot->kind != AGENTPAY_WORKER_LAUNCHER &&
							  slot->database != MyDatabaseId))
			continue;
		values[0] = CStringGetTextDatum(agentpay_worker_kind_names[slot->kind]);
		values[1] = Int32GetDatum(slot->pid);
		nulls[1] = slot->pid == 0;
		values[2] = CStringGetTextDatum(slot->state);
		values[3] = Int32GetDatum(pg_atomic_read_u32(&slot->in_flight));
		values[4] = Int64GetDatum(pg_atomic_read_u64(&slot->calls));
		values[5] = Int64GetDatum(slot->restarts);
		nulls[6] = nulls[7] = slot->last_error[0] == '\0';
		if (!nulls[6])
			values[6] = CStringGetTextDatum(slot->last_error);
		values[7] = TimestampTzGetDatum(slot->last_error_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
