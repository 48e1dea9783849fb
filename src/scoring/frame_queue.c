/*-------------------------------------------------------------------------
 * frame_queue.c
 *		The queue between BEFORE and AFTER, on a tuplestore.
 *
 * A statement of one row, the usual case, never opens the tuplestore: the
 * first entry waits beside it.
 *
 * Looking ahead uses a second read pointer, so that nothing is lost when the
 * row that is looked for does not come.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "scoring/frame_queue.h"

/* Read pointers of the tuplestore. */
#define READ_HEAD 0
#define READ_AHEAD 1

enum
{
	COL_LEAF,
	COL_ROW,
	COL_POINT,
	COL_RULESET,
	COL_MOVED,
	COL_ROW_ID,
	COL_OCCURRED_AT,
	COL_DECIDED_AT,
	COL_VERDICT,
	COL_ANSWER,
	COL_ASSIGNMENT,
	COL_PROPENSITY,
	COL_CAUSE,
	COL_AMOUNT,
	COL_CURRENCY,
	COL_BASE_AMOUNT,
	COL_SCORE,
	COL_REASONS,
	COL_INPUTS,
	COL_SEALED,
	COL_DETAIL,
	COL_ASKED,
	COL_DIGEST,
	COL_ADDED,
	N_COLS
};

struct AgentpayQueue
{
	MemoryContext context;
	MinimalTuple first; /* comes before what is stored */
	Tuplestorestate *store;
	int64 stored;		  /* tuples in the store that were not read */
	TupleTableSlot *slot; /* the head */
	bool has_head;
	AgentpayEntry head;
};

/* Of the stored tuples; made once per session. */
static TupleDesc queue_desc = NULL;

static TupleDesc description(void);
static void to_store(AgentpayQueue *queue, Datum *values, bool *nulls);
static bool read_next(AgentpayQueue *queue);
static bool load_head(AgentpayQueue *queue);
static void read_entry(AgentpayQueue *queue);
static Datum value_or_null(TupleTableSlot *slot, int column);

AgentpayQueue *
agentpay_queue_open(void)
{
	AgentpayQueue *queue = palloc0(sizeof(AgentpayQueue));

	queue->context = CurrentMemoryContext;
	queue->slot = MakeSingleTupleTableSlot(description(), &TTSOpsMinimalTuple);
	return queue;
}

void
agentpay_queue_close(AgentpayQueue *queue)
{
	ExecClearTuple(queue->slot);
	if (queue->store != NULL)
		tuplestore_end(queue->store);
	ExecDropSingleTupleTableSlot(queue->slot);
}

void
agentpay_queue_push(AgentpayQueue *queue, const AgentpayEntry *entry)
{
	Datum values[N_COLS];
	bool nulls[N_COLS] = {false};
	MemoryContext old;

	values[COL_LEAF] = ObjectIdGetDatum(entry->leaf);
	values[COL_ROW] = Int64GetDatum(entry->row);
	values[COL_POINT] = Int32GetDatum(entry->point);
	values[COL_RULESET] = Int32GetDatum(entry->ruleset);
	values[COL_MOVED] = BoolGetDatum(entry->moved);
	values[COL_ROW_ID] = CStringGetDatum(entry->row_id);
	values[COL_OCCURRED_AT] = TimestampTzGetDatum(entry->occurred_at);
	values[COL_DECIDED_AT] = TimestampTzGetDatum(entry->decided_at);
	values[COL_VERDICT] = Int32GetDatum(entry->assigned.verdict);
	values[COL_ANSWER] = Int32GetDatum(entry->assigned.answer);
	values[COL_ASSIGNMENT] = Int32GetDatum(entry->assigned.assignment);
	values[COL_PROPENSITY] = Float4GetDatum(entry->assigned.propensity);
	values[COL_CAUSE] = Int32GetDatum(entry->cause);
	values[COL_AMOUNT] = entry->amount;
	values[COL_CURRENCY] = entry->currency;
	values[COL_BASE_AMOUNT] = entry->base_amount;
	values[COL_SCORE] = entry->score;
	values[COL_REASONS] = entry->reasons;
	values[COL_INPUTS] = entry->inputs;
	values[COL_SEALED] = entry->sealed;
	values[COL_DETAIL] = entry->detail;
	values[COL_ASKED] = entry->asked;
	values[COL_DIGEST] = entry->digest;
	values[COL_ADDED] = entry->added;
	for (int i = COL_AMOUNT; i < N_COLS; i++)
		nulls[i] = values[i] == (Datum) 0;

	old = MemoryContextSwitchTo(queue->context);
	if (!queue->has_head && queue->first == NULL && queue->stored == 0)
		queue->first = AGENTPAY_FORM_MINIMAL_TUPLE(description(), values,
												   nulls);
	else
		to_store(queue, values, nulls);
	MemoryContextSwitchTo(old);
}

const AgentpayEntry *
agentpay_queue_peek(AgentpayQueue *queue)
{
	if (!queue->has_head && !load_head(queue))
		return NULL;
	return &queue->head;
}

void
agentpay_queue_drop(AgentpayQueue *queue)
{
	Assert(queue->has_head);
	ExecClearTuple(queue->slot);
	queue->has_head = false;
}

bool
agentpay_queue_seek(AgentpayQueue *queue, Oid leaf, const char *row_id,
					const bytea *digest, List **skipped)
{
	MinimalTuple kept;
	MemoryContext old;
	List *passed = NIL;
	int64 read = 0;
	bool found = false;

	Assert(queue->has_head);
	if (queue->stored == 0)
		return false;
	old = MemoryContextSwitchTo(queue->context);
	kept = ExecCopySlotMinimalTuple(queue->slot);
	MemoryContextSwitchTo(old);
	tuplestore_copy_read_pointer(queue->store, READ_HEAD, READ_AHEAD);
	tuplestore_select_read_pointer(queue->store, READ_AHEAD);
	do
	{
		/* what comes before the row that is found was skipped */
		if (queue->head.added != (Datum) 0)
			passed = lappend(passed, DatumGetByteaPCopy(queue->head.added));
		if (!read_next(queue))
			break;
		read++;
		read_entry(queue);
		found = agentpay_queue_matches(&queue->head, leaf, row_id, digest);
	} while (!found);
	if (found)
	{
		*skipped = passed;
		tuplestore_copy_read_pointer(queue->store, READ_AHEAD, READ_HEAD);
		queue->stored -= read;
		pfree(kept);
	}
	else
	{
		ExecStoreMinimalTuple(kept, queue->slot, true);
		read_entry(queue);
	}
	tuplestore_select_read_pointer(queue->store, READ_HEAD);
	return found;
}

bool
agentpay_queue_matches(const AgentpayEntry *entry, Oid leaf, const char *row_id,
					   const bytea *digest)
{
	bytea *scored;

	if (entry->leaf != leaf || strcmp(entry->row_id, row_id) != 0)
		return false;
	if (entry->moved || digest == NULL)
		return true;
	if (entry->digest == (Datum) 0)
		return false;
	scored = DatumGetByteaPP(entry->digest);
	return VARSIZE_ANY_EXHDR(scored) == VARSIZE_ANY_EXHDR(digest) &&
		   memcmp(VARDATA_ANY(scored), VARDATA_ANY(digest),
				  VARSIZE_ANY_EXHDR(digest)) == 0;
}

/* Of the stored tuples, in memory that stays. */
static TupleDesc
description(void)
{
	static const Oid types[N_COLS] = {
		[COL_LEAF] = OIDOID,
		[COL_ROW] = INT8OID,
		[COL_POINT] = INT4OID,
		[COL_RULESET] = INT4OID,
		[COL_MOVED] = BOOLOID,
		[COL_ROW_ID] = CSTRINGOID,
		[COL_OCCURRED_AT] = TIMESTAMPTZOID,
		[COL_DECIDED_AT] = TIMESTAMPTZOID,
		[COL_VERDICT] = INT4OID,
		[COL_ANSWER] = INT4OID,
		[COL_ASSIGNMENT] = INT4OID,
		[COL_PROPENSITY] = FLOAT4OID,
		[COL_CAUSE] = INT4OID,
		[COL_AMOUNT] = NUMERICOID,
		[COL_CURRENCY] = TEXTOID,
		[COL_BASE_AMOUNT] = NUMERICOID,
		[COL_SCORE] = NUMERICOID,
		[COL_REASONS] = TEXTARRAYOID,
		[COL_INPUTS] = JSONBOID,
		[COL_SEALED] = BYTEAOID,
		[COL_DETAIL] = JSONBOID,
		[COL_ASKED] = BYTEAOID,
		[COL_DIGEST] = BYTEAOID,
		[COL_ADDED] = BYTEAOID,
	};
	MemoryContext old;

	if (queue_desc != NULL)
		return queue_desc;
	old = MemoryContextSwitchTo(TopMemoryContext);
	queue_desc = CreateTemplateTupleDesc(N_COLS);
	for (int i = 0; i < N_COLS; i++)
		TupleDescInitEntry(queue_desc, i + 1, NULL, types[i], -1, 0);
	MemoryContextSwitchTo(old);
	return queue_desc;
}

static void
to_store(AgentpayQueue *queue, Datum *values, bool *nulls)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	if (queue->store == NULL)
	{
		queue->store = tuplestore_begin_heap(false, false, work_mem);
		(void) tuplestore_alloc_read_pointer(queue->store, 0);
	}
	tuplestore_putvalues(queue->store, description(), values, nulls);
	CurrentResourceOwner = owner;
	queue->stored++;
}

/*
 * Reads a stored tuple into the slot, in the queue's memory: a trigger's own
 * goes before the slot is cleared.
 */
static bool
read_next(AgentpayQueue *queue)
{
	MemoryContext old = MemoryContextSwitchTo(queue->context);
	bool read = tuplestore_gettupleslot(queue->store, true, true, queue->slot);

	MemoryContextSwitchTo(old);
	return read;
}

/* Reads the next entry; false when the queue is empty. */
static bool
load_head(AgentpayQueue *queue)
{
	if (queue->first != NULL)
	{
		ExecStoreMinimalTuple(queue->first, queue->slot, true);
		queue->first = NULL;
	}
	else if (queue->stored == 0 || !read_next(queue))
		return false;
	else
		queue->stored--;
	read_entry(queue);
	queue->has_head = true;
	return true;
}

/* Fills head from the slot; what it points to lives as long as the slot. */
static void
read_entry(AgentpayQueue *queue)
{
	TupleTableSlot *slot = queue->slot;
	AgentpayEntry *head = &queue->head;

	slot_getallattrs(slot);
	head->leaf = DatumGetObjectId(slot->tts_values[COL_LEAF]);
	head->row = DatumGetInt64(slot->tts_values[COL_ROW]);
	head->point = DatumGetInt32(slot->tts_values[COL_POINT]);
	head->ruleset = DatumGetInt32(slot->tts_values[COL_RULESET]);
	head->moved = DatumGetBool(slot->tts_values[COL_MOVED]);
	head->row_id = DatumGetCString(slot->tts_values[COL_ROW_ID]);
	head->occurred_at = DatumGetTimestampTz(slot->tts_values[COL_OCCURRED_AT]);
	head->decided_at = DatumGetTimestampTz(slot->tts_values[COL_DECIDED_AT]);
	head->assigned.verdict = DatumGetInt32(slot->tts_values[COL_VERDICT]);
	head->assigned.answer = DatumGetInt32(slot->tts_values[COL_ANSWER]);
	head->assigned.assignment = DatumGetInt32(slot->tts_values[COL_ASSIGNMENT]);
	head->assigned.propensity = DatumGetFloat4(
		slot->tts_values[COL_PROPENSITY]);
	head->cause = DatumGetInt32(slot->tts_values[COL_CAUSE]);
	head->amount = value_or_null(slot, COL_AMOUNT);
	head->currency = value_or_null(slot, COL_CURRENCY);
	head->base_amount = value_or_null(slot, COL_BASE_AMOUNT);
	head->score = value_or_null(slot, COL_SCORE);
	head->reasons = value_or_null(slot, COL_REASONS);
	head->inputs = value_or_null(slot, COL_INPUTS);
	head->sealed = value_or_null(slot, COL_SEALED);
	head->detail = value_or_null(slot, COL_DETAIL);
	head->asked = value_or_null(slot, COL_ASKED);
	head->digest = value_or_null(slot, COL_DIGEST);
	head->added = value_or_null(slot, COL_ADDED);
}

static Datum
value_or_null(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? (Datum) 0 : slot->tts_values[column];
}
