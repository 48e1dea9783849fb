/*-------------------------------------------------------------------------
 * budget.c
 *		The locks under which budgets are reserved and settled, and the check
 *		that no cap goes that an agent needs.
 *
 * One heavyweight lock per budget, exclusive to the end of the transaction,
 * always taken in ascending order of the keys, so that two transactions with
 * several budgets never wait for each other in a circle.  The kill lock, when
 * both are needed, comes first.  A transaction that holds one and that nobody
 * can have acted on does not wait for the disk: its process does, afterwards.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/locks.h"
#include "control/budget.h"

static bool flush_due = false;
static bool applies_due = false;

static int compare_keys(const void *a, const void *b);

PG_FUNCTION_INFO_V1(agentpay_sql_lock_budgets);
PG_FUNCTION_INFO_V1(agentpay_sql_flush_later);
PG_FUNCTION_INFO_V1(agentpay_sql_check_all_caps);

/* agentpay._lock_budgets(names text[]) */
Datum
agentpay_sql_lock_budgets(PG_FUNCTION_ARGS)
{
	Datum *names;
	bool *nulls;
	int n;
	uint64 *keys;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &names, &nulls, &n);
	keys = palloc(sizeof(uint64) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		text *name = nulls[i] ? cstring_to_text("") : DatumGetTextPP(names[i]);

		keys[i] = hash_bytes_extended((unsigned char *) VARDATA_ANY(name),
									  VARSIZE_ANY_EXHDR(name), 0);
	}
	qsort(keys, n, sizeof(uint64), compare_keys);
	for (int i = 0; i < n; i++)
	{
		LOCKTAG tag;

		SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_BUDGET, keys[i]);
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
	}
	PG_RETURN_VOID();
}

static int
compare_keys(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return (left > right) - (left < right);
}

/* agentpay._flush_later(applies boolean) */
Datum
agentpay_sql_flush_later(PG_FUNCTION_ARGS)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	flush_due = true;
	applies_due |= PG_GETARG_BOOL(0);
	PG_RETURN_VOID();
}

bool
agentpay_budget_take_flush(bool *applies)
{
	bool due = flush_due;

	*applies = applies_due;
	flush_due = applies_due = false;
	return due;
}

/*
 * agentpay._check_all_caps(): with a snapshot of now, since a transaction with
 * an older one would find agents off that have left it.
 */
Datum
agentpay_sql_check_all_caps(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	SPIPlanPtr plan;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare("SELECT agentpay._check_caps(a) FROM agentpay.agents a",
					   0, NULL);
	if (plan == NULL ||
		SPI_execute_snapshot(plan, NULL, NULL, snapshot, InvalidSnapshot, false,
							 false, 0) != SPI_OK_SELECT)
		elog(ERROR, "agents could not be checked");
	SPI_finish();
	UnregisterSnapshot(snapshot);
	PG_RETURN_VOID();
}
