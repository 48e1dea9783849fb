/*-------------------------------------------------------------------------
 * velocity_stream.h
 *		Streams: a table's rows as events in shared memory, one stream for
 *		all windows over the same values of rows with the same key.
 *
 * A row is read and added in one go, so that of rows in flight the n-th sees
 * n - 1.  What cannot be read this way (no memory, a type without a plain
 * form, this transaction's own changes) is read by index, as features.c does.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VELOCITY_STREAM_H
#define AGENTPAY_VELOCITY_STREAM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "scoring/features.h"

/* All streams of one leaf of a table. */
typedef struct AgentpayStreams AgentpayStreams;
typedef struct AgentpayStream AgentpayStream;

/*
 * In the current memory context; features are added while it is compiled.
 * received: columns that are not what they will be while a row is scored.
 */
extern AgentpayStreams *
agentpay_streams_make(Relation leaf, const Bitmapset *received);
extern void
agentpay_streams_add(AgentpayStreams *streams, AgentpayFeature *feature);

/*
 * A row is scored between begin and end: its events are added by the first
 * reading.  end returns what is needed to know them again (bytea), or no datum
 * when there are no streams; in the current memory context.  stop: what is
 * evaluated now is no row that lands.
 */
extern void agentpay_streams_begin(AgentpayStreams *streams);
extern void agentpay_streams_stop(AgentpayStreams *streams);
extern Datum agentpay_streams_end(AgentpayStreams *streams);

/* The value of one of the stream's windows; false: read it by index. */
extern bool
agentpay_stream_read(AgentpayStream *stream, int window, TupleTableSlot *row,
					 TimestampTz at, double *result, bool *isnull);

/*
 * The row has landed, as it was scored or changed since; it was skipped; it
 * came without being scored.  added is what end() returned, or no datum.
 */
extern void agentpay_streams_landed(AgentpayStreams *streams, Datum added,
									TupleTableSlot *row, bool changed);
extern void agentpay_streams_skipped(Datum added);

/*
 * Whether a row of a statement that may skip rows has landed is found out from
 * the table; does what landed() or skipped() would.
 */
extern void agentpay_streams_settle(AgentpayStreams *streams, Datum added,
									TupleTableSlot *row);

/*
 * A row is about to be changed (row after it) or deleted (NULL): from here on
 * this transaction reads the table itself.  Then it was: others' entries are
 * out of date once it commits.
 */
extern void
agentpay_streams_changing(AgentpayStreams *streams, TupleTableSlot *before,
						  TupleTableSlot *after);
extern void
agentpay_streams_changed(AgentpayStreams *streams, TupleTableSlot *before,
						 TupleTableSlot *after);

/* The same of a row that this transaction inserted and has deleted. */
extern void
agentpay_streams_deleted(AgentpayStreams *streams, TupleTableSlot *row);

/* From _PG_init, once. */
extern void agentpay_streams_install(void);

#endif /* AGENTPAY_VELOCITY_STREAM_H */
