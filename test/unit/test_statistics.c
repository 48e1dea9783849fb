/*-------------------------------------------------------------------------
 * test_statistics.c
 *		Normal quantiles against those of Python's statistics.NormalDist, and
 *		back through erfc().
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "control/statistics.h"
#include "tap.h"

static void
check_quantile(double p, double z)
{
	double got = agentpay_statistics_normal_quantile(p);

	check(fabs(got - z) <= 1e-14 * fmax(fabs(z), 1), "p = %g: %.16g", p, got);
}

int
main(void)
{
	double worst = 0;

	check_quantile(0.5, 0.0);
	check_quantile(0.6, 0.2533471031357998);
	check_quantile(0.925, 1.439531470938456);
	check_quantile(0.95, 1.6448536269514715);
	check_quantile(0.975, 1.9599639845400536);
	check_quantile(0.99, 2.3263478740408408);
	check_quantile(0.995, 2.5758293035489);
	check_quantile(0.001, -3.090232306167813);
	check_quantile(1e-06, -4.753424308822899);
	check_quantile(1e-11, -6.706023155495136);
	check_quantile(1e-20, -9.262340089798405);
	check(agentpay_statistics_normal_quantile(0) == -INFINITY &&
			  agentpay_statistics_normal_quantile(1) == INFINITY &&
			  isnan(agentpay_statistics_normal_quantile(-0.1)) &&
			  isnan(agentpay_statistics_normal_quantile(1.1)) &&
			  isnan(agentpay_statistics_normal_quantile(NAN)),
		  "at the edges and beyond");
	for (double p = 1e-12; p < 0.5; p *= 1.01)
	{
		double z = agentpay_statistics_normal_quantile(p);

		worst = fmax(worst, fabs(erfc(-z / sqrt(2)) / 2 / p - 1));
	}
	check(worst < 1e-12, "the way back: %g", worst);
	return tap_done();
}
