/*-------------------------------------------------------------------------
 * frame.c
 *		Frames: one for each level of the executor, and for each COPY.
 *
 * The hooks tell which statement is running (a stack of levels); a frame is
 * made when its first row is scored, and ends when the statement's AFTER
 * triggers have run.  Rows that come past the executor, from another
 * extension's code, share a base frame that lives until the transaction ends.
 *
 * The queue spills to disk beyond work_mem.  Like trigger.c's, its files
 * belong to the transaction's resource owner, since a statement's portal can
 * change owners.  A frame of a subtransaction that fails is dropped with it.
 *
 * Locks: those of rows on their way (agentpay_frame_lock); the logs take their
 * own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "scoring/frame.h"
#include "scoring/frame_queue.h"

/* A statement that is running. */
typedef struct Level
{
	QueryDesc *query;	  /* NULL: COPY */
	AgentpayFrame *frame; /* COPY's */
} Level;

/* A row that may be on its way to another partition. */
typedef enum Moving
{
	MOVING_NO,
	MOVING_UPDATED, /* BEFORE UPDATE fired */
	MOVING_DELETED	/* then BEFORE DELETE for the same row */
} Moving;

struct AgentpayFrame
{
	AgentpayFrame *next; /* the frame that was made before */
	QueryDesc *query;	 /* whose frame it is; NULL: COPY's or base */
	bool is_base;
	SubTransactionId subid;
	MemoryContext context;
	AgentpayConfig *config;
	List *tables;		 /* of AgentpayTable, pinned */
	AgentpayTable *last; /* the one used last */
	AgentpayQueue *queue;
	int64 rows;
	bool changed; /* a later trigger changes columns that were read */
	bool renamed; /* a later trigger changes ids */
	Moving moving;
	Oid moving_leaf;
	ItemPointerData moving_tid;
	HeapTuple moving_row;
	ResourceOwner owner; /* of the appenders */
	AgentpayAppender *appenders[AGENTPAY_LOG_COUNT];
	HTAB *keys;
	AgentpayCases *cases; /* to be opened */
	List *locks;		  /* of LOCKTAG */
	bool has_on_conflict;
	/* the last row, when it may be skipped: what streams know of it */
	bytea *added;
	int64 added_number;
	AgentpayTable *added_table;
	TupleTableSlot *added_row;
};

/* A row that has an idempotency key. */
typedef struct KeyEntry
{
	uint64 row; /* hash of the point and the row id */
	AgentpayAssigned assigned;
} KeyEntry;

static Level *levels = NULL;
static int n_levels = 0;
static int levels_size = 0;
static AgentpayFrame *newest = NULL;
static bool callbacks_registered = false;

static void enter(QueryDesc *query);
static void leave(AgentpayFramePhase phase, QueryDesc *query, bool failed);
static void end(QueryDesc *query);
static void forget_moving(AgentpayFrame *frame);
static bool
seek(AgentpayQueue *queue, Oid leaf, const char *row_id, const bytea *digest);
static void forget_added(AgentpayFrame *frame);
static bool has_on_conflict(QueryDesc *query);
static void skip_rest(AgentpayFrame *frame);
static AgentpayFrame *find_frame(QueryDesc *query);
static AgentpayFrame *base_frame(void);
static AgentpayFrame *make_frame(QueryDesc *query, bool is_base);
static void close_frame(AgentpayFrame *frame);
static void drop_frame(AgentpayFrame *frame);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
								  SubTransactionId parent, void *arg);

const AgentpayFrames agentpay_frames = {
	.enter = enter,
	.leave = leave,
	.end = end,
};

static void
enter(QueryDesc *query)
{
	if (n_levels == levels_size)
	{
		levels_size = Max(levels_size * 2, 16);
		levels = levels == NULL
					 ? MemoryContextAlloc(TopMemoryContext,
										  sizeof(Level) * levels_size)
					 : repalloc(levels, sizeof(Level) * levels_size);
	}
	levels[n_levels].query = query;
	levels[n_levels].frame = NULL;
	n_levels++;
}

static void
leave(AgentpayFramePhase phase, QueryDesc *query, bool failed)
{
	AgentpayFrame *frame;

	Assert(n_levels > 0);
	n_levels--;
	/* the abort that follows drops the frames */
	if (failed || newest == NULL || phase == AGENTPAY_FRAME_RUN)
		return;
	frame = query == NULL ? levels[n_levels].frame : find_frame(query);
	if (frame != NULL)
		close_frame(frame);
}

/* A query that ends without its AFTER triggers. */
static void
end(QueryDesc *query)
{
	AgentpayFrame *frame = newest == NULL ? NULL : find_frame(query);

	if (frame != NULL)
		drop_frame(frame);
}

AgentpayFrame *
agentpay_frame_current(void)
{
	/* a query without triggers of its own fires them in the one around it */
	for (int i = n_levels - 1; i >= 0; i--)
	{
		Level *level = &levels[i];
		AgentpayFrame *frame;

		if (level->query == NULL)
		{
			if (level->frame == NULL)
				level->frame = make_frame(NULL, false);
			return level->frame;
		}
		if (level->query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS)
			continue;
		frame = find_frame(level->query);
		return frame ? frame : make_frame(level->query, false);
	}
	return base_frame();
}

AgentpayTable *
agentpay_frame_table(AgentpayFrame *frame, Relation leaf)
{
	Oid relid = RelationGetRelid(leaf);
	MemoryContext old;
	ListCell *lc;

	if (frame->last != NULL && frame->last->leaf == relid)
		return frame->last;
	foreach(lc, frame->tables)
	{
		AgentpayTable *table = lfirst(lc);

		if (table->leaf == relid)
			return frame->last = table;
	}
	frame->last = agentpay_table_get(leaf, frame->config);
	old = MemoryContextSwitchTo(frame->context);
	frame->tables = lappend(frame->tables, frame->last);
	MemoryContextSwitchTo(old);
	agentpay_table_pin(frame->last);
	return frame->last;
}

void
agentpay_frame_mark(AgentpayFrame *frame, Oid leaf, ItemPointer tid,
					HeapTuple updated)
{
	if (updated != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(frame->context);

		forget_moving(frame);
		frame->moving_row = heap_copytuple(updated);
		frame->moving = MOVING_UPDATED;
		frame->moving_leaf = leaf;
		frame->moving_tid = *tid;
		MemoryContextSwitchTo(old);
	}
	else if (frame->moving == MOVING_UPDATED && frame->moving_leaf == leaf &&
			 ItemPointerEquals(&frame->moving_tid, tid))
		frame->moving = MOVING_DELETED;
	else
		forget_moving(frame);
}

HeapTuple
agentpay_frame_moved(AgentpayFrame *frame, Oid *leaf)
{
	HeapTuple row = frame->moving == MOVING_DELETED ? frame->moving_row : NULL;

	frame->moving = MOVING_NO;
	*leaf = frame->moving_leaf;
	return row;
}

static void
forget_moving(AgentpayFrame *frame)
{
	if (frame->moving_row != NULL)
		heap_freetuple(frame->moving_row);
	frame->moving_row = NULL;
	frame->moving = MOVING_NO;
}

int64
agentpay_frame_next_row(AgentpayFrame *frame)
{
	return ++frame->rows;
}

void
agentpay_frame_push(AgentpayFrame *frame, const AgentpayEntry *entry)
{
	MemoryContext old = MemoryContextSwitchTo(frame->context);

	if (frame->queue == NULL)
		frame->queue = agentpay_queue_open();
	agentpay_queue_push(frame->queue, entry);
	MemoryContextSwitchTo(old);
}

const AgentpayEntry *
agentpay_frame_take(AgentpayFrame *frame, Oid leaf, const char *row_id,
					const bytea *digest, bool *renamed)
{
	AgentpayQueue *queue = frame->queue;
	const AgentpayEntry *entry = queue ? agentpay_queue_peek(queue) : NULL;

	*renamed = false;
	if (entry == NULL)
		return NULL;
	/* looking ahead for each row would cost the square of their number */
	if (!frame->changed)
	{
		if (agentpay_queue_matches(entry, leaf, row_id, digest))
			return entry;
		if (seek(queue, leaf, row_id, digest))
			return agentpay_queue_peek(queue);
		frame->changed = true;
	}
	if (agentpay_queue_matches(entry, leaf, row_id, NULL))
		return entry;
	if (!frame->renamed)
	{
		if (seek(queue, leaf, row_id, NULL))
			return agentpay_queue_peek(queue);
		frame->renamed = true;
	}
	if (entry->leaf != leaf)
		return NULL;
	*renamed = true;
	return entry;
}

/* The rows before that one were skipped. */
static bool
seek(AgentpayQueue *queue, Oid leaf, const char *row_id, const bytea *digest)
{
	List *skipped = NIL;
	bool found = agentpay_queue_seek(queue, leaf, row_id, digest, &skipped);
	ListCell *lc;

	foreach(lc, skipped)
		agentpay_streams_skipped(PointerGetDatum(lfirst(lc)));
	list_free_deep(skipped);
	return found;
}

const AgentpayEntry *
agentpay_frame_take_next(AgentpayFrame *frame)
{
	int64 row = agentpay_queue_peek(frame->queue)->row;
	const AgentpayEntry *entry;

	agentpay_queue_drop(frame->queue);
	entry = agentpay_queue_peek(frame->queue);
	return entry != NULL && entry->row == row ? entry : NULL;
}

bool
agentpay_frame_may_skip(const AgentpayFrame *frame)
{
	return frame->has_on_conflict;
}

void
agentpay_frame_keep_added(AgentpayFrame *frame, AgentpayTable *table,
						  int64 number, TupleTableSlot *row, Datum added)
{
	MemoryContext old = MemoryContextSwitchTo(frame->context);

	frame->added = DatumGetByteaPCopy(added);
	frame->added_number = number;
	frame->added_table = table;
	frame->added_row = MakeSingleTupleTableSlot(row->tts_tupleDescriptor,
												&TTSOpsHeapTuple);
	ExecStoreHeapTuple(ExecCopySlotHeapTuple(row), frame->added_row, true);
	MemoryContextSwitchTo(old);
}

void
agentpay_frame_settle(AgentpayFrame *frame)
{
	if (frame->added == NULL)
		return;
	agentpay_streams_settle(frame->added_table->streams,
							PointerGetDatum(frame->added), frame->added_row);
	forget_added(frame);
}

Datum
agentpay_frame_added(AgentpayFrame *frame, int64 number)
{
	Datum added;

	if (frame->added == NULL || frame->added_number != number)
		return (Datum) 0;
	added = PointerGetDatum(DatumGetByteaPCopy(PointerGetDatum(frame->added)));
	forget_added(frame);
	return added;
}

static void
forget_added(AgentpayFrame *frame)
{
	pfree(frame->added);
	frame->added = NULL;
	ExecDropSingleTupleTableSlot(frame->added_row);
	frame->added_row = NULL;
}

void
agentpay_frame_append(AgentpayFrame *frame, AgentpayLog log, TimestampTz at,
					  Datum *values, bool *nulls)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (frame->is_base)
	{
		/* nobody tells when this frame's statement ends */
		agentpay_append(log, at, values, nulls);
		return;
	}
	if (frame->owner == NULL)
		frame->owner = CurrentResourceOwner;
	CurrentResourceOwner = frame->owner;
	if (frame->appenders[log] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(frame->context);

		frame->appenders[log] = agentpay_appender_open(log);
		MemoryContextSwitchTo(old);
	}
	agentpay_appender_put(frame->appenders[log], at, values, nulls);
	CurrentResourceOwner = owner;
}

void
agentpay_frame_open_case(AgentpayFrame *frame, const AgentpayCase *opened)
{
	if (frame->cases == NULL)
		frame->cases = agentpay_cases_begin(frame->context);
	if (agentpay_cases_add(frame->cases, opened) || frame->is_base)
		agentpay_cases_flush(frame->cases);
}

/* The key of a row in frame->keys. */
static uint64
row_hash(int point, const char *row_id)
{
	return hash_bytes_extended((const unsigned char *) row_id, strlen(row_id),
							   point);
}

const AgentpayAssigned *
agentpay_frame_key_find(AgentpayFrame *frame, int point, const char *row_id)
{
	uint64 row = row_hash(point, row_id);
	KeyEntry *entry;

	if (frame->keys == NULL)
		return NULL;
	entry = hash_search(frame->keys, &row, HASH_FIND, NULL);
	return entry ? &entry->assigned : NULL;
}

void
agentpay_frame_key_note(AgentpayFrame *frame, int point, const char *row_id,
						const AgentpayAssigned *assigned)
{
	uint64 row = row_hash(point, row_id);
	KeyEntry *entry;

	if (frame->keys == NULL)
	{
		HASHCTL control = {.keysize = sizeof(uint64),
						   .entrysize = sizeof(KeyEntry),
						   .hcxt = frame->context};

		frame->keys = hash_create("agentpay keys", 64, &control,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(frame->keys, &row, HASH_ENTER, NULL);
	entry->assigned = *assigned;
}

/*
 * The lock is the transaction level's, whoever asks for it, since what is
 * released must be released in the owner's name.
 */
void
agentpay_frame_lock(AgentpayFrame *frame, const LOCKTAG *tag)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;
	LOCKTAG *kept;

	CurrentResourceOwner = CurTransactionResourceOwner;
	(void) LockAcquire(tag, ExclusiveLock, false, false);
	CurrentResourceOwner = owner;
	old = MemoryContextSwitchTo(frame->context);
	kept = palloc(sizeof(LOCKTAG));
	*kept = *tag;
	frame->locks = lappend(frame->locks, kept);
	MemoryContextSwitchTo(old);
}

void
agentpay_frame_unlock_last(AgentpayFrame *frame)
{
	ResourceOwner owner = CurrentResourceOwner;
	LOCKTAG *tag;

	if (frame->locks == NIL || frame->subid != GetCurrentSubTransactionId())
		return;
	tag = llast(frame->locks);
	CurrentResourceOwner = CurTransactionResourceOwner;
	(void) LockRelease(tag, ExclusiveLock, false);
	CurrentResourceOwner = owner;
	frame->locks = list_delete_last(frame->locks);
	pfree(tag);
}

void
agentpay_frame_unlock(AgentpayFrame *frame)
{
	ResourceOwner owner = CurrentResourceOwner;
	ListCell *lc;

	/* elsewhere it is another's, and stays to the end of the transaction */
	if (frame->locks == NIL || frame->subid != GetCurrentSubTransactionId())
		return;
	CurrentResourceOwner = CurTransactionResourceOwner;
	foreach(lc, frame->locks)
		(void) LockRelease(lfirst(lc), ExclusiveLock, false);
	CurrentResourceOwner = owner;
	list_free_deep(frame->locks);
	frame->locks = NIL;
}

static AgentpayFrame *
find_frame(QueryDesc *query)
{
	for (AgentpayFrame *frame = newest; frame != NULL; frame = frame->next)
		if (frame->query == query && query != NULL)
			return frame;
	return NULL;
}

static AgentpayFrame *
base_frame(void)
{
	for (AgentpayFrame *frame = newest; frame != NULL; frame = frame->next)
		if (frame->is_base)
			return frame;
	return make_frame(NULL, true);
}

/* A new frame, with the configuration of now; no log is open yet. */
static AgentpayFrame *
make_frame(QueryDesc *query, bool is_base)
{
	MemoryContext context;
	AgentpayFrame *frame;
	AgentpayConfig *config;

	if (!callbacks_registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		callbacks_registered = true;
	}
	/* once a statement: what changed elsewhere holds from here on */
	AcceptInvalidationMessages();
	config = agentpay_config_get();

	context = AllocSetContextCreate(TopTransactionContext, "agentpay frame",
									ALLOCSET_SMALL_SIZES);
	frame = MemoryContextAllocZero(context, sizeof(AgentpayFrame));
	frame->context = context;
	frame->query = query;
	frame->is_base = is_base;
	frame->subid = is_base ? TopSubTransactionId : GetCurrentSubTransactionId();
	frame->config = config;
	frame->has_on_conflict = has_on_conflict(query);
	agentpay_config_pin(config);
	frame->next = newest;
	newest = frame;
	return frame;
}

/* Whether one of the query's parts inserts with ON CONFLICT. */
static bool
has_on_conflict(QueryDesc *query)
{
	const PlannedStmt *statement = query ? query->plannedstmt : NULL;
	List *plans;
	ListCell *lc;
	bool found = false;

	if (statement == NULL)
		return false;
	plans = lcons(statement->planTree, list_copy(statement->subplans));
	foreach(lc, plans)
	{
		Plan *plan = lfirst(lc);

		if (plan != NULL && IsA(plan, ModifyTable))
			found |= ((ModifyTable *) plan)->onConflictAction !=
					 ONCONFLICT_NONE;
	}
	list_free(plans);
	return found;
}

/* What was scored and did not land. */
static void
skip_rest(AgentpayFrame *frame)
{
	const AgentpayEntry *entry;

	if (frame->added != NULL)
	{
		agentpay_streams_skipped(PointerGetDatum(frame->added));
		forget_added(frame);
	}
	if (frame->queue == NULL)
		return;
	while ((entry = agentpay_queue_peek(frame->queue)) != NULL)
	{
		agentpay_streams_skipped(entry->added);
		agentpay_queue_drop(frame->queue);
	}
}

/* The statement succeeded: what is still buffered goes to the logs. */
static void
close_frame(AgentpayFrame *frame)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (frame->cases != NULL)
		agentpay_cases_flush(frame->cases);
	for (int log = 0; log < AGENTPAY_LOG_COUNT; log++)
	{
		AgentpayAppender *appender = frame->appenders[log];

		if (appender == NULL)
			continue;
		CurrentResourceOwner = frame->owner;
		agentpay_appender_close(appender);
		CurrentResourceOwner = owner;
		frame->appenders[log] = NULL;
	}
	agentpay_frame_unlock(frame);
	skip_rest(frame);
	drop_frame(frame);
}

/* Forgets the frame; what its appenders hold goes with the transaction. */
static void
drop_frame(AgentpayFrame *frame)
{
	AgentpayFrame **link = &newest;
	ListCell *lc;

	while (*link != frame)
		link = &(*link)->next;
	*link = frame->next;
	if (frame->added != NULL)
		forget_added(frame);
	if (frame->queue != NULL)
		agentpay_queue_close(frame->queue);
	foreach(lc, frame->tables)
		agentpay_table_unpin(lfirst(lc));
	agentpay_config_unpin(frame->config);
	MemoryContextDelete(frame->context);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			while (newest != NULL)
				drop_frame(newest);
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent, void *arg)
{
	AgentpayFrame *frame = newest;

	while (frame != NULL)
	{
		AgentpayFrame *next = frame->next;

		if (frame->subid == subid && event == SUBXACT_EVENT_ABORT_SUB)
			drop_frame(frame);
		else if (frame->subid == subid && event == SUBXACT_EVENT_COMMIT_SUB)
			frame->subid = parent;
		frame = next;
	}
}
