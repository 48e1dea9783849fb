/*-------------------------------------------------------------------------
 * assignment.h
 *		What becomes of a verdict of the rules: it holds, is let through to
 *		learn its label (explore), or is looked at by somebody (audit).
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ASSIGNMENT_H
#define AGENTPAY_ASSIGNMENT_H

#include "postgres.h"

#include "scoring/draw.h"
#include "scoring/evaluate.h"

/*
 * Why a row cannot be let through against its rules; NULL: it can, with
 * probability explore_percent.  The text is a constant.
 */
extern const char *
agentpay_assignment_obstacle(const AgentpayEvaluation *evaluation);

/*
 * Whether no agent may loosen what the rules said: a rule that matched reads a
 * list or, at a point of role fraud whose scores add up, has a verdict of its
 * own; or they failed.
 */
extern bool agentpay_assignment_forced(const AgentpayEvaluation *evaluation);

/* The probability that the row's label can be observed. */
extern float4
agentpay_assignment_propensity(const AgentpayEvaluation *evaluation);

/*
 * Draws for an evaluated row.  Without may_explore it is never let through:
 * somebody else may have decided about it.
 */
extern AgentpayAssigned
agentpay_assignment_draw(const AgentpayEvaluation *evaluation,
						 bool may_explore);

extern const char *agentpay_assignment_name(AgentpayAssignment assignment);

/* AGENTPAY_TREATMENT for what is no name of one. */
extern AgentpayAssignment agentpay_assignment_named(const char *name);

#endif /* AGENTPAY_ASSIGNMENT_H */
