/*-------------------------------------------------------------------------
 * velocity_judge.c
 *		Which row versions count while others are on their way.
 *
 * What counts is: every row that is committed now; this transaction's own
 * rows, those of this very statement included; and rows that other
 * transactions in progress have inserted.  No snapshot shows that.  An MVCC
 * snapshot hides the statement's own rows and those in flight.  SnapshotDirty
 * shows them, but it judges each row version at another instant: when an
 * UPDATE commits under the scan, it can find both versions or neither.  So
 * a new MVCC snapshot S is taken, and versions are judged by that:
 *
 *	- what this transaction inserted, updated or deleted is as it left it;
 *	- otherwise what S sees counts: of a row whose UPDATE is in flight the
 *	  old version, and a row whose DELETE is in flight still;
 *	- and what S does not see counts if a transaction that is in progress in
 *	  S, and has not aborted, inserted it.  A version made by UPDATE
 *	  (HEAP_UPDATED) never does: its row is counted by the old version.
 *
 * An UPDATE that moves a row to another leaf deletes and inserts, and leaves
 * no mark on the new version.  There the old one gives way to the new one.
 * But the move can pass between the reading of the two leaves.  Then rows
 * inserted in flight are listed first, in all leaves, and S is taken after
 * that.  Only rows on the list count as inserted in flight; and whatever is
 * on it by a move, its old version was marked before S, so that as many of
 * a transaction's old versions give way as it has rows on the list.  (Only a
 * row that one transaction changes and then moves counts twice until it
 * commits.)
 *
 * Where only what is settled counts, nothing that S does not see does, this
 * transaction's own rows aside.
 *
 * Whether a transaction has aborted is asked once, so that both versions get
 * one answer.  S is of now, also under REPEATABLE READ: concurrent rows must
 * not hide.
 *
 * Locking: a shared lock on the version's buffer while its header is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "scoring/velocity.h"

/* A transaction that was in progress, and what became of it. */
typedef struct AgentpayVelocityInFlight
{
	TransactionId xid;
	bool asked;
	bool aborted;
	int rows; /* on the list whose old versions have not given way */
} InFlight;

/* A row that was inserted in flight. */
typedef struct AgentpayVelocityListed
{
	Oid table;
	ItemPointerData tid;
} Listed;

static void note_changer(AgentpayVelocityJudge *judge, HeapTupleHeader header,
						 TransactionId updater);
static void read_header(TupleTableSlot *slot, HeapTupleHeader header);
static bool is_own(HeapTupleHeader header);
static bool is_inserted(HeapTupleHeader header);
static bool is_listed(AgentpayVelocityJudge *judge, TupleTableSlot *slot);
static int compare_listed(const void *a, const void *b);
static bool visible_row_counts(AgentpayVelocityJudge *judge,
							   HeapTupleHeader header, TransactionId updater);
static bool
hidden_row_counts(AgentpayVelocityJudge *judge, TupleTableSlot *slot,
				  HeapTupleHeader header, TransactionId updater);
static bool is_same_transaction(TransactionId inserter, TransactionId updater);
static bool has_aborted(AgentpayVelocityJudge *judge, TransactionId xid);
static bool is_aborted(TransactionId xid);
static InFlight *in_flight_of(AgentpayVelocityJudge *judge, TransactionId xid);

/* In the current memory context. */
AgentpayVelocityJudge *
agentpay_velocity_judge_make(bool twice_is_once)
{
	AgentpayVelocityJudge *judge = palloc0(sizeof(AgentpayVelocityJudge));

	judge->context = CurrentMemoryContext;
	judge->twice_is_once = twice_is_once;
	return judge;
}

void
agentpay_velocity_judge_list(AgentpayVelocityJudge *judge, TupleTableSlot *slot)
{
	HeapTupleHeaderData header;
	TransactionId xid;

	read_header(slot, &header);
	xid = HeapTupleHeaderGetRawXmin(&header);
	if (!is_inserted(&header) || HeapTupleHeaderXminCommitted(&header) ||
		is_own(&header) || !TransactionIdIsInProgress(xid))
		return;
	in_flight_of(judge, xid)->rows++;
	if (judge->n_rows == judge->max_rows)
	{
		int max = Max(judge->max_rows * 2, 16);

		if (judge->rows == NULL)
			judge->rows = MemoryContextAlloc(judge->context,
											 sizeof(Listed) * max);
		else
			judge->rows = repalloc_huge(judge->rows, sizeof(Listed) * max);
		judge->max_rows = max;
	}
	judge->rows[judge->n_rows++] = (Listed){slot->tts_tableOid, slot->tts_tid};
}

void
agentpay_velocity_judge_listed(AgentpayVelocityJudge *judge)
{
	if (judge->n_rows > 1)
		qsort(judge->rows, judge->n_rows, sizeof(Listed), compare_listed);
	judge->listed = true;
}

/* Until agentpay_velocity_judge_end() nothing that it sees is vacuumed. */
void
agentpay_velocity_judge_begin(AgentpayVelocityJudge *judge)
{
	judge->snapshot = RegisterSnapshot(GetLatestSnapshot());
}

/*
 * False when rows that move may have been counted twice or not at all,
 * because a transaction aborted that had not when its first row was judged.
 */
bool
agentpay_velocity_judge_end(AgentpayVelocityJudge *judge)
{
	UnregisterSnapshot(judge->snapshot);
	judge->snapshot = NULL;
	if (!judge->listed)
		return true;
	for (int i = 0; i < judge->n_in_flight; i++)
		if (judge->in_flight[i].asked && !judge->in_flight[i].aborted &&
			is_aborted(judge->in_flight[i].xid))
			return false;
	return true;
}

bool
agentpay_velocity_judge(AgentpayVelocityJudge *judge, TupleTableSlot *slot)
{
	BufferHeapTupleTableSlot *in_buffer = (BufferHeapTupleTableSlot *) slot;
	HeapTuple tuple = in_buffer->base.tuple;
	HeapTupleHeaderData header;
	TransactionId updater = InvalidTransactionId;
	bool own;
	bool visible;

	LockBuffer(in_buffer->buffer, BUFFER_LOCK_SHARE);
	memcpy(&header, tuple->t_data, SizeofHeapTupleHeader);
	own = is_own(&header);
	visible = HeapTupleSatisfiesVisibility(tuple,
										   own ? SnapshotSelf : judge->snapshot,
										   in_buffer->buffer);
	LockBuffer(in_buffer->buffer, BUFFER_LOCK_UNLOCK);

	judge->writer = judge->writer_top = judge->changer = InvalidTransactionId;
	if (own)
	{
		/* an old row that was changed is there also if that is undone */
		if (header.t_infomask & HEAP_UPDATED)
			judge->changer = GetTopTransactionId();
		else
			judge->writer = HeapTupleHeaderGetRawXmin(&header);
		judge->writer_top = GetTopTransactionId();
		return visible;
	}
	if (!(header.t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header.t_infomask))
		updater = HeapTupleHeaderGetUpdateXid(&header);
	note_changer(judge, &header, updater);
	if (visible)
		return visible_row_counts(judge, &header, updater);
	return hidden_row_counts(judge, slot, &header, updater);
}

/* A version whose end is in flight, or whose beginning is that of a change. */
static void
note_changer(AgentpayVelocityJudge *judge, HeapTupleHeader header,
			 TransactionId updater)
{
	TransactionId inserter = HeapTupleHeaderGetRawXmin(header);

	if (TransactionIdIsValid(updater))
	{
		if (XidInMVCCSnapshot(updater, judge->snapshot))
			judge->changer = updater;
	}
	else if ((header->t_infomask & HEAP_UPDATED) &&
			 !HeapTupleHeaderXminInvalid(header) &&
			 !HeapTupleHeaderXminFrozen(header) &&
			 TransactionIdIsNormal(inserter) &&
			 XidInMVCCSnapshot(inserter, judge->snapshot))
		judge->changer = inserter;
}

static void
read_header(TupleTableSlot *slot, HeapTupleHeader header)
{
	BufferHeapTupleTableSlot *in_buffer = (BufferHeapTupleTableSlot *) slot;

	LockBuffer(in_buffer->buffer, BUFFER_LOCK_SHARE);
	memcpy(header, in_buffer->base.tuple->t_data, SizeofHeapTupleHeader);
	LockBuffer(in_buffer->buffer, BUFFER_LOCK_UNLOCK);
}

/* Whether this transaction made the version, and has not taken it back. */
static bool
is_own(HeapTupleHeader header)
{
	return !HeapTupleHeaderXminCommitted(header) &&
		   !HeapTupleHeaderXminInvalid(header) &&
		   TransactionIdIsCurrentTransactionId(
			   HeapTupleHeaderGetRawXmin(header));
}

/* Whether it is a row's first version, as far as that is known. */
static bool
is_inserted(HeapTupleHeader header)
{
	return !HeapTupleHeaderXminInvalid(header) &&
		   !HeapTupleHeaderXminFrozen(header) &&
		   !(header->t_infomask & HEAP_UPDATED) &&
		   TransactionIdIsNormal(HeapTupleHeaderGetRawXmin(header));
}

static bool
is_listed(AgentpayVelocityJudge *judge, TupleTableSlot *slot)
{
	Listed row = {slot->tts_tableOid, slot->tts_tid};

	return judge->n_rows > 0 && bsearch(&row, judge->rows, judge->n_rows,
										sizeof(Listed), compare_listed) != NULL;
}

static int
compare_listed(const void *a, const void *b)
{
	Listed *left = (Listed *) a;
	Listed *right = (Listed *) b;

	if (left->table != right->table)
		return left->table < right->table ? -1 : 1;
	return ItemPointerCompare(&left->tid, &right->tid);
}

/* A version that S sees. */
static bool
visible_row_counts(AgentpayVelocityJudge *judge, HeapTupleHeader header,
				   TransactionId updater)
{
	InFlight *mover;

	if (!TransactionIdIsValid(updater))
		return true;
	if (TransactionIdIsCurrentTransactionId(updater))
		return false;
	if (!HeapTupleHeaderIndicatesMovedPartitions(header) ||
		judge->twice_is_once || has_aborted(judge, updater))
		return true;
	if (!judge->listed)
		return false;
	mover = in_flight_of(judge, updater);
	if (mover->rows == 0)
		return true;
	mover->rows--;
	return false;
}

/* A version that S does not see: does it stand for a row in flight? */
static bool
hidden_row_counts(AgentpayVelocityJudge *judge, TupleTableSlot *slot,
				  HeapTupleHeader header, TransactionId updater)
{
	TransactionId inserter = HeapTupleHeaderGetRawXmin(header);

	/* ON CONFLICT may take it back */
	if (HeapTupleHeaderIsSpeculative(header))
		return false;
	if (judge->settled_only || !is_inserted(header) ||
		!XidInMVCCSnapshot(inserter, judge->snapshot) ||
		(judge->listed && !is_listed(judge, slot)) ||
		has_aborted(judge, inserter))
		return false;
	judge->writer = inserter;
	judge->writer_top = SubTransGetTopmostTransaction(inserter);
	return !TransactionIdIsValid(updater) ||
		   !is_same_transaction(inserter, updater) ||
		   !(ItemPointerEquals(&header->t_ctid, &slot->tts_tid) ||
			 HeapTupleHeaderIndicatesMovedPartitions(header)) ||
		   has_aborted(judge, updater);
}

/*
 * Whether a row in flight was deleted by the one who inserted it; another one
 * deletes it only after that has committed, which S does not know.
 */
static bool
is_same_transaction(TransactionId inserter, TransactionId updater)
{
	return TransactionIdEquals(inserter, updater) ||
		   TransactionIdEquals(SubTransGetTopmostTransaction(inserter),
							   SubTransGetTopmostTransaction(updater));
}

/* Of a transaction that was in progress; always the same answer. */
static bool
has_aborted(AgentpayVelocityJudge *judge, TransactionId xid)
{
	InFlight *entry = in_flight_of(judge, xid);

	if (!entry->asked)
	{
		entry->aborted = is_aborted(xid);
		entry->asked = true;
	}
	judge->in_flight_mattered |= !entry->aborted;
	return entry->aborted;
}

/* In this order: a transaction ends by no longer being in progress. */
static bool
is_aborted(TransactionId xid)
{
	return !TransactionIdIsInProgress(xid) && !TransactionIdDidCommit(xid);
}

/* The transaction's entry, a new one if need be. */
static InFlight *
in_flight_of(AgentpayVelocityJudge *judge, TransactionId xid)
{
	for (int i = judge->n_in_flight - 1; i >= 0; i--)
		if (TransactionIdEquals(judge->in_flight[i].xid, xid))
			return &judge->in_flight[i];
	if (judge->n_in_flight == judge->max_in_flight)
	{
		int max = Max(judge->max_in_flight * 2, 16);

		if (judge->in_flight == NULL)
			judge->in_flight = MemoryContextAlloc(judge->context,
												  sizeof(InFlight) * max);
		else
			judge->in_flight = repalloc(judge->in_flight,
										sizeof(InFlight) * max);
		judge->max_in_flight = max;
	}
	judge->in_flight[judge->n_in_flight] = (InFlight){.xid = xid};
	return &judge->in_flight[judge->n_in_flight++];
}
