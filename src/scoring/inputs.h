/*-------------------------------------------------------------------------
 * inputs.h
 *		What a decision saw: every column, feature and model that was read,
 *		after the data policy, as one flat JSON object.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_INPUTS_H
#define AGENTPAY_INPUTS_H

#include "executor/tuptable.h"

#include "scoring/table.h"

/* Fills the point's inputs, once the rest of it is compiled. */
extern void agentpay_inputs_compile(AgentpayPoint *point, Relation leaf);

/*
 * Whether the member belongs to a row about which those agents are asked
 * (indexes into the point's agents).
 */
extern bool
agentpay_inputs_wanted(const AgentpayInput *input, const Bitmapset *asked);

/*
 * The member's value for the row, in the current memory context: treated,
 * and scanned if it is text.
 */
extern void agentpay_inputs_value(AgentpayPoint *point, AgentpayInput *input,
								  TupleTableSlot *row, JsonbValue *value);

/* Whether what it was is to be sealed. */
extern bool agentpay_inputs_sealed(const AgentpayInput *input);

/* The member's value as the rules read it: neither treated nor scanned. */
extern void agentpay_inputs_clear(AgentpayPoint *point, AgentpayInput *input,
								  TupleTableSlot *row, JsonbValue *value);

/* The object of count members that are in jsonb's order. */
extern Jsonb *agentpay_inputs_object(JsonbPair *pairs, int count);

#endif /* AGENTPAY_INPUTS_H */
