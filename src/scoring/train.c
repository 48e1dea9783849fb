/*-------------------------------------------------------------------------
 * train.c
 *		Fits a logistic regression to arrays, for train_logistic() in SQL.
 *
 * SQL gathers rows and labels (sql/parts/35_models.sql); this does the
 * arithmetic: fit on the first rows, measure on the rest.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "scoring/logistic.h"

#define INPUTS_MAX 1000

PG_FUNCTION_INFO_V1(agentpay_fit_logistic);

/* Columns of _fit_logistic()'s result. */
enum
{
	COL_CONVERGED,
	COL_ITERATIONS,
	COL_OBJECTIVE,
	COL_INTERCEPT,
	COL_COEFFICIENTS,
	COL_MEAN,
	COL_SCALE,
	COL_AUC,
	COL_AVERAGE_PRECISION,
	COL_PRECISION_AT_100,
	COL_SCORES,
	N_COLS
};

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

/* The elements of a float8 array, NULL as NaN, palloc'd. */
static double *
matrix_from(ArrayType *array, size_t n)
{
	const double *values = (const double *) ARR_DATA_PTR(array);
	const bits8 *present = ARR_NULLBITMAP(array);
	double *out = palloc_extended(Max(n, 1) * sizeof(double), MCXT_ALLOC_HUGE);

	for (size_t i = 0; i < n; i++)
	{
		if (present != NULL && !(present[i / 8] & (1 << (i % 8))))
			out[i] = NAN;
		else
			out[i] = *values++;
	}
	return out;
}

static Datum
array_from(const double *values, int n)
{
	Datum *elements = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = Float8GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, FLOAT8OID,
										   sizeof(float8), FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

/* Stores a measure, NULL where it is not a number. */
static void
store_measure(double measure, Datum *value, bool *null)
{
	*null = isnan(measure);
	*value = Float8GetDatum(measure);
}

/*
 * Measures a model on rows; NaN for what cannot be told.  Returns the rows'
 * scores, in their order, palloc'd.
 */
static double *
measure(const AgentpayLogistic *model, const double *x, const unsigned char *y,
		size_t n, AgentpayLogisticMetrics *metrics)
{
	AgentpayScored *rows = palloc_extended(Max(n, 1) * sizeof(AgentpayScored),
										   MCXT_ALLOC_HUGE);
	double *scores = palloc_extended(Max(n, 1) * sizeof(double),
									 MCXT_ALLOC_HUGE);

	for (size_t i = 0; i < n; i++)
	{
		scores[i] = rows[i].score =
			agentpay_logistic_predict(model, x + i * model->n_inputs);
		rows[i].label = y[i];
	}
	agentpay_logistic_metrics(rows, n, metrics);
	pfree(rows);
	return scores;
}

/*
 * _fit_logistic(x float8[][], y boolean[], train_rows int, l2 float8,
 * weight_legit float8, weight_fraud float8): fits to the first train_rows rows
 * of x, a row counting as its class weighs, measures on the others, whose scores it
 * returns, too.
 */
Datum
agentpay_fit_logistic(PG_FUNCTION_ARGS)
{
	ArrayType *x_array = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType *y_array = PG_GETARG_ARRAYTYPE_P(1);
	int train_rows = PG_GETARG_INT32(2);
	double l2 = PG_GETARG_FLOAT8(3);
	const double weights[2] = {PG_GETARG_FLOAT8(4), PG_GETARG_FLOAT8(5)};
	TupleDesc desc;
	Datum values[N_COLS];
	bool nulls[N_COLS] = {false};
	AgentpayLogistic model;
	AgentpayLogisticFit fit;
	AgentpayLogisticMetrics metrics;
	double *x;
	unsigned char *y;
	double *work;
	double *scores;
	int n;
	int d;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (ARR_NDIM(x_array) != 2 || ARR_NDIM(y_array) != 1 ||
		ARR_DIMS(x_array)[0] != ARR_DIMS(y_array)[0] ||
		array_contains_nulls(y_array))
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("inputs must be a matrix with as many rows as there "
						"are labels")));
	n = ARR_DIMS(x_array)[0];
	d = ARR_DIMS(x_array)[1];
	if (train_rows < 1 || train_rows > n || d > INPUTS_MAX || !(l2 >= 0) ||
		isinf(l2) || !(weights[0] > 0) || isinf(weights[0]) ||
		!(weights[1] > 0) || isinf(weights[1]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot fit %d of %d rows of %d inputs with l2 %g",
						train_rows, n, d, l2)));

	x = matrix_from(x_array, (size_t) n * d);
	y = (unsigned char *) ARR_DATA_PTR(y_array); /* booleans are bytes */
	model.coefficients = palloc(d * sizeof(double));
	model.mean = palloc(d * sizeof(double));
	model.scale = palloc(d * sizeof(double));
	work = palloc_extended(AGENTPAY_LOGISTIC_WORK(d) * sizeof(double),
						   MCXT_ALLOC_HUGE);

	agentpay_logistic_fit(x, train_rows, d, y, weights, l2, &model, work,
						  check_interrupts, &fit);
	scores = measure(&model, x + (size_t) train_rows * d, y + train_rows,
					 n - train_rows, &metrics);

	values[COL_CONVERGED] = BoolGetDatum(fit.converged);
	values[COL_ITERATIONS] = Int32GetDatum(fit.iterations);
	values[COL_OBJECTIVE] = Float8GetDatum(fit.objective);
	values[COL_INTERCEPT] = Float8GetDatum(model.intercept);
	values[COL_COEFFICIENTS] = array_from(model.coefficients, d);
	values[COL_MEAN] = array_from(model.mean, d);
	values[COL_SCALE] = array_from(model.scale, d);
	store_measure(metrics.auc, &values[COL_AUC], &nulls[COL_AUC]);
	store_measure(metrics.average_precision, &values[COL_AVERAGE_PRECISION],
				  &nulls[COL_AVERAGE_PRECISION]);
	store_measure(metrics.precision_at_100, &values[COL_PRECISION_AT_100],
				  &nulls[COL_PRECISION_AT_100]);
	values[COL_SCORES] = array_from(scores, n - train_rows);
	return HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
