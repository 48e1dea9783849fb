/*-------------------------------------------------------------------------
 * survival.c
 *		How long something lasts, of which a part lasts still (survival.h).
 *-------------------------------------------------------------------------
 */
#include "control/survival.h"

#include <math.h>
#include <stdlib.h>

/* Products of fractions miss a half, or a twentieth, by less. */
#define CLOSE_TO 1e-9

static int compare_waits(const void *a, const void *b);

AgentpaySurvival
agentpay_survival_of(AgentpayWait *waits, size_t n)
{
	AgentpaySurvival found = {NAN, 0, NAN};
	double rest = 1;
	double before = 0;
	size_t i = 0;

	qsort(waits, n, sizeof(AgentpayWait), compare_waits);
	while (i < n)
	{
		double waited = waits[i].waited;
		double at_risk = (double) (n - i);
		size_t ended = 0;

		for (; i < n && waits[i].waited == waited; i++)
			ended += waits[i].ended;
		found.mean += rest * (waited - before);
		before = waited;
		rest *= 1 - (double) ended / at_risk;
		if (isnan(found.median) && rest <= 0.5 + CLOSE_TO)
			found.median = waited;
		if (isnan(found.p95) && rest <= 0.05 + CLOSE_TO)
			found.p95 = waited;
	}
	return found;
}

static int
compare_waits(const void *a, const void *b)
{
	double x = ((const AgentpayWait *) a)->waited;
	double y = ((const AgentpayWait *) b)->waited;

	return (x > y) - (x < y);
}
