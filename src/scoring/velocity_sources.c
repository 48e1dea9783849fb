/*-------------------------------------------------------------------------
 * velocity_sources.c
 *		Tables whose rows are remembered: their streams, and what puts all of
 *		a table out of date.
 *
 * A source keeps its place until the server restarts, so that a session may
 * keep its number.  Entries carry the source's generation; another one makes
 * all of them out of date at once.
 *
 * Locking: LOCK_SOURCES, but for what is atomic.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "scoring/velocity_cache_internal.h"

static bool is_gone(const AgentpayCacheSource *source);
static AgentpayCacheStream *
find_stream(AgentpayCacheStream *streams, int n, const uint64 *digest);
static void resolve_marks(AgentpayCacheSource *source, bool *own);

int
agentpay_cache_find_source(Oid table)
{
	int found = -1;

	if (agentpay_cache_shared == NULL)
		return -1;
	LWLockAcquire(&agentpay_cache_locks[LOCK_SOURCES].lock, LW_SHARED);
	for (int i = 0; i < SOURCES_MAX && found < 0; i++)
		if (agentpay_cache_shared->sources[i].table == table &&
			agentpay_cache_shared->sources[i].database == MyDatabaseId)
			found = i;
	LWLockRelease(&agentpay_cache_locks[LOCK_SOURCES].lock);
	return found;
}

int
agentpay_cache_source(Oid table)
{
	int place = agentpay_cache_find_source(table);
	int vacant = -1;
	Oid seen = InvalidOid;

	if (place >= 0 || agentpay_cache_shared == NULL)
		return place;
	/* those that were never taken first: a table that is not committed yet
	 * looks as if it were gone */
	for (int i = 0; i < 2 * SOURCES_MAX && vacant < 0; i++)
	{
		const AgentpayCacheSource *source =
			&agentpay_cache_shared->sources[i % SOURCES_MAX];

		seen = source->table;
		if (i < SOURCES_MAX ? !OidIsValid(source->database) : is_gone(source))
			vacant = i % SOURCES_MAX;
	}
	if (vacant < 0)
		return -1;
	LWLockAcquire(&agentpay_cache_locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
	for (int i = 0; i < SOURCES_MAX && place < 0; i++)
		if (agentpay_cache_shared->sources[i].table == table &&
			agentpay_cache_shared->sources[i].database == MyDatabaseId)
			place = i;
	/* unless somebody else has taken it; then the next compilation asks */
	if (place < 0 && agentpay_cache_shared->sources[vacant].table == seen)
	{
		AgentpayCacheSource *source = &agentpay_cache_shared->sources[vacant];

		source->database = MyDatabaseId;
		source->table = table;
		source->n_streams = 0;
		pg_atomic_write_u32(&source->n_marks, 0);
		pg_atomic_write_u32(&source->blocked, 0);
		for (int c = 0; c < AGENTPAY_CACHE_COUNTERS; c++)
			pg_atomic_write_u64(&source->counters[c], 0);
		pg_atomic_fetch_add_u32(&source->generation, 1);
		pg_atomic_fetch_add_u32(&source->version, 1);
		pg_atomic_fetch_add_u32(&agentpay_cache_shared->registry, 1);
		place = vacant;
	}
	LWLockRelease(&agentpay_cache_locks[LOCK_SOURCES].lock);
	return place;
}

/* Its table or its database does not exist: nobody inserts into it. */
static bool
is_gone(const AgentpayCacheSource *source)
{
	Oid database = source->database;
	Oid table = source->table;

	if (database == MyDatabaseId)
		return !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table));
	return !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
}

uint32
agentpay_cache_registry(void)
{
	return pg_atomic_read_u32(&agentpay_cache_shared->registry);
}

uint32
agentpay_cache_version(int source)
{
	return pg_atomic_read_u32(&agentpay_cache_shared->sources[source].version);
}

uint32
agentpay_cache_cover(int number, AgentpayCacheStream *streams, int n)
{
	AgentpayCacheSource *source = &agentpay_cache_shared->sources[number];
	bool changed = false;
	uint32 version;
	int kept = 0;

	LWLockAcquire(&agentpay_cache_locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
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
	LWLockRelease(&agentpay_cache_locks[LOCK_SOURCES].lock);
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
	AgentpayCacheSource *source = &agentpay_cache_shared->sources[number];
	bool own = false;

	if (pg_atomic_read_u32(&source->blocked) != 0)
		return false;
	if (pg_atomic_read_u32(&source->n_marks) == 0)
		return true;
	LWLockAcquire(&agentpay_cache_locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
	resolve_marks(source, &own);
	LWLockRelease(&agentpay_cache_locks[LOCK_SOURCES].lock);
	return !own;
}

/* What became of the transactions that change the table's definition. */
static void
resolve_marks(AgentpayCacheSource *source, bool *own)
{
	uint32 n_marks = pg_atomic_read_u32(&source->n_marks);
	uint32 kept = 0;
	bool changed = false;

	for (uint32 i = 0; i < n_marks; i++)
	{
		FullTransactionId xid = source->marks[i];

		if (agentpay_cache_is_own(xid))
			*own = true;
		else if (agentpay_cache_is_forgotten(xid) ||
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
	AgentpayCacheSource *source = &agentpay_cache_shared->sources[number];
	FullTransactionId xid = GetTopFullTransactionId();
	uint32 n_marks;
	bool known = false;
	bool lost = false;
	bool own = false;

	LWLockAcquire(&agentpay_cache_locks[LOCK_SOURCES].lock, LW_EXCLUSIVE);
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
	LWLockRelease(&agentpay_cache_locks[LOCK_SOURCES].lock);
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
	pg_atomic_fetch_add_u64(
		&agentpay_cache_shared->sources[source].counters[counter], 1);
}

/* Goes over all entries, one bucket at a time, for their bytes. */
int
agentpay_cache_counts(AgentpayCacheCounts *counts, int room)
{
	uint64 *bytes;
	int n = 0;

	if (agentpay_cache_shared == NULL)
		return 0;
	bytes = palloc0(sizeof(uint64) * SOURCES_MAX);
	for (uint32 i = 0; i < agentpay_cache_shared->n_buckets; i++)
	{
		LWLock *lock = agentpay_cache_lock_of(i);

		if (agentpay_cache_shared->buckets[i] == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(lock, LW_SHARED);
		for (AgentpayRef ref = agentpay_cache_shared->buckets[i]; ref != 0;)
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
	LWLockAcquire(&agentpay_cache_locks[LOCK_SOURCES].lock, LW_SHARED);
	for (int i = 0; i < SOURCES_MAX && n < room; i++)
	{
		AgentpayCacheSource *source = &agentpay_cache_shared->sources[i];

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
	LWLockRelease(&agentpay_cache_locks[LOCK_SOURCES].lock);
	pfree(bytes);
	return n;
}
