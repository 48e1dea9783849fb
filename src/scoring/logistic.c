/*-------------------------------------------------------------------------
 * logistic.c
 *		Logistic regression: fit, predict, and how good the result is.
 *
 * Fitted by Newton's method (iteratively reweighted least squares) on
 * standardised inputs, with a ridge penalty: Hastie, Tibshirani and Friedman,
 * The Elements of Statistical Learning, 4.4.1; le Cessie and van Houwelingen,
 * Ridge Estimators in Logistic Regression, 1992.  Classes weigh the
 * same unless the caller says otherwise: then the probabilities are those of
 * rows so weighted.
 *
 * Passes over the rows at each step keep memory at the size of the Hessian,
 * and a missing value costs nothing: it is 0 once standardised.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/logistic.h"

#define ITERATIONS_MAX 100
#define HALVINGS_MAX 40

/* Converged: no coefficient has moved by more than this. */
#define STEP_TOLERANCE 1e-8

/* What the parts of a fit share. */
typedef struct Fit
{
	const double *x;
	const unsigned char *y;
	size_t n;
	int d;
	const double *class_weights; /* of label 0 and of label 1 */
	double l2;
	const AgentpayLogistic *model; /* for mean and scale */
	void (*keep_going)(void);
	double *hessian; /* (d + 1)^2; 0 is the intercept */
	double *factor;	 /* (d + 1)^2: its Cholesky factor */
	double *beta;	 /* d + 1 */
	double *trial;	 /* d + 1 */
	double *step;	 /* d + 1: gradient, then Newton's step */
	double *row;	 /* d + 1: a standardised row */
} Fit;

static void standardise(const Fit *fit, AgentpayLogistic *model);
static double objective(const Fit *fit, const double *beta);
static void derivatives(const Fit *fit);
static void newton_step(const Fit *fit);

/* 1 / (1 + e^-z), without overflow. */
static double
logistic(double z)
{
	double e;

	if (z >= 0)
		return 1 / (1 + exp(-z));
	e = exp(z);
	return e / (1 + e);
}

/* log(1 + e^z), without overflow. */
static double
log1p_exp(double z)
{
	return z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

/* Whether an input is present.  The bound keeps squares from overflowing. */
static bool
usable(double value)
{
	return fabs(value) <= 1e100;
}

/* An input as the model sees it: centred, scaled, 0 if missing. */
static double
standardised(const AgentpayLogistic *model, int k, double value)
{
	return usable(value) ? (value - model->mean[k]) / model->scale[k] : 0;
}

double
agentpay_logistic_predict(const AgentpayLogistic *model, const double *inputs)
{
	double z = model->intercept;

	for (int k = 0; k < model->n_inputs; k++)
		z += model->coefficients[k] * standardised(model, k, inputs[k]);
	/* Coefficients can only make this of opposite infinities: undecided. */
	return isnan(z) ? 0.5 : logistic(z);
}

void
agentpay_logistic_fit(const double *x, size_t n, int d, const unsigned char *y,
					  const double *class_weights, double l2,
					  AgentpayLogistic *model, double *work,
					  void (*keep_going)(void), AgentpayLogisticFit *result)
{
	size_t m = (size_t) d + 1;
	Fit fit = {.x = x, .y = y, .n = n, .d = d, .l2 = l2};

	fit.class_weights = class_weights;
	fit.model = model;
	fit.keep_going = keep_going;
	fit.hessian = work;
	fit.factor = fit.hessian + m * m;
	fit.beta = fit.factor + m * m;
	fit.trial = fit.beta + m;
	fit.step = fit.trial + m;
	fit.row = fit.step + m;

	model->n_inputs = d;
	standardise(&fit, model);
	memset(fit.beta, 0, m * sizeof(double));
	memset(result, 0, sizeof(*result));
	result->objective = objective(&fit, fit.beta);

	while (result->iterations < ITERATIONS_MAX && !result->converged)
	{
		double largest = 0;
		double share = 1;
		double value = result->objective;
		double bound = value + 1e-12 * (1 + value); /* but for rounding */

		result->iterations++;
		derivatives(&fit);
		newton_step(&fit);
		for (size_t k = 0; k < m; k++)
			largest = fmax(largest, fabs(fit.step[k]));
		/* The objective is convex: halve until the step is downhill. */
		for (int i = 0; i < HALVINGS_MAX; i++, share /= 2)
		{
			for (size_t k = 0; k < m; k++)
				fit.trial[k] = fit.beta[k] + share * fit.step[k];
			value = objective(&fit, fit.trial);
			if (value <= bound)
				break;
		}
		if (!(value <= bound))
			break; /* not a number: nothing to go by */
		memcpy(fit.beta, fit.trial, m * sizeof(double));
		result->objective = value;
		result->converged = largest <= STEP_TOLERANCE;
	}

	model->intercept = fit.beta[0];
	memcpy(model->coefficients, fit.beta + 1, (size_t) d * sizeof(double));
}

/*
 * Stores each input's mean and standard deviation (divisor: the number of
 * present values), in two passes for accuracy.  Scale 1 where an input does
 * not vary: it then is 0 everywhere, and so is its coefficient.
 */
static void
standardise(const Fit *fit, AgentpayLogistic *model)
{
	for (int k = 0; k < fit->d; k++)
	{
		size_t present = 0;
		double largest = 0;
		double mean = 0;
		double squares = 0;

		if (fit->keep_going)
			fit->keep_going();
		for (size_t i = 0; i < fit->n; i++)
		{
			double value = fit->x[i * fit->d + k];

			if (!usable(value))
				continue;
			present++;
			mean += (value - mean) / present;
			largest = fmax(largest, fabs(value));
		}
		for (size_t i = 0; i < fit->n; i++)
		{
			double value = fit->x[i * fit->d + k];

			if (usable(value))
				squares += (value - mean) * (value - mean);
		}
		model->mean[k] = mean;
		model->scale[k] = present > 0 ? sqrt(squares / present) : 0;
		if (model->scale[k] <= 1e-12 * largest)
			model->scale[k] = 1;
	}
}

/* Standardises row i into fit->row, whose first element is the intercept's. */
static void
load_row(const Fit *fit, size_t i)
{
	fit->row[0] = 1;
	for (int k = 0; k < fit->d; k++)
		fit->row[k + 1] = standardised(fit->model, k, fit->x[i * fit->d + k]);
}

static double
dot(const double *a, const double *b, int n)
{
	double sum = 0;

	for (int k = 0; k < n; k++)
		sum += a[k] * b[k];
	return sum;
}

/* -log likelihood + l2 / 2 |coefficients|^2 */
static double
objective(const Fit *fit, const double *beta)
{
	double loss = 0;

	if (fit->keep_going)
		fit->keep_going();
	for (size_t i = 0; i < fit->n; i++)
	{
		double z;

		load_row(fit, i);
		z = dot(fit->row, beta, fit->d + 1);
		loss += fit->class_weights[fit->y[i] != 0] *
				(log1p_exp(z) - (fit->y[i] ? z : 0));
	}
	return loss + fit->l2 / 2 * dot(beta + 1, beta + 1, fit->d);
}

/*
 * Fills fit->hessian (lower triangle) and, in fit->step, the negative
 * gradient, both at fit->beta.
 */
static void
derivatives(const Fit *fit)
{
	int m = fit->d + 1;

	if (fit->keep_going)
		fit->keep_going();
	memset(fit->hessian, 0, (size_t) m * m * sizeof(double));
	memset(fit->step, 0, m * sizeof(double));
	for (size_t i = 0; i < fit->n; i++)
	{
		double share = fit->class_weights[fit->y[i] != 0];
		double residual;
		double p;
		double weight;

		load_row(fit, i);
		p = logistic(dot(fit->row, fit->beta, m));
		weight = share * p * (1 - p);
		residual = share * ((fit->y[i] ? 1 : 0) - p);
		for (int k = 0; k < m; k++)
		{
			double *line = fit->hessian + (size_t) k * m;
			double weighted = weight * fit->row[k];

			fit->step[k] += residual * fit->row[k];
			for (int j = 0; j <= k; j++)
				line[j] += weighted * fit->row[j];
		}
	}
	for (int k = 1; k < m; k++)
	{
		fit->hessian[(size_t) k * m + k] += fit->l2;
		fit->step[k] -= fit->l2 * fit->beta[k];
	}
}

/*
 * Factors fit->hessian + ridge into fit->factor (Cholesky, lower triangle);
 * false where it is not positive definite.
 */
static bool
factorise(const Fit *fit, double ridge)
{
	int m = fit->d + 1;

	for (int k = 0; k < m; k++)
	{
		double *line = fit->factor + (size_t) k * m;

		for (int j = 0; j <= k; j++)
		{
			const double *other = fit->factor + (size_t) j * m;
			double rest = fit->hessian[(size_t) k * m + j] -
						  dot(line, other, j);

			if (j < k)
				line[j] = rest / other[j];
			else if (rest + ridge > 0)
				line[k] = sqrt(rest + ridge);
			else
				return false;
		}
	}
	return true;
}

/*
 * Replaces the negative gradient in fit->step by Newton's step.  Inputs that
 * depend on each other without a penalty make the Hessian singular: then a
 * growing ridge picks one of the equally good steps.
 */
static void
newton_step(const Fit *fit)
{
	int m = fit->d + 1;
	double trace = 0;
	double ridge = 0;

	for (int k = 0; k < m; k++)
		trace += fit->hessian[(size_t) k * m + k];
	while (!factorise(fit, ridge))
		ridge = ridge == 0 ? fmax(trace / m * 1e-12, 1e-300) : ridge * 10;

	for (int k = 0; k < m; k++) /* factor * v = gradient */
	{
		const double *line = fit->factor + (size_t) k * m;

		fit->step[k] = (fit->step[k] - dot(line, fit->step, k)) / line[k];
	}
	for (int k = m - 1; k >= 0; k--) /* transposed factor * step = v */
	{
		double rest = fit->step[k];

		for (int j = k + 1; j < m; j++)
			rest -= fit->factor[(size_t) j * m + k] * fit->step[j];
		fit->step[k] = rest / fit->factor[(size_t) k * m + k];
	}
}

/* ---- how good ---- */

/* Highest score first. */
static int
by_score(const void *a, const void *b)
{
	double left = ((const AgentpayScored *) a)->score;
	double right = ((const AgentpayScored *) b)->score;

	return (left < right) - (left > right);
}

/*
 * One walk over the rows from the highest score down, ties together:
 * - AUC is the Mann-Whitney statistic, a tie counting half (Hanley and McNeil
 *   1982);
 * - average precision is the sum over thresholds of (recall gained) times
 *   precision, without interpolation (as scikit-learn defines it).
 */
void
agentpay_logistic_metrics(AgentpayScored *rows, size_t n,
						  AgentpayLogisticMetrics *metrics)
{
	const size_t k = n < 100 ? n : 100;
	size_t positives = 0; /* so far */
	size_t negatives = 0;
	double wins = 0;	/* pairs in the right order */
	double average = 0; /* precision times positives gained */
	double top = 0;		/* positives among the first k */

	qsort(rows, n, sizeof(*rows), by_score);
	for (size_t i = 0; i < n;)
	{
		size_t end = i;
		size_t tied = 0; /* positives among the tied */

		while (end < n && rows[end].score == rows[i].score)
			tied += rows[end++].label != 0;
		wins += (double) (end - i - tied) * (positives + tied / 2.0);
		positives += tied;
		negatives += end - i - tied;
		average += (double) tied * positives / end;
		if (end <= k)
			top += tied;
		else if (i < k)
			top += (double) tied * (k - i) / (end - i);
		i = end;
	}

	metrics->auc = positives > 0 && negatives > 0
					   ? wins / ((double) positives * negatives)
					   : NAN;
	metrics->average_precision = positives > 0 ? average / positives : NAN;
	metrics->precision_at_100 = n > 0 ? top / k : NAN;
}
