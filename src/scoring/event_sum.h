/*-------------------------------------------------------------------------
 * event_sum.h
 *		What a number of events add up to: enough for count, sum, avg, min,
 *		max, stddev and rate.
 *
 * Sums of two sets of events are joined, never subtracted, so that floating
 * point does not drift and min and max work the same way.
 *
 * Knows no PostgreSQL.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EVENT_SUM_H
#define AGENTPAY_EVENT_SUM_H

#include <stdint.h>

/* as memory contexts align it */
typedef __int128 AgentpayInt128 __attribute__((aligned(8)));

/* What an event carries beside its time. */
typedef enum AgentpayEventKind
{
	AGENTPAY_EVENT_PLAIN,	/* nothing: it is counted */
	AGENTPAY_EVENT_INTEGER, /* an integer, or a decimal at a fixed scale */
	AGENTPAY_EVENT_FLOAT,	/* double precision */
	AGENTPAY_EVENT_IDENTITY /* 128 bits that stand for a value */
} AgentpayEventKind;

typedef union AgentpayEventValue
{
	int64_t integer;
	double real;
	uint64_t identity[2];
} AgentpayEventValue;

typedef struct AgentpayEventSum
{
	int64_t count;
	union
	{
		struct
		{
			AgentpayInt128 sum;
			AgentpayInt128 squares; /* wraps around beyond 2^127 */
			int64_t min;
			int64_t max;
		} integer;
		struct
		{
			double sum;
			double compensation; /* what sum lost by rounding */
			double deviation;	 /* sum of squared differences from the mean */
			double min;			 /* NaN is greater than all */
			double max;
			int64_t special; /* infinities and NaN */
		} real;
	} of;
} AgentpayEventSum;

extern void
agentpay_event_sum_add(AgentpayEventKind kind, AgentpayEventSum *sum,
					   const AgentpayEventValue *value);
/* The same of several events of kind INTEGER. */
extern void agentpay_event_sum_integers(const int64_t *values, int n,
										AgentpayEventSum *sum);
extern void
agentpay_event_sum_join(AgentpayEventKind kind, AgentpayEventSum *sum,
						const AgentpayEventSum *other);

#endif /* AGENTPAY_EVENT_SUM_H */
