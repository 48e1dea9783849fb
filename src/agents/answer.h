/*-------------------------------------------------------------------------
 * answer.h
 *		What an agent may answer, and what it did answer.
 *
 * One closed schema for every protocol: the protocols unwrap their own
 * envelopes and hand the content to agentpay_answer_read().  Pure: libc and
 * json-c only; memory is malloc'd and released by agentpay_answer_free().
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ANSWER_H
#define AGENTPAY_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENTPAY_ANSWER_MAX_REASONS 20
#define AGENTPAY_ANSWER_MAX_EXPLANATION 500 /* characters, not bytes */
#define AGENTPAY_ANSWER_MAX_TOKENS INT64_C(1000000000)

typedef enum AgentpayAnswerStatus
{
	AGENTPAY_ANSWER_OK,
	AGENTPAY_ANSWER_NOT_JSON,
	AGENTPAY_ANSWER_SCHEMA,
	AGENTPAY_ANSWER_UNKNOWN_VERDICT,
	AGENTPAY_ANSWER_TRUNCATED, /* cut at max_output_tokens */
} AgentpayAnswerStatus;

typedef struct AgentpayAnswer
{
	AgentpayAnswerStatus status;
	const char *problem; /* NULL or a constant: what is wrong */

	/* The envelope; read as far as possible, whatever the status. */
	bool usage_valid; /* false: missing or impossible, settle at the bound */
	int64_t input_tokens; /* cached ones included; 0 when not usage_valid */
	int64_t cached_tokens;
	int64_t output_tokens;
	char *request_id; /* NULL when absent, as the next two */
	char *response_model;
	char *finish_reason;

	/* The content; set only when status is OK. */
	char *verdict;
	double confidence; /* 0..1 */
	bool has_score;
	double score; /* 0..1 */
	char **reasons;
	int n_reasons;
	char *explanation; /* redacted by privacy/detect; NULL when absent */
} AgentpayAnswer;

struct json_object;

/* As agent_calls.status and decisions.failure spell it. */
extern const char *agentpay_answer_status_name(AgentpayAnswerStatus status);

/*
 * Reads the content, which must be exactly one JSON object of the schema,
 * into a zeroed or partly filled answer: sets status, problem and the
 * content's fields.
 */
extern void
agentpay_answer_read(AgentpayAnswer *answer, const char *content, size_t len,
					 const char *const *verdicts, int n_verdicts);

/* The same for content that is parsed already, strictly; NULL is null. */
extern void
agentpay_answer_take(AgentpayAnswer *answer, struct json_object *content,
					 const char *const *verdicts, int n_verdicts);

/*
 * Judges the content's fields when a protocol has filled them in itself:
 * status OK, or UNKNOWN_VERDICT with the content forgotten.
 */
extern void agentpay_answer_judge(AgentpayAnswer *answer,
								  const char *const *verdicts, int n_verdicts);

/*
 * Takes one field of the schema by its name: NULL, or what is wrong with it.
 * After a problem agentpay_answer_refuse() forgets what was taken.
 */
extern const char *
agentpay_answer_field(AgentpayAnswer *answer, const char *name,
					  struct json_object *value);
extern void agentpay_answer_refuse(AgentpayAnswer *answer, const char *problem);

/* Takes token counts that can be true; otherwise usage_valid stays false. */
extern void agentpay_answer_set_usage(AgentpayAnswer *answer, int64_t input,
									  int64_t cached, int64_t output);

/* Releases the members and zeroes the struct. */
extern void agentpay_answer_free(AgentpayAnswer *answer);

#endif /* AGENTPAY_ANSWER_H */
