/*-------------------------------------------------------------------------
 * settle.c
 *		How attempts ended: holds become what was spent, or are released.
 *
 * Takes no budget's lock: what it changes in the totals is a row of
 * agentpay._budget_changes for each budget, which the next reservation takes in.
 *
 * Locking: rows of agentpay._holds; whoever settles the same is waited for.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "base/rows.h"
#include "base/store.h"
#include "control/totals.h"

#define CALL1(function, a) DirectFunctionCall1(function, a)
#define CALL2(function, a, b) DirectFunctionCall2(function, a, b)

/* Of agentpay._settlement, zero-based, as in sql/parts/50_control.sql. */
typedef enum SettlementColumn
{
	SETTLEMENT_TASK_ID,
	SETTLEMENT_ATTEMPT,
	SETTLEMENT_STATE,
	SETTLEMENT_COST,
	SETTLEMENT_COLUMNS
} SettlementColumn;

/* What changes in a budget. */
typedef struct Change
{
	struct Change *next;
	Datum budget;
	Datum settled;
	Datum held;
	Datum uncertain;
	int64 calls;
	TimestampTz earliest;
} Change;

typedef struct Settling
{
	AgentpayStore holds; /* by task and attempt */
	Datum zero;
	Change *changes;
} Settling;

static void settle(Settling *s, AgentpayRow end);
static bool end_hold(Settling *s, const AgentpayRow *end);
static void note(Settling *s, const AgentpayRow *end, const Datum *hold);
static Change *find_change(Settling *s, Datum budget);
static void write_changes(Settling *s);

PG_FUNCTION_INFO_V1(agentpay_sql_settle);

/* agentpay._settle(ended agentpay._settlement[]) */
Datum
agentpay_sql_settle(PG_FUNCTION_ARGS)
{
	Settling s = {.zero = CALL1(int4_numeric, Int32GetDatum(0))};
	AgentpayRowsReader ended;

	agentpay_rows_open(&ended, PG_GETARG_ARRAYTYPE_P(0), SETTLEMENT_COLUMNS);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	agentpay_store_open(&s.holds, "_holds", "_holds_task_id_attempt_idx");
	for (int i = 0; i < ended.n; i++)
		if (agentpay_rows_read(&ended, i))
			settle(&s, (AgentpayRow){ended.values, ended.nulls});
	agentpay_store_close(&s.holds);
	agentpay_rows_close(&ended);
	write_changes(&s);
	PopActiveSnapshot();
	PG_RETURN_VOID();
}

/* In every budget; nothing where the attempt was settled before. */
static void
settle(Settling *s, AgentpayRow end)
{
	AgentpayStore *store = &s->holds;
	ScanKeyData keys[2];

	for (int i = 0; i <= SETTLEMENT_STATE; i++)
		if (end.nulls[i])
			return;
	agentpay_store_key(store, &keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
					   end.values[SETTLEMENT_TASK_ID]);
	agentpay_store_key(store, &keys[1], 2, BTEqualStrategyNumber, F_INT4EQ,
					   end.values[SETTLEMENT_ATTEMPT]);
	agentpay_store_seek(store, keys, 2);
	while (agentpay_store_next(store, ForwardScanDirection))
	{
		bool there = true;

		/* whoever changed it meanwhile may have left it open */
		while (there &&
			   agentpay_text_is(store->row->tts_values[HOLD_STATE], "held") &&
			   !end_hold(s, &end))
			there = agentpay_store_lock_latest(store);
	}
}

/* The open hold that was found; false: somebody has changed it. */
static bool
end_hold(Settling *s, const AgentpayRow *end)
{
	AgentpayStore *store = &s->holds;
	Datum values[HOLD_COLUMNS];
	bool nulls[HOLD_COLUMNS];

	memcpy(values, store->row->tts_values, sizeof(values));
	memcpy(nulls, store->row->tts_isnull, sizeof(nulls));
	if (agentpay_text_is(end->values[SETTLEMENT_STATE], "released"))
	{
		if (!agentpay_store_delete(store))
			return false;
	}
	else
	{
		values[HOLD_STATE] = end->values[SETTLEMENT_STATE];
		values[HOLD_SETTLED_COST] = end->values[SETTLEMENT_COST];
		nulls[HOLD_SETTLED_COST] = end->nulls[SETTLEMENT_COST];
		nulls[HOLD_LEASE_UNTIL] = true;
		if (!agentpay_store_update(store, values, nulls))
			return false;
	}
	note(s, end, values);
	return true;
}

static void
note(Settling *s, const AgentpayRow *end, const Datum *hold)
{
	Change *change = find_change(s, hold[HOLD_BUDGET]);
	Datum state = end->values[SETTLEMENT_STATE];

	change->held = CALL2(numeric_sub, change->held, hold[HOLD_BOUND_COST]);
	if (agentpay_text_is(state, "released"))
		change->calls--;
	else if (agentpay_text_is(state, "settled"))
		change->settled = CALL2(numeric_add, change->settled,
								end->values[SETTLEMENT_COST]);
	else
		change->uncertain = CALL2(numeric_add, change->uncertain,
								  end->values[SETTLEMENT_COST]);
	change->earliest = Min(change->earliest,
						   DatumGetTimestampTz(hold[HOLD_COUNTS_UNTIL]));
}

static Change *
find_change(Settling *s, Datum budget)
{
	Change *change;

	for (change = s->changes; change != NULL; change = change->next)
		if (agentpay_text_same(change->budget, budget))
			return change;
	change = palloc(sizeof(Change));
	change->budget = datumCopy(budget, false, -1);
	change->settled = change->held = change->uncertain = s->zero;
	change->calls = 0;
	change->earliest = DT_NOEND;
	change->next = s->changes;
	s->changes = change;
	return change;
}

static void
write_changes(Settling *s)
{
	AgentpayStore store;

	if (s->changes == NULL)
		return;
	agentpay_store_open(&store, "_budget_changes",
						"_budget_changes_budget_xid_idx");
	for (Change *change = s->changes; change != NULL; change = change->next)
	{
		Datum values[CHANGE_COLUMNS] = {
			[CHANGE_BUDGET] = change->budget,
			[CHANGE_XID] = FullTransactionIdGetDatum(GetTopFullTransactionId()),
			[CHANGE_SETTLED] = change->settled,
			[CHANGE_HELD] = change->held,
			[CHANGE_UNCERTAIN] = change->uncertain,
			[CHANGE_CALLS] = Int64GetDatum(change->calls),
			[CHANGE_EARLIEST] = TimestampTzGetDatum(change->earliest),
		};
		bool nulls[CHANGE_COLUMNS] = {false};

		agentpay_store_insert(&store, values, nulls);
	}
	agentpay_store_close(&store);
}
