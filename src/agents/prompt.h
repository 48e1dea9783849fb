/*-------------------------------------------------------------------------
 * prompt.h
 *		The two texts that an agent gets: instructions, and the payment.
 *
 * They never mix: the instructions come from configuration only, and the
 * payment is one JSON object of fields that the data policies have treated.
 * Pure: libc and json-c only; what is returned is malloc'd.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_PROMPT_H
#define AGENTPAY_PROMPT_H

#include <stddef.h>

typedef struct AgentpayPromptVerdict
{
	const char *verdict;
	const char *description; /* NULL: none */
} AgentpayPromptVerdict;

/* The role's own instructions, a constant; NULL when there is no such role. */
extern const char *agentpay_prompt_default(const char *role);

/*
 * The whole system text: the agent's prompt (NULL: the role's), the
 * vocabulary, that the payment is data, and the shape of the answer.
 * Loosest verdict first, if they are ranked.  NULL when out of memory.
 */
extern char *
agentpay_prompt_system(const char *role, const char *prompt,
					   const AgentpayPromptVerdict *verdicts, int n_verdicts);

/*
 * The user text: a copy of the given JSON, once it is seen to be exactly one
 * object.  Otherwise NULL with *problem.
 */
extern char *
agentpay_prompt_user(const char *fields_json, size_t len, const char **problem);

#endif /* AGENTPAY_PROMPT_H */
