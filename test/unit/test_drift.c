/*-------------------------------------------------------------------------
 * test_drift.c
 *		PSI, KS and the quantiles by hand; false alarms under no change, by
 *		simulation.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdint.h>

#include "control/drift.h"
#include "tap.h"

#define BINS 11
#define RUNS 200
#define LOOKS 1000

static uint64_t seed = UINT64_C(88172645463325252);

/* G. Marsaglia, Xorshift RNGs, Journal of Statistical Software 8 (2003). */
static double
uniform(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (double) (seed >> 11) / 9007199254740992.0;
}

static int
draw(double shift)
{
	double x = uniform();

	return (int) floor(10 * (x + shift * x * (1 - x)));
}

static bool
near(double got, double expected, double by)
{
	return fabs(got - expected) <= by * fabs(expected);
}

/*
 * Runs in which an index over a sliding window of 1,000, looked at after every
 * 100, is ever above what the guardrails want; in *often, what a fixed level
 * of 0.001 would do.
 */
static int
false_alarms(double shift, int *often)
{
	int alarms = 0;
	double most[LOOKS + 1];
	double level;

	/* 1,000 on both sides */
	level = 2e-3 * agentpay_drift_chi_square_above(0.001, BINS - 1);
	for (int i = 1; i <= LOOKS; i++)
		most[i] = 2e-3 *
				  agentpay_drift_chi_square_above(0.01 / ((double) i * (i + 1)),
												  BINS - 1);
	*often = 0;
	for (int run = 0; run < RUNS; run++)
	{
		int64_t reference[BINS] = {0};
		int64_t parts[10][BINS] = {{0}};
		bool alarm = false;
		bool fixed = false;

		for (int i = 0; i < 1000; i++)
			reference[draw(0)]++;
		for (int look = 0; look < LOOKS + 9; look++)
		{
			int64_t current[BINS] = {0};
			int64_t *part = parts[look % 10];
			double psi;
			int i = look - 8;

			for (int bin = 0; bin < BINS; bin++)
				part[bin] = 0;
			for (int n = 0; n < 100; n++)
				part[draw(shift)]++;
			if (i < 1)
				continue;
			for (int p = 0; p < 10; p++)
				for (int bin = 0; bin < BINS; bin++)
					current[bin] += parts[p][bin];
			psi = agentpay_drift_psi(reference, current, BINS);
			alarm |= psi > most[i];
			fixed |= psi > level;
		}
		alarms += alarm;
		*often += fixed;
	}
	return alarms;
}

int
main(void)
{
	int64_t e[] = {10, 20, 70};
	int64_t a[] = {30, 30, 40};
	int64_t none[] = {0, 0, 0};
	int often;
	int alarms;

	/*
	 * With (n + 0.5) / 101.5: (30.5 - 10.5) ln(30.5 / 10.5)
	 * + (30.5 - 20.5) ln(30.5 / 20.5) + (40.5 - 70.5) ln(40.5 / 70.5), over
	 * 101.5: (21.328 + 3.973 + 16.630) / 101.5
	 */
	check(near(agentpay_drift_psi(e, a, 3), 0.413108, 2e-4), "psi by hand");
	check(agentpay_drift_psi(e, e, 3) == 0, "of the same it is 0");
	check(isnan(agentpay_drift_psi(e, a, 0)), "of nothing it is none");
	check(isfinite(agentpay_drift_psi(e, none, 3)),
		  "an empty side is a number");
	/* below: .10 and .30, .30 and .60, 1 and 1 */
	check(near(agentpay_drift_ks(e, a, 3), 0.3, 1e-12), "ks by hand");
	check(isnan(agentpay_drift_ks(e, none, 3)), "of an empty side it is none");

	/* tables of the chi-square distribution (NIST handbook, 1.3.6.7.4) */
	check(near(agentpay_drift_chi_square_above(0.05, 1), 3.841, 2e-4) &&
			  near(agentpay_drift_chi_square_above(0.05, 10), 18.307, 1e-4) &&
			  near(agentpay_drift_chi_square_above(0.001, 9), 27.877, 1e-4) &&
			  near(agentpay_drift_chi_square_above(0.001, 100), 149.449, 1e-4),
		  "quantiles of the tables");
	/* two degrees of freedom: exp(-x / 2) */
	check(near(agentpay_drift_chi_square_above(1e-14, 2), 28 * log(10), 1e-9) &&
			  near(agentpay_drift_chi_square_above(0.9, 2), -2 * log(0.9),
				   1e-9),
		  "and of both ends");
	check(isinf(agentpay_drift_chi_square_above(0, 3)) &&
			  agentpay_drift_chi_square_above(1, 3) == 0 &&
			  isnan(agentpay_drift_chi_square_above(2, 3)) &&
			  isnan(agentpay_drift_chi_square_above(NAN, 3)) &&
			  isnan(agentpay_drift_chi_square_above(0.1, 0)),
		  "and beyond them");
	/* N. Smirnov's table: 1.36 at 5 %, 1.95 at 0.1 % */
	check(near(agentpay_drift_ks_above(0.05), 1.36, 2e-3) &&
			  near(agentpay_drift_ks_above(0.001), 1.95, 2e-3) &&
			  isnan(agentpay_drift_ks_above(-1)),
		  "Smirnov's constants");

	alarms = false_alarms(0, &often);
	printf("# no change, %d looks: %d of %d runs raise an alarm; at a fixed "
		   "level of 0.001: %d\n",
		   LOOKS, alarms, RUNS, often);
	check(alarms <= RUNS * 0.03,
		  "looking again and again raises no false alarms");
	alarms = false_alarms(0.6, &often);
	printf("# a change: %d of %d\n", alarms, RUNS);
	check(alarms >= RUNS * 0.9, "and a change is found");
	return tap_done();
}
