/*-------------------------------------------------------------------------
 * parallel_internal.h
 *		What parallel.c and parallel_worker.c share: a segment of dynamic
 *		shared memory for each run of a task.
 *
 * Its leader writes everything before the first worker is asked for; from then
 * on only next changes, atomically, and began, each entry by its worker.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_PARALLEL_INTERNAL_H
#define AGENTPAY_PARALLEL_INTERNAL_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"

#include "review/parallel.h"

#define AGENTPAY_PARALLEL_MAGIC UINT64CONST(0x61676e7470617931)
#define AGENTPAY_PARALLEL_MAX_WORKERS 64
#define AGENTPAY_PARALLEL_QUEUE_SIZE 65536

/* What is in the segment. */
enum
{
	AGENTPAY_PARALLEL_SHARED,
	AGENTPAY_PARALLEL_SETTINGS,
	AGENTPAY_PARALLEL_SNAPSHOT,	   /* of the statement */
	AGENTPAY_PARALLEL_CONFIG_SEEN, /* of the configuration */
	AGENTPAY_PARALLEL_ARGS,
	AGENTPAY_PARALLEL_STATEMENT, /* for pg_stat_activity */
	AGENTPAY_PARALLEL_QUEUES,
	AGENTPAY_PARALLEL_KEYS
};

/* What a worker sends beside errors and notices. */
#define AGENTPAY_PARALLEL_SUM 'd'
#define AGENTPAY_PARALLEL_DONE 'X'

typedef struct AgentpayShared
{
	AgentpayTaskKind kind;
	int n_args;

	/* whose work it is */
	Oid database;
	Oid authenticated_user;
	Oid role;
	bool role_is_superuser;
	Oid user;
	int security_context;
	PGPROC *leader;
	pid_t leader_pid;

	/* blocks of each relation: [next, next + step) up to n_blocks */
	uint64 n_blocks;
	uint32 step;
	pg_atomic_uint64 next;

	/* it has taken blocks, or may have */
	bool began[AGENTPAY_PARALLEL_MAX_WORKERS];
} AgentpayShared;

/* What blocks this process takes from now on; NULL: of no run. */
extern void
agentpay_parallel_take_from(AgentpayShared *shared, void (*heed)(void));

#endif /* AGENTPAY_PARALLEL_INTERNAL_H */
