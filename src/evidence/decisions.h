/*-------------------------------------------------------------------------
 * decisions.h
 *		The columns of agentpay.decisions and agentpay._tasks in their order,
 *		for those who append rows, and the way back to a decision.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DECISIONS_H
#define AGENTPAY_DECISIONS_H

#include "postgres.h"

/* Zero-based, as in sql/parts/20_logs.sql; a test compares them. */
typedef enum AgentpayDecisionColumn
{
	AGENTPAY_DECISION_ID,
	AGENTPAY_DECISION_DECIDED_AT,
	AGENTPAY_DECISION_POINT,
	AGENTPAY_DECISION_ROW_ID,
	AGENTPAY_DECISION_OCCURRED_AT,
	AGENTPAY_DECISION_AMOUNT,
	AGENTPAY_DECISION_CURRENCY,
	AGENTPAY_DECISION_BASE_AMOUNT,
	AGENTPAY_DECISION_KIND,
	AGENTPAY_DECISION_AUTHORITY,
	AGENTPAY_DECISION_VERDICT,
	AGENTPAY_DECISION_ANSWER,
	AGENTPAY_DECISION_ASSIGNMENT,
	AGENTPAY_DECISION_REPEAT_NO,
	AGENTPAY_DECISION_PROPENSITY,
	AGENTPAY_DECISION_SCORE,
	AGENTPAY_DECISION_REASONS,
	AGENTPAY_DECISION_RULESET_VERSION,
	AGENTPAY_DECISION_AGENT,
	AGENTPAY_DECISION_AGENT_VERSION,
	AGENTPAY_DECISION_CONFIDENCE,
	AGENTPAY_DECISION_FAILURE,
	AGENTPAY_DECISION_INPUTS,
	AGENTPAY_DECISION_COST,
	AGENTPAY_DECISION_LATENCY_MS,
	AGENTPAY_DECISION_SUPERSEDES,
	AGENTPAY_DECISION_DETAIL,
	AGENTPAY_DECISION_SEALED,
	AGENTPAY_DECISION_KEY_ID,
	AGENTPAY_DECISION_XID,
	AGENTPAY_DECISION_COLUMNS
} AgentpayDecisionColumn;

typedef enum AgentpayTaskColumn
{
	AGENTPAY_TASK_ID,
	AGENTPAY_TASK_CREATED_AT,
	AGENTPAY_TASK_POINT,
	AGENTPAY_TASK_ROW_ID,
	AGENTPAY_TASK_DECISION_ID,
	AGENTPAY_TASK_AGENT,
	AGENTPAY_TASK_AGENT_VERSION,
	AGENTPAY_TASK_DECIDE_BY,
	AGENTPAY_TASK_IDEMPOTENCY_KEY,
	AGENTPAY_TASK_REPEAT_NO,
	AGENTPAY_TASK_ESCALATED_FROM,
	AGENTPAY_TASK_BUCKET,
	AGENTPAY_TASK_HOLDOUT_BUCKET,
	AGENTPAY_TASK_FORCED,
	AGENTPAY_TASK_STAGE,
	AGENTPAY_TASK_LOWERED,
	AGENTPAY_TASK_XID,
	AGENTPAY_TASK_COLUMNS
} AgentpayTaskColumn;

/* What is on record about a row; in the memory context that was current. */
typedef struct AgentpayDecided
{
	char *verdict;
	char *answer; /* or NULL */
	char *assignment;
	float4 propensity;
} AgentpayDecided;

/*
 * The rules decision on record about a row, with the verdict that stands by
 * now: what is committed or was written by this transaction.  False: there is
 * none.
 */
extern bool agentpay_decisions_find(const char *point, const char *row_id,
									AgentpayDecided *decided);

#endif /* AGENTPAY_DECISIONS_H */
