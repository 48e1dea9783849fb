/*-------------------------------------------------------------------------
 * bootstrap.c
 *		How far a ratio of two sums may be off, by resampling, for SQL.
 *
 * Draws come from a hash of (replicate, position): the same numbers give the
 * same interval.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"

#include "base/compat.h"

#define SEED INT64CONST(20070921)
#define REPLICATE_SHIFT 20
#define MOST_NUMBERS (1 << REPLICATE_SHIFT)

PG_FUNCTION_INFO_V1(agentpay_sql_bootstrap_ratio);

static float8 *read_numbers(ArrayType *array, int *n);
static float8 one_ratio(int32 replicate, const float8 *numerators,
						const float8 *denominators, int n);
static int compare_ratios(const void *a, const void *b);

/*
 * agentpay._bootstrap_ratio(numerators float8[], denominators float8[],
 * replicates int4): {low, high}, the percentiles 2.5 and 97.5 of the ratios
 * that are defined; NULL with fewer than two pairs, or without a ratio.
 */
Datum
agentpay_sql_bootstrap_ratio(PG_FUNCTION_ARGS)
{
	int n;
	int n_below;
	float8 *numerators = read_numbers(PG_GETARG_ARRAYTYPE_P(0), &n);
	float8 *denominators = read_numbers(PG_GETARG_ARRAYTYPE_P(1), &n_below);
	int32 replicates = PG_GETARG_INT32(2);
	float8 *ratios;
	int found = 0;
	Datum bounds[2];

	if (n != n_below || n > MOST_NUMBERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("numerators and denominators are pairs, no more than "
						"%d of them",
						MOST_NUMBERS)));
	if (n < 2 || replicates < 1)
		PG_RETURN_NULL();
	ratios = palloc_extended(replicates * sizeof(float8), MCXT_ALLOC_HUGE);
	for (int32 b = 1; b <= replicates; b++)
	{
		float8 ratio = one_ratio(b, numerators, denominators, n);

		if (!isnan(ratio))
			ratios[found++] = ratio;
		CHECK_FOR_INTERRUPTS();
	}
	if (found == 0)
		PG_RETURN_NULL();
	qsort(ratios, found, sizeof(float8), compare_ratios);
	bounds[0] = Float8GetDatum(ratios[(int) ceil(0.025 * found) - 1]);
	bounds[1] = Float8GetDatum(ratios[(int) ceil(0.975 * found) - 1]);
	PG_RETURN_ARRAYTYPE_P(construct_array(bounds, 2, FLOAT8OID, sizeof(float8),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The numbers where they lie in the array. */
static float8 *
read_numbers(ArrayType *array, int *n)
{
	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != FLOAT8OID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("numbers are a double precision[] of one "
							   "dimension without nulls")));
	*n = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	return (float8 *) ARR_DATA_PTR(array);
}

/* Of n pairs drawn with replacement; NaN where the denominators come to 0. */
static float8
one_ratio(int32 replicate, const float8 *numerators, const float8 *denominators,
		  int n)
{
	float8 above = 0;
	float8 below = 0;

	for (int j = 1; j <= n; j++)
	{
		int64 position = ((int64) replicate << REPLICATE_SHIFT) | j;
		uint64 hash = DatumGetUInt64(
			DirectFunctionCall2(hashint8extended, Int64GetDatum(position),
								Int64GetDatum(SEED)));
		int drawn = (int) ((hash & PG_INT64_MAX) % (uint64) n);

		above += numerators[drawn];
		below += denominators[drawn];
	}
	return below == 0 ? NAN : above / below;
}

static int
compare_ratios(const void *a, const void *b)
{
	float8 x = *(const float8 *) a;
	float8 y = *(const float8 *) b;

	return float8_gt(x, y) - float8_lt(x, y);
}
