/*-------------------------------------------------------------------------
 * statistics_sql.c
 *		What gates and reports ask of statistics, for SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/float.h"

#include "control/statistics.h"

static double *sorted_values(ArrayType *array, int *n);
static double *elements(ArrayType *array, int *n);
static int compare_values(const void *a, const void *b);
static double between(const double *values, int n, double fraction);

PG_FUNCTION_INFO_V1(agentpay_sql_normal_quantile);
PG_FUNCTION_INFO_V1(agentpay_sql_percentiles);

/* agentpay._normal_quantile(p float8) */
Datum
agentpay_sql_normal_quantile(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(agentpay_statistics_normal_quantile(PG_GETARG_FLOAT8(0)));
}

/*
 * agentpay._percentiles(numbers float8[], fractions float8[]): one for each
 * fraction, as percentile_cont() has them; NULL without a value.
 */
Datum
agentpay_sql_percentiles(PG_FUNCTION_ARGS)
{
	int n;
	int m;
	double *values = sorted_values(PG_GETARG_ARRAYTYPE_P(0), &n);
	double *fractions = elements(PG_GETARG_ARRAYTYPE_P(1), &m);
	Datum *results = palloc(sizeof(Datum) * Max(m, 1));

	if (n == 0)
		PG_RETURN_NULL();
	for (int i = 0; i < m; i++)
	{
		if (!(fractions[i] >= 0 && fractions[i] <= 1))
			ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							errmsg("fraction %g is not between 0 and 1",
								   fractions[i])));
		results[i] = Float8GetDatum(between(values, n, fractions[i]));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(results, m, FLOAT8OID, sizeof(float8),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The elements of an array that are not NULL, in the caller's context. */
static double *
elements(ArrayType *array, int *n)
{
	Datum *datums;
	bool *nulls;
	int all;
	double *values;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &datums, &nulls, &all);
	values = palloc(sizeof(double) * Max(all, 1));
	*n = 0;
	for (int i = 0; i < all; i++)
		if (!nulls[i])
			values[(*n)++] = DatumGetFloat8(datums[i]);
	return values;
}

/* As elements(), in PostgreSQL's order: NaN is the last. */
static double *
sorted_values(ArrayType *array, int *n)
{
	double *values = elements(array, n);

	qsort(values, *n, sizeof(double), compare_values);
	return values;
}

static int
compare_values(const void *a, const void *b)
{
	return float8_cmp_internal(*(const double *) a, *(const double *) b);
}

/* Between the two values next to it, by their distance. */
static double
between(const double *values, int n, double fraction)
{
	double place = fraction * (n - 1);
	int low = (int) floor(place);
	int high = (int) ceil(place);

	if (low == high)
		return values[low];
	return values[low] + (place - low) * (values[high] - values[low]);
}
