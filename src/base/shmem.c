/*-------------------------------------------------------------------------
 * shmem.c
 *		Worker slots, wake-ups and held databases in shared memory.
 *
 * A slot is taken by the launcher before it registers a worker, filled by the
 * worker, and freed by the worker at its exit; generation tells a worker that
 * its slot was given away meanwhile.
 *
 * Locking: agentpay_shared->lock, for moments only; nothing that can block or
 * throw is done under it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/shmem.h"
#include "base/waiters.h"

/* How long a database's workers may take to leave it, and how often to look. */
#define HOLD_TIMEOUT_MS 5000
#define HOLD_POLL_MS 10

const char *const agentpay_worker_kind_names[] = {
	[AGENTPAY_WORKER_LAUNCHER] = "launcher",
	[AGENTPAY_WORKER_DISPATCHER] = "dispatcher",
	[AGENTPAY_WORKER_GOVERNOR] = "governor",
};

AgentpayShared *agentpay_shared = NULL;

#define MAX_PARTS 4

static AgentpayShmemPart parts[MAX_PARTS];
static int n_parts = 0;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

/* What this transaction does when it commits. */
static uint32 wake_kinds = 0;
static bool nudge_launcher = false;
static bool kill_moved = false;

static void request_memory(void);
static void start_memory(void);
static void at_transaction_end(XactEvent event, void *arg);
static void release_at_exit(int code, Datum arg);
static void release(Oid database);
static void stop_workers(Oid database);
static bool has_workers(Oid database);

void
agentpay_shmem_install(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = start_memory;
	RegisterXactCallback(at_transaction_end, NULL);
	agentpay_waiters_install();
	agentpay_hooks_install();
}

void
agentpay_shmem_add_part(const AgentpayShmemPart *part)
{
	Assert(n_parts < MAX_PARTS);
	parts[n_parts++] = *part;
}

static void
request_memory(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(AgentpayShared)));
	RequestNamedLWLockTranche("agentpay", 1);
	agentpay_waiters_request();
	for (int i = 0; i < n_parts; i++)
		parts[i].request();
}

static void
start_memory(void)
{
	bool found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	agentpay_shared = ShmemInitStruct("agentpay", sizeof(AgentpayShared),
									  &found);
	if (!found)
	{
		memset(agentpay_shared, 0, sizeof(AgentpayShared));
		agentpay_shared->lock = &GetNamedLWLockTranche("agentpay")->lock;
		pg_atomic_init_u64(&agentpay_shared->kill_generation, 1);
		for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
		{
			pg_atomic_init_u32(&agentpay_shared->slots[i].in_flight, 0);
			pg_atomic_init_u64(&agentpay_shared->slots[i].calls, 0);
			pg_atomic_init_u32(&agentpay_shared->slots[i].wakes, 0);
			pg_atomic_init_u32(&agentpay_shared->slots[i].arrivals, 0);
		}
	}
	agentpay_waiters_start();
	for (int i = 0; i < n_parts; i++)
		parts[i].start();
	LWLockRelease(AddinShmemInitLock);
}

void
agentpay_shmem_wake_now(Oid database, AgentpayWorkerKind kind)
{
	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[i];

		if (slot->in_use && slot->kind == kind && slot->proc != NULL &&
			(kind == AGENTPAY_WORKER_LAUNCHER || slot->database == database))
		{
			pg_atomic_fetch_add_u32(&slot->wakes, 1);
			SetLatch(&slot->proc->procLatch);
		}
	}
	LWLockRelease(agentpay_shared->lock);
}

void
agentpay_shmem_tell_arrivals(const AgentpayWorkerSlot *teller)
{
	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[i];

		if (slot == teller || !slot->in_use || slot->proc == NULL ||
			slot->kind != AGENTPAY_WORKER_DISPATCHER ||
			slot->database != teller->database)
			continue;
		pg_atomic_fetch_add_u32(&slot->arrivals, 1);
		SetLatch(&slot->proc->procLatch);
	}
	LWLockRelease(agentpay_shared->lock);
}

void
agentpay_shmem_join(AgentpayWorkerSlot *slot, bool joins)
{
	/* nobody else writes it */
	if (slot->joined == joins)
		return;
	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	slot->joined = joins;
	LWLockRelease(agentpay_shared->lock);
	agentpay_shmem_wake_now(slot->database, AGENTPAY_WORKER_DISPATCHER);
}

void
agentpay_shmem_rank(const AgentpayWorkerSlot *slot, int *rank, int *n)
{
	*rank = *n = 0;
	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *other = &agentpay_shared->slots[i];

		if (!other->in_use || !other->joined ||
			other->database != slot->database)
			continue;
		(*n)++;
		if (other->number < slot->number)
			(*rank)++;
	}
	LWLockRelease(agentpay_shared->lock);
}

void
agentpay_shmem_wake_at_commit(AgentpayWorkerKind kind)
{
	wake_kinds |= 1u << kind;
}

void
agentpay_shmem_nudge_at_commit(void)
{
	nudge_launcher = true;
}

void
agentpay_shmem_kill_at_commit(void)
{
	kill_moved = true;
	agentpay_shmem_wake_at_commit(AGENTPAY_WORKER_DISPATCHER);
}

/*
 * At XACT_EVENT_COMMIT the transaction is visible already.  A prepared one
 * tells nobody: the process that finishes it does not come here, and the
 * workers' slow timers find what it did.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	uint32 kinds = wake_kinds;
	bool nudge = nudge_launcher;
	bool killed = kill_moved;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	wake_kinds = 0;
	nudge_launcher = false;
	kill_moved = false;
	if (event != XACT_EVENT_COMMIT || agentpay_shared == NULL)
		return;

	if (killed)
		pg_atomic_fetch_add_u64(&agentpay_shared->kill_generation, 1);
	if (nudge)
	{
		LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
		agentpay_shared->launcher_nudged = true;
		LWLockRelease(agentpay_shared->lock);
		kinds |= 1u << AGENTPAY_WORKER_LAUNCHER;
	}
	for (int kind = 0; kind <= AGENTPAY_WORKER_GOVERNOR; kind++)
		if (kinds & (1u << kind))
			agentpay_shmem_wake_now(MyDatabaseId, kind);
}

bool
agentpay_shmem_is_held(Oid database)
{
	for (int i = 0; i < AGENTPAY_MAX_HELD_DATABASES; i++)
		if (agentpay_shared->held_databases[i] == database)
			return OidIsValid(database);
	return false;
}

bool
agentpay_shmem_hold_database(Oid database)
{
	static pid_t prepared = 0;
	int place = -1;
	TimestampTz until;

	if (prepared != MyProcPid)
		before_shmem_exit(release_at_exit, (Datum) 0);
	prepared = MyProcPid;

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < AGENTPAY_MAX_HELD_DATABASES && place < 0; i++)
		if (!OidIsValid(agentpay_shared->held_databases[i]))
			place = i;
	if (place >= 0)
	{
		agentpay_shared->held_databases[place] = database;
		agentpay_shared->held_by[place] = MyProcPid;
	}
	LWLockRelease(agentpay_shared->lock);
	if (place < 0)
		return false;

	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HOLD_TIMEOUT_MS);
	while (has_workers(database) && GetCurrentTimestamp() < until)
	{
		stop_workers(database);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 HOLD_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		/* no interrupt here: whoever holds must get to release */
		if (ProcDiePending || QueryCancelPending)
			break;
	}
	return true;
}

void
agentpay_shmem_release_database(Oid database)
{
	release(database);
	agentpay_shmem_wake_now(InvalidOid, AGENTPAY_WORKER_LAUNCHER);
}

/* A FATAL in between passes by the caller's PG_FINALLY. */
static void
release_at_exit(int code, Datum arg)
{
	release(InvalidOid);
}

/* Gives back one of ours, or all of ours (InvalidOid). */
static void
release(Oid database)
{
	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < AGENTPAY_MAX_HELD_DATABASES; i++)
	{
		if (agentpay_shared->held_by[i] == MyProcPid &&
			(!OidIsValid(database) ||
			 agentpay_shared->held_databases[i] == database))
		{
			agentpay_shared->held_databases[i] = InvalidOid;
			agentpay_shared->held_by[i] = 0;
			agentpay_shared->launcher_nudged = true;
		}
	}
	LWLockRelease(agentpay_shared->lock);
}

static void
stop_workers(Oid database)
{
	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[i];

		if (slot->in_use && slot->database == database && slot->pid != 0)
			kill(slot->pid, SIGTERM);
	}
	LWLockRelease(agentpay_shared->lock);
}

static bool
has_workers(Oid database)
{
	bool found = false;

	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS && !found; i++)
		found = agentpay_shared->slots[i].in_use &&
				agentpay_shared->slots[i].database == database;
	LWLockRelease(agentpay_shared->lock);
	return found;
}

int
agentpay_shmem_take_slot(AgentpayWorkerKind kind, int number, Oid database,
						 uint32 restarts)
{
	int place = -1;

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[i];

		if (slot->in_use && slot->kind == kind && slot->number == number &&
			slot->database == database)
		{
			place = -1;
			break;
		}
		if (slot->in_use)
			continue;
		/* what the one before said of itself is no longer true */
		if (slot->kind == kind && slot->database == database)
			slot->state[0] = '\0';
		if (place < 0)
			place = i;
	}
	if (place >= 0 && !agentpay_shmem_is_held(database))
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[place];

		slot->in_use = true;
		slot->generation++;
		slot->kind = kind;
		slot->number = number;
		slot->database = database;
		slot->joined = false;
		slot->proc = NULL;
		slot->pid = 0;
		slot->started_at = GetCurrentTimestamp();
		slot->restarts = restarts;
		strlcpy(slot->state, "starting", sizeof(slot->state));
		slot->last_error[0] = '\0';
		slot->last_error_at = 0;
		pg_atomic_write_u32(&slot->in_flight, 0);
		pg_atomic_write_u64(&slot->calls, 0);
	}
	else
		place = -1;
	LWLockRelease(agentpay_shared->lock);
	return place;
}

void
agentpay_shmem_free_slot(int place, uint32 generation)
{
	AgentpayWorkerSlot *slot = &agentpay_shared->slots[place];

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	if (slot->in_use && slot->generation == generation)
	{
		slot->in_use = false;
		slot->joined = false;
		slot->proc = NULL;
		slot->pid = 0;
	}
	LWLockRelease(agentpay_shared->lock);
}
