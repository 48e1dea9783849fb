/*-------------------------------------------------------------------------
 * survival.h
 *		How long something lasts, of which a part lasts still.  Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SURVIVAL_H
#define AGENTPAY_SURVIVAL_H

#include <stdbool.h>
#include <stddef.h>

/* Seconds until it ended, or so far. */
typedef struct AgentpayWait
{
	double waited;
	bool ended;
} AgentpayWait;

/* NaN: more is left at the end. */
typedef struct AgentpaySurvival
{
	double median;
	double mean;
	double p95;
} AgentpaySurvival;

/*
 * Kaplan and Meier's estimator (Nonparametric estimation from incomplete
 * observations, JASA 53 (1958) 457-481) of n waits, at least one, which it
 * sorts.  A step of the curve is 1 - d/n: of the n that had waited that long,
 * d ended then.  A quantile is the first time at which no more than its rest
 * is left; the mean is the area below the curve, up to the longest wait.
 */
extern AgentpaySurvival agentpay_survival_of(AgentpayWait *waits, size_t n);

#endif /* AGENTPAY_SURVIVAL_H */
