/*-------------------------------------------------------------------------
 * waiters.c
 *		Sessions that wait until something is known about one payment.
 *
 * Each process has a place in shared memory, found by its number.  To wake is
 * to go over all places, a few kilobytes: a thousand waiters cost each commit
 * a microsecond, and only those are woken that the commit concerns.
 *
 * Locking: none.  begin() writes its key before the caller takes a snapshot;
 * the one who wakes reads the keys after its commit is visible.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/waiters.h"

/* A transaction that concerns more payments wakes everybody. */
#define MAX_KEYS 1024

typedef struct Place
{
	pg_atomic_uint64 key; /* 0: nobody waits */
	pg_atomic_uint32 wakes;
} Place;

static Place *places = NULL;

/* What this transaction wakes when it commits; in TopTransactionContext. */
static uint64 *keys = NULL;
static int n_keys = 0;
static int max_keys = 0;
static bool wake_all = false;

static void at_transaction_end(XactEvent event, void *arg);
static void wake(void);
static bool is_wanted(uint64 key);
static void leave(int code, Datum arg);

void
agentpay_waiters_request(void)
{
	RequestAddinShmemSpace(mul_size(MaxBackends, sizeof(Place)));
}

void
agentpay_waiters_start(void)
{
	bool found;

	places = ShmemInitStruct("agentpay waiters",
							 mul_size(MaxBackends, sizeof(Place)), &found);
	if (found)
		return;
	for (int i = 0; i < MaxBackends; i++)
	{
		pg_atomic_init_u64(&places[i].key, 0);
		pg_atomic_init_u32(&places[i].wakes, 0);
	}
}

void
agentpay_waiters_install(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

uint64
agentpay_waiters_key(const char *point, const char *row_id)
{
	uint64 hash = hash_bytes_uint32_extended(MyDatabaseId, 0);

	hash = hash_bytes_extended((const unsigned char *) point, strlen(point),
							   hash);
	hash = hash_bytes_extended((const unsigned char *) row_id, strlen(row_id),
							   hash);
	return hash == 0 ? 1 : hash;
}

void
agentpay_waiters_begin(uint64 key)
{
	static pid_t prepared = 0;

	if (prepared != MyProcPid)
		before_shmem_exit(leave, (Datum) 0);
	prepared = MyProcPid;
	pg_atomic_write_u64(&places[AGENTPAY_MY_PROC_NUMBER].key, key);
	pg_memory_barrier();
}

void
agentpay_waiters_end(void)
{
	pg_atomic_write_u64(&places[AGENTPAY_MY_PROC_NUMBER].key, 0);
}

/* A FATAL passes by the waiter's PG_FINALLY. */
static void
leave(int code, Datum arg)
{
	agentpay_waiters_end();
}

uint32
agentpay_waiters_wakes(void)
{
	return pg_atomic_read_u32(&places[AGENTPAY_MY_PROC_NUMBER].wakes);
}

void
agentpay_waiters_wake_at_commit(uint64 key)
{
	if (n_keys >= MAX_KEYS)
	{
		wake_all = true;
		return;
	}
	if (keys == NULL)
	{
		max_keys = 16;
		keys = MemoryContextAlloc(TopTransactionContext,
								  sizeof(uint64) * max_keys);
	}
	else if (n_keys == max_keys)
	{
		max_keys *= 2;
		keys = repalloc(keys, sizeof(uint64) * max_keys);
	}
	keys[n_keys++] = key;
}

void
agentpay_waiters_wake_all_at_commit(void)
{
	wake_all = true;
}

/*
 * At XACT_EVENT_COMMIT the transaction is visible already.  What a
 * subtransaction that was rolled back wanted wakes somebody for nothing.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && places != NULL &&
		(n_keys > 0 || wake_all))
		wake();
	keys = NULL;
	n_keys = 0;
	wake_all = false;
}

static void
wake(void)
{
	pg_memory_barrier();
	for (int i = 0; i < MaxBackends; i++)
	{
		uint64 key = pg_atomic_read_u64(&places[i].key);

		if (key == 0 || !is_wanted(key))
			continue;
		pg_atomic_fetch_add_u32(&places[i].wakes, 1);
		SetLatch(&ProcGlobal->allProcs[i].procLatch);
	}
}

static bool
is_wanted(uint64 key)
{
	for (int i = 0; i < n_keys && !wake_all; i++)
		if (keys[i] == key)
			return true;
	return wake_all;
}
