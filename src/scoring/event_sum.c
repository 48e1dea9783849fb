/*-------------------------------------------------------------------------
 * event_sum.c
 *		What a number of events add up to.
 *
 * Floating point sums carry what rounding lost (A. Neumaier, ZAMM 54, 1974);
 * squared deviations are joined by T. F. Chan, G. H. Golub, R. J. LeVeque,
 * Updating Formulae and a Pairwise Algorithm for Computing Sample Variances,
 * 1979.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdbool.h>

#include "scoring/event_sum.h"

static void add_real(AgentpayEventSum *sum, double value);
static void join_real(AgentpayEventSum *sum, const AgentpayEventSum *other);
static double add_exactly(double a, double b, double *compensation);
static bool is_less(double a, double b);

void
agentpay_event_sum_add(AgentpayEventKind kind, AgentpayEventSum *sum,
					   const AgentpayEventValue *value)
{
	sum->count++;
	if (kind == AGENTPAY_EVENT_INTEGER)
	{
		int64_t number = value->integer;

		sum->of.integer.sum += number;
		sum->of.integer.squares =
			(AgentpayInt128) ((unsigned __int128) sum->of.integer.squares +
							  (unsigned __int128) ((AgentpayInt128) number *
												   number));
		if (sum->count == 1 || number < sum->of.integer.min)
			sum->of.integer.min = number;
		if (sum->count == 1 || number > sum->of.integer.max)
			sum->of.integer.max = number;
	}
	else if (kind == AGENTPAY_EVENT_FLOAT)
		add_real(sum, value->real);
}

void
agentpay_event_sum_integers(const int64_t *values, int n, AgentpayEventSum *sum)
{
	AgentpayInt128 total = 0;
	unsigned __int128 squares = 0;
	int64_t min = INT64_MAX;
	int64_t max = INT64_MIN;
	AgentpayEventSum here = {.count = n};

	for (int i = 0; i < n; i++)
	{
		int64_t number = values[i];

		total += number;
		squares += (unsigned __int128) ((AgentpayInt128) number * number);
		min = number < min ? number : min;
		max = number > max ? number : max;
	}
	here.of.integer.sum = total;
	here.of.integer.squares = (AgentpayInt128) squares;
	here.of.integer.min = min;
	here.of.integer.max = max;
	agentpay_event_sum_join(AGENTPAY_EVENT_INTEGER, sum, &here);
}

void
agentpay_event_sum_join(AgentpayEventKind kind, AgentpayEventSum *sum,
						const AgentpayEventSum *other)
{
	if (other->count == 0)
		return;
	if (sum->count == 0)
	{
		*sum = *other;
		return;
	}
	if (kind == AGENTPAY_EVENT_INTEGER)
	{
		sum->of.integer.sum += other->of.integer.sum;
		sum->of.integer.squares =
			(AgentpayInt128) ((unsigned __int128) sum->of.integer.squares +
							  (unsigned __int128) other->of.integer.squares);
		if (other->of.integer.min < sum->of.integer.min)
			sum->of.integer.min = other->of.integer.min;
		if (other->of.integer.max > sum->of.integer.max)
			sum->of.integer.max = other->of.integer.max;
	}
	else if (kind == AGENTPAY_EVENT_FLOAT)
		join_real(sum, other);
	sum->count += other->count;
}

/* sum->count counts it already. */
static void
add_real(AgentpayEventSum *sum, double value)
{
	AgentpayEventSum one = {.count = 1};
	int64_t count = sum->count;

	one.of.real.sum = one.of.real.min = one.of.real.max = value;
	one.of.real.special = isinf(value) || isnan(value);
	if (count == 1)
	{
		*sum = one;
		return;
	}
	sum->count--;
	join_real(sum, &one);
	sum->count = count;
}

/* Without the count. */
static void
join_real(AgentpayEventSum *sum, const AgentpayEventSum *other)
{
	double n = (double) sum->count;
	double m = (double) other->count;
	double difference = other->of.real.sum / m - sum->of.real.sum / n;

	sum->of.real.deviation += other->of.real.deviation +
							  difference * difference * (n * m / (n + m));
	sum->of.real.compensation += other->of.real.compensation;
	sum->of.real.sum = add_exactly(sum->of.real.sum, other->of.real.sum,
								   &sum->of.real.compensation);
	if (is_less(other->of.real.min, sum->of.real.min))
		sum->of.real.min = other->of.real.min;
	if (is_less(sum->of.real.max, other->of.real.max))
		sum->of.real.max = other->of.real.max;
	sum->of.real.special += other->of.real.special;
}

static double
add_exactly(double a, double b, double *compensation)
{
	double sum = a + b;

	if (fabs(a) >= fabs(b))
		*compensation += (a - sum) + b;
	else
		*compensation += (b - sum) + a;
	return sum;
}

static bool
is_less(double a, double b)
{
	return isnan(b) ? !isnan(a) : a < b;
}
