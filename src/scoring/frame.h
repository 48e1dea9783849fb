/*-------------------------------------------------------------------------
 * frame.h
 *		What one statement keeps between BEFORE, which scores a row, and
 *		AFTER, which records it: a queue of decisions, the compiled tables,
 *		and the open logs.
 *
 * Between the two a row may be skipped (ON CONFLICT DO NOTHING), moved there
 * from another partition, or changed by other triggers; so it is a queue, in
 * the order of BEFORE, from which AFTER takes what matches.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_FRAME_H
#define AGENTPAY_FRAME_H

#include "postgres.h"

#include "commands/trigger.h"
#include "storage/lock.h"

#include "base/appender.h"
#include "base/config.h"
#include "base/shmem.h"
#include "control/cases.h"
#include "scoring/draw.h"
#include "scoring/table.h"

/* What BEFORE found about one row at one point. */
typedef struct AgentpayEntry
{
	Oid leaf;
	int64 row;	 /* number of the row in the frame */
	int point;	 /* index into the table's points */
	int ruleset; /* index into the point's: 0 decides, others are in shadow */
	bool moved;	 /* came from another partition: nothing to record */
	char *row_id;
	TimestampTz occurred_at;
	TimestampTz decided_at;
	Datum amount; /* numeric, 0 for NULL, as those that follow */
	Datum currency;
	Datum base_amount;
	Datum score;		 /* numeric */
	Datum reasons;		 /* text[] */
	Datum inputs;		 /* jsonb */
	Datum sealed;		 /* bytea: of scoring/sealing.c */
	Datum detail;		 /* jsonb */
	Datum asked;		 /* bytea: an AgentpayAsk for each agent */
	AgentpayCause cause; /* of the case that it opens */
	Datum digest;		 /* bytea: four bytes for each column of table->used */
	Datum added; /* bytea: what agentpay_streams_end() said of the row */
	AgentpayAssigned assigned;
} AgentpayEntry;

typedef struct AgentpayFrame AgentpayFrame;

/* From _PG_init: where statements begin and end, for agentpay_shmem. */
extern const AgentpayFrames agentpay_frames;

/* The frame of the statement that is running, made when there is none. */
extern AgentpayFrame *agentpay_frame_current(void);

/* The compiled table of a leaf, the same throughout the frame. */
extern AgentpayTable *agentpay_frame_table(AgentpayFrame *frame, Relation leaf);

/*
 * Notes UPDATE and DELETE of a partition's row; updated is the new row, NULL
 * for DELETE.  agentpay_frame_moved() then returns, at the INSERT that
 * follows, the row that is on its way to another partition, and where it comes
 * from; or NULL.  That INSERT may be of another row, when a trigger has kept
 * the first where it was.
 */
extern void agentpay_frame_mark(AgentpayFrame *frame, Oid leaf, ItemPointer tid,
								HeapTuple updated);
extern HeapTuple agentpay_frame_moved(AgentpayFrame *frame, Oid *leaf);

/* Queues what BEFORE found; a row's entries come with the same number. */
extern int64 agentpay_frame_next_row(AgentpayFrame *frame);
extern void
agentpay_frame_push(AgentpayFrame *frame, const AgentpayEntry *entry);

/*
 * The first entry of the row that landed; what was queued before it is
 * discarded.  Of several with its id, the one whose columns had the digest:
 * the others were skipped.  NULL when none waits.  *renamed: another trigger
 * changed the row's id.  Valid until the next call.
 */
extern const AgentpayEntry *
agentpay_frame_take(AgentpayFrame *frame, Oid leaf, const char *row_id,
					const bytea *digest, bool *renamed);

/* Drops that entry; the next one if it is of the same row, or NULL. */
extern const AgentpayEntry *agentpay_frame_take_next(AgentpayFrame *frame);

/*
 * Of a row that may be skipped, what streams_end() said waits here instead:
 * whether it has landed is known when the next row comes (settle), or when it
 * is taken (landed; no datum if it is another row).
 */
extern bool agentpay_frame_may_skip(const AgentpayFrame *frame);
extern void
agentpay_frame_keep_added(AgentpayFrame *frame, AgentpayTable *table,
						  int64 number, TupleTableSlot *row, Datum added);
extern void agentpay_frame_settle(AgentpayFrame *frame);
extern Datum agentpay_frame_added(AgentpayFrame *frame, int64 number);

/* Appends a row to a log, at the latest when the statement ends. */
extern void agentpay_frame_append(AgentpayFrame *frame, AgentpayLog log,
								  TimestampTz at, Datum *values, bool *nulls);

/*
 * Opens a case, at the latest when the statement ends; what fails then is an
 * event of the governance log, and the governor opens it.
 */
extern void
agentpay_frame_open_case(AgentpayFrame *frame, const AgentpayCase *opened);

/*
 * What this statement gave to the row that has the point's key, or NULL; and
 * noting it.
 */
extern const AgentpayAssigned *
agentpay_frame_key_find(AgentpayFrame *frame, int point, const char *row_id);
extern void
agentpay_frame_key_note(AgentpayFrame *frame, int point, const char *row_id,
						const AgentpayAssigned *assigned);

/*
 * Takes a lock, exclusively, that unlock() releases: when the row that it is
 * for has landed or was skipped, so before the next one, or at the end.
 */
extern void agentpay_frame_lock(AgentpayFrame *frame, const LOCKTAG *tag);

/* Releases the lock that was taken last, before its row is in the table. */
extern void agentpay_frame_unlock_last(AgentpayFrame *frame);
extern void agentpay_frame_unlock(AgentpayFrame *frame);

#endif /* AGENTPAY_FRAME_H */
