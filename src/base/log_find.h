/*-------------------------------------------------------------------------
 * log_find.h
 *		Rows of one log by a key and their time, without SQL.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LOG_FIND_H
#define AGENTPAY_LOG_FIND_H

#include "postgres.h"

#include "access/tupdesc.h"

#include "base/appender.h"

typedef struct AgentpayLogFinder AgentpayLogFinder;

/*
 * Finds rows by this column (zero-based, of the parent) with that function for
 * equality, as the active snapshot sees them.  It lives in the current memory
 * context, and belongs to the current resource owner.
 */
extern AgentpayLogFinder *
agentpay_log_finder_open(AgentpayLog log, int column, RegProcedure equal);

/*
 * The row of that very time; false when there is none.  What values point to
 * lives until the next call.
 */
extern bool agentpay_log_find(AgentpayLogFinder *finder, TimestampTz at,
							  Datum key, Datum **values, bool **nulls);

/* The columns of what is found: the parent's. */
extern TupleDesc agentpay_log_finder_columns(const AgentpayLogFinder *finder);

extern void agentpay_log_finder_close(AgentpayLogFinder *finder);

#endif /* AGENTPAY_LOG_FIND_H */
