/*-------------------------------------------------------------------------
 * request.c
 *		The body of a request, for the dispatcher and for preview_call().
 *
 * One function for both, so that what is shown is what would be sent.  Nothing
 * here opens a connection.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "agents/prompt.h"
#include "agents/request.h"

const AgentpayProtocol *
agentpay_request_protocol(const char *name)
{
	const AgentpayProtocol *protocol = agentpay_protocol_find(name);

	if (protocol == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("protocol \"%s\" is not supported", name),
				 errdetail("Requests are written in openai, anthropic, bedrock "
						   "or http; a builtin agent has none."),
				 errhint("UPDATE agentpay.agents SET protocol = 'openai' WHERE "
						 "name = ...;")));
	return protocol;
}

int
agentpay_request_texts(ArrayType *array, char ***texts)
{
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &n);
	*texts = palloc0(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			(*texts)[i] = TextDatumGetCString(values[i]);
	return n;
}

/* What the pure rooms malloc is freed on every path. */
char *
agentpay_request_body(const AgentpayRequest *request)
{
	AgentpayProtocolRequest asked = {
		.model = request->model,
		.verdicts = (const char *const *) request->verdicts,
		.n_verdicts = request->n_verdicts,
		.max_output_tokens = request->max_output_tokens,
		.options = request->options,
	};
	AgentpayPromptVerdict *vocabulary = palloc0(sizeof(AgentpayPromptVerdict) *
												Max(request->n_verdicts, 1));
	const char *problem = NULL;
	char *system;
	char *user;
	char *body = NULL;
	char *copy = NULL;
	size_t len = 0;

	for (int i = 0; i < request->n_verdicts; i++)
	{
		vocabulary[i].verdict = request->verdicts[i];
		vocabulary[i].description = request->notes[i];
	}
	system = agentpay_prompt_system(request->role, request->prompt, vocabulary,
									request->n_verdicts);
	user = agentpay_prompt_user(request->fields, strlen(request->fields),
								&problem);
	if (system != NULL && user != NULL)
	{
		asked.system = system;
		asked.user = user;
		body = request->protocol->body(&asked, &len, &problem);
	}
	if (body != NULL)
		copy = MemoryContextAllocExtended(CurrentMemoryContext, len + 1,
										  MCXT_ALLOC_NO_OOM);
	if (copy != NULL)
		memcpy(copy, body, len + 1);
	free(system);
	free(user);
	free(body);
	pfree(vocabulary);
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("could not build the request: %s",
							   problem ? problem : "out of memory")));
	return copy;
}
