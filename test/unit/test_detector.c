/*-------------------------------------------------------------------------
 * test_detector.c
 *		The detector by hand, and by simulation: how long until a false alarm,
 *		how soon a true one.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdint.h>

#include "control/detector.h"
#include "tap.h"

#define ALARM 1e4
#define RUNS 100
#define MOST_OBSERVATIONS 50000

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

static double
bernoulli(double rate)
{
	return uniform() < rate ? 1 : 0;
}

/* Mean 1, and a long tail. */
static double
exponential(double unused)
{
	return -log(1 - uniform());
}

/*
 * The mean number of observations until the alarm, with those of draw(rate),
 * divided by bound; runs are cut at MOST_OBSERVATIONS, which makes it less.
 */
static double
run_length(double (*draw)(double), double rate, double bound, int *alarms)
{
	double total = 0;

	*alarms = 0;
	for (int run = 0; run < RUNS; run++)
	{
		AgentpayDetector detector = {{0}};
		int n = 0;

		while (n < MOST_OBSERVATIONS)
		{
			n++;
			if (agentpay_detector_observe(&detector, draw(rate) / bound, 1) >=
				ALARM)
			{
				(*alarms)++;
				break;
			}
		}
		total += n;
	}
	return total / RUNS;
}

static void
check_by_hand(void)
{
	AgentpayDetector detector = {{0}};
	double value;

	/* 1 + l with l = 1, 1/2, ..., 1/128: 8 + 2 - 1/128, over 8 */
	value = agentpay_detector_observe(&detector, 2, 1);
	check(fabs(value - (10 - 1.0 / 128) / 8) < 1e-15, "one observation");
	/* squares: 8 + 2 (2 - 1/128) + 4/3 (1 - 4^-8) */
	value = agentpay_detector_observe(&detector, 2, 1);
	check(fabs(value - (8 + 2 * (2 - 1.0 / 128) + 4.0 / 3 * (1 - pow(4, -8))) /
						   8) < 1e-14,
		  "two observations");
	check(fabs(value - agentpay_detector_value(&detector)) < 1e-15,
		  "the value is what observe() returned");
	/* an outcome of 0 takes the whole of the largest bet, but no more */
	value = agentpay_detector_observe(&detector, 0, 1);
	check(detector.m[0] == 0 && detector.m[1] > 1, "a loss");
	value = agentpay_detector_observe(&detector, 1, 1);
	check(detector.m[0] == 1, "and a new beginning");
}

static void
check_nonsense(void)
{
	AgentpayDetector detector = {{0}};
	double before = agentpay_detector_observe(&detector, 3, 1);

	check(agentpay_detector_observe(&detector, NAN, 1) == before &&
			  agentpay_detector_observe(&detector, 1, NAN) == before,
		  "what is no number counts as nothing");
	for (int i = 0; i < 1000; i++)
		agentpay_detector_observe(&detector, INFINITY, 0);
	check(isfinite(agentpay_detector_value(&detector)), "it stays finite");
	agentpay_detector_observe(&detector, -INFINITY, INFINITY);
	check(detector.m[0] == 0, "less than nothing is nothing");
}

/*
 * At the very bound the mean run length is at least ALARM; simulated, it is
 * known to a few per cent.  Below the bound it is longer still.
 */
static void
check_false_alarms(void)
{
	int alarms;
	double at_bound = run_length(bernoulli, 0.05, 0.05, &alarms);

	printf("# at the bound: %.0f observations to an alarm\n", at_bound);
	check(at_bound >= ALARM, "a rate at its bound");
	at_bound = run_length(exponential, 0, 1, &alarms);
	printf("# long tail at the bound: %.0f\n", at_bound);
	check(at_bound >= ALARM, "a mean with a long tail at its bound");
	run_length(bernoulli, 0.03, 0.05, &alarms);
	printf("# at 0.03 for 0.05: %d alarms in %d times %d\n", alarms, RUNS,
		   MOST_OBSERVATIONS);
	check(alarms < RUNS / 10, "a rate below its bound");
}

/*
 * The best that any test can do is ln(ALARM) / KL on average: for 0.2 where
 * 0.05 is allowed, KL = 0.2 ln 4 + 0.8 ln(0.8 / 0.95) = 0.1398, so 66.
 */
static void
check_delay(void)
{
	int alarms;
	double delay = run_length(bernoulli, 0.2, 0.05, &alarms);

	printf("# 0.2 for 0.05: %.1f observations\n", delay);
	check(alarms == RUNS && delay < 2 * 66, "a rate four times its bound");
	/* 1 / 0.05 = 20 times as much each time: a factor of up to 20 */
	delay = run_length(bernoulli, 1, 0.05, &alarms);
	printf("# 1 for 0.05: %.1f observations\n", delay);
	check(alarms == RUNS && delay <= 5, "nothing but failures");
}

int
main(void)
{
	check_by_hand();
	check_nonsense();
	check_false_alarms();
	check_delay();
	return tap_done();
}
