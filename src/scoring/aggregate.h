/*-------------------------------------------------------------------------
 * aggregate.h
 *		The aggregates of a window: values go in, one number comes out.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_AGGREGATE_H
#define AGENTPAY_AGGREGATE_H

#include "postgres.h"

#include "base/config.h"
#include "scoring/event_sum.h"

typedef struct AgentpayAggregator AgentpayAggregator;

/*
 * In the current memory context; an error when there is no such aggregate of
 * values of that type.  Those of agentpay_aggregator_takes() and boolean for
 * rate; any type with an order for count_distinct; count looks at no value.
 */
extern AgentpayAggregator *
agentpay_aggregator_make(AgentpayAggregate aggregate, Oid type, Oid collation);

/* Whether sum, avg, min, max and stddev work on that type. */
extern bool agentpay_aggregator_takes(Oid type);

extern void agentpay_aggregator_reset(AgentpayAggregator *aggregator);

/* Called in a memory context that is reset often; keeps what it needs. */
extern void agentpay_aggregator_add(AgentpayAggregator *aggregator, Datum value,
									bool isnull);
extern double
agentpay_aggregator_result(AgentpayAggregator *aggregator, bool *isnull);

/*
 * The same from a sum of events whose values are of that type; numeric ones
 * are integers that have scale digits behind the point.  Not count_distinct.
 */
extern double
agentpay_aggregate_of(AgentpayAggregate aggregate, Oid type, int scale,
					  const AgentpayEventSum *sum, bool *isnull);

#endif /* AGENTPAY_AGGREGATE_H */
