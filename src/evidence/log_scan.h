/*-------------------------------------------------------------------------
 * log_scan.h
 *		The rows of a log that became visible between two snapshots.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LOG_SCAN_H
#define AGENTPAY_LOG_SCAN_H

#include "postgres.h"

#include "evidence/log_row.h"

typedef struct AgentpayLogWindow
{
	const char *since; /* a pg_snapshot's text; NULL: all rows */
	const char *until; /* that of snapshot */
	Snapshot snapshot; /* rows must be visible in it */
} AgentpayLogWindow;

/* Called for a row; false ends the scan. */
typedef bool (*AgentpayLogVisit)(void *arg, AgentpayLogForm *form,
								 TupleTableSlot *slot);

/*
 * Visits the rows of a log whose transactions since did not see.  Some that
 * another cluster numbered may be among them.
 */
extern void agentpay_log_scan(AgentpayLog log, const AgentpayLogWindow *window,
							  AgentpayLogVisit visit, void *arg);

/*
 * Visits the rows of one leaf that the window's snapshot sees; the caller has
 * locked it.
 */
extern void agentpay_log_scan_leaf(AgentpayLog log, Oid leaf,
								   const AgentpayLogWindow *window,
								   AgentpayLogVisit visit, void *arg);

/* A pg_snapshot's text, taken apart. */
typedef struct AgentpayHorizon
{
	uint64 xmin;
	uint64 xmax;
	int count;
	uint64 *xip; /* ascending */
} AgentpayHorizon;

extern void agentpay_horizon_read(const char *text, AgentpayHorizon *horizon);

/* Whether a transaction that committed is visible in it. */
extern bool agentpay_horizon_sees(const AgentpayHorizon *horizon, uint64 xid);

#endif /* AGENTPAY_LOG_SCAN_H */
