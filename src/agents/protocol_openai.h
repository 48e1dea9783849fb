/*-------------------------------------------------------------------------
 * protocol_openai.h
 *		Chat completions: how a call is written, how its answer is read.
 *
 * Pure: libc and json-c only, no network, no PostgreSQL.  The same input
 * gives the same bytes.  What is returned is malloc'd.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_PROTOCOL_OPENAI_H
#define AGENTPAY_PROTOCOL_OPENAI_H

#include "agents/answer.h"
#include "agents/http_client.h"

#define AGENTPAY_OPENAI_HEADERS 4
#define AGENTPAY_OPENAI_MAX_SECRET 4096 /* bytes */

typedef struct AgentpayOpenaiRequest
{
	const char *model;
	const char *system; /* agentpay_prompt_system() */
	const char *user;	/* agentpay_prompt_user() */
	const char *const *verdicts;
	int n_verdicts;
	int max_output_tokens;
	const char *options; /* agents.options as JSON text; NULL: none */
} AgentpayOpenaiRequest;

/*
 * NULL when the options (a JSON object) are fit for this protocol, else what
 * is wrong, written to problem.  Allowed: temperature (0..2, or null: leave
 * it out; default 0), top_p, seed, reasoning_effort, service_tier,
 * max_completion_tokens (true: the limit goes by this name) and
 * response_format (json_schema, the default; json_object; none).
 */
extern const char *
agentpay_openai_check_options(const char *options, size_t len, char *problem,
							  size_t size);

/*
 * The request's body, NUL-terminated, *len without the NUL; NULL with
 * *problem set to a constant otherwise.  An upper bound of its input tokens
 * is its length in bytes.
 */
extern char *agentpay_openai_body(const AgentpayOpenaiRequest *request,
								  size_t *len, const char **problem);

/*
 * The URL of a base such as https://api.openai.com, …/v1 or …/v1/: …/v1 is
 * added to a bare origin only, /chat/completions unless it is there.
 * NULL when out of memory.
 */
extern char *agentpay_openai_url(const char *base);

/*
 * Fills headers (room for AGENTPAY_OPENAI_HEADERS) and returns their number;
 * -1 with *problem when the secret cannot go into a header.  secret may be
 * NULL.  authorization is the caller's room for AGENTPAY_OPENAI_MAX_SECRET +
 * 8 bytes, to be wiped by the caller once start() has copied the headers.
 */
extern int
agentpay_openai_headers(const char *secret, const char *idempotency_key,
						char *authorization, AgentpayHttpHeader *headers,
						const char **problem);

/*
 * Reads the body of a 200.  The answer is set in any case and is to be freed;
 * its status says whether the agent's verdict may be used.
 */
extern void agentpay_openai_answer(const char *body, size_t len,
								   const char *const *verdicts, int n_verdicts,
								   AgentpayAnswer *answer);

/*
 * The code or type that the body of an error names, as an identifier of at
 * most 64 characters written to code; "" when there is none.  Nothing else of
 * such a body may be logged.
 */
extern void agentpay_openai_error_code(const char *body, size_t len, char *code,
									   size_t size);

#endif /* AGENTPAY_PROTOCOL_OPENAI_H */
