/*-------------------------------------------------------------------------
 * features.h
 *		What a row's past says: exact windows over rows with the same key.
 *
 * This is the one interface for reading a feature.  Behind it stand streams in
 * shared memory (velocity_stream.h) and, for what they do not hold, an index
 * scan (velocity.c).  Both see committed rows, earlier rows of this statement
 * and transaction, and other transactions' rows in flight.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_FEATURES_H
#define AGENTPAY_FEATURES_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"

#include "base/config.h"
#include "scoring/expression.h"

typedef struct AgentpayFeature AgentpayFeature;

/*
 * Prepares to read a feature of rows of leaf, in the current memory context.
 * Keeps no relation open: a reader lives across statements.  An error when
 * the source has no index for it any more.
 */
extern AgentpayFeature *
agentpay_feature_compile(const AgentpayPointConfig *point,
						 const AgentpayFeatureConfig *config, Oid leaf);
extern void agentpay_feature_free(AgentpayFeature *feature);

/* What its value and filter may name, on rows that count for rows of leaf. */
extern AgentpayScope
agentpay_feature_scope(const AgentpayPointConfig *point,
					   const AgentpayFeatureConfig *config, Oid leaf);

/* Columns of leaf that it reads of the row itself. */
extern const Bitmapset *
agentpay_feature_columns(const AgentpayFeature *feature);

/* Whether what it was compiled from changed: compile it again. */
extern bool agentpay_feature_stale(const AgentpayFeature *feature);

/*
 * The feature's value for a row that is about to be inserted, at its own time.
 * default_value is applied.
 */
extern double
agentpay_feature_read(AgentpayFeature *feature, TupleTableSlot *row,
					  TimestampTz at, bool *isnull);

#endif /* AGENTPAY_FEATURES_H */
