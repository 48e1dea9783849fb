/*-------------------------------------------------------------------------
 * drift_sql.c
 *		Counts in bins, and how far they are apart, for SQL.
 *
 * Counts are a bigint[] of one dimension without nulls.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

#include "base/compat.h"
#include "control/drift.h"

/* Percentiles and categories are far fewer. */
#define MOST_BINS 1000

PG_FUNCTION_INFO_V1(agentpay_sql_count_bin);
PG_FUNCTION_INFO_V1(agentpay_sql_add_counts);
PG_FUNCTION_INFO_V1(agentpay_sql_psi);
PG_FUNCTION_INFO_V1(agentpay_sql_ks);
PG_FUNCTION_INFO_V1(agentpay_sql_chi_square_above);
PG_FUNCTION_INFO_V1(agentpay_sql_ks_above);

static ArrayType *zero_counts(int bins);
static int64 *read_counts(ArrayType *array, int *bins);
static void refuse(const char *message);
static Datum number_or_null(FunctionCallInfo fcinfo, double number);

/* agentpay._count_bin(counts int8[], bin int4, bins int4): an aggregate's. */
Datum
agentpay_sql_count_bin(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old;
	ArrayType *counts;
	int64 *n;
	int bins;
	int bin;

	if (!AggCheckCallContext(fcinfo, &context))
		refuse("_count_bin() is called outside an aggregate");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		refuse("a bin is NULL");
	bin = PG_GETARG_INT32(1);
	if (PG_ARGISNULL(0))
	{
		old = MemoryContextSwitchTo(context);
		counts = zero_counts(PG_GETARG_INT32(2));
		MemoryContextSwitchTo(old);
	}
	else
		counts = PG_GETARG_ARRAYTYPE_P(0);
	n = read_counts(counts, &bins);
	if (bin < 1 || bin > bins)
		refuse("there is no such bin");
	n[bin - 1]++;
	PG_RETURN_ARRAYTYPE_P(counts);
}

/* agentpay._add_counts(int8[], int8[]): the sum, bin by bin. */
Datum
agentpay_sql_add_counts(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	ArrayType *sum = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType *more = PG_GETARG_ARRAYTYPE_P(1);
	int64 *s;
	int64 *m;
	int bins;
	int bins_more;

	m = read_counts(more, &bins_more);
	(void) read_counts(sum, &bins);
	if (bins != bins_more)
		refuse("bins of different numbers cannot be added");
	/* an aggregate's own state may change in place, nothing else may */
	if (!AggCheckCallContext(fcinfo, &context))
		sum = PG_GETARG_ARRAYTYPE_P_COPY(0);
	s = read_counts(sum, &bins);
	for (int i = 0; i < bins; i++)
		s[i] += m[i];
	PG_RETURN_ARRAYTYPE_P(sum);
}

/* agentpay._psi(reference int8[], current int8[]) */
Datum
agentpay_sql_psi(PG_FUNCTION_ARGS)
{
	int bins;
	int bins_now;
	int64 *reference = read_counts(PG_GETARG_ARRAYTYPE_P(0), &bins);
	int64 *current = read_counts(PG_GETARG_ARRAYTYPE_P(1), &bins_now);

	return number_or_null(fcinfo, agentpay_drift_psi(reference, current,
													 Min(bins, bins_now)));
}

/* agentpay._ks(reference int8[], current int8[], bins int4): the first bins */
Datum
agentpay_sql_ks(PG_FUNCTION_ARGS)
{
	int bins;
	int bins_now;
	int64 *reference = read_counts(PG_GETARG_ARRAYTYPE_P(0), &bins);
	int64 *current = read_counts(PG_GETARG_ARRAYTYPE_P(1), &bins_now);

	bins = Min(Min(bins, bins_now), PG_GETARG_INT32(2));
	return number_or_null(fcinfo, agentpay_drift_ks(reference, current, bins));
}

/* agentpay._chi_square_above(probability float8, df float8) */
Datum
agentpay_sql_chi_square_above(PG_FUNCTION_ARGS)
{
	return number_or_null(fcinfo,
						  agentpay_drift_chi_square_above(PG_GETARG_FLOAT8(0),
														  PG_GETARG_FLOAT8(1)));
}

/* agentpay._ks_above(probability float8) */
Datum
agentpay_sql_ks_above(PG_FUNCTION_ARGS)
{
	return number_or_null(fcinfo, agentpay_drift_ks_above(PG_GETARG_FLOAT8(0)));
}

static ArrayType *
zero_counts(int bins)
{
	Datum zeros[MOST_BINS];

	if (bins < 1 || bins > MOST_BINS)
		refuse("there are too many bins, or none");
	for (int i = 0; i < bins; i++)
		zeros[i] = Int64GetDatum(0);
	return construct_array(zeros, bins, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
						   TYPALIGN_DOUBLE);
}

/* The counts where they lie in the array. */
static int64 *
read_counts(ArrayType *array, int *bins)
{
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != INT8OID)
		refuse("counts are a bigint[] of one dimension without nulls");
	*bins = ARR_DIMS(array)[0];
	return (int64 *) ARR_DATA_PTR(array);
}

static void
refuse(const char *message)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg_internal("%s", message),
					errhint("SELECT * FROM agentpay.drift;")));
}

static Datum
number_or_null(FunctionCallInfo fcinfo, double number)
{
	if (isnan(number))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(number);
}
