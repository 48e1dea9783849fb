/*-------------------------------------------------------------------------
 * test_logistic.c
 *		Logistic regression against answers that test/oracle/logistic.py
 *		computed another way.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/logistic.h"
#include "tap.h"
#include "../oracle/logistic_cases.h"

#define DIMENSIONS_MAX 40

static double coefficients[DIMENSIONS_MAX];
static double mean[DIMENSIONS_MAX];
static double scale[DIMENSIONS_MAX];
static AgentpayLogistic model = {0, 0, coefficients, mean, scale};
static AgentpayLogisticFit result;
static int passes;
static double class_weights[2] = {1, 1};

static void
count_pass(void)
{
	passes++;
}

static bool
near(double got, double expected, double tolerance)
{
	return fabs(got - expected) <= tolerance * fmax(1, fabs(expected));
}

static void
fit(const double *x, size_t n, int d, const unsigned char *y, double l2)
{
	double *work = malloc(AGENTPAY_LOGISTIC_WORK(d) * sizeof(double));

	agentpay_logistic_fit(x, n, d, y, class_weights, l2, &model, work,
						  count_pass, &result);
	free(work);
}

typedef struct Expected
{
	const char *name;
	const double *x;
	const unsigned char *y;
	size_t n;
	int d;
	double l2;
	const double *mean;
	const double *scale;
	const double *beta;
	const double *p;
	double loss;
} Expected;

static void
test_fit(const Expected *e)
{
	bool moments = true;
	bool weights;
	bool predictions = true;

	fit(e->x, e->n, e->d, e->y, e->l2);
	weights = near(model.intercept, e->beta[0], 1e-9);
	for (int k = 0; k < e->d; k++)
	{
		moments = moments && near(mean[k], e->mean[k], 1e-12) &&
				  near(scale[k], e->scale[k], 1e-12);
		weights = weights && near(coefficients[k], e->beta[k + 1], 1e-9);
	}
	for (size_t i = 0; i < e->n; i++)
		predictions = predictions &&
					  near(agentpay_logistic_predict(&model, e->x + i * e->d),
						   e->p[i], 1e-10);
	check(moments, "%s: means and scales", e->name);
	check(weights, "%s: intercept and coefficients", e->name);
	check(predictions, "%s: probabilities", e->name);
	check(near(result.objective, e->loss, 1e-10), "%s: objective", e->name);
	check(result.converged && result.iterations < 30,
		  "%s: converged, %d iterations", e->name, result.iterations);
}

#define EXPECTED(name, d, upper)                                           \
	{                                                                      \
#name, name##_x, name##_y, sizeof(name##_y), d, upper##_L2,        \
			name##_mean, name##_scale, name##_beta, name##_p, upper##_LOSS \
	}

static void
test_fits(void)
{
	const Expected cases[] = {
		EXPECTED(hand, 1, HAND),
		EXPECTED(mixed, 3, MIXED),
		EXPECTED(idle, 4, IDLE),
		EXPECTED(apart, 1, APART),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		test_fit(&cases[i]);
	check(near(hand_beta[1], log(3), 1e-12) && near(hand_beta[0], 0, 1e-12),
		  "hand: the oracle agrees with the answer by hand, ln 3");
}

static void
test_hard_data(void)
{
	double x[400];
	unsigned char y[200];

	/* Separable without a penalty: no finite optimum. */
	for (int i = 0; i < 20; i++)
	{
		x[i] = i;
		y[i] = i >= 10;
	}
	fit(x, 20, 1, y, 0);
	check(!result.converged, "separable without penalty: not converged");
	check(isfinite(model.intercept) && isfinite(coefficients[0]) &&
			  agentpay_logistic_predict(&model, x) < 0.01 &&
			  agentpay_logistic_predict(&model, x + 19) > 0.99,
		  "but finite, and it separates");

	/* The same input twice without a penalty: a singular Hessian. */
	for (int i = 0; i < 200; i++)
	{
		x[2 * i] = x[2 * i + 1] = i % 17;
		y[i] = i % 3 == 0;
	}
	fit(x, 200, 2, y, 0);
	check(result.converged && isfinite(coefficients[0]),
		  "collinear without penalty: converged");

	/* One class only. */
	memset(y, 0, sizeof(y));
	fit(x, 200, 2, y, 1);
	check(isfinite(model.intercept) &&
			  agentpay_logistic_predict(&model, x) < 0.01,
		  "one class only: finite");

	/* Enormous and infinite inputs. */
	for (int i = 0; i < 200; i++)
	{
		x[2 * i] = i % 5 == 0 ? INFINITY : i % 5 == 1 ? 1e300 : i % 5 * 1e99;
		x[2 * i + 1] = i % 7 * 1e-300;
		y[i] = i % 2;
	}
	fit(x, 200, 2, y, 1);
	check(isfinite(model.intercept) && isfinite(coefficients[0]) &&
			  isfinite(coefficients[1]) && isfinite(scale[1]) && scale[1] > 0,
		  "enormous inputs: finite");
}

static void
test_predict(void)
{
	double weights[2] = {2, -1};
	double means[2] = {1, 10};
	double scales[2] = {2, 5};
	const AgentpayLogistic m = {2, 0.5, weights, means, scales};
	const double known[2] = {3, 20};		   /* z = 0.5 + 2 - 2 */
	const double missing[2] = {NAN, INFINITY}; /* z = 0.5 */
	const double high[2] = {1e99, 10};
	const double low[2] = {-1e99, 10};

	check(near(agentpay_logistic_predict(&m, known), 1 / (1 + exp(-0.5)),
			   1e-15),
		  "predicts by hand");
	check(near(agentpay_logistic_predict(&m, missing), 1 / (1 + exp(-0.5)),
			   1e-15),
		  "missing counts as the mean");
	check(agentpay_logistic_predict(&m, high) == 1 &&
			  agentpay_logistic_predict(&m, low) == 0,
		  "extremes are 0 and 1");
}

static void
test_metrics(const char *name, const AgentpayScored *rows, size_t n, double auc,
			 double ap, double p100)
{
	AgentpayScored *copy = malloc(n * sizeof(*copy));
	AgentpayLogisticMetrics m;

	memcpy(copy, rows, n * sizeof(*copy));
	agentpay_logistic_metrics(copy, n, &m);
	check(near(m.auc, auc, 1e-12), "%s: AUC %g", name, auc);
	check(near(m.average_precision, ap, 1e-12), "%s: average precision %g",
		  name, ap);
	check(near(m.precision_at_100, p100, 1e-12), "%s: precision@100 %g", name,
		  p100);
	free(copy);
}

#define METRICS(name, upper)                                                \
	test_metrics(#name, name##_rows,                                        \
				 sizeof(name##_rows) / sizeof(name##_rows[0]), upper##_AUC, \
				 upper##_AP, upper##_P100)

static void
test_all_metrics(void)
{
	AgentpayLogisticMetrics m;
	AgentpayScored one = {0.5, 0};

	METRICS(plain, PLAIN);
	METRICS(ties, TIES);
	METRICS(flat, FLAT);
	METRICS(many, MANY);

	agentpay_logistic_metrics(&one, 1, &m);
	check(isnan(m.auc) && isnan(m.average_precision) && m.precision_at_100 == 0,
		  "no positives: no AUC, no average precision");
	agentpay_logistic_metrics(&one, 0, &m);
	check(isnan(m.precision_at_100), "no rows: nothing");
}

int
main(void)
{
	test_fits();
	test_hard_data();
	check(passes > 0, "the caller is asked in between");
	test_predict();
	test_all_metrics();
	return tap_done();
}
