/*-------------------------------------------------------------------------
 * totals.h
 *		What is held and spent in a budget: its running totals, and what has
 *		changed since.
 *
 * The caller holds the budget's lock, from an earlier statement.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TOTALS_H
#define AGENTPAY_TOTALS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/itemptr.h"

#include "base/store.h"

/* Zero-based, as in sql/parts/50_control.sql. */
typedef enum AgentpayHoldColumn
{
	HOLD_ID,
	HOLD_BUDGET,
	HOLD_TASK_ID,
	HOLD_ATTEMPT,
	HOLD_PAYMENT,
	HOLD_STATE,
	HOLD_BOUND_COST,
	HOLD_SETTLED_COST,
	HOLD_HELD_AT,
	HOLD_LEASE_UNTIL,
	HOLD_COUNTS_UNTIL,
	HOLD_COLUMNS
} AgentpayHoldColumn;

typedef enum AgentpayChangeColumn
{
	CHANGE_BUDGET,
	CHANGE_XID,
	CHANGE_SETTLED,
	CHANGE_HELD,
	CHANGE_UNCERTAIN,
	CHANGE_CALLS,
	CHANGE_EARLIEST,
	CHANGE_COLUMNS
} AgentpayChangeColumn;

typedef struct AgentpayTotal
{
	Datum budget;
	ItemPointerData place; /* of the row, where there is one */
	int64 version;		   /* 0: there is none yet */
	Datum settled;
	Datum held;
	Datum uncertain;
	int64 calls;
	TimestampTz expired_until;
	Datum exhausted_by;
	bool exhausted;
	Datum seen_xmax;
	Datum seen_running;
} AgentpayTotal;

typedef struct AgentpayTotals
{
	AgentpayStore totals;
	AgentpayStore changes;
	AgentpayStore holds; /* by the end of their window */
	Datum seen_xmax;	 /* of the snapshot under which all is read */
	Datum seen_running;
} AgentpayTotals;

/*
 * Reads what is committed by now, and pushes that snapshot.  names: the budgets,
 * text[]; those whose clock is ahead are set back first.
 */
extern void agentpay_totals_open(AgentpayTotals *totals, Datum names);
extern void agentpay_totals_close(AgentpayTotals *totals);

/*
 * A budget's totals, with what was settled taken in and the window moved on;
 * write them before the transaction ends.
 */
extern void agentpay_totals_take(AgentpayTotals *totals, Datum budget,
								 AgentpayTotal *total);
/* The same, as they were written last. */
extern void agentpay_totals_find(AgentpayTotals *totals, Datum budget,
								 AgentpayTotal *total);
extern void agentpay_totals_write(AgentpayTotals *totals, AgentpayTotal *total);

#endif /* AGENTPAY_TOTALS_H */
