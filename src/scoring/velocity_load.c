/*-------------------------------------------------------------------------
 * velocity_load.c
 *		Filling an entry from the table, by index.
 *
 * The placeholder stands before the table is read; others who want the key
 * wait for it.  What changes meanwhile either waits, too, or spoils the
 * placeholder, and then all is read again.  Rows in flight come with who wrote
 * them; whoever is about to change a row that was read is noted, too, because
 * the entry is wrong as soon as that commits.
 *
 * Locking: none while the table is read or the events are sorted.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "scoring/velocity_stream_internal.h"

#define FIRST_EVENTS 64
#define EVICTIONS_MAX 1000
/* An entry takes at most this part of the memory, at 20 bytes an event. */
#define EVENTS_MAX ((int64) agentpay_velocity_memory_kb * 1024 / 2 / 20)
/* Reads of a key that does not fit, until it is tried again. */
#define BYPASS_READS 1000

typedef struct Loaded
{
	AgentpayEvent event;
	TransactionId writer; /* Invalid: it had committed */
	TransactionId writer_top;
} Loaded;

typedef struct Loading
{
	AgentpayStream *stream;
	const AgentpayCacheKey *key;
	uint32 incarnation;
	TimestampTz low;
	MemoryContext context;
	int64 n;
	int64 room;
	Loaded *events;
	int n_changers;
	int changers_room;
	TransactionId *changers;
	TimestampTz latest; /* what a first look for the latest row finds */
	bool unfit;
} Loading;

/* At most one at a time; for a process that goes in the middle. */
static const Loading *current = NULL;

static void load_events(Loading *loading, TupleTableSlot *row, TimestampTz at);
static void
look_for_latest(Loading *loading, TupleTableSlot *row, TimestampTz at);
static bool
see_latest(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
		   TupleTableSlot *slot, TimestampTz at);
static bool
see_event(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
		  TupleTableSlot *slot, TimestampTz at);
static void see_changing(AgentpayVelocityScan *scan, TransactionId xid);
static void forget(AgentpayVelocityScan *scan);
static int compare_times(const void *a, const void *b);
static AgentpayLoadResult publish(Loading *loading);
static bool note_writers(Loading *loading, AgentpayCacheEntry *entry);
static FullTransactionId full_xid(TransactionId xid);
static bool build(Loading *loading, AgentpayEventTree *tree);
static AgentpayCacheEntry *lock_own(const Loading *loading);
static void give_up(const Loading *loading, bool bypass);
static void give_up_at_exit(int code, Datum arg);

AgentpayLoadResult
agentpay_stream_load(AgentpayStream *stream, const AgentpayCacheKey *key,
					 uint32 incarnation, TupleTableSlot *row, TimestampTz at)
{
	static int prepared = 0;
	MemoryContext old;
	volatile AgentpayLoadResult result = AGENTPAY_LOAD_UNFIT;
	Loading loading = {.stream = stream,
					   .key = key,
					   .incarnation = incarnation};

	if (prepared != MyProcPid)
		before_shmem_exit(give_up_at_exit, (Datum) 0);
	prepared = MyProcPid;
	loading.context = AllocSetContextCreate(TopTransactionContext,
											"agentpay velocity load",
											ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(loading.context);
	current = &loading;
	PG_TRY();
	{
		load_events(&loading, row, at);
		if (!loading.unfit)
			result = publish(&loading);
	}
	PG_CATCH();
	{
		current = NULL;
		give_up(&loading, false);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(loading.context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	current = NULL;
	if (result == AGENTPAY_LOAD_UNFIT)
		give_up(&loading, true);
	agentpay_cache_loaded(key);
	agentpay_cache_count(stream->source, AGENTPAY_CACHE_LOADS);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(loading.context);
	return result;
}

/* Reads all rows after low. */
static void
load_events(Loading *loading, TupleTableSlot *row, TimestampTz at)
{
	AgentpayStream *stream = loading->stream;
	int64 span = stream->lookback > PG_INT64_MAX / 2
					 ? PG_INT64_MAX
					 : stream->lookback + stream->lookback / 8;
	AgentpayVelocityScan scan = {.row = see_event,
								 .forget = forget,
								 .changing = see_changing,
								 .arg = loading};

	loading->low = agentpay_feature_earlier(at, span);
	if (stream->only_last)
		look_for_latest(loading, row, at);
	scan.after = loading->low;
	/* in other types than timestamptz the last days have no instant */
	scan.until = END_TIMESTAMP - 1;
	if (stream->feature->velocity->time_type != TIMESTAMPTZOID)
		scan.until -= 2 * USECS_PER_DAY;
	if (at > scan.until)
		loading->unfit = true;
	else
		agentpay_velocity_scan(stream->feature->velocity, row, &scan);
	for (int64 i = 1; i < loading->n; i++)
	{
		if (loading->events[i - 1].event.time <= loading->events[i].event.time)
			continue;
		qsort(loading->events, loading->n, sizeof(Loaded), compare_times);
		break;
	}
}

/* since_last needs the latest row before this one, and what comes after. */
static void
look_for_latest(Loading *loading, TupleTableSlot *row, TimestampTz at)
{
	AgentpayVelocityScan scan = {.row = see_latest,
								 .forget = forget,
								 .newest_first = true,
								 .after = DT_NOBEGIN,
								 .until = at,
								 .arg = loading};

	/* the longest delay of a since_last looks back the furthest */
	for (int i = 0; i < loading->stream->n_windows; i++)
		scan.until =
			Min(scan.until,
				agentpay_feature_earlier(
					at, loading->stream->windows[i].feature->config.delay_us));
	loading->latest = DT_NOBEGIN;
	agentpay_velocity_scan(loading->stream->feature->velocity, row, &scan);
	loading->low = loading->latest == DT_NOBEGIN ? DT_NOBEGIN
												 : loading->latest - 1;
}

static bool
see_latest(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
		   TupleTableSlot *slot, TimestampTz at)
{
	Loading *loading = scan->arg;
	AgentpayFeature *feature = loading->stream->feature;

	ResetExprContext(feature->econtext);
	if (!agentpay_feature_passes(feature,
								 agentpay_feature_expressions(feature, source),
								 slot))
		return true;
	loading->latest = scan->after = at;
	return false;
}

static bool
see_event(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
		  TupleTableSlot *slot, TimestampTz at)
{
	Loading *loading = scan->arg;
	AgentpayStream *stream = loading->stream;
	AgentpayLeafExpressions *expressions =
		agentpay_feature_expressions(stream->feature, source);
	Loaded loaded = {.writer = scan->writer, .writer_top = scan->writer_top};

	if (TIMESTAMP_NOT_FINITE(at))
		return true;
	ResetExprContext(stream->feature->econtext);
	switch (agentpay_stream_event(stream, expressions, slot, at, &loaded.event))
	{
		case AGENTPAY_EVENT_ABSENT:
			return true;
		case AGENTPAY_EVENT_UNFIT:
			loading->unfit = true;
			return false;
		case AGENTPAY_EVENT_PRESENT:
			break;
	}
	if (loading->n == EVENTS_MAX)
		loading->unfit = true;
	if (loading->unfit)
		return false;
	if (loading->n == loading->room)
	{
		loading->room = Max(FIRST_EVENTS, loading->room * 2);
		loading->events = loading->n == 0
							  ? MemoryContextAllocHuge(loading->context,
													   sizeof(Loaded) *
														   loading->room)
							  : repalloc_huge(loading->events,
											  sizeof(Loaded) * loading->room);
	}
	loading->events[loading->n++] = loaded;
	return true;
}

static void
see_changing(AgentpayVelocityScan *scan, TransactionId xid)
{
	Loading *loading = scan->arg;

	for (int i = 0; i < loading->n_changers; i++)
		if (TransactionIdEquals(loading->changers[i], xid))
			return;
	if (loading->n_changers == loading->changers_room)
	{
		loading->changers_room = Max(8, loading->changers_room * 2);
		loading->changers = loading->n_changers == 0
								? MemoryContextAlloc(loading->context,
													 sizeof(TransactionId) *
														 loading->changers_room)
								: repalloc(loading->changers,
										   sizeof(TransactionId) *
											   loading->changers_room);
	}
	loading->changers[loading->n_changers++] = xid;
}

static void
forget(AgentpayVelocityScan *scan)
{
	Loading *loading = scan->arg;

	loading->n = 0;
	if (loading->events != NULL)
		pfree(loading->events);
	loading->events = NULL;
	loading->room = 0;
	loading->unfit = false;
	loading->latest = DT_NOBEGIN;
}

static int
compare_times(const void *a, const void *b)
{
	int64 left = ((const Loaded *) a)->event.time;
	int64 right = ((const Loaded *) b)->event.time;

	return left < right ? -1 : left > right;
}

/* ── publishing ─────────────────────────────────────────────────────────── */

static AgentpayLoadResult
publish(Loading *loading)
{
	AgentpayCacheEntry *entry = lock_own(loading);
	AgentpayEventTree tree;
	bool noted;

	if (entry == NULL)
		return AGENTPAY_LOAD_RETRY;
	noted = note_writers(loading, entry);
	agentpay_cache_unlock(loading->key);
	if (!noted || !build(loading, &tree))
		return AGENTPAY_LOAD_UNFIT;

	entry = lock_own(loading);
	if (entry != NULL)
	{
		entry->tree = tree;
		entry->low = loading->low;
		entry->span = loading->stream->lookback;
		entry->state = AGENTPAY_CACHE_LIVE;
		agentpay_cache_unlock(loading->key);
		return AGENTPAY_LOADED;
	}
	agentpay_event_tree_free(&agentpay_cache_arena, &tree);
	return AGENTPAY_LOAD_RETRY;
}

/* The placeholder, locked; NULL, and not locked, when it is gone or spoiled. */
static AgentpayCacheEntry *
lock_own(const Loading *loading)
{
	AgentpayCacheEntry *entry = agentpay_cache_lock(loading->key);

	if (entry != NULL && entry->incarnation == loading->incarnation &&
		!entry->spoiled)
		return entry;
	if (entry != NULL && entry->incarnation == loading->incarnation)
		agentpay_cache_drop(entry);
	agentpay_cache_unlock(loading->key);
	return NULL;
}

/*
 * Gives the events of rows in flight their tags.  A subtransaction stands for
 * itself: it can fail while the transaction goes on.
 */
static bool
note_writers(Loading *loading, AgentpayCacheEntry *entry)
{
	TransactionId last = InvalidTransactionId;
	FullTransactionId xid = InvalidFullTransactionId;

	for (int64 i = 0; i < loading->n; i++)
	{
		Loaded *loaded = &loading->events[i];

		if (!TransactionIdIsValid(loaded->writer))
			continue;
		if (!TransactionIdEquals(loaded->writer, last))
		{
			xid = full_xid(loaded->writer);
			/* prepared, also before a restart; or it ended a moment ago */
			if (BackendXidGetPid(loaded->writer_top) == 0)
				agentpay_cache_note_prepare();
		}
		last = loaded->writer;
		loaded->event.tag = agentpay_cache_writer_tag(entry, xid,
													  loaded->event.time);
		if (loaded->event.tag == 0)
			return false;
	}
	for (int i = 0; i < loading->n_changers; i++)
		if (!agentpay_cache_mark(entry, full_xid(loading->changers[i]), true))
			return false;
	/* who was in flight then may have aborted by now */
	entry->aborts_seen = 0;
	return true;
}

/* Of one that was in progress a moment ago. */
static FullTransactionId
full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/* Without the key's lock: nobody else knows the tree. */
static bool
build(Loading *loading, AgentpayEventTree *tree)
{
	int evictions = 0;

	agentpay_event_tree_init(tree, loading->stream->kind);
	for (int64 i = 0; i < loading->n; i++)
	{
		while (!agentpay_event_tree_add(&agentpay_cache_arena, tree,
										&loading->events[i].event))
		{
			if (evictions++ < EVICTIONS_MAX && agentpay_cache_evict())
				continue;
			agentpay_event_tree_free(&agentpay_cache_arena, tree);
			return false;
		}
	}
	return true;
}

/* Takes the placeholder away, or leaves a sign that the key does not fit. */
static void
give_up(const Loading *loading, bool bypass)
{
	AgentpayCacheEntry *entry = agentpay_cache_lock(loading->key);

	if (entry != NULL && entry->incarnation == loading->incarnation)
	{
		agentpay_cache_drop(entry);
		if (bypass)
			entry = agentpay_cache_make(loading->key, AGENTPAY_CACHE_BYPASS);
		if (bypass && entry != NULL)
			entry->skips = BYPASS_READS;
	}
	agentpay_cache_unlock(loading->key);
	agentpay_cache_loaded(loading->key);
}

static void
give_up_at_exit(int code, Datum arg)
{
	if (current != NULL)
		give_up(current, false);
	current = NULL;
}
