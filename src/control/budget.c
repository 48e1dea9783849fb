/*-------------------------------------------------------------------------
 * budget.c
 *		The locks under which budgets are reserved and settled.
 *
 * One heavyweight lock per budget, exclusive to the end of the transaction,
 * always taken in ascending order of the keys, so that two transactions with
 * several budgets never wait for each other in a circle.  The kill lock, when
 * both are needed, comes first.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/locks.h"

static int compare_keys(const void *a, const void *b);

PG_FUNCTION_INFO_V1(agentpay_sql_lock_budgets);

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
