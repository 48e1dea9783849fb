/*-------------------------------------------------------------------------
 * ends.h
 *		The columns of agentpay._task_end, in their order.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ENDS_H
#define AGENTPAY_ENDS_H

/* Zero-based, as in sql/parts/55_tasks.sql; a test compares them. */
typedef enum AgentpayEndColumn
{
	AGENTPAY_END_TASK_ID,
	AGENTPAY_END_CREATED_AT,
	AGENTPAY_END_DECISION_ID,
	AGENTPAY_END_FAILURE,
	AGENTPAY_END_VERDICT,
	AGENTPAY_END_ANSWER,
	AGENTPAY_END_CONFIDENCE,
	AGENTPAY_END_SCORE,
	AGENTPAY_END_REASONS,
	AGENTPAY_END_COST,
	AGENTPAY_END_LATENCY_MS,
	AGENTPAY_END_DETAIL,
	AGENTPAY_END_COLUMNS
} AgentpayEndColumn;

#endif /* AGENTPAY_ENDS_H */
