/*-------------------------------------------------------------------------
 * appender.h
 *		Appends rows to agentpay's partitioned logs without SQL.
 *
 * A direct insert skips defaults, privileges and triggers, so a caller gives
 * every column, in the order of the parent table.  A NULL xid is filled with
 * the top-level transaction.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_APPENDER_H
#define AGENTPAY_APPENDER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/relcache.h"

typedef enum AgentpayLog
{
	AGENTPAY_LOG_DECISIONS,
	AGENTPAY_LOG_AGENT_CALLS,
	AGENTPAY_LOG_OUTCOMES,
	AGENTPAY_LOG_GOVERNANCE,
	AGENTPAY_LOG_TASKS
} AgentpayLog;

#define AGENTPAY_LOG_COUNT (AGENTPAY_LOG_TASKS + 1)

typedef struct AgentpayAppender AgentpayAppender;

/*
 * An appender keeps the leaf and its indexes open and buffers rows.  It lives
 * in the current memory context, and belongs to the current resource owner:
 * close it under the same one.  After an error it is just forgotten.
 */
extern AgentpayAppender *agentpay_appender_open(AgentpayLog log);
extern void agentpay_appender_put(AgentpayAppender *appender, TimestampTz at,
								  Datum *values, bool *nulls);
extern void agentpay_appender_close(AgentpayAppender *appender);

/* One row: open, put, close. */
extern void
agentpay_append(AgentpayLog log, TimestampTz at, Datum *values, bool *nulls);

/*
 * The partition of an open log for that moment, and its bounds, the upper one
 * exclusive; false when there is none.  Needs a lock on the log.
 */
extern bool agentpay_log_leaf(Relation log, TimestampTz at, Oid *leaf,
							  TimestampTz *from, TimestampTz *until);

/* The parent table of a log, or an error when the extension is not there. */
extern Oid agentpay_log_relation(AgentpayLog log);

/* A relation of the schema agentpay by name; InvalidOid when missing. */
extern Oid agentpay_relation(const char *name);

#endif /* AGENTPAY_APPENDER_H */
