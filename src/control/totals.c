/*-------------------------------------------------------------------------
 * totals.c
 *		What is held and spent in a budget: its running totals, and what has
 *		changed since.
 *
 * A row that changes with each batch leaves a dead one behind each time, and
 * under a snapshot that stays open none of them goes.  So totals have versions,
 * of which the newest comes first in the index, and changes are found by
 * transaction: of those that the snapshot of the last look had as done, none is
 * looked at again.  What a look costs does not grow with what was there before.
 *
 * Locking: rows of a budget are written under its lock alone, but for changes,
 * which whoever settles adds.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/rows.h"
#include "base/statement.h"
#include "control/totals.h"

#define CALL1(function, a) DirectFunctionCall1(function, a)
#define CALL2(function, a, b) DirectFunctionCall2(function, a, b)

/* Zero-based, as in sql/parts/50_control.sql. */
typedef enum TotalColumn
{
	TOTAL_BUDGET,
	TOTAL_VERSION,
	TOTAL_SETTLED,
	TOTAL_HELD,
	TOTAL_UNCERTAIN,
	TOTAL_CALLS,
	TOTAL_EXPIRED_UNTIL,
	TOTAL_EXHAUSTED_BY,
	TOTAL_SEEN_XMAX,
	TOTAL_SEEN_RUNNING,
	TOTAL_COLUMNS
} TotalColumn;

static bool is_among(const Datum *names, const bool *nulls, int n, Datum name);
static void open_all(AgentpayTotals *totals);
static bool are_ahead(AgentpayTotals *totals, Datum names);
static void note_seen(AgentpayTotals *totals, Snapshot snapshot);
static Datum widen(TransactionId xid, FullTransactionId next);
static void take_changes(AgentpayTotals *totals, AgentpayTotal *total,
						 TimestampTz *earliest);
static void
take_found(AgentpayTotals *totals, AgentpayTotal *total, TimestampTz *earliest);
static void
expire(AgentpayTotals *totals, AgentpayTotal *total, TimestampTz since);

PG_FUNCTION_INFO_V1(agentpay_sql_expire_holds);

/* agentpay._expire_holds(names text[]) */
Datum
agentpay_sql_expire_holds(PG_FUNCTION_ARGS)
{
	AgentpayTotals totals;
	Datum *names;
	bool *nulls;
	int n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &names, &nulls, &n);
	agentpay_totals_open(&totals, PG_GETARG_DATUM(0));
	for (int i = 0; i < n; i++)
	{
		AgentpayTotal total;

		if (nulls[i] || is_among(names, nulls, i, names[i]))
			continue;
		agentpay_totals_take(&totals, names[i], &total);
		agentpay_totals_write(&totals, &total);
	}
	agentpay_totals_close(&totals);
	PG_RETURN_VOID();
}

/* Whether it is one of the first n. */
static bool
is_among(const Datum *names, const bool *nulls, int n, Datum name)
{
	for (int i = 0; i < n; i++)
		if (!nulls[i] && agentpay_text_same(names[i], name))
			return true;
	return false;
}

void
agentpay_totals_open(AgentpayTotals *totals, Datum names)
{
	static AgentpayStatement statement = {
		.sql = "SELECT agentpay._set_back($1)", .writes = true};
	Oid types[1] = {TEXTARRAYOID};
	Datum nothing;
	bool isnull;

	open_all(totals);
	if (!are_ahead(totals, names))
		return;
	agentpay_totals_close(totals);
	if (!agentpay_statement_row(&statement, 1, types, &names, NULL, 1, &nothing,
								&isnull))
		elog(ERROR, "_set_back() gave no row");
	open_all(totals);
}

static void
open_all(AgentpayTotals *totals)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	note_seen(totals, GetActiveSnapshot());
	agentpay_store_open(&totals->totals, "_budget_totals",
						"_budget_totals_pkey");
	agentpay_store_open(&totals->changes, "_budget_changes",
						"_budget_changes_budget_xid_idx");
	agentpay_store_open(&totals->holds, "_holds",
						"_holds_budget_counts_until_idx");
}

void
agentpay_totals_close(AgentpayTotals *totals)
{
	agentpay_store_close(&totals->holds);
	agentpay_store_close(&totals->changes);
	agentpay_store_close(&totals->totals);
	PopActiveSnapshot();
}

/* Whether the clock of one of these budgets is ahead of ours, by a minute. */
static bool
are_ahead(AgentpayTotals *totals, Datum names)
{
	TimestampTz latest = agentpay_clock_now() + USECS_PER_MINUTE;
	Datum *elements;
	bool *nulls;
	int n;
	bool ahead = false;

	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n && !ahead; i++)
	{
		AgentpayTotal total;

		if (nulls[i])
			continue;
		agentpay_totals_find(totals, elements[i], &total);
		ahead = total.expired_until > latest;
	}
	return ahead;
}

/*
 * Which transactions the snapshot has as done: those below seen_xmax, but for
 * seen_running.  This transaction may yet settle, and a snapshot does not list
 * its own.
 */
static void
note_seen(AgentpayTotals *totals, Snapshot snapshot)
{
	FullTransactionId next = ReadNextFullTransactionId();
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	Datum *running = palloc(sizeof(Datum) * (snapshot->xcnt + 1));
	int n = 0;

	for (uint32 i = 0; i < snapshot->xcnt; i++)
		running[n++] = widen(snapshot->xip[i], next);
	if (FullTransactionIdIsValid(own))
		running[n++] = FullTransactionIdGetDatum(own);
	totals->seen_xmax = widen(snapshot->xmax, next);
	totals->seen_running = PointerGetDatum(
		construct_array(running, n, XID8OID, sizeof(FullTransactionId),
						FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* An id of a snapshot, which is not beyond `next`. */
static Datum
widen(TransactionId xid, FullTransactionId next)
{
	uint32 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdGetDatum(
		FullTransactionIdFromEpochAndXid(epoch, xid));
}

void
agentpay_totals_take(AgentpayTotals *totals, Datum budget, AgentpayTotal *total)
{
	TimestampTz since;

	agentpay_totals_find(totals, budget, total);
	since = total->expired_until;
	take_changes(totals, total, &since);
	total->expired_until = Max(total->expired_until, agentpay_clock_now());
	expire(totals, total, since);
}

void
agentpay_totals_find(AgentpayTotals *totals, Datum budget, AgentpayTotal *total)
{
	AgentpayStore *store = &totals->totals;
	Datum *values = store->row->tts_values;
	ScanKeyData key;

	memset(total, 0, sizeof(*total));
	total->budget = budget;
	agentpay_store_key(store, &key, 1, BTEqualStrategyNumber, F_TEXTEQ, budget);
	agentpay_store_seek(store, &key, 1);
	if (!agentpay_store_next(store, BackwardScanDirection))
	{
		total->settled = total->held = total->uncertain =
			CALL1(int4_numeric, Int32GetDatum(0));
		total->expired_until = DT_NOBEGIN;
		total->seen_xmax = FullTransactionIdGetDatum(InvalidFullTransactionId);
		total->seen_running = PointerGetDatum(construct_empty_array(XID8OID));
		return;
	}
#define COPY(column) datumCopy(values[TOTAL_##column], false, -1)
	total->place = store->row->tts_tid;
	total->version = DatumGetInt64(values[TOTAL_VERSION]);
	total->settled = COPY(SETTLED);
	total->held = COPY(HELD);
	total->uncertain = COPY(UNCERTAIN);
	total->calls = DatumGetInt64(values[TOTAL_CALLS]);
	total->expired_until = DatumGetTimestampTz(values[TOTAL_EXPIRED_UNTIL]);
	total->exhausted = !store->row->tts_isnull[TOTAL_EXHAUSTED_BY];
	if (total->exhausted)
		total->exhausted_by = COPY(EXHAUSTED_BY);
	total->seen_xmax = values[TOTAL_SEEN_XMAX];
	total->seen_running = COPY(SEEN_RUNNING);
#undef COPY
}

/* Of what was not done at the last look; *earliest goes back to the earliest. */
static void
take_changes(AgentpayTotals *totals, AgentpayTotal *total,
			 TimestampTz *earliest)
{
	AgentpayStore *store = &totals->changes;
	ArrayType *array = DatumGetArrayTypeP(total->seen_running);
	ScanKeyData keys[2];
	Datum *running;
	int n;

	deconstruct_array(array, XID8OID, sizeof(FullTransactionId),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &running, NULL, &n);
	agentpay_store_key(store, &keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
					   total->budget);
	agentpay_store_key(store, &keys[1], 2, BTGreaterEqualStrategyNumber,
					   F_XID8GE, total->seen_xmax);
	agentpay_store_seek(store, keys, 2);
	take_found(totals, total, earliest);
	for (int i = 0; i < n; i++)
	{
		/* found above */
		if (DatumGetUInt64(running[i]) >= DatumGetUInt64(total->seen_xmax))
			continue;
		agentpay_store_key(store, &keys[1], 2, BTEqualStrategyNumber, F_XID8EQ,
						   running[i]);
		agentpay_store_seek(store, keys, 2);
		take_found(totals, total, earliest);
	}
	total->seen_xmax = totals->seen_xmax;
	total->seen_running = totals->seen_running;
}

static void
take_found(AgentpayTotals *totals, AgentpayTotal *total, TimestampTz *earliest)
{
	AgentpayStore *store = &totals->changes;
	Datum *values = store->row->tts_values;

	while (agentpay_store_next(store, ForwardScanDirection))
	{
		if (!agentpay_store_delete(store))
			continue;
		total->settled = CALL2(numeric_add, total->settled,
							   values[CHANGE_SETTLED]);
		total->held = CALL2(numeric_add, total->held, values[CHANGE_HELD]);
		total->uncertain = CALL2(numeric_add, total->uncertain,
								 values[CHANGE_UNCERTAIN]);
		total->calls += DatumGetInt64(values[CHANGE_CALLS]);
		*earliest = Min(*earliest,
						DatumGetTimestampTz(values[CHANGE_EARLIEST]));
	}
}

/* What was spent until then counts no more; what is held counts on. */
static void
expire(AgentpayTotals *totals, AgentpayTotal *total, TimestampTz since)
{
	AgentpayStore *store = &totals->holds;
	Datum *values = store->row->tts_values;
	ScanKeyData keys[3];

	agentpay_store_key(store, &keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
					   total->budget);
	agentpay_store_key(store, &keys[1], 2, BTGreaterEqualStrategyNumber,
					   F_TIMESTAMPTZ_GE, TimestampTzGetDatum(since));
	agentpay_store_key(store, &keys[2], 2, BTLessEqualStrategyNumber,
					   F_TIMESTAMPTZ_LE,
					   TimestampTzGetDatum(total->expired_until));
	agentpay_store_seek(store, keys, 3);
	while (agentpay_store_next(store, ForwardScanDirection))
	{
		Datum *sum;

		if (agentpay_text_is(values[HOLD_STATE], "held") ||
			!agentpay_store_delete(store))
			continue;
		sum = agentpay_text_is(values[HOLD_STATE], "settled")
				  ? &total->settled
				  : &total->uncertain;
		*sum = CALL2(numeric_sub, *sum, values[HOLD_SETTLED_COST]);
		total->calls--;
	}
}

void
agentpay_totals_write(AgentpayTotals *totals, AgentpayTotal *total)
{
	AgentpayStore *store = &totals->totals;
	Datum values[TOTAL_COLUMNS] = {
		[TOTAL_BUDGET] = total->budget,
		[TOTAL_VERSION] = Int64GetDatum(total->version + 1),
		[TOTAL_SETTLED] = total->settled,
		[TOTAL_HELD] = total->held,
		[TOTAL_UNCERTAIN] = total->uncertain,
		[TOTAL_CALLS] = Int64GetDatum(total->calls),
		[TOTAL_EXPIRED_UNTIL] = TimestampTzGetDatum(total->expired_until),
		[TOTAL_EXHAUSTED_BY] = total->exhausted_by,
		[TOTAL_SEEN_XMAX] = total->seen_xmax,
		[TOTAL_SEEN_RUNNING] = total->seen_running,
	};
	bool nulls[TOTAL_COLUMNS] = {[TOTAL_EXHAUSTED_BY] = !total->exhausted};

	if (total->version > 0 && !agentpay_store_delete_at(store, &total->place))
		elog(ERROR, "the totals of a budget were changed without its lock");
	agentpay_store_insert(store, values, nulls);
}
