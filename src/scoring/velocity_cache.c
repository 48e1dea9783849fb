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
 * Writers that committed are forgotten when there are many.  Transactions are
 * known by their full id, so that one of long ago is not taken for one of now.
 *
 * Locking: see velocity_cache.h.  Order: a key's lock, then the arena's;
 * ProcArrayLock and those of pg_xact inside a key's lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/lsyscache.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "scoring/velocity_cache.h"

#define PARTITIONS 128 /* power of two */
#define LOCK_ARENA PARTITIONS
#define LOCK_SOURCES (PARTITIONS + 1)
#define N_LOCKS (PARTITIONS + 2)
#define SOURCES_MAX 1024
#define SOURCE_MARKS_MAX 16
#define SOURCE_STREAMS_MAX 32
#define BYTES_PER_BUCKET 1024
#define FIRST_WRITERS_BYTES 128
#define PRUNE_FIRST 16
#define WAIT_MS 100
#define WAITS_MAX 100
#define EVICT_BUCKETS 64 /* looked at in one go, at least */
#define EVICT_ENTRIES 8

/* A table; LOCK_SOURCES guards what is not atomic. */
typedef struct Source
{
	Oid database; /* InvalidOid: free */
	Oid table;
	pg_atomic_uint32 generation; /* entries of another one are out of date */
	pg_atomic_uint32 n_marks;
	pg_atomic_uint32 blocked; /* marks were lost: until the server restarts */
	FullTransactionId marks[SOURCE_MARKS_MAX];
	pg_atomic_uint32 version; /* rises when the streams change */
	uint32 last_epoch;
	int n_streams;
	AgentpayCacheStream streams[SOURCE_STREAMS_MAX];
	pg_atomic_uint64 entries;
	pg_atomic_uint64 counters[AGENTPAY_CACHE_COUNTERS];
} Source;

typedef struct Partition
{
	pg_atomic_uint32 drops;
	uint32 last_incarnation;
	ConditionVariable loaded;
} Partition;

typedef struct Shared
{
	pg_atomic_uint64 aborts;
	pg_atomic_uint32 prepared;
	pg_atomic_uint32 registry; /* rises with each new source */
	pg_atomic_uint32 hand;	   /* of the clock that evicts */
	uint32 n_buckets;		   /* power of two */
	Partition partitions[PARTITIONS];
	Source sources[SOURCES_MAX];
	AgentpayRef buckets[];
} Shared;

AgentpayArena agentpay_cache_arena;

static Shared *shared = NULL;
static LWLockPadded *locks = NULL;

static void request_memory(void);
static void start_memory(void);
static Size arena_bytes(void);
static uint32 bucket_count(void);
static void lock_arena(void *arg);
static void unlock_arena(void *arg);
static LWLock *lock_of(uint64 hash);
static Partition *partition_of(uint64 hash);
static AgentpayRef *bucket_of(uint64 hash);
static bool is_current(const AgentpayCacheEntry *entry);
static AgentpayCacheStream *
find_stream(AgentpayCacheStream *streams, int n, const uint64 *digest);
static void resolve_marks(Source *source, bool *own);
static AgentpayCacheWriter *writers_of(const AgentpayCacheEntry *entry);
static AgentpayCacheWriter *
add_writer(AgentpayCacheEntry *entry, FullTransactionId xid, uint32 tag);
static bool must_ask(const AgentpayCacheEntry *entry, uint64 aborts);
static bool is_own(FullTransactionId xid);
static bool is_forgotten(FullTransactionId xid);
static int evict_bucket(uint32 bucket, bool in_flight_too);

void
agentpay_cache_install(void)
{
	static const AgentpayShmemPart part = {.request = request_memory,
										   .start = start_memory};

	agentpay_shmem_set_part(&part);
}

static void
request_memory(void)
{
	if (agentpay_velocity_memory_kb == 0)
		return;
	RequestAddinShmemSpace(
		add_size(MAXALIGN(offsetof(Shared, buckets) +
						  sizeof(AgentpayRef) * bucket_count()),
				 agentpay_arena_size(arena_bytes()) + AGENTPAY_ARENA_UNIT));
	RequestNamedLWLockTranche("agentpay velocity", N_LOCKS);
}

static void
start_memory(void)
{
	Size size = MAXALIGN(offsetof(Shared, buckets) +
						 sizeof(AgentpayRef) * bucket_count());
	bool found;
	void *memory;

	if (agentpay_velocity_memory_kb == 0)
		return;
	shared = ShmemInitStruct("agentpay velocity", size, &found);
	locks = GetNamedLWLockTranche("agentpay velocity");
	if (!found)
	{
		memset(shared, 0, size);
		shared->n_buckets = bucket_count();
		pg_atomic_init_u64(&shared->aborts, 0);
		pg_atomic_init_u32(&shared->prepared, 0);
		pg_atomic_init_u32(&shared->registry, 0);
		pg_atomic_init_u32(&shared->hand, 0);
		for (int i = 0; i < PARTITIONS; i++)
		{
			pg_atomic_init_u32(&shared->partitions[i].drops, 0);
			ConditionVariableInit(&shared->partitions[i].loaded);
		}
		for (int i = 0; i < SOURCES_MAX; i++)
		{
			pg_atomic_init_u32(&shared->sources[i].generation, 0);
			pg_atomic_init_u32(&shared->sources[i].n_marks, 0);
			pg_atomic_init_u32(&shared->sources[i].blocked, 0);
			pg_atomic_init_u32(&shared->sources[i].version, 0);
			pg_atomic_init_u64(&shared->sources[i].entries, 0);
			for (int c = 0; c < AGENTPAY_CACHE_COUNTERS; c++)
				pg_atomic_init_u64(&shared->sources[i].counters[c], 0);
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
	LWLockAcquire(&locks[LOCK_ARENA].lock, LW_EXCLUSIVE);
}

static void
unlock_arena(void *arg)
{
	LWLockRelease(&locks[LOCK_ARENA].lock);
}

/* A standby replays changes that nobody tells us of. */
bool
agentpay_cache_enabled(void)
{
	return shared != NULL && !RecoveryInProgress();
}

/* ── sources ────────────────────────────────────────────────────────────── */

int
agentpay_cache_find_source(Oid table)
{
	int found = -1;

	if (shared == NULL)
		return -1;
	LWLockAcquire(&locks[LOCK_SOURCES].lock, LW_SHARED);
	for (int i = 0; i < SOURCES_MAX && found < 0; i++)
		if (shared->sources[i].table == table &&
			shared->sources[i].database == MyDatabaseId)
			found = i;
	LWLockRelease(&locks[LOCK_SOURCES].lock);
	return found;
}

int
agentpay_cache_source(Oid table)
{
	int place = agentpay_cache_find_source(table);

	if (place >= 0 || shared == NULL)
		return place;
	LWLockAcquire(&locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
	for (int i = 0; i < SOURCES_MAX; i++)
	{
		Source *source = &shared->sources[i];

		if (source->table == table && source->database == MyDatabaseId)
		{
			place = i;
			break;
		}
		if (OidIsValid(source->database))
			continue;
		source->database = MyDatabaseId;
		source->table = table;
		place = i;
		pg_atomic_fetch_add_u32(&shared->registry, 1);
		break;
	}
	LWLockRelease(&locks[LOCK_SOURCES].lock);
	return place;
}

uint32
agentpay_cache_registry(void)
{
	return pg_atomic_read_u32(&shared->registry);
}

uint32
agentpay_cache_version(int source)
{
	return pg_atomic_read_u32(&shared->sources[source].version);
}

uint32
agentpay_cache_cover(int number, AgentpayCacheStream *streams, int n)
{
	Source *source = &shared->sources[number];
	bool changed = false;
	uint32 version;
	int kept = 0;

	LWLockAcquire(&locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
	for (int i = 0; i < source->n_streams; i++)
	{
		if (find_stream(streams, n, source->streams[i].digest) != NULL)
			source->streams[kept++] = source->streams[i];
		else
			changed = true;
	}
	source->n_streams = kept;
	for (int i = 0; i < n; i++)
	{
		AgentpayCacheStream *known =
			find_stream(source->streams, source->n_streams, streams[i].digest);

		if (known == NULL && source->n_streams < SOURCE_STREAMS_MAX)
		{
			known = &source->streams[source->n_streams++];
			*known = streams[i];
			known->epoch = ++source->last_epoch;
			changed = true;
		}
		streams[i].epoch = known == NULL ? 0 : known->epoch;
	}
	if (changed)
		pg_atomic_fetch_add_u32(&source->version, 1);
	version = pg_atomic_read_u32(&source->version);
	LWLockRelease(&locks[LOCK_SOURCES].lock);
	return version;
}

static AgentpayCacheStream *
find_stream(AgentpayCacheStream *streams, int n, const uint64 *digest)
{
	for (int i = 0; i < n; i++)
		if (streams[i].digest[0] == digest[0] &&
			streams[i].digest[1] == digest[1])
			return &streams[i];
	return NULL;
}

bool
agentpay_cache_usable(int number)
{
	Source *source = &shared->sources[number];
	bool own = false;

	if (pg_atomic_read_u32(&source->blocked) != 0)
		return false;
	if (pg_atomic_read_u32(&source->n_marks) == 0)
		return true;
	LWLockAcquire(&locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
	resolve_marks(source, &own);
	LWLockRelease(&locks[LOCK_SOURCES].lock);
	return !own;
}

/* What became of the transactions that change the table's definition. */
static void
resolve_marks(Source *source, bool *own)
{
	uint32 n_marks = pg_atomic_read_u32(&source->n_marks);
	uint32 kept = 0;
	bool changed = false;

	for (uint32 i = 0; i < n_marks; i++)
	{
		FullTransactionId xid = source->marks[i];

		if (is_own(xid))
			*own = true;
		else if (is_forgotten(xid) ||
				 !TransactionIdIsInProgress(XidFromFullTransactionId(xid)))
		{
			/* also if it aborted: it may have been rolled back to a savepoint,
			 * and this is rare */
			changed = true;
			continue;
		}
		source->marks[kept++] = xid;
	}
	if (changed)
		pg_atomic_fetch_add_u32(&source->generation, 1);
	pg_atomic_write_u32(&source->n_marks, kept);
}

void
agentpay_cache_mark_source(int number)
{
	Source *source = &shared->sources[number];
	FullTransactionId xid = GetTopFullTransactionId();
	uint32 n_marks;
	bool known = false;
	bool lost = false;
	bool own = false;

	LWLockAcquire(&locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
	resolve_marks(source, &own);
	n_marks = pg_atomic_read_u32(&source->n_marks);
	for (uint32 i = 0; i < n_marks; i++)
		known |= FullTransactionIdEquals(source->marks[i], xid);
	if (!known && n_marks < SOURCE_MARKS_MAX)
	{
		source->marks[n_marks] = xid;
		pg_atomic_write_u32(&source->n_marks, n_marks + 1);
	}
	else if (!known)
	{
		lost = pg_atomic_read_u32(&source->blocked) == 0;
		pg_atomic_write_u32(&source->blocked, 1);
	}
	LWLockRelease(&locks[LOCK_SOURCES].lock);
	if (lost)
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("features of \"%s\" are read by index until the server "
						"restarts",
						get_rel_name(source->table)),
				 errdetail("More than %d transactions change its definition "
						   "at once.",
						   SOURCE_MARKS_MAX)));
}

void
agentpay_cache_count(int source, AgentpayCacheCounter counter)
{
	pg_atomic_fetch_add_u64(&shared->sources[source].counters[counter], 1);
}

/* Goes over all entries, one bucket at a time, for their bytes. */
int
agentpay_cache_counts(AgentpayCacheCounts *counts, int room)
{
	uint64 *bytes;
	int n = 0;

	if (shared == NULL)
		return 0;
	bytes = palloc0(sizeof(uint64) * SOURCES_MAX);
	for (uint32 i = 0; i < shared->n_buckets; i++)
	{
		LWLock *lock = lock_of(i);

		if (shared->buckets[i] == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(lock, LW_SHARED);
		for (AgentpayRef ref = shared->buckets[i]; ref != 0;)
		{
			AgentpayCacheEntry *entry = agentpay_arena_at(&agentpay_cache_arena,
														  ref);

			bytes[entry->source] +=
				agentpay_arena_block_size(&agentpay_cache_arena, ref) +
				entry->tree.bytes;
			if (entry->writers != 0)
				bytes[entry->source] +=
					agentpay_arena_block_size(&agentpay_cache_arena,
											  entry->writers);
			ref = entry->next;
		}
		LWLockRelease(lock);
	}
	LWLockAcquire(&locks[LOCK_SOURCES].lock, LW_SHARED);
	for (int i = 0; i < SOURCES_MAX && n < room; i++)
	{
		Source *source = &shared->sources[i];

		if (source->database != MyDatabaseId)
			continue;
		counts[n++] = (AgentpayCacheCounts){
			.table = source->table,
			.entries = pg_atomic_read_u64(&source->entries),
			.bytes = bytes[i],
			.hits = pg_atomic_read_u64(&source->counters[0]),
			.loads = pg_atomic_read_u64(&source->counters[1]),
			.evictions = pg_atomic_read_u64(&source->counters[2]),
			.bypasses = pg_atomic_read_u64(&source->counters[3])};
	}
	LWLockRelease(&locks[LOCK_SOURCES].lock);
	pfree(bytes);
	return n;
}

/* ── entries ────────────────────────────────────────────────────────────── */

static LWLock *
lock_of(uint64 hash)
{
	return &locks[hash & (PARTITIONS - 1)].lock;
}

static Partition *
partition_of(uint64 hash)
{
	return &shared->partitions[hash & (PARTITIONS - 1)];
}

/* The lowest bits choose the lock, so that a bucket has one. */
static AgentpayRef *
bucket_of(uint64 hash)
{
	return &shared->buckets[hash & (shared->n_buckets - 1)];
}

static bool
is_current(const AgentpayCacheEntry *entry)
{
	return entry->generation ==
		   pg_atomic_read_u32(&shared->sources[entry->source].generation);
}

AgentpayCacheEntry *
agentpay_cache_lock(const AgentpayCacheKey *key)
{
	AgentpayRef ref;

	LWLockAcquire(lock_of(key->hash), LW_EXCLUSIVE);
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
		if (is_current(entry))
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
	LWLockRelease(lock_of(key->hash));
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
	Source *source = &shared->sources[key->source];
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
	if (entry->n_writers > 0 || entry->state == AGENTPAY_CACHE_LOADING)
		pg_atomic_fetch_add_u32(&partition_of(entry->hash)->drops, 1);
	pg_atomic_fetch_sub_u64(&shared->sources[entry->source].entries, 1);
	agentpay_event_tree_free(&agentpay_cache_arena, &entry->tree);
	if (entry->writers != 0)
		agentpay_arena_free(&agentpay_cache_arena, entry->writers);
	agentpay_arena_free(&agentpay_cache_arena, entry->self);
}

AgentpayCacheEntry *
agentpay_cache_lock_hash(uint64 hash, int source, uint32 incarnation)
{
	LWLockAcquire(lock_of(hash), LW_EXCLUSIVE);
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
	LWLockRelease(lock_of(hash));
}

void
agentpay_cache_drop_hash(uint64 hash, int source, uint32 incarnation)
{
	AgentpayRef ref;

	LWLockAcquire(lock_of(hash), LW_EXCLUSIVE);
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
	LWLockRelease(lock_of(hash));
}

/* ── writers ────────────────────────────────────────────────────────────── */

static AgentpayCacheWriter *
writers_of(const AgentpayCacheEntry *entry)
{
	return agentpay_arena_at(&agentpay_cache_arena, entry->writers);
}

bool
agentpay_cache_resolve(AgentpayCacheEntry *entry)
{
	AgentpayCacheWriter *writers = writers_of(entry);
	uint64 aborts = pg_atomic_read_u64(&shared->aborts);
	uint32 kept = 0;

	if (entry->n_writers == 0 || !must_ask(entry, aborts))
		return true;
	for (uint32 i = 0; i < entry->n_writers; i++)
	{
		AgentpayCacheWriter writer = writers[i];
		TransactionId xid = XidFromFullTransactionId(writer.xid);
		bool wrong = false;

		if (is_forgotten(writer.xid))
			wrong = true;
		else if (is_own(writer.xid) || TransactionIdIsInProgress(xid))
		{
			writers[kept++] = writer;
			continue;
		}
		else if (TransactionIdDidCommit(xid))
			wrong = writer.tag == 0;
		else if (writer.tag != 0)
			(void) agentpay_event_tree_remove_tag(&agentpay_cache_arena,
												  &entry->tree, writer.tag,
												  writer.from, writer.until);
		else
			wrong = writer.wrong_on_abort;
		if (wrong)
		{
			agentpay_cache_drop(entry);
			return false;
		}
	}
	entry->n_writers = kept;
	entry->prune_at = Max(PRUNE_FIRST, kept * 2);
	entry->aborts_seen = aborts;
	return true;
}

static bool
must_ask(const AgentpayCacheEntry *entry, uint64 aborts)
{
	if (entry->n_writers >= entry->prune_at || entry->aborts_seen != aborts ||
		pg_atomic_read_u32(&shared->prepared) != 0)
		return true;
	for (uint32 i = 0; i < entry->n_writers; i++)
		if (writers_of(entry)[i].tag == 0)
			return true;
	return false;
}

static bool
is_own(FullTransactionId xid)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	return FullTransactionIdIsValid(own) && FullTransactionIdEquals(own, xid);
}

/* So long ago that its fate may be known no more. */
static bool
is_forgotten(FullTransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint64 age = U64FromFullTransactionId(next) - U64FromFullTransactionId(xid);

	return age > PG_INT32_MAX / 2 ||
		   TransactionIdPrecedes(XidFromFullTransactionId(xid),
								 AGENTPAY_OLDEST_KNOWN_XID);
}

/* NULL when there is no memory. */
static AgentpayCacheWriter *
add_writer(AgentpayCacheEntry *entry, FullTransactionId xid, uint32 tag)
{
	Size needed = sizeof(AgentpayCacheWriter) * (entry->n_writers + 1);
	AgentpayCacheWriter *writer;

	if (entry->writers == 0 ||
		agentpay_arena_block_size(&agentpay_cache_arena, entry->writers) <
			needed)
	{
		AgentpayRef ref = agentpay_arena_alloc(&agentpay_cache_arena,
											   Max(needed,
												   FIRST_WRITERS_BYTES));

		if (ref == 0)
			return NULL;
		if (entry->writers != 0)
		{
			memcpy(agentpay_arena_at(&agentpay_cache_arena, ref),
				   writers_of(entry),
				   sizeof(AgentpayCacheWriter) * entry->n_writers);
			agentpay_arena_free(&agentpay_cache_arena, entry->writers);
		}
		entry->writers = ref;
	}
	writer = &writers_of(entry)[entry->n_writers++];
	*writer = (AgentpayCacheWriter){.xid = xid, .tag = tag};
	return writer;
}

uint32
agentpay_cache_own_tag(AgentpayCacheEntry *entry, int64 time)
{
	return agentpay_cache_writer_tag(entry, GetTopFullTransactionId(), time);
}

uint32
agentpay_cache_writer_tag(AgentpayCacheEntry *entry, FullTransactionId xid,
						  int64 time)
{
	AgentpayCacheWriter *writer;

	for (uint32 i = entry->n_writers; i > 0; i--)
	{
		writer = &writers_of(entry)[i - 1];
		if (writer->tag == 0 || !FullTransactionIdEquals(writer->xid, xid))
			continue;
		writer->from = Min(writer->from, time);
		writer->until = Max(writer->until, time);
		return writer->tag;
	}
	/* the first one cannot have seen an abort of its own */
	if (entry->n_writers == 0)
		entry->aborts_seen = pg_atomic_read_u64(&shared->aborts);
	if (entry->next_tag == 0) /* all were used: begin anew */
		return 0;
	writer = add_writer(entry, xid, entry->next_tag);
	if (writer == NULL)
		return 0;
	entry->next_tag++;
	writer->from = writer->until = time;
	return writer->tag;
}

bool
agentpay_cache_mark(AgentpayCacheEntry *entry, FullTransactionId xid,
					bool wrong_on_abort)
{
	AgentpayCacheWriter *writer;

	for (uint32 i = 0; i < entry->n_writers; i++)
	{
		writer = &writers_of(entry)[i];
		if (writer->tag != 0 || !FullTransactionIdEquals(writer->xid, xid))
			continue;
		writer->wrong_on_abort |= wrong_on_abort;
		return true;
	}
	writer = add_writer(entry, xid, 0);
	if (writer == NULL)
		return false;
	writer->wrong_on_abort = wrong_on_abort;
	return true;
}

void
agentpay_cache_note_abort(void)
{
	pg_atomic_fetch_add_u64(&shared->aborts, 1);
}

void
agentpay_cache_note_prepare(void)
{
	pg_atomic_write_u32(&shared->prepared, 1);
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
		for (uint32 i = 0; i < shared->n_buckets; i++)
		{
			uint32 hand = pg_atomic_fetch_add_u32(&shared->hand, 1);

			if (evicted >= EVICT_ENTRIES && i >= EVICT_BUCKETS)
				break;
			evicted += evict_bucket(hand & (shared->n_buckets - 1), round == 2);
		}
	return evicted > 0;
}

static int
evict_bucket(uint32 bucket, bool in_flight_too)
{
	AgentpayRef ref = shared->buckets[bucket];
	int evicted = 0;

	if (ref == 0)
		return 0;
	LWLockAcquire(lock_of(bucket), LW_EXCLUSIVE);
	ref = shared->buckets[bucket];
	while (ref != 0)
	{
		AgentpayCacheEntry *entry = agentpay_arena_at(&agentpay_cache_arena,
													  ref);

		ref = entry->next;
		if (entry->state == AGENTPAY_CACHE_LOADING)
			continue;
		if (entry->used && is_current(entry))
		{
			entry->used = false;
			continue;
		}
		/* writers that have committed need not stay */
		entry->prune_at = 0;
		if (is_current(entry) && !agentpay_cache_resolve(entry))
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
	LWLockRelease(lock_of(bucket));
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
