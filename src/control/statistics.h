/*-------------------------------------------------------------------------
 * statistics.h
 *		What the gates ask of statistics.  Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_STATISTICS_H
#define AGENTPAY_STATISTICS_H

/*
 * The z below which a standard normal variable lies with probability p, to
 * about 16 digits: M. J. Wichura, Algorithm AS 241, The percentage points of
 * the normal distribution, Applied Statistics 37 (1988) 477-484, PPND16.
 * Minus and plus infinity at 0 and 1, NaN beyond.
 */
extern double agentpay_statistics_normal_quantile(double p);

#endif /* AGENTPAY_STATISTICS_H */
