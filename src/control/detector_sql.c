/*-------------------------------------------------------------------------
 * detector_sql.c
 *		The detector of detector.c for SQL: a batch of observations at a time.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "access/htup_details.h"
#include "utils/array.h"
#include "utils/float.h"

#include "control/detector.h"

static float8 *read_array(ArrayType *array, int *n);

PG_FUNCTION_INFO_V1(agentpay_sql_detect);

/*
 * agentpay._detect(state float8[], a float8[], b float8[],
 *					OUT next float8[], OUT peak float8)
 */
Datum
agentpay_sql_detect(PG_FUNCTION_ARGS)
{
	AgentpayDetector detector = {{0}};
	Datum bets[AGENTPAY_DETECTOR_BETS];
	Datum values[2];
	bool nulls[2] = {false, false};
	float8 *a;
	float8 *b;
	float8 peak;
	int n_a;
	int n_b;
	TupleDesc desc;

	if (!PG_ARGISNULL(0))
	{
		int n;
		float8 *state = read_array(PG_GETARG_ARRAYTYPE_P(0), &n);

		for (int i = 0; i < Min(n, AGENTPAY_DETECTOR_BETS); i++)
			detector.m[i] = state[i];
	}
	peak = agentpay_detector_value(&detector);
	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2))
	{
		a = read_array(PG_GETARG_ARRAYTYPE_P(1), &n_a);
		b = read_array(PG_GETARG_ARRAYTYPE_P(2), &n_b);
		for (int i = 0; i < Min(n_a, n_b); i++)
			peak = Max(peak, agentpay_detector_observe(&detector, a[i], b[i]));
	}
	for (int i = 0; i < AGENTPAY_DETECTOR_BETS; i++)
		bets[i] = Float8GetDatum(detector.m[i]);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = PointerGetDatum(
		construct_array(bets, AGENTPAY_DETECTOR_BETS, FLOAT8OID, sizeof(float8),
						FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = Float8GetDatum(peak);
	return HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Nulls are no numbers. */
static float8 *
read_array(ArrayType *array, int *n)
{
	Datum *values;
	bool *nulls;
	float8 *numbers;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &values, &nulls, n);
	numbers = palloc(sizeof(float8) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		numbers[i] = nulls[i] ? get_float8_nan() : DatumGetFloat8(values[i]);
	return numbers;
}
