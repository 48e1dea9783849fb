/*-------------------------------------------------------------------------
 * attempts.h
 *		The columns of agentpay._attempt_end, what became of an attempt as
 *		dispatchers say it, and of agentpay._task_work, in their order.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ATTEMPTS_H
#define AGENTPAY_ATTEMPTS_H

/* Zero-based, as in sql/parts/57_calls.sql. */
typedef enum AgentpayAttemptColumn
{
	ATTEMPT_TASK_ID,
	ATTEMPT_NUMBER,
	ATTEMPT_FINAL,
	ATTEMPT_DELAY_MS,
	ATTEMPT_FAILURE,
	ATTEMPT_CHARGE,
	ATTEMPT_STATUS,
	ATTEMPT_ERROR,
	ATTEMPT_VERDICT,
	ATTEMPT_CONFIDENCE,
	ATTEMPT_SCORE,
	ATTEMPT_REASONS,
	ATTEMPT_EXPLANATION,
	ATTEMPT_RESPONSE_MODEL,
	ATTEMPT_REQUEST_ID,
	ATTEMPT_INPUT_TOKENS,
	ATTEMPT_CACHED_TOKENS,
	ATTEMPT_OUTPUT_TOKENS,
	ATTEMPT_FINISH_REASON,
	ATTEMPT_HTTP_STATUS,
	ATTEMPT_CALLED_AT,
	ATTEMPT_QUEUED_MS,
	ATTEMPT_IN_FLIGHT_AT_START,
	ATTEMPT_LATENCY_MS,
	ATTEMPT_REQUEST_SHA256,
	ATTEMPT_REQUEST_BODY,
	ATTEMPT_ANSWER_BODY,
	ATTEMPT_COLUMNS
} AgentpayAttemptColumn;

/* Of agentpay._task_work: zero-based, as in sql/parts/55_tasks.sql. */
typedef enum AgentpayWorkColumn
{
	WORK_TASK_ID,
	WORK_PLACE,
	WORK_CREATED_AT,
	WORK_AGENT,
	WORK_STATE,
	WORK_ATTEMPT,
	WORK_RUN_AFTER,
	WORK_LEASE,
	WORK_LEASE_UNTIL,
	WORK_BOUND_COST,
	WORK_SPENT,
	WORK_SENT_AT,
	WORK_COLUMNS
} AgentpayWorkColumn;

#endif /* AGENTPAY_ATTEMPTS_H */
