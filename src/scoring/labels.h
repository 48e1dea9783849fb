/*-------------------------------------------------------------------------
 * labels.h
 *		How rows of a point's table turned out, as it was known at a time: for
 *		windows over labels.
 *
 * Around one reading of a feature: begin, then for each row next and, for each
 * expression that is evaluated on it, fill; then end.  After an error there
 * is no end.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LABELS_H
#define AGENTPAY_LABELS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"

#include "base/config.h"
#include "scoring/expression.h"

typedef struct AgentpayLabels AgentpayLabels;

/* For the point's rows, in the current memory context. */
extern AgentpayLabels *agentpay_labels_make(const AgentpayPointConfig *point);

/* Labels count that were effective by then. */
extern void agentpay_labels_begin(AgentpayLabels *labels, TimestampTz as_of);
extern void agentpay_labels_end(AgentpayLabels *labels);

/* The next row; NULL: one that is not in the table yet, and has no label. */
extern void agentpay_labels_next(AgentpayLabels *labels, TupleTableSlot *row);

/*
 * Sets the parameters of the expression that stand for the row's label, if it
 * reads any; they are in the given memory context.
 */
extern void
agentpay_labels_fill(AgentpayLabels *labels, AgentpayExpression *expression,
					 MemoryContext context);

#endif /* AGENTPAY_LABELS_H */
