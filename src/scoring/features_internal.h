/*-------------------------------------------------------------------------
 * features_internal.h
 *		What a compiled feature is, for features.c, which reads it by index,
 *		and velocity_stream.c, which reads it from shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_FEATURES_INTERNAL_H
#define AGENTPAY_FEATURES_INTERNAL_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "scoring/aggregate.h"
#include "scoring/expression.h"
#include "scoring/features.h"
#include "scoring/velocity.h"

/* A feature's expressions over one leaf's rows. */
typedef struct AgentpayLeafExpressions
{
	AgentpayExpression *value;	/* NULL for count and since_last */
	AgentpayExpression *filter; /* or NULL */
} AgentpayLeafExpressions;

struct AgentpayFeature
{
	MemoryContext context;
	AgentpayFeatureConfig config; /* a copy */
	char *time_zone;
	Oid owner;					 /* of the table that is read */
	bool of_own_table;			 /* it reads the point's table */
	bool counts_itself;			 /* the row is in its own window */
	AgentpayLeafExpressions row; /* over the row itself */
	AgentpayVelocity *velocity;
	AgentpayAggregator *aggregator; /* of a window */
	struct AgentpayLabels *labels;	/* of the rows; or NULL */
	Bitmapset *columns;
	/* of a row's contribution to others' windows: its key there, its time, and
	 * what value and filter read */
	Bitmapset *event_columns;
	struct AgentpayStream *stream; /* that it is read from; or NULL */
	int window;					   /* number in the stream */
	/* while it reads */
	ExprContext *econtext;
	TimestampTz latest; /* since_last; DT_NOBEGIN: none yet */
};

/* The expressions over the rows of a source, compiled when it is first read. */
extern AgentpayLeafExpressions *
agentpay_feature_expressions(AgentpayFeature *feature,
							 AgentpayVelocitySource *source);

/*
 * Whether a row passes the filter; and what it is worth.  Both use the
 * feature's per-tuple memory, which the caller resets.
 */
extern bool agentpay_feature_passes(AgentpayFeature *feature,
									const AgentpayLeafExpressions *expressions,
									TupleTableSlot *slot);
extern Datum agentpay_feature_value(AgentpayFeature *feature,
									const AgentpayLeafExpressions *expressions,
									TupleTableSlot *slot, bool *isnull);

/* A time so much earlier; before the beginning of time: -infinity. */
extern TimestampTz agentpay_feature_earlier(TimestampTz at, int64 by);

/* The seconds from one time to another. */
extern double agentpay_feature_seconds(TimestampTz from, TimestampTz to);

#endif /* AGENTPAY_FEATURES_INTERNAL_H */
