/*-------------------------------------------------------------------------
 * drift.h
 *		How far one set of counts is from another.  Pure: libc only.
 *
 * The population stability index over B bins, with p = (n + 0.5) / (N + 0.5 B)
 * for each: the sum of (a - e) ln(a / e).  Where both are drawn from one
 * distribution, it is about (1/N + 1/M) times a chi-square variable with B - 1
 * degrees of freedom: B. Yurdakul, Statistical properties of population
 * stability index, dissertation, Western Michigan University (2018).
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DRIFT_H
#define AGENTPAY_DRIFT_H

#include <stdint.h>

/* NaN where there is no bin. */
extern double
agentpay_drift_psi(const int64_t *reference, const int64_t *current, int bins);

/*
 * The largest difference between the two distribution functions at the edges
 * of bins that are in order (Kolmogorov and Smirnov).  NaN where one of them
 * has no observation.
 */
extern double
agentpay_drift_ks(const int64_t *reference, const int64_t *current, int bins);

/*
 * The value that a chi-square variable exceeds with that probability.  0 at 1,
 * infinity at 0, NaN beyond, and without a positive number of degrees of
 * freedom.
 */
extern double agentpay_drift_chi_square_above(double probability, double df);

/*
 * The c such that KS exceeds c sqrt(1/N + 1/M) with at most that probability,
 * asymptotically: sqrt(-ln(probability / 2) / 2).  Bins make it less likely.
 */
extern double agentpay_drift_ks_above(double probability);

#endif /* AGENTPAY_DRIFT_H */
