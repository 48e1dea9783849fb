/*-------------------------------------------------------------------------
 * row.h
 *		What BEFORE and AFTER both ask of a row.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ROW_H
#define AGENTPAY_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "scoring/evaluate.h"
#include "scoring/frame.h"

/* The row's id at the point, as text, in the current memory context. */
extern char *agentpay_row_id(AgentpayPoint *point, TupleTableSlot *row);

/* Four bytes for each column that was used: what AFTER compares. */
extern bytea *
agentpay_row_digest(const AgentpayTable *table, TupleTableSlot *row);

/*
 * Evaluates the row at one point and fills the entry, but for its digest and
 * its number; all of it in the current memory context.
 */
extern void
agentpay_row_score(AgentpayFrame *frame, AgentpayTable *table, int point,
				   TupleTableSlot *row, AgentpayEvaluation *evaluation,
				   AgentpayEntry *entry);

/*
 * The entry of a version in shadow, by its index in evaluation->shadows,
 * beside the entry of the rules.  It has no inputs: the rules' has them.
 */
extern void
agentpay_row_shadow(const AgentpayEvaluation *evaluation, int shadow,
					const AgentpayEntry *rules, AgentpayEntry *entry);

#endif /* AGENTPAY_ROW_H */
