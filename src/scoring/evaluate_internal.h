/*-------------------------------------------------------------------------
 * evaluate_internal.h
 *		What evaluate.c, evaluate_columns.c and evaluate_agents.c share.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EVALUATE_INTERNAL_H
#define AGENTPAY_EVALUATE_INTERNAL_H

#include "scoring/evaluate.h"

/* Forgets an earlier attempt and reads the row's own time and amount. */
extern void agentpay_evaluate_begin(AgentpayEvaluation *evaluation);

/* The model's answer becomes its parameter. */
extern void agentpay_evaluate_model(AgentpayEvaluation *evaluation, int model);

/*
 * Which agents are asked about the row, which may be asked when one of these
 * is unsure or when a case opens, and what built-in ones say.
 */
extern void agentpay_evaluate_agents(AgentpayEvaluation *evaluation);

static inline void
agentpay_evaluate_set(AgentpayPoint *point, int param, Datum value, bool isnull)
{
	point->params->params[param].value = value;
	point->params->params[param].isnull = isnull;
}

#endif /* AGENTPAY_EVALUATE_INTERNAL_H */
