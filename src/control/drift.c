/*-------------------------------------------------------------------------
 * drift.c
 *		How far one set of counts is from another (drift.h).
 *-------------------------------------------------------------------------
 */
#include "control/drift.h"

#include <math.h>

#define TERMS 10000
#define HALVINGS 200

double
agentpay_drift_psi(const int64_t *reference, const int64_t *current, int bins)
{
	double n = 0;
	double m = 0;
	double sum = 0;

	if (bins <= 0)
		return NAN;
	for (int i = 0; i < bins; i++)
	{
		n += (double) reference[i];
		m += (double) current[i];
	}
	for (int i = 0; i < bins; i++)
	{
		double e = ((double) reference[i] + 0.5) / (n + 0.5 * bins);
		double a = ((double) current[i] + 0.5) / (m + 0.5 * bins);

		sum += (a - e) * log(a / e);
	}
	return sum;
}

double
agentpay_drift_ks(const int64_t *reference, const int64_t *current, int bins)
{
	double n = 0;
	double m = 0;
	double below_n = 0;
	double below_m = 0;
	double most = 0;

	for (int i = 0; i < bins; i++)
	{
		n += (double) reference[i];
		m += (double) current[i];
	}
	if (n <= 0 || m <= 0)
		return NAN;
	for (int i = 0; i < bins; i++)
	{
		below_n += (double) reference[i];
		below_m += (double) current[i];
		most = fmax(most, fabs(below_n / n - below_m / m));
	}
	return most;
}

/* The lower incomplete gamma function over Gamma(a), by its series: x < a + 1. */
static double
gamma_below(double a, double x)
{
	double term = 1 / a;
	double sum = term;

	for (int i = 1; i < TERMS && term > sum * 1e-17; i++)
	{
		term *= x / (a + i);
		sum += term;
	}
	return sum * exp(a * log(x) - x - lgamma(a));
}

/* The upper one, by its continued fraction from the end: x >= a + 1. */
static double
gamma_above(double a, double x)
{
	double fraction = 0;

	for (int i = 500; i > 0; i--)
		fraction = i * (i - a) / (x + 2 * i + 1 - a - fraction);
	return exp(a * log(x) - x - lgamma(a)) / (x + 1 - a - fraction);
}

/* The probability that a chi-square variable is above x. */
static double
chi_square_tail(double x, double df)
{
	double a = df / 2;

	x /= 2;
	if (x <= 0)
		return 1;
	return x < a + 1 ? 1 - gamma_below(a, x) : gamma_above(a, x);
}

double
agentpay_drift_chi_square_above(double probability, double df)
{
	double low = 0;
	double high = 1;

	if (!(probability >= 0 && probability <= 1) || !(df > 0))
		return NAN;
	if (probability == 0)
		return INFINITY;
	while (chi_square_tail(high, df) > probability)
		high *= 2;
	for (int i = 0; i < HALVINGS && high - low > 1e-14 * high; i++)
	{
		double middle = (low + high) / 2;

		if (chi_square_tail(middle, df) > probability)
			low = middle;
		else
			high = middle;
	}
	return probability == 1 ? 0 : (low + high) / 2;
}

double
agentpay_drift_ks_above(double probability)
{
	if (!(probability >= 0 && probability <= 1))
		return NAN;
	return sqrt(-log(probability / 2) / 2);
}
