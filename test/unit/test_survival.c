/*-------------------------------------------------------------------------
 * test_survival.c
 *		Kaplan and Meier's estimator against figures of
 *		test/oracle/kaplan_meier.py, and against the plain mean and quantiles
 *		where nothing lasts still.
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "control/survival.h"
#include "tap.h"

/* NaN is NaN. */
static bool
same(double a, double b)
{
	return (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-9 * fmax(fabs(b), 1);
}

static void
check_waits(AgentpayWait *waits, size_t n, double median, double mean,
			double p95, const char *what)
{
	AgentpaySurvival s = agentpay_survival_of(waits, n);

	check(same(s.median, median) && same(s.mean, mean) && same(s.p95, p95),
		  "%s: %g %g %g", what, s.median, s.mean, s.p95);
}

int
main(void)
{
	AgentpayWait open[] = {{100, true},	 {200, true},	{300, true},
						   {200, false}, {1000, false}, {300, true}};
	AgentpayWait resolved[] = {{500, true},	 {1000, false}, {400, true},
							   {200, false}, {1000, false}, {900, true}};
	AgentpayWait untouched[] = {{70, false}, {50, false}};
	AgentpayWait one[] = {{7, true}};
	AgentpayWait at_once[] = {{0, true}, {0, true}, {0, true}};
	AgentpayWait early[] = {{-5, true}, {5, true}};
	static AgentpayWait all[1000];

	check_waits(open, 6, 300, 3650.0 / 9, NAN, "ties of both kinds");
	check_waits(resolved, 6, 900, 760, NAN, "until they were resolved");
	check_waits(untouched, 2, NAN, 70, NAN, "nothing has ended");
	check_waits(one, 1, 7, 7, 7, "one alone");
	check_waits(at_once, 3, 0, 0, 0, "all at once");
	check_waits(early, 2, -5, 0, 5, "before it began");
	/* 0.1, 0.2, ... 100 s, the last first: of n, the half and 19 of 20 */
	for (int i = 0; i < 1000; i++)
	{
		all[i].waited = (1000 - i) / 10.0;
		all[i].ended = true;
	}
	check_waits(all, 1000, 50, 50.05, 95, "a thousand, all ended");
	return tap_done();
}
