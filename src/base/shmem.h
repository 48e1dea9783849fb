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
#include "executor/execdesc.h"
#include "nodes/nodes.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#define AGENTPAY_MAX_WORKERS 128
#define AGENTPAY_MAX_HELD_DATABASES 16
#define AGENTPAY_ERROR_LEN 256

typedef enum AgentpayWorkerKind
{
	AGENTPAY_WORKER_LAUNCHER,
	AGENTPAY_WORKER_DISPATCHER,
	AGENTPAY_WORKER_GOVERNOR
} AgentpayWorkerKind;

/* As stat_workers, process titles and the workers' main functions have it. */
extern const char *const agentpay_worker_kind_names[];

/* One background worker. in_use and generation as in PostgreSQL's launcher. */
typedef struct AgentpayWorkerSlot
{
	bool in_use;
	uint32 generation;
	AgentpayWorkerKind kind;
	int number; /* of a dispatcher, among those of its database */
	Oid database;
	bool joined;  /* a dispatcher that takes its part of the tasks */
	PGPROC *proc; /* NULL until the worker has attached */
	pid_t pid;
	TimestampTz started_at;
	uint32 restarts;
	char state[32]; /* starting, idle, working, held, ... */
	char last_error[AGENTPAY_ERROR_LEN];
	TimestampTz last_error_at;
	pg_atomic_uint32 in_flight; /* atomic */
	pg_atomic_uint64 calls;		/* atomic */
	/* atomic: rises with each wake-up, since a lock wait may eat the latch */
	pg_atomic_uint32 wakes;
	pg_atomic_uint32 arrivals; /* atomic: another dispatcher claimed tasks */
} AgentpayWorkerSlot;

typedef struct AgentpayShared
{
	LWLock *lock;
	bool launcher_nudged;			  /* look at every database again */
	pg_atomic_uint64 kill_generation; /* atomic: rises when a switch moved */
	/* databases that no worker may connect to now: DROP, RENAME, TEMPLATE */
	Oid held_databases[AGENTPAY_MAX_HELD_DATABASES];
	pid_t held_by[AGENTPAY_MAX_HELD_DATABASES];
	AgentpayWorkerSlot slots[AGENTPAY_MAX_WORKERS];
} AgentpayShared;

/*
 * What refuses DDL against the logs (evidence/guard.c).  The ProcessUtility
 * hook calls check_utility() before a statement; when that returns true, it
 * calls lift() before and restore() after it, also on error.  It is DROP
 * EXTENSION then: this database's workers are stopped, and prepare() is called,
 * if a superuser drops it.  The object_access hook calls check_access().
 */
typedef struct AgentpayGuard
{
	bool (*check_utility)(Node *parsetree);
	void (*lift)(void);
	void (*prepare)(void);
	void (*restore)(void);
	void (*check_access)(ObjectAccessType access, Oid class_id, Oid object_id,
						 int sub_id, void *arg);
} AgentpayGuard;

/*
 * What opens and closes a frame of scoring (scoring/frame.c) around a part of
 * a statement.  query is NULL for a utility statement.  leave() is called for
 * every enter() that returned, with failed when an error passes through.
 */
typedef enum AgentpayFramePhase
{
	AGENTPAY_FRAME_RUN,	   /* ExecutorRun */
	AGENTPAY_FRAME_FINISH, /* ExecutorFinish: AFTER triggers */
	AGENTPAY_FRAME_UTILITY /* ProcessUtility: COPY */
} AgentpayFramePhase;

typedef struct AgentpayFrames
{
	void (*enter)(QueryDesc *query);
	void (*leave)(AgentpayFramePhase phase, QueryDesc *query, bool failed);
	void (*end)(QueryDesc *query); /* before ExecutorEnd */
} AgentpayFrames;

/*
 * A room with shared memory of its own: request() asks for it, start() makes
 * it or finds it, under AddinShmemInitLock.
 */
typedef struct AgentpayShmemPart
{
	void (*request)(void);
	void (*start)(void);
} AgentpayShmemPart;

extern AgentpayShared *agentpay_shared;

/*
 * From _PG_init, before agentpay_shmem_install().  Any member may be NULL.  What
 * is given to watch is called for each object that changes, after the guard.
 */
extern void agentpay_shmem_set_guard(const AgentpayGuard *guard);
extern void agentpay_shmem_set_frames(const AgentpayFrames *frames);
extern void agentpay_shmem_add_part(const AgentpayShmemPart *part);
extern void
agentpay_shmem_set_watch(void (*changed)(ObjectAccessType access, Oid class_id,
										 Oid object_id, void *arg));

/* Called once from _PG_init: requests memory, installs every hook. */
extern void agentpay_shmem_install(void);

/* Sets the hooks of hooks.c; agentpay_shmem_install() calls it. */
extern void agentpay_hooks_install(void);

/*
 * Wake the workers of this database now (wake_now) or when the current
 * transaction commits (wake_at_commit; forgotten on abort).
 */
extern void agentpay_shmem_wake_now(Oid database, AgentpayWorkerKind kind);
extern void agentpay_shmem_wake_at_commit(AgentpayWorkerKind kind);

/* This database's other dispatchers look for tasks that somebody claimed. */
extern void agentpay_shmem_tell_arrivals(const AgentpayWorkerSlot *teller);

/*
 * Whether this dispatcher takes its part; the others are told.  And who does:
 * sets *rank among *n.
 */
extern void agentpay_shmem_join(AgentpayWorkerSlot *slot, bool joins);
extern void
agentpay_shmem_rank(const AgentpayWorkerSlot *slot, int *rank, int *n);

/* The launcher looks at every database once this transaction commits. */
extern void agentpay_shmem_nudge_at_commit(void);

/* Dispatchers look at the kill switches once this transaction commits. */
extern void agentpay_shmem_kill_at_commit(void);

/*
 * Keeps our workers out of a database: hold() stops those that are there and
 * waits up to five seconds until they are gone.  Returns false, and holds
 * nothing, when too many databases are held.
 */
extern bool agentpay_shmem_hold_database(Oid database);
extern void agentpay_shmem_release_database(Oid database);

/* Whether a database is held.  Needs agentpay_shared->lock. */
extern bool agentpay_shmem_is_held(Oid database);

/*
 * A slot for a worker that is about to be registered: its place, or -1 when
 * all are taken, or the database is held, or it has such a worker already.
 * number tells dispatchers of a database from each other; 0 for the others.
 */
extern int agentpay_shmem_take_slot(AgentpayWorkerKind kind, int number,
									Oid database, uint32 restarts);
extern void agentpay_shmem_free_slot(int slot, uint32 generation);

#endif /* AGENTPAY_SHMEM_H */
