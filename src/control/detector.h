/*-------------------------------------------------------------------------
 * detector.h
 *		Notices that a mean has risen above its bound, however often one looks.
 *
 * Pure: libc only.
 *
 * An e-detector: J. Shin, A. Ramdas, A. Rinaldo, E-detectors: a nonparametric
 * framework for sequential change detection, New England Journal of
 * Statistics in Data Science 2 (2024) 229-260.  Each observation is a pair of
 * a >= 0 and 0 <= b <= 1, and nothing is wrong while E[a] <= E[b], whatever
 * went before.  For each bet l in (0, 1] the factor 1 + l (a - b) is never
 * negative and has a mean of at most 1 then; M := max(M, 1) (1 + l (a - b))
 * is a CUSUM of such factors, and the mean over several bets is one as well.
 * With an alarm at c, the average number of observations up to a false alarm
 * is at least c (their bound on the average run length), whatever the
 * distribution.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DETECTOR_H
#define AGENTPAY_DETECTOR_H

/* Bets 1, 1/2, 1/4, ...: large ones find large changes quickly. */
#define AGENTPAY_DETECTOR_BETS 8

typedef struct AgentpayDetector
{
	double m[AGENTPAY_DETECTOR_BETS]; /* all 0 at the beginning */
} AgentpayDetector;

/*
 * Takes an observation in; returns the detector's value after it.  What is no
 * number counts as nothing, a negative a as 0, and b is brought into [0, 1].
 */
extern double
agentpay_detector_observe(AgentpayDetector *detector, double a, double b);

/* The value: above c, there is an alarm. */
extern double agentpay_detector_value(const AgentpayDetector *detector);

#endif /* AGENTPAY_DETECTOR_H */
