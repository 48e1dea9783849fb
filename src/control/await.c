/*-------------------------------------------------------------------------
 * await.c
 *		await_decision(): waits until no agent can change the verdict any more.
 *
 * A question is open while its task has no decision and its agent may decide.
 * A kill switch alone closes none: flipped back, it would let an answer in
 * after all; the dispatcher ends what it kills.  The waiter sleeps on its
 * latch; whoever ends a task wakes it at commit (base/waiters.c).  At decide_by it goes by the clock, so
 * that it needs no worker: then it takes the task's lock for a moment, since
 * who applies an answer holds that from {it is not too late} to its commit.
 *
 * It writes nothing, in a read-only transaction as elsewhere.  On a standby
 * nobody wakes it, so it looks again and again; and there are no locks of the
 * primary: what it says at decide_by is what had arrived by then.
 *
 * Locking: tasks' locks, shared, given back at once.  No snapshot of its own
 * while it waits, but the caller's statement has one: its xmin is held back.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/arguments.h"
#include "base/clock.h"
#include "base/locks.h"
#include "base/owner.h"
#include "base/waiters.h"

/* Beyond this a timeout is not distinguished. */
#define LONGEST_MS (24.0 * 60 * 60 * 1000 * 20)

/* On a standby: until it looks again. */
#define STANDBY_MS 50

/* What is known of a row. */
typedef struct State
{
	char *verdict;
	TimestampTz next_by; /* the earliest deadline to come; 0: none */
	int n_passed;		 /* open tasks whose deadline has passed */
	int64 *passed;
	char *awaited; /* whose row it is about */
} State;

static text *wait_known(const char *point, const char *row_id, double limit_ms);
static text *wait_for(const char *point, const char *row_id, double limit_ms);
static void look(Datum point, Datum row_id, State *state);
static void pass(const State *state);
static double milliseconds(FunctionCallInfo fcinfo, int arg);
static void refuse_null(FunctionCallInfo fcinfo, int arg, const char *name);

PG_FUNCTION_INFO_V1(agentpay_sql_await_decision);
PG_FUNCTION_INFO_V1(agentpay_sql_wake_waiters);

/* agentpay.await_decision(point text, row_id "any", timeout interval) */
Datum
agentpay_sql_await_decision(PG_FUNCTION_ARGS)
{
	double limit_ms;
	Datum row_id;
	bool isnull;

	refuse_null(fcinfo, 0, "point");
	refuse_null(fcinfo, 1, "row_id");
	refuse_null(fcinfo, 2, "timeout");
	limit_ms = milliseconds(fcinfo, 2);
	row_id = agentpay_arguments_text(fcinfo, 1, &isnull);
	PG_RETURN_TEXT_P(wait_known(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								TextDatumGetCString(row_id), limit_ms));
}

/* Known to those who wake, for as long as it waits. */
static text *
wait_known(const char *point, const char *row_id, double limit_ms)
{
	text *volatile verdict = NULL;

	agentpay_waiters_begin(agentpay_waiters_key(point, row_id));
	PG_TRY();
	{
		verdict = wait_for(point, row_id, limit_ms);
	}
	PG_FINALLY();
	{
		agentpay_waiters_end();
	}
	PG_END_TRY();
	return verdict;
}

/* The verdict, when nothing is open or limit_ms are over. */
static text *
wait_for(const char *point, const char *row_id, double limit_ms)
{
	Datum point_text = CStringGetTextDatum(point);
	Datum row_text = CStringGetTextDatum(row_id);
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													(int64) limit_ms);

	for (;;)
	{
		State state = {0};
		uint32 wakes = agentpay_waiters_wakes();
		TimestampTz now;
		long wait_ms;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		look(point_text, row_text, &state);
		if (strcmp(state.awaited, row_id) != 0)
		{
			/* a repetition: from here on as if that row had been asked for */
			row_id = state.awaited;
			row_text = CStringGetTextDatum(row_id);
			agentpay_waiters_begin(agentpay_waiters_key(point, row_id));
			continue;
		}
		if (state.next_by == 0 && state.n_passed > 0)
		{
			pass(&state);
			look(point_text, row_text, &state);
		}
		now = GetCurrentTimestamp();
		if (state.next_by == 0 || now >= until)
			return cstring_to_text(state.verdict);
		wait_ms = TimestampDifferenceMilliseconds(now, until);
		wait_ms = Min(wait_ms,
					  TimestampDifferenceMilliseconds(agentpay_clock_now(),
													  state.next_by));
		if (RecoveryInProgress())
			wait_ms = Min(wait_ms, STANDBY_MS);
		/* a wait for a lock may have eaten the latch */
		if (wakes != agentpay_waiters_wakes())
			continue;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait_ms, PG_WAIT_EXTENSION);
	}
}

/*
 * Reads what is committed now, whatever the transaction's snapshot, as the
 * extension's owner.  Fails for a row without a decision, and for the
 * transaction's own.
 */
static void
look(Datum point, Datum row_id, State *state)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid types[2] = {TEXTOID, TEXTOID};
	Datum values[2] = {point, row_id};
	AgentpayOwnerReading reading;
	HeapTuple row;
	TupleDesc description;
	bool isnull;
	Datum passed;

	memset(state, 0, sizeof(*state));
	agentpay_owner_read_begin(&reading);
	if (plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare("SELECT verdict, next_by, passed, awaited"
									  "  FROM agentpay._await_state($1, $2)",
									  2, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare a query");
		plan = made;
	}
	if (SPI_execute_snapshot(plan, values, NULL, reading.snapshot,
							 InvalidSnapshot, true, false,
							 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read the state of a row");
	row = SPI_tuptable->vals[0];
	description = SPI_tuptable->tupdesc;
	state->verdict = MemoryContextStrdup(context,
										 SPI_getvalue(row, description, 1));
	state->next_by = DatumGetTimestampTz(
		SPI_getbinval(row, description, 2, &isnull));
	if (isnull)
		state->next_by = 0;
	passed = SPI_getbinval(row, description, 3, &isnull);
	if (!isnull)
	{
		ArrayType *array = DatumGetArrayTypeP(passed);

		state->n_passed = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
		state->passed = MemoryContextAlloc(context,
										   sizeof(int64) * state->n_passed);
		memcpy(state->passed, ARR_DATA_PTR(array),
			   sizeof(int64) * state->n_passed);
	}
	state->awaited = MemoryContextStrdup(context,
										 SPI_getvalue(row, description, 4));
	agentpay_owner_read_end(&reading);
}

/*
 * Until nobody applies an answer to these tasks.  Who begins now finds that it
 * is too late.
 */
static void
pass(const State *state)
{
	if (RecoveryInProgress())
		return;
	for (int i = 0; i < state->n_passed; i++)
	{
		LOCKTAG tag;

		SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_TASK,
							 (uint64) state->passed[i]);
		(void) LockAcquire(&tag, ShareLock, false, false);
		(void) LockRelease(&tag, ShareLock, false);
	}
}

/* Of an interval; a month is thirty days. */
static double
milliseconds(FunctionCallInfo fcinfo, int arg)
{
	Interval *interval = PG_GETARG_INTERVAL_P(arg);
	double ms = interval->time / 1000.0 +
				((double) interval->month * DAYS_PER_MONTH + interval->day) *
					(double) SECS_PER_DAY * 1000.0;

	if (ms < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("timeout cannot be negative"),
						errdetail("It is how long to wait at most; the row's "
								  "decide_by ends the wait anyway."),
						errhint("Leave it out: it is 10 seconds then.")));
	return Min(ms, LONGEST_MS);
}

static void
refuse_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of await_decision() cannot be NULL", name),
				 errhint("SELECT agentpay.await_decision('fraud', 42);")));
}

/* agentpay._wake_waiters(point text, row_id text) */
Datum
agentpay_sql_wake_waiters(PG_FUNCTION_ARGS)
{
	agentpay_waiters_wake_at_commit(
		agentpay_waiters_key(text_to_cstring(PG_GETARG_TEXT_PP(0)),
							 text_to_cstring(PG_GETARG_TEXT_PP(1))));
	PG_RETURN_VOID();
}
