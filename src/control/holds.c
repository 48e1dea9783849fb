/*-------------------------------------------------------------------------
 * holds.c
 *		The bounds of attempts, held in every budget in scope.
 *
 * A batch that fits whole, which is nearly every one, is held in one go; SQL
 * goes through the others one by one (agentpay._reserve()).
 *
 * Locking: the caller holds the budgets' locks, from an earlier statement; what
 * they guard is read under a snapshot taken here.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/appender.h"
#include "base/compat.h"
#include "base/rows.h"
#include "base/statement.h"
#include "control/reservation.h"
#include "control/totals.h"

#define CALL1(function, a) DirectFunctionCall1(function, a)
#define CALL2(function, a, b) DirectFunctionCall2(function, a, b)

typedef struct Wanted
{
	Datum values[WANTED_COLUMNS];
	bool nulls[WANTED_COLUMNS];
} Wanted;

/* Columns of what is asked about budgets: arrays, one element each. */
typedef enum BudgetColumn
{
	BUDGET_NAME,
	BUDGET_SCOPE, /* the column of Wanted that is the target; -1: all */
	BUDGET_TARGET,
	BUDGET_LENGTH, /* of its period, µs */
	BUDGET_BY_PAYMENT,
	BUDGET_CAP_COST,
	BUDGET_CAP_CALLS,
	BUDGET_COLUMNS
} BudgetColumn;

typedef struct Budget
{
	Datum name;
	int scope;
	Datum target;
	int64 length;
	bool by_payment;
	bool caps_cost;
	Datum cap_cost;
	bool caps_calls;
	int64 cap_calls;
	AgentpayTotal total;
} Budget;

typedef struct Reserving
{
	Wanted *wanted;
	int n_wanted;
	Budget *budgets;
	int n_budgets;
	AgentpayTotals totals;
} Reserving;

static void read_wanted(Reserving *r, ArrayType *array);
static void read_budgets(Reserving *r, Datum names);
static int
take_array(Datum array, Oid type, int length, Datum **values, bool **nulls);
static bool in_scope(const Budget *b, const Wanted *w);
static bool fits(Reserving *r, const Budget *b);
static bool payments_fit(Reserving *r, const Budget *b);
static void add_earlier(AgentpayStore *holds, const Budget *b, Datum payment,
						Datum *cost, int64 *calls);
static int compare_payments(const void *a, const void *b);
static bool
within(const Budget *b, Datum used, int64 made, Datum cost, int64 calls);
static void hold(Reserving *r);

PG_FUNCTION_INFO_V1(agentpay_sql_reserve_all);
PG_FUNCTION_INFO_V1(agentpay_sql_hold_all);

/* agentpay._reserve_all(wanted agentpay._reservation[], names text[]) */
Datum
agentpay_sql_reserve_all(PG_FUNCTION_ARGS)
{
	Reserving r = {0};
	bool all = true;

	read_wanted(&r, PG_GETARG_ARRAYTYPE_P(0));
	agentpay_totals_open(&r.totals, PG_GETARG_DATUM(1));
	read_budgets(&r, PG_GETARG_DATUM(1));
	for (int i = 0; i < r.n_budgets; i++)
		agentpay_totals_take(&r.totals, r.budgets[i].name, &r.budgets[i].total);
	for (int i = 0; i < r.n_budgets && all; i++)
		all = fits(&r, &r.budgets[i]);
	if (all)
		hold(&r);
	for (int i = 0; i < r.n_budgets; i++)
		agentpay_totals_write(&r.totals, &r.budgets[i].total);
	agentpay_totals_close(&r.totals);
	PG_RETURN_BOOL(all);
}

/* agentpay._hold_all(wanted agentpay._reservation[], names text[]) */
Datum
agentpay_sql_hold_all(PG_FUNCTION_ARGS)
{
	Reserving r = {0};

	read_wanted(&r, PG_GETARG_ARRAYTYPE_P(0));
	if (r.n_wanted == 0)
		PG_RETURN_VOID();
	agentpay_totals_open(&r.totals, PG_GETARG_DATUM(1));
	read_budgets(&r, PG_GETARG_DATUM(1));
	for (int i = 0; i < r.n_budgets; i++)
		agentpay_totals_find(&r.totals, r.budgets[i].name, &r.budgets[i].total);
	hold(&r);
	for (int i = 0; i < r.n_budgets; i++)
		agentpay_totals_write(&r.totals, &r.budgets[i].total);
	agentpay_totals_close(&r.totals);
	PG_RETURN_VOID();
}

static void
read_wanted(Reserving *r, ArrayType *array)
{
	AgentpayRowsReader rows;

	agentpay_rows_open(&rows, array, WANTED_COLUMNS);
	r->wanted = palloc(sizeof(Wanted) * Max(rows.n, 1));
	for (int i = 0; i < rows.n; i++)
	{
		Wanted *w = &r->wanted[r->n_wanted];

		if (!agentpay_rows_read(&rows, i))
			continue;
		memcpy(w->values, rows.values, sizeof(w->values));
		memcpy(w->nulls, rows.nulls, sizeof(w->nulls));
		if (w->nulls[WANTED_TASK_ID] || w->nulls[WANTED_ATTEMPT] ||
			w->nulls[WANTED_BOUND])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a reservation has its task, attempt and bound"),
					 errhint("SELECT * FROM agentpay.tasks; lists those that "
							 "wait.")));
		r->n_wanted++;
	}
	agentpay_rows_close(&rows);
}

/* Those that are enabled by now. */
static void
read_budgets(Reserving *r, Datum names)
{
	static AgentpayStatement statement = {
		.sql =
			"SELECT array_agg(b.name),"
			" array_agg(array_position('{role,point,agent,cost_center}',"
			"  b.scope)),"
			" array_agg(b.target),"
			" array_agg((extract(epoch FROM agentpay._period_length(b.period))"
			"  * 1000000)::bigint),"
			" array_agg(b.period = 'transaction'), array_agg(b.cap_cost),"
			" array_agg(b.cap_calls::bigint)"
			" FROM agentpay.budgets b WHERE b.name = ANY ($1) AND b.enabled"};
	static const struct
	{
		Oid type;
		int length;
	} of[BUDGET_COLUMNS] = {{TEXTOID, -1}, {INT4OID, 4}, {TEXTOID, -1},
							{INT8OID, 8},  {BOOLOID, 1}, {NUMERICOID, -1},
							{INT8OID, 8}};
	Oid types[1] = {TEXTARRAYOID};
	Datum said[BUDGET_COLUMNS];
	bool missing[BUDGET_COLUMNS];
	Datum *values[BUDGET_COLUMNS];
	bool *nulls[BUDGET_COLUMNS];

	if (!agentpay_statement_row(&statement, 1, types, &names, NULL,
								BUDGET_COLUMNS, said, missing))
		elog(ERROR, "budgets gave no row");
	for (int i = 0; i < BUDGET_COLUMNS; i++)
	{
		if (missing[i])
			return; /* there is none */
		r->n_budgets = take_array(said[i], of[i].type, of[i].length, &values[i],
								  &nulls[i]);
	}
	r->budgets = palloc(sizeof(Budget) * Max(r->n_budgets, 1));
	for (int i = 0; i < r->n_budgets; i++)
		r->budgets[i] = (Budget){
			.name = values[BUDGET_NAME][i],
			.scope = nulls[BUDGET_SCOPE][i]
						 ? -1
						 : WANTED_ROLE - 1 +
							   DatumGetInt32(values[BUDGET_SCOPE][i]),
			.target = values[BUDGET_TARGET][i],
			.length = DatumGetInt64(values[BUDGET_LENGTH][i]),
			.by_payment = DatumGetBool(values[BUDGET_BY_PAYMENT][i]),
			.caps_cost = !nulls[BUDGET_CAP_COST][i],
			.cap_cost = values[BUDGET_CAP_COST][i],
			.caps_calls = !nulls[BUDGET_CAP_CALLS][i],
			.cap_calls = nulls[BUDGET_CAP_CALLS][i]
							 ? 0
							 : DatumGetInt64(values[BUDGET_CAP_CALLS][i]),
		};
}

/* How many elements there are. */
static int
take_array(Datum array, Oid type, int length, Datum **values, bool **nulls)
{
	bool by_value = length > 0 && (length < 8 || FLOAT8PASSBYVAL);
	char align = length == 8   ? TYPALIGN_DOUBLE
				 : length == 1 ? TYPALIGN_CHAR
							   : TYPALIGN_INT;
	int n;

	deconstruct_array(DatumGetArrayTypeP(array), type, length, by_value, align,
					  values, nulls, &n);
	return n;
}

static bool
in_scope(const Budget *b, const Wanted *w)
{
	return b->scope < 0 || (!w->nulls[b->scope] &&
							agentpay_text_same(w->values[b->scope], b->target));
}

/* Whether all that is in its scope fits, in whatever order. */
static bool
fits(Reserving *r, const Budget *b)
{
	const AgentpayTotal *total = &b->total;
	Datum cost = CALL1(int4_numeric, Int32GetDatum(0));
	Datum used;
	int64 calls = 0;

	if (b->by_payment)
		return payments_fit(r, b);
	for (int i = 0; i < r->n_wanted; i++)
	{
		if (!in_scope(b, &r->wanted[i]))
			continue;
		cost = CALL2(numeric_add, cost, r->wanted[i].values[WANTED_BOUND]);
		calls++;
	}
	if (calls == 0)
		return true;
	if (total->exhausted)
		return false;
	used = CALL2(numeric_add, CALL2(numeric_add, total->settled, total->held),
				 total->uncertain);
	return within(b, used, total->calls, cost, calls);
}

static bool
within(const Budget *b, Datum used, int64 made, Datum cost, int64 calls)
{
	if (b->caps_calls && calls > b->cap_calls - made)
		return false;
	return !b->caps_cost ||
		   DatumGetBool(
			   CALL2(numeric_le, CALL2(numeric_add, used, cost), b->cap_cost));
}

/* The same of each payment, with what it has held and spent before. */
static bool
payments_fit(Reserving *r, const Budget *b)
{
	const Wanted **sorted = palloc(sizeof(Wanted *) * Max(r->n_wanted, 1));
	AgentpayStore holds;
	int n = 0;
	bool all = true;

	for (int i = 0; i < r->n_wanted; i++)
		if (in_scope(b, &r->wanted[i]))
			sorted[n++] = &r->wanted[i];
	if (n == 0)
		return true;
	qsort(sorted, n, sizeof(Wanted *), compare_payments);
	agentpay_store_open(&holds, "_holds", "_holds_payment_budget_idx");
	for (int i = 0, next; i < n && all; i = next)
	{
		Datum used = CALL1(int4_numeric, Int32GetDatum(0));
		Datum cost = sorted[i]->values[WANTED_BOUND];
		int64 made = 0;

		if (!sorted[i]->nulls[WANTED_PAYMENT])
			add_earlier(&holds, b, sorted[i]->values[WANTED_PAYMENT], &used,
						&made);
		for (next = i + 1; next < n && !sorted[i]->nulls[WANTED_PAYMENT] &&
						   compare_payments(&sorted[i], &sorted[next]) == 0;
			 next++)
			cost = CALL2(numeric_add, cost, sorted[next]->values[WANTED_BOUND]);
		all = within(b, used, made, cost, next - i);
	}
	agentpay_store_close(&holds);
	return all;
}

static void
add_earlier(AgentpayStore *holds, const Budget *b, Datum payment, Datum *cost,
			int64 *calls)
{
	const Datum *values = holds->row->tts_values;
	ScanKeyData keys[2];

	agentpay_store_key(holds, &keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
					   payment);
	agentpay_store_key(holds, &keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ,
					   b->name);
	agentpay_store_seek(holds, keys, 2);
	while (agentpay_store_next(holds, ForwardScanDirection))
	{
		bool open = holds->row->tts_isnull[HOLD_SETTLED_COST];

		*cost = CALL2(numeric_add, *cost,
					  values[open ? HOLD_BOUND_COST : HOLD_SETTLED_COST]);
		(*calls)++;
	}
}

/* Those without a payment come last, and are not of one. */
static int
compare_payments(const void *a, const void *b)
{
	const Wanted *left = *(const Wanted *const *) a;
	const Wanted *right = *(const Wanted *const *) b;
	text *one;
	text *other;
	int result;

	if (left->nulls[WANTED_PAYMENT] || right->nulls[WANTED_PAYMENT])
		return left->nulls[WANTED_PAYMENT] - right->nulls[WANTED_PAYMENT];
	one = DatumGetTextPP(left->values[WANTED_PAYMENT]);
	other = DatumGetTextPP(right->values[WANTED_PAYMENT]);
	result = memcmp(VARDATA_ANY(one), VARDATA_ANY(other),
					Min(VARSIZE_ANY_EXHDR(one), VARSIZE_ANY_EXHDR(other)));
	if (result != 0)
		return result;
	return (int) VARSIZE_ANY_EXHDR(one) - (int) VARSIZE_ANY_EXHDR(other);
}

/* In each budget, which has room; the totals are the caller's to write. */
static void
hold(Reserving *r)
{
	AgentpayStore *store = &r->totals.holds;
	Oid numbers = agentpay_relation("_holds_hold_id_seq");
	Datum state = CStringGetTextDatum("held");

	for (int i = 0; i < r->n_budgets; i++)
	{
		Budget *b = &r->budgets[i];
		TimestampTz moment = b->total.expired_until;

		for (int k = 0; k < r->n_wanted; k++)
		{
			const Wanted *w = &r->wanted[k];
			Datum values[HOLD_COLUMNS] = {
				[HOLD_BUDGET] = b->name,
				[HOLD_TASK_ID] = w->values[WANTED_TASK_ID],
				[HOLD_ATTEMPT] = w->values[WANTED_ATTEMPT],
				[HOLD_PAYMENT] = w->values[WANTED_PAYMENT],
				[HOLD_STATE] = state,
				[HOLD_BOUND_COST] = w->values[WANTED_BOUND],
				[HOLD_HELD_AT] = TimestampTzGetDatum(moment),
				[HOLD_LEASE_UNTIL] = w->values[WANTED_LEASE_UNTIL],
				[HOLD_COUNTS_UNTIL] = TimestampTzGetDatum(moment + b->length),
			};
			bool nulls[HOLD_COLUMNS] = {
				[HOLD_PAYMENT] = !b->by_payment || w->nulls[WANTED_PAYMENT],
				[HOLD_SETTLED_COST] = true,
				[HOLD_LEASE_UNTIL] = w->nulls[WANTED_LEASE_UNTIL],
			};

			if (!in_scope(b, w))
				continue;
			values[HOLD_ID] = Int64GetDatum(nextval_internal(numbers, false));
			agentpay_store_insert(store, values, nulls);
			b->total.held = CALL2(numeric_add, b->total.held,
								  w->values[WANTED_BOUND]);
			b->total.calls++;
		}
	}
}
