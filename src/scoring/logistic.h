/*-------------------------------------------------------------------------
 * logistic.h
 *		Logistic regression: fit, predict, and how good the result is.
 *
 * Pure: libc and libm only, no state, no allocation (the caller lends the
 * memory), so it is unit-tested outside a server.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LOGISTIC_H
#define AGENTPAY_LOGISTIC_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A fitted model.  The arrays have n_inputs elements and belong to whoever
 * made the struct.  Scales are greater than 0.
 */
typedef struct AgentpayLogistic
{
	int n_inputs;
	double intercept;
	double *coefficients; /* of the standardised inputs */
	double *mean;
	double *scale;
} AgentpayLogistic;

/*
 * The probability of the positive class, in [0, 1], never NaN.  inputs has
 * n_inputs values in the model's order; NaN, infinities and what lies beyond
 * 1e100 are missing and count as the mean.
 */
extern double
agentpay_logistic_predict(const AgentpayLogistic *model, const double *inputs);

/* How a fit went. */
typedef struct AgentpayLogisticFit
{
	bool converged;
	int iterations;
	double objective; /* -log likelihood + l2 / 2 |coefficients|^2 */
} AgentpayLogisticFit;

/* Doubles of working memory that a fit on d inputs needs. */
#define AGENTPAY_LOGISTIC_WORK(d) \
	(2 * ((size_t) (d) + 1) * ((size_t) (d) + 1) + 4 * ((size_t) (d) + 1))

/*
 * Fits a model to n rows of d inputs (x row by row; missing as above) and
 * labels y (0 or 1).  Inputs are standardised with the mean and the standard
 * deviation of their present values; an input that is constant or always
 * missing gets coefficient 0.  Minimises
 * -log likelihood + l2 / 2 |coefficients|^2, the intercept unpenalised, where
 * a row of label c counts class_weights[c] times in the likelihood, by Newton
 * steps with step halving.  model's arrays have room for d values.
 * work has AGENTPAY_LOGISTIC_WORK(d) doubles.
 *
 * keep_going, if not NULL, is called once per pass over the rows and may not
 * return (a server's interrupt check).
 */
extern void
agentpay_logistic_fit(const double *x, size_t n, int d, const unsigned char *y,
					  const double *class_weights, double l2,
					  AgentpayLogistic *model, double *work,
					  void (*keep_going)(void), AgentpayLogisticFit *fit);

/* A row with its predicted probability and its label. */
typedef struct AgentpayScored
{
	double score;
	unsigned char label;
} AgentpayScored;

typedef struct AgentpayLogisticMetrics
{
	double auc;				  /* ties by mid-rank; NaN without both classes */
	double average_precision; /* NaN without positives */
	double precision_at_100;  /* NaN without rows */
} AgentpayLogisticMetrics;

/*
 * How well scores separate labels.  Sorts rows.  With fewer than 100 rows,
 * precision@100 is over all of them; ties across the 100th place count with
 * their share.
 */
extern void agentpay_logistic_metrics(AgentpayScored *rows, size_t n,
									  AgentpayLogisticMetrics *metrics);

#endif /* AGENTPAY_LOGISTIC_H */
