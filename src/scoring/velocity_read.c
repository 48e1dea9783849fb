/*-------------------------------------------------------------------------
 * velocity_read.c
 *		Reading a row's windows from its stream, and adding the row.
 *
 * Both happen under one lock, so that of rows in flight with one key the n-th
 * sees n - 1.  All windows of the stream are read at the first one's asking;
 * the others find their result.  Where a row is an event under another key
 * than the one whose windows it reads, it is added before it is read, so that
 * of two that cross at least one sees the other.
 *
 * Locking: the key's lock (velocity_cache.h); none while a result is computed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "scoring/velocity_stream_internal.h"

/* How often a reading begins anew before it goes to the table. */
#define ATTEMPTS_MAX 8
#define FIRST_IDENTITIES 256

/* One row on its way. */
typedef struct Reading
{
	AgentpayStream *stream;
	TupleTableSlot *row;
	TimestampTz at;
	AgentpayPresence presence; /* of the row in its own windows */
	bool has_time;			   /* without it, it is in no other row's */
	AgentpayEvent event;
	bool together; /* it reads the key that it is added to */
} Reading;

typedef enum Step
{
	STEP_DONE,
	STEP_AGAIN,
	STEP_BY_INDEX
} Step;

static void
read_row(AgentpayStream *stream, TupleTableSlot *row, TimestampTz at);
static void find_event(Reading *reading);
static void add_event(Reading *reading, const AgentpayCacheKey *key);
static bool read_and_add(Reading *reading);
static Step try_reading(Reading *reading);
static Step load_entry(Reading *reading, AgentpayCacheEntry *entry);
static bool enough_room(Reading *reading, const AgentpayCacheEntry *entry);
static void read_windows(Reading *reading, const AgentpayCacheEntry *entry);
static void note_identity(const AgentpayEvent *event, void *arg);
static bool add_locked(Reading *reading, AgentpayCacheEntry *entry);
static void trim(Reading *reading, AgentpayCacheEntry *entry);
static void compute_window(AgentpayStream *stream, AgentpayWindow *window);
static int64
count_identities(AgentpayStream *stream, const AgentpayWindow *window,
				 const AgentpayEventValue *itself);
static int compare_identities(const void *a, const void *b);

bool
agentpay_stream_read(AgentpayStream *stream, int window, TupleTableSlot *row,
					 TimestampTz at, double *result, bool *isnull)
{
	AgentpayWindow *read = &stream->windows[window];

	if (!stream->owner->scoring)
		return false;
	if (stream->row != stream->owner->row ||
		stream->undone != agentpay_row_undone())
	{
		stream->row = stream->owner->row;
		stream->undone = agentpay_row_undone();
		memset(&stream->added, 0, sizeof(AgentpayAdded));
		stream->added.expected = true;
		for (int i = 0; i < stream->n_windows; i++)
			stream->windows[i].covered = stream->windows[i].known = false;
		read_row(stream, row, at);
	}
	if (read->covered && !read->known)
		compute_window(stream, read);
	*result = read->result;
	*isnull = read->isnull;
	return read->known;
}

static void
read_row(AgentpayStream *stream, TupleTableSlot *row, TimestampTz at)
{
	ExprContext *econtext = stream->feature->econtext;
	Reading reading = {.stream = stream, .row = row, .at = at};

	ResetExprContext(econtext);
	find_event(&reading);
	if (!read_and_add(&reading))
	{
		agentpay_cache_count(stream->source, AGENTPAY_CACHE_BYPASSES);
		for (int i = 0; i < stream->n_windows; i++)
			stream->windows[i].covered = false;
	}
	stream->at = at;
	stream->counts_itself = reading.presence == AGENTPAY_EVENT_PRESENT;
	stream->itself = reading.event.value;
	ResetExprContext(econtext);
}

/* The row as an event, if it is one. */
static void
find_event(Reading *reading)
{
	AgentpayStream *stream = reading->stream;
	TimestampTz time = reading->at;

	reading->has_time = agentpay_stream_time(stream, reading->row, &time);
	reading->presence = agentpay_stream_event(stream, &stream->feature->row,
											  reading->row, time,
											  &reading->event);
}

/* False: by index.  The event may have been added all the same. */
static bool
read_and_add(Reading *reading)
{
	AgentpayStream *stream = reading->stream;
	AgentpayCacheKey *event_key = stream->same_key ? &stream->key
												   : &stream->event_key;
	bool has_key;
	bool has_event_key;
	bool too_long;
	bool event_too_long;

	has_key = agentpay_stream_key(stream, reading->row, false, &stream->key,
								  &too_long);
	has_event_key = has_key;
	event_too_long = too_long;
	if (!stream->same_key)
		has_event_key = agentpay_stream_key(stream, reading->row, true,
											event_key, &event_too_long);
	/* a row without a key or a time is in no other row's window */
	stream->added.expected = has_event_key && reading->has_time &&
							 reading->presence != AGENTPAY_EVENT_ABSENT;
	stream->added.source = stream->source;
	if (has_event_key && !event_too_long)
		stream->added.hash = event_key->hash;
	if (too_long || event_too_long ||
		reading->presence == AGENTPAY_EVENT_UNFIT ||
		!agentpay_cache_enabled() || stream->epoch == 0 ||
		!agentpay_cache_usable(stream->source))
		return false;

	reading->together = has_key && has_event_key &&
						stream->key.length == event_key->length &&
						memcmp(stream->key.bytes, event_key->bytes,
							   event_key->length) == 0;
	(void) GetTopFullTransactionId(); /* not under a lock */
	if (agentpay_row_changed(stream->table))
	{
		/* others see the row; this transaction reads what it left */
		if (has_event_key)
			add_event(reading, event_key);
		return false;
	}
	if (!reading->together && has_event_key)
		add_event(reading, event_key);
	if (!has_key)
	{
		for (int i = 0; i < stream->n_windows; i++)
		{
			memset(&stream->windows[i].sum, 0, sizeof(AgentpayEventSum));
			stream->windows[i].latest = DT_NOBEGIN;
			stream->windows[i].first = stream->windows[i].last = 0;
			stream->windows[i].covered = true;
		}
		return true;
	}
	for (int i = 0; i < ATTEMPTS_MAX; i++)
	{
		Step step = try_reading(reading);

		if (step != STEP_AGAIN)
			return step == STEP_DONE;
	}
	return false;
}

/* Adds the event to an entry that is there; if not, AFTER looks again. */
static void
add_event(Reading *reading, const AgentpayCacheKey *key)
{
	AgentpayCacheEntry *entry;

	if (!reading->stream->added.expected)
		return;
	entry = agentpay_cache_lock(key);
	if (entry != NULL && entry->state == AGENTPAY_CACHE_LIVE &&
		agentpay_cache_resolve(entry) && !add_locked(reading, entry))
		agentpay_cache_drop(entry);
	agentpay_cache_unlock(key);
	if (reading->stream->added.incarnation != 0)
		agentpay_row_note(&reading->stream->added);
}

static Step
try_reading(Reading *reading)
{
	AgentpayStream *stream = reading->stream;
	AgentpayCacheKey *key = &stream->key;
	AgentpayCacheEntry *entry = agentpay_cache_lock(key);
	TimestampTz needed = agentpay_feature_earlier(reading->at,
												  stream->lookback);
	bool late = false;
	bool full = false;

	if (entry != NULL && entry->state == AGENTPAY_CACHE_LIVE &&
		(!agentpay_cache_resolve(entry)))
		entry = NULL;
	if (entry != NULL && entry->state == AGENTPAY_CACHE_LIVE &&
		!stream->only_last && needed < entry->low)
	{
		late = entry->span >= stream->lookback;
		if (!late) /* a longer window than any before */
		{
			agentpay_cache_drop(entry);
			entry = NULL;
		}
	}
	if (entry == NULL || entry->state != AGENTPAY_CACHE_LIVE)
		return load_entry(reading, entry);
	if (!late && !enough_room(reading, entry))
		return STEP_AGAIN;
	if (!late)
		read_windows(reading, entry);
	if (reading->together && stream->added.expected)
		full = !add_locked(reading, entry);
	if (!full)
	{
		entry->span = Max(entry->span, stream->lookback);
		trim(reading, entry);
	}
	agentpay_cache_unlock(key);
	if (full)
	{
		/* whoever cannot get room for it goes to the table */
		if (agentpay_cache_evict())
			return STEP_AGAIN;
		agentpay_cache_drop_hash(key->hash, key->source, 0);
		return STEP_BY_INDEX;
	}
	if (reading->together && stream->added.incarnation != 0)
		agentpay_row_note(&stream->added);
	if (late)
		return STEP_BY_INDEX;
	agentpay_cache_count(stream->source, AGENTPAY_CACHE_HITS);
	return STEP_DONE;
}

/* The entry is not there, not ready or of no use; lets the lock go. */
static Step
load_entry(Reading *reading, AgentpayCacheEntry *entry)
{
	AgentpayStream *stream = reading->stream;
	AgentpayCacheKey *key = &stream->key;
	uint32 incarnation;

	if (entry != NULL && entry->state == AGENTPAY_CACHE_LOADING)
	{
		agentpay_cache_unlock(key);
		if (agentpay_cache_wait(key))
			return STEP_AGAIN;
		/* it may hold what the loader waits for */
		agentpay_row_give_up();
		return STEP_BY_INDEX;
	}
	if (entry != NULL) /* BYPASS */
	{
		if (--entry->skips <= 0)
			agentpay_cache_drop(entry);
		agentpay_cache_unlock(key);
		return STEP_BY_INDEX;
	}
	entry = agentpay_cache_make(key, AGENTPAY_CACHE_LOADING);
	incarnation = entry == NULL ? 0 : entry->incarnation;
	agentpay_cache_unlock(key);
	if (entry == NULL)
		return agentpay_cache_evict() ? STEP_AGAIN : STEP_BY_INDEX;
	return agentpay_stream_load(stream, key, incarnation, reading->row,
								reading->at) == AGENTPAY_LOAD_UNFIT
			   ? STEP_BY_INDEX
			   : STEP_AGAIN;
}

/* For the identities; if not, the lock is let go and room is made. */
static bool
enough_room(Reading *reading, const AgentpayCacheEntry *entry)
{
	AgentpayStream *stream = reading->stream;
	int64 needed = entry->tree.n_events * stream->n_windows;

	if (stream->kind != AGENTPAY_EVENT_IDENTITY ||
		needed < stream->identities_room)
		return true;
	agentpay_cache_unlock(&stream->key);
	if (stream->identities != NULL)
		pfree(stream->identities);
	stream->identities = NULL;
	stream->identities_room = 0;
	needed += needed / 4 + FIRST_IDENTITIES;
	stream->identities = MemoryContextAllocHuge(stream->owner->context,
												sizeof(AgentpayEventValue) *
													needed);
	stream->identities_room = (int) Min(needed, PG_INT32_MAX);
	return false;
}

static void
read_windows(Reading *reading, const AgentpayCacheEntry *entry)
{
	AgentpayStream *stream = reading->stream;

	stream->n_identities = 0;
	for (int i = 0; i < stream->n_windows; i++)
	{
		const AgentpayFeatureConfig *config =
			&stream->windows[i].feature->config;
		AgentpayWindow *window = &stream->windows[i];
		TimestampTz until = agentpay_feature_earlier(reading->at,
													 config->delay_us);
		TimestampTz after;

		if (config->kind != AGENTPAY_FEATURE_WINDOW)
		{
			bool found = agentpay_event_tree_last(&agentpay_cache_arena,
												  &entry->tree, until,
												  &window->latest);

			if (!found)
				window->latest = DT_NOBEGIN;
			window->covered = found || entry->low == DT_NOBEGIN;
			continue;
		}
		after = agentpay_feature_earlier(until, config->over_us);
		window->covered = true;
		window->first = stream->n_identities;
		if (stream->kind == AGENTPAY_EVENT_IDENTITY)
			agentpay_event_tree_walk(&agentpay_cache_arena, &entry->tree, after,
									 until, note_identity, stream);
		else
			agentpay_event_tree_sum(&agentpay_cache_arena, &entry->tree, after,
									until, &window->sum);
		window->last = stream->n_identities;
	}
}

/* enough_room() was asked. */
static void
note_identity(const AgentpayEvent *event, void *arg)
{
	AgentpayStream *stream = arg;

	stream->identities[stream->n_identities++] = event->value;
}

/* False when there is no memory. */
static bool
add_locked(Reading *reading, AgentpayCacheEntry *entry)
{
	AgentpayAdded *added = &reading->stream->added;

	added->event = reading->event;
	added->event.tag = 0;
	if (reading->event.time > entry->low)
	{
		added->event.tag = agentpay_cache_own_tag(entry, reading->event.time);
		if (added->event.tag == 0 ||
			!agentpay_event_tree_add(&agentpay_cache_arena, &entry->tree,
									 &added->event))
			return false;
	}
	added->incarnation = entry->incarnation;
	added->drops = agentpay_cache_drops_hash(entry->hash);
	return true;
}

/*
 * What is older than every window that ends now, and an eighth of it more for
 * rows that come late.  A row from the future forgets nothing.
 */
static void
trim(Reading *reading, AgentpayCacheEntry *entry)
{
	AgentpayStream *stream = reading->stream;
	TimestampTz until;

	if (reading->at > GetCurrentStatementStartTimestamp() + USECS_PER_DAY)
		return;
	until = agentpay_feature_earlier(reading->at,
									 entry->span > PG_INT64_MAX / 2
										 ? PG_INT64_MAX
										 : entry->span + entry->span / 8);
	if (stream->only_last)
		until = agentpay_feature_earlier(reading->at, USECS_PER_DAY);
	if (until != DT_NOBEGIN)
		agentpay_event_tree_trim(&agentpay_cache_arena, &entry->tree, until,
								 &entry->low);
}

/* ── results ────────────────────────────────────────────────────────────── */

/* Each when it is asked for, so that one that overflows leaves the others. */
static void
compute_window(AgentpayStream *stream, AgentpayWindow *window)
{
	const AgentpayFeatureConfig *config = &window->feature->config;
	bool itself = window->feature->counts_itself && stream->counts_itself;
	AgentpayEventSum sum = window->sum;
	MemoryContext old;

	if (config->kind != AGENTPAY_FEATURE_WINDOW)
	{
		window->isnull = TIMESTAMP_NOT_FINITE(window->latest);
		window->result = window->isnull
							 ? 0
							 : agentpay_feature_seconds(window->latest,
														stream->at);
	}
	else if (stream->kind == AGENTPAY_EVENT_IDENTITY)
	{
		window->isnull = false;
		window->result = (double) count_identities(stream, window,
												   itself ? &stream->itself
														  : NULL);
	}
	else
	{
		ExprContext *econtext = stream->feature->econtext;

		old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
		if (itself)
			agentpay_event_sum_add(stream->kind, &sum, &stream->itself);
		window->result = agentpay_aggregate_of(config->aggregate, stream->type,
											   stream->scale, &sum,
											   &window->isnull);
		MemoryContextSwitchTo(old);
		ResetExprContext(econtext);
	}
	window->known = true;
}

/* Sorts its part of the array; that was not shared. */
static int64
count_identities(AgentpayStream *stream, const AgentpayWindow *window,
				 const AgentpayEventValue *itself)
{
	AgentpayEventValue *first = stream->identities + window->first;
	int n = window->last - window->first;
	bool seen = itself == NULL;
	int64 count = 0;

	if (n > 1)
		qsort(first, n, sizeof(AgentpayEventValue), compare_identities);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || compare_identities(&first[i - 1], &first[i]) != 0)
			count++;
		seen = seen || compare_identities(&first[i], itself) == 0;
	}
	return count + !seen;
}

static int
compare_identities(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(AgentpayEventValue));
}
