/*-------------------------------------------------------------------------
 * apply.c
 *		How an agent's verdict gets into the ledger's own table.
 *
 * The table is the user's: its triggers and constraints may refuse, wait or
 * never end.  So its UPDATE runs in a subtransaction, as the table's owner in a
 * security-restricted operation, for a limited time; what goes wrong is told
 * and hurts nothing else.
 *
 * Locking: the row, never waited for.  Tables and whatever triggers want are
 * waited for LOCK_TIMEOUT_MS at most.  Who applies holds the kill lock shared
 * and the task's lock, both to its commit: the task's decides between an
 * answer and the fallback at its deadline.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

#include "base/locks.h"
#include "base/owner.h"
#include "control/apply.h"

#define LOCK_TIMEOUT_MS "50"

/* One verdict on its way; what came of it. */
typedef struct Application
{
	Oid relation;
	const char *look;
	const char *change;
	int limit_ms;
	bool timed; /* the time limit is ours */
} Application;

static bool busy = false;

static ErrorData *attempt(Application *application);
static void apply(Application *application);
static bool run(const char *command, int expected, bool *isnull, bool *value);
static void stop_timer(Application *application);
static bool must_be_known(int sqlerrcode);
static bool is_passing(int sqlerrcode);
static int64 *sorted_ids(ArrayType *array, int *count);
static int compare_ids(const void *a, const void *b);

PG_FUNCTION_INFO_V1(agentpay_sql_apply);
PG_FUNCTION_INFO_V1(agentpay_sql_read_time);
PG_FUNCTION_INFO_V1(agentpay_sql_lock_tasks);
PG_FUNCTION_INFO_V1(agentpay_sql_try_lock_tasks);

bool
agentpay_apply_take_busy(void)
{
	bool was = busy;

	busy = false;
	return was;
}

/*
 * agentpay._apply(relation, look, change, limit_ms, OUT busy, OUT sqlstate,
 * OUT message).  look locks the row and says whether it is as it was; change
 * says whether it is as it should be.
 */
Datum
agentpay_sql_apply(PG_FUNCTION_ARGS)
{
	Application application = {
		.relation = PG_GETARG_OID(0),
		.look = text_to_cstring(PG_GETARG_TEXT_PP(1)),
		.change = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.limit_ms = PG_GETARG_INT32(3),
	};
	TupleDesc description;
	Datum values[3] = {BoolGetDatum(false)};
	bool nulls[3] = {false, true, true};
	ErrorData *error;

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	error = attempt(&application);
	if (error != NULL)
	{
		bool passing = is_passing(error->sqlerrcode);

		busy |= passing;
		values[0] = BoolGetDatum(passing);
		values[1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
		values[2] = CStringGetTextDatum(error->message);
		nulls[1] = nulls[2] = false;
	}
	return HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(description), values, nulls));
}

/* In a subtransaction that is gone when this returns an error. */
static ErrorData *
attempt(Application *application)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		apply(application);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		stop_timer(application);
		/* it may have fired after another error */
		if (application->timed)
			QueryCancelPending = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (must_be_known(error->sqlerrcode) ||
			(error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
			 !application->timed))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

static void
apply(Application *application)
{
	AgentpayOwnerState saved;
	bool isnull;
	bool as_wanted;

	/* a session with a limit of its own keeps it */
	application->timed = !get_timeout_active(STATEMENT_TIMEOUT);
	if (application->timed)
		enable_timeout_after(STATEMENT_TIMEOUT, application->limit_ms);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* a restricted operation can defer none, and none may run at our commit */
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) !=
		SPI_OK_UTILITY)
		elog(ERROR, "could not set constraints");
	agentpay_owner_enter_table(application->relation, &saved);
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT_MS, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (!run(application->look, SPI_OK_SELECT, &isnull, &as_wanted))
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
						errmsg("the row is not there any more")));
	if (isnull || !as_wanted)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the outcome was changed meanwhile")));
	if (!run(application->change, SPI_OK_UPDATE_RETURNING, &isnull,
			 &as_wanted) ||
		isnull || !as_wanted)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
						errmsg("a trigger of the table kept the outcome as it "
							   "was")));
	agentpay_owner_leave(&saved);
	SPI_finish();
	stop_timer(application);
	/* one that fired in the last moment counts */
	CHECK_FOR_INTERRUPTS();
}

/* One row with one boolean; false: no row. */
static bool
run(const char *command, int expected, bool *isnull, bool *value)
{
	if (SPI_execute(command, false, 0) != expected)
		elog(ERROR, "could not run \"%s\"", command);
	if (SPI_processed == 0)
		return false;
	if (SPI_processed > 1)
		ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
						errmsg("more than one row has this key")));
	*value = DatumGetBool(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull));
	return true;
}

static void
stop_timer(Application *application)
{
	if (application->timed)
		disable_timeout(STATEMENT_TIMEOUT, true);
}

/* Errors that end the transaction, whoever met them. */
static bool
must_be_known(int sqlerrcode)
{
	switch (sqlerrcode)
	{
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_DATABASE_DROPPED:
		case ERRCODE_OUT_OF_MEMORY:
			return true;
		default:
			return false;
	}
}

/* Somebody else is at the row, and will have done in a moment. */
static bool
is_passing(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		   ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK;
}

/*
 * agentpay._read_time(relation regclass, query text): the time that the query
 * says, asked as the table's owner; NULL: no row.
 */
Datum
agentpay_sql_read_time(PG_FUNCTION_ARGS)
{
	char *query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	AgentpayOwnerState saved;
	bool isnull = true;
	Datum time = (Datum) 0;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	agentpay_owner_enter_table(PG_GETARG_OID(0), &saved);
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT ||
		SPI_gettypeid(SPI_tuptable->tupdesc, 1) != TIMESTAMPTZOID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("not a query for a time"),
						errhint("Its first column is a timestamptz.")));
	if (SPI_processed > 0)
		time = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
							 &isnull);
	agentpay_owner_leave(&saved);
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(time);
}

/* agentpay._lock_tasks(ids bigint[]): to the end of the transaction. */
Datum
agentpay_sql_lock_tasks(PG_FUNCTION_ARGS)
{
	int count;
	int64 *ids = sorted_ids(PG_GETARG_ARRAYTYPE_P(0), &count);

	for (int i = 0; i < count; i++)
	{
		LOCKTAG tag;

		SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_TASK, (uint64) ids[i]);
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
	}
	PG_RETURN_VOID();
}

/* agentpay._try_lock_tasks(ids bigint[]): those that were free. */
Datum
agentpay_sql_try_lock_tasks(PG_FUNCTION_ARGS)
{
	int count;
	int64 *ids = sorted_ids(PG_GETARG_ARRAYTYPE_P(0), &count);
	Datum *locked = palloc(sizeof(Datum) * Max(count, 1));
	int n = 0;

	for (int i = 0; i < count; i++)
	{
		LOCKTAG tag;

		SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_TASK, (uint64) ids[i]);
		if (LockAcquire(&tag, ExclusiveLock, false, true) !=
			LOCKACQUIRE_NOT_AVAIL)
			locked[n++] = Int64GetDatum(ids[i]);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(locked, n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Ascending; NULLs are left out. */
static int64 *
sorted_ids(ArrayType *array, int *count)
{
	Datum *values;
	bool *nulls;
	int n;
	int64 *ids;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &values, &nulls, &n);
	ids = palloc(sizeof(int64) * Max(n, 1));
	*count = 0;
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			ids[(*count)++] = DatumGetInt64(values[i]);
	qsort(ids, *count, sizeof(int64), compare_ids);
	return ids;
}

static int
compare_ids(const void *a, const void *b)
{
	int64 left = *(const int64 *) a;
	int64 right = *(const int64 *) b;

	return (left > right) - (left < right);
}
