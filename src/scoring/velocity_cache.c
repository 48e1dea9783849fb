/*-------------------------------------------------------------------------
 * velocity_cache.c
 *		What shared memory remembers of the rows that share a key.
 *
 * Events of committed rows and of rows in flight count alike, so a reader
 * need not know which is which; only an abort changes what counts.  Each
 * transaction that wrote and aborts raises a number; a reader that sees it
 * changed asks for the fate of each writer of the entry, and takes out the
 * events of those that aborted.  A prepared transaction can be rolled back by
 * anybody, who does not come here: from the first one on every reader asks.
 *
 * Locking: see velocity_cache.h.  Order: a key's lock, then the arena's;
 * ProcArrayLock and those of pg_xact inside a key's lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

#include "base/settings.h"
#include "base/shmem.h"
#include "scoring/velocity_cache_internal.h"

#define BYTES_PER_BUCKET 1024
#define WAIT_MS 100
#define WAITS_MAX 50
#define EVICT_BUCKETS 64 /* looked at in one go, at least */
#define EVICT_ENTRIES 8

AgentpayArena agentpay_cache_arena;
AgentpayCacheShared *agentpay_cache_shared = NULL;
LWLockPadded *agentpay_cache_locks = NULL;

static void request_memory(void);
static void start_memory(void);
static Size arena_bytes(void);
static uint32 bucket_count(void);
static void lock_arena(void *arg);
static void unlock_arena(void *arg);
static AgentpayCachePartition *partition_of(uint64 hash);
static AgentpayRef *bucket_of(uint64 hash);
static int evict_bucket(uint32 bucket, bool in_flight_too);

void
agentpay_cache_install(void)
{
	static const AgentpayShmemPart part = {.request = request_memory,
										   .start = start_memory};

	agentpay_shmem_add_part(&part);
}

static void
request_memory(void)
{
	if (agentpay_velocity_memory_kb == 0)
		return;
	RequestAddinShmemSpace(
		add_size(MAXALIGN(offsetof(AgentpayCacheShared, buckets) +
						  sizeof(AgentpayRef) * bucket_count()),
				 agentpay_arena_size(arena_bytes()) + AGENTPAY_ARENA_UNIT));
	RequestNamedLWLockTranche("agentpay velocity", N_LOCKS);
}

static void
start_memory(void)
{
	Size size = MAXALIGN(offsetof(AgentpayCacheShared, buckets) +
						 sizeof(AgentpayRef) * bucket_count());
	bool found;
	void *memory;

	if (agentpay_velocity_memory_kb == 0)
		return;
	agentpay_cache_shared = ShmemInitStruct("agentpay velocity", size, &found);
	agentpay_cache_locks = GetNamedLWLockTranche("agentpay velocity");
	if (!found)
	{
		memset(agentpay_cache_shared, 0, size);
		agentpay_cache_shared->n_buckets = bucket_count();
		pg_atomic_init_u64(&agentpay_cache_shared->aborts, 0);
		pg_atomic_init_u32(&agentpay_cache_shared->prepared, 0);
		pg_atomic_init_u32(&agentpay_cache_shared->registry, 0);
		pg_atomic_init_u32(&agentpay_cache_shared->hand, 0);
		for (int i = 0; i < PARTITIONS; i++)
		{
			pg_atomic_init_u32(&agentpay_cache_shared->partitions[i].drops, 0);
			ConditionVariableInit(&agentpay_cache_shared->partitions[i].loaded);
		}
		for (int i = 0; i < SOURCES_MAX; i++)
		{
			pg_atomic_init_u32(&agentpay_cache_shared->sources[i].generation,
							   0);
			pg_atomic_init_u32(&agentpay_cache_shared->sources[i].n_marks, 0);
			pg_atomic_init_u32(&agentpay_cache_shared->sources[i].blocked, 0);
			pg_atomic_init_u32(&agentpay_cache_shared->sources[i].version, 0);
			pg_atomic_init_u64(&agentpay_cache_shared->sources[i].entries, 0);
			for (int c = 0; c < AGENTPAY_CACHE_COUNTERS; c++)
				pg_atomic_init_u64(
					&agentpay_cache_shared->sources[i].counters[c], 0);
		}
	}
	memory = ShmemInitStruct("agentpay velocity events",
							 agentpay_arena_size(arena_bytes()) +
								 AGENTPAY_ARENA_UNIT,
							 &found);
	memory = (void *) TYPEALIGN(AGENTPAY_ARENA_UNIT, memory);
	agentpay_arena_open(&agentpay_cache_arena, memory, arena_bytes(), !found);
	agentpay_cache_arena.lock = lock_arena;
	agentpay_cache_arena.unlock = unlock_arena;
}

/* The blocks, with what is kept of each and the buckets in the setting, too. */
static Size
arena_bytes(void)
{
	Size whole = (Size) agentpay_velocity_memory_kb * 1024;

	return whole - whole / (AGENTPAY_ARENA_UNIT / 2) -
		   sizeof(AgentpayRef) * bucket_count();
}

static uint32
bucket_count(void)
{
	Size wanted = (Size) agentpay_velocity_memory_kb * 1024 / BYTES_PER_BUCKET;
	uint32 buckets = PARTITIONS;

	while (buckets < wanted && buckets < (1u << 30))
		buckets <<= 1;
	return buckets > PARTITIONS ? buckets / 2 : buckets;
}

static void
lock_arena(void *arg)
{
	LWLockAcquire(&agentpay_cache_locks[LOCK_ARENA].lock, LW_EXCLUSIVE);
}

static void
unlock_arena(void *arg)
{
	LWLockRelease(&agentpay_cache_locks[LOCK_ARENA].lock);
}

/* A standby replays changes that nobody tells us of. */
bool
agentpay_cache_enabled(void)
{
	return agentpay_cache_shared != NULL && !RecoveryInProgress();
}

/* ── entries ────────────────────────────────────────────────────────────── */

static AgentpayCachePartition *
partition_of(uint64 hash)
{
	return &agentpay_cache_shared->partitions[hash & (PARTITIONS - 1)];
}

/* The lowest bits choose the lock, so that a bucket has one. */
static AgentpayRef *
bucket_of(uint64 hash)
{
	return &agentpay_cache_shared
				->buckets[hash & (agentpay_cache_shared->n_buckets - 1)];
}

bool
agentpay_cache_is_current(const AgentpayCacheEntry *entry)
{
	return entry->generation ==
		   pg_atomic_read_u32(
			   &agentpay_cache_shared->sources[entry->source].generation);
}

AgentpayCacheEntry *
agentpay_cache_lock(const AgentpayCacheKey *key)
{
	AgentpayRef ref;

	LWLockAcquire(agentpay_cache_lock_of(key->hash), LW_EXCLUSIVE);
	ref = *bucket_of(key->hash);
	while (ref != 0)
	{
		AgentpayCacheEntry *entry = agentpay_arena_at(&agentpay_cache_arena,
													  ref);

		ref = entry->next;
		if (entry->hash != key->hash || entry->source != key->source ||
			entry->length != key->length ||
			memcmp(entry->key, key->bytes, key->length) != 0)
			continue;
		if (agentpay_cache_is_current(entry))
		{
			entry->used = true;
			return entry;
		}
		agentpay_cache_drop(entry);
		return NULL;
	}
	return NULL;
}

void
agentpay_cache_unlock(const AgentpayCacheKey *key)
{
	LWLockRelease(agentpay_cache_lock_of(key->hash));
}

uint32
agentpay_cache_drops(const AgentpayCacheKey *key)
{
	return agentpay_cache_drops_hash(key->hash);
}

uint32
agentpay_cache_drops_hash(uint64 hash)
{
	return pg_atomic_read_u32(&partition_of(hash)->drops);
}

AgentpayCacheEntry *
agentpay_cache_make(const AgentpayCacheKey *key, AgentpayCacheState state)
{
	Size size = offsetof(AgentpayCacheEntry, key) + key->length;
	AgentpayRef ref = agentpay_arena_alloc(&agentpay_cache_arena, size);
	AgentpayRef *bucket = bucket_of(key->hash);
	AgentpayCacheSource *source = &agentpay_cache_shared->sources[key->source];
	AgentpayCacheEntry *entry;

	if (ref == 0)
		return NULL;
	entry = agentpay_arena_at(&agentpay_cache_arena, ref);
	memset(entry, 0, size);
	entry->self = ref;
	entry->hash = key->hash;
	entry->source = key->source;
	entry->incarnation = ++partition_of(key->hash)->last_incarnation;
	if (entry->incarnation == 0) /* which stands for none */
		entry->incarnation = ++partition_of(key->hash)->last_incarnation;
	entry->generation = pg_atomic_read_u32(&source->generation);
	entry->state = state;
	entry->used = true;
	entry->next_tag = 1;
	entry->prune_at = PRUNE_FIRST;
	entry->length = key->length;
	memcpy(entry->key, key->bytes, key->length);
	entry->next = *bucket;
	*bucket = ref;
	pg_atomic_fetch_add_u64(&source->entries, 1);
	return entry;
}

void
agentpay_cache_drop(AgentpayCacheEntry *entry)
{
	AgentpayRef *link = bucket_of(entry->hash);

	while (*link != entry->self)
		link = &((AgentpayCacheEntry *) agentpay_arena_at(&agentpay_cache_arena,
														  *link))
					->next;
	*link = entry->next;
	pg_atomic_fetch_add_u32(&partition_of(entry->hash)->drops, 1);
	pg_atomic_fetch_sub_u64(
		&agentpay_cache_shared->sources[entry->source].entries, 1);
	agentpay_event_tree_free(&agentpay_cache_arena, &entry->tree);
	if (entry->writers != 0)
		agentpay_arena_free(&agentpay_cache_arena, entry->writers);
	agentpay_arena_free(&agentpay_cache_arena, entry->self);
}

AgentpayCacheEntry *
agentpay_cache_lock_hash(uint64 hash, int source, uint32 incarnation)
{
	LWLockAcquire(agentpay_cache_lock_of(hash), LW_EXCLUSIVE);
	for (AgentpayRef ref = *bucket_of(hash); ref != 0;)
	{
		AgentpayCacheEntry *entry = agentpay_arena_at(&agentpay_cache_arena,
													  ref);

		if (entry->hash == hash && entry->source == source &&
			entry->incarnation == incarnation)
			return entry;
		ref = entry->next;
	}
	return NULL;
}

void
agentpay_cache_unlock_hash(uint64 hash)
{
	LWLockRelease(agentpay_cache_lock_of(hash));
}

void
agentpay_cache_drop_hash(uint64 hash, int source, uint32 incarnation)
{
	AgentpayRef ref;

	LWLockAcquire(agentpay_cache_lock_of(hash), LW_EXCLUSIVE);
	ref = *bucket_of(hash);
	while (ref != 0)
	{
		AgentpayCacheEntry *entry = agentpay_arena_at(&agentpay_cache_arena,
													  ref);

		ref = entry->next;
		if (entry->hash != hash || entry->source != source ||
			entry->incarnation == incarnation)
			continue;
		/* whoever loads finds its rows wanting */
		if (entry->state == AGENTPAY_CACHE_LOADING)
			entry->spoiled = true;
		else if (entry->state == AGENTPAY_CACHE_LIVE)
			agentpay_cache_drop(entry);
	}
	LWLockRelease(agentpay_cache_lock_of(hash));
}

/* ── making room, and waiting ───────────────────────────────────────────── */

/*
 * Goes round the buckets like the hand of a clock: an entry that was used
 * since the last time is spared once.  Those with events in flight go only
 * when there is nothing else.
 */
bool
agentpay_cache_evict(void)
{
	int evicted = 0;

	for (int round = 0; round < 3 && evicted == 0; round++)
		for (uint32 i = 0; i < agentpay_cache_shared->n_buckets; i++)
		{
			uint32 hand = pg_atomic_fetch_add_u32(&agentpay_cache_shared->hand,
												  1);

			if (evicted >= EVICT_ENTRIES && i >= EVICT_BUCKETS)
				break;
			evicted += evict_bucket(hand &
										(agentpay_cache_shared->n_buckets - 1),
									round == 2);
		}
	return evicted > 0;
}

static int
evict_bucket(uint32 bucket, bool in_flight_too)
{
	AgentpayRef ref = agentpay_cache_shared->buckets[bucket];
	int evicted = 0;

	if (ref == 0)
		return 0;
	LWLockAcquire(agentpay_cache_lock_of(bucket), LW_EXCLUSIVE);
	ref = agentpay_cache_shared->buckets[bucket];
	while (ref != 0)
	{
		AgentpayCacheEntry *entry = agentpay_arena_at(&agentpay_cache_arena,
													  ref);

		ref = entry->next;
		if (entry->state == AGENTPAY_CACHE_LOADING)
			continue;
		if (entry->used && agentpay_cache_is_current(entry))
		{
			entry->used = false;
			continue;
		}
		/* writers that have committed need not stay */
		entry->prune_at = 0;
		if (agentpay_cache_is_current(entry) && !agentpay_cache_resolve(entry))
		{
			evicted++;
			continue;
		}
		if (entry->n_writers > 0 && !in_flight_too)
			continue;
		agentpay_cache_count(entry->source, AGENTPAY_CACHE_EVICTIONS);
		agentpay_cache_drop(entry);
		evicted++;
	}
	LWLockRelease(agentpay_cache_lock_of(bucket));
	return evicted;
}

/*
 * The caller has let the key's lock go.  It may hold what the loader waits
 * for, so it does not wait for ever.
 */
bool
agentpay_cache_wait(const AgentpayCacheKey *key)
{
	ConditionVariable *loaded = &partition_of(key->hash)->loaded;
	bool waiting = true;

	ConditionVariablePrepareToSleep(loaded);
	for (int i = 0; i < WAITS_MAX && waiting; i++)
	{
		AgentpayCacheEntry *entry = agentpay_cache_lock(key);

		waiting = entry != NULL && entry->state == AGENTPAY_CACHE_LOADING;
		agentpay_cache_unlock(key);
		if (waiting)
			(void) ConditionVariableTimedSleep(loaded, WAIT_MS,
											   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return !waiting;
}

void
agentpay_cache_loaded(const AgentpayCacheKey *key)
{
	ConditionVariableBroadcast(&partition_of(key->hash)->loaded);
}
