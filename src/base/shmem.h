/*-------------------------------------------------------------------------
 * shmem.h
 *		What the processes of agentpay share: worker slots, wake-ups, and
 *		the databases that are held back for a DROP, RENAME or TEMPLATE.
 *
 * This room is the only owner of PostgreSQL's process-wide hooks; other
 * rooms register their part here.
 *
 * Locking: every field of AgentpayShared is guarded by AgentpayShared->lock,
 * except those marked atomic.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SHMEM_H
#define AGENTPAY_SHMEM_H

#include "postgres.h"

#include "catalog/objectaccess.h"
#include "nodes/nodes.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#define AGENTPAY_MAX_WORKERS 64
#define AGENTPAY_MAX_HELD_DATABASES 16
#define AGENTPAY_ERROR_LEN 256

typedef enum AgentpayWorkerKind
{
	AGENTPAY_WORKER_LAUNCHER,
	AGENTPAY_WORKER_DISPATCHER,
	AGENTPAY_WORKER_GOVERNOR
} AgentpayWorkerKind;

/* One background worker. in_use and generation as in PostgreSQL's launcher. */
typedef struct AgentpayWorkerSlot
{
	bool		in_use;
	uint32		generation;
	AgentpayWorkerKind kind;
	Oid			database;
	PGPROC	   *proc;			/* NULL until the worker has attached */
	pid_t		pid;
	TimestampTz started_at;
	uint32		restarts;
	char		state[32];		/* idle, held, calling, draining, ... */
	char		last_error[AGENTPAY_ERROR_LEN];
	TimestampTz last_error_at;
	pg_atomic_uint32 in_flight; /* atomic */
	pg_atomic_uint64 calls;		/* atomic */
} AgentpayWorkerSlot;

typedef struct AgentpayShared
{
	LWLock	   *lock;
	bool		launcher_nudged;	/* look at every database again */
	/* databases that no worker may connect to now: DROP, RENAME, TEMPLATE */
	Oid			held_databases[AGENTPAY_MAX_HELD_DATABASES];
	pid_t		held_by[AGENTPAY_MAX_HELD_DATABASES];
	AgentpayWorkerSlot slots[AGENTPAY_MAX_WORKERS];
} AgentpayShared;

/*
 * What refuses DDL against the logs (evidence/guard.c).  The ProcessUtility
 * hook calls check_utility() before a statement; when that returns true, it
 * calls lift() before and restore() after it, also on error.  The
 * object_access hook calls check_access().
 */
typedef struct AgentpayGuard
{
	bool		(*check_utility) (Node *parsetree);
	void		(*lift) (void);
	void		(*restore) (void);
	void		(*check_access) (ObjectAccessType access, Oid class_id,
								 Oid object_id, int sub_id, void *arg);
} AgentpayGuard;

extern AgentpayShared *agentpay_shared;

/* From _PG_init, before agentpay_shmem_install(). */
extern void agentpay_shmem_set_guard(const AgentpayGuard *guard);

/* Called once from _PG_init: requests memory, installs every hook. */
extern void agentpay_shmem_install(void);

/*
 * Wake the workers of this database now (wake_now) or when the current
 * transaction commits (wake_at_commit; forgotten on abort).
 */
extern void agentpay_shmem_wake_now(Oid database, AgentpayWorkerKind kind);
extern void agentpay_shmem_wake_at_commit(AgentpayWorkerKind kind);

#endif							/* AGENTPAY_SHMEM_H */
