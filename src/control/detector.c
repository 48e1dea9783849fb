/*-------------------------------------------------------------------------
 * detector.c
 *		Notices that a mean has risen above its bound (detector.h).
 *-------------------------------------------------------------------------
 */
#include "control/detector.h"

#include <math.h>

/* A value stays a number, and comes down again in the end. */
#define MOST 1e30

double
agentpay_detector_observe(AgentpayDetector *detector, double a, double b)
{
	double bet = 1;

	if (isnan(a) || isnan(b))
		return agentpay_detector_value(detector);
	a = fmin(fmax(a, 0), MOST);
	b = fmin(fmax(b, 0), 1);
	for (int i = 0; i < AGENTPAY_DETECTOR_BETS; i++)
	{
		detector->m[i] = fmin(fmax(detector->m[i], 1) * (1 + bet * (a - b)),
							  MOST);
		bet /= 2;
	}
	return agentpay_detector_value(detector);
}

double
agentpay_detector_value(const AgentpayDetector *detector)
{
	double sum = 0;

	for (int i = 0; i < AGENTPAY_DETECTOR_BETS; i++)
		sum += detector->m[i];
	return sum / AGENTPAY_DETECTOR_BETS;
}
