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
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/shmem.h"
#include "workers/agent_limits.h"

#define COLUMNS 9
#define AGENTS_SHOWN 1024

static Datum broken_agents(void);

PG_FUNCTION_INFO_V1(agentpay_sql_stat_workers);

/* agentpay._stat_workers(): the launcher, and this database's workers. */
Datum
agentpay_sql_stat_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AgentpayWorkerSlot *slots = palloc(sizeof(agentpay_shared->slots));
	Datum broken;

	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	memcpy(slots, agentpay_shared->slots, sizeof(agentpay_shared->slots));
	LWLockRelease(agentpay_shared->lock);

	InitMaterializedSRF(fcinfo, 0);
	broken = broken_agents();
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
		/* they share their breakers */
		values[6] = slot->kind == AGENTPAY_WORKER_DISPATCHER
						? broken
						: PointerGetDatum(construct_empty_array(TEXTOID));
		nulls[7] = nulls[8] = slot->last_error[0] == '\0';
		if (!nulls[7])
			values[7] = CStringGetTextDatum(slot->last_error);
		values[8] = TimestampTzGetDatum(slot->last_error_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The names of this database's agents whose breaker is not closed, as text[]. */
static Datum
broken_agents(void)
{
	char(*names)[AGENTPAY_LIMITS_NAME_LEN] = palloc(AGENTS_SHOWN *
													AGENTPAY_LIMITS_NAME_LEN);
	int n = Min(agentpay_limits_broken(MyDatabaseId, names, AGENTS_SHOWN),
				AGENTS_SHOWN);
	Datum *values = palloc(sizeof(Datum) * Max(n, 1));

	qsort(names, n, AGENTPAY_LIMITS_NAME_LEN,
		  (int (*)(const void *, const void *)) strcmp);
	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(names[i]);
	return PointerGetDatum(
		construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT));
}
