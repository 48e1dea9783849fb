/*-------------------------------------------------------------------------
 * preview.c
 *		The body of a request, for preview_call().
 *
 * Built by the same functions as the dispatcher's, so that what is shown is
 * what would be sent.  Nothing here opens a connection.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "agents/prompt.h"
#include "agents/protocol.h"

#define ARG_TEXT(n) \
	(PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n)))

static char *
request_body(const AgentpayProtocol *protocol, FunctionCallInfo fcinfo);
static void refuse_arguments(void);
static int take_texts(FunctionCallInfo fcinfo, int argument, char ***texts);

PG_FUNCTION_INFO_V1(agentpay_sql_request_body);

/*
 * agentpay._request_body(protocol, role, prompt, verdicts, descriptions,
 * fields, model, max_output_tokens, options): NULL for a builtin agent.
 */
Datum
agentpay_sql_request_body(PG_FUNCTION_ARGS)
{
	char *name = ARG_TEXT(0);
	const AgentpayProtocol *protocol = agentpay_protocol_find(name);

	if (name == NULL || strcmp(name, "builtin") == 0)
		PG_RETURN_NULL();
	if (protocol == NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("protocol \"%s\" is not supported yet", name),
						errhint("Use protocol openai or builtin.")));
	PG_RETURN_TEXT_P(cstring_to_text(request_body(protocol, fcinfo)));
}

/* The body, palloc'd; what the pure rooms malloc is freed on every path. */
static char *
request_body(const AgentpayProtocol *protocol, FunctionCallInfo fcinfo)
{
	char *role = ARG_TEXT(1);
	char *prompt = ARG_TEXT(2);
	char **names;
	char **descriptions;
	int n_verdicts = take_texts(fcinfo, 3, &names);
	int n_descriptions = take_texts(fcinfo, 4, &descriptions);
	char *fields = ARG_TEXT(5);
	AgentpayProtocolRequest request = {
		.model = ARG_TEXT(6),
		.verdicts = (const char *const *) names,
		.n_verdicts = n_verdicts,
		.max_output_tokens = PG_GETARG_INT32(7),
		.options = ARG_TEXT(8),
	};
	AgentpayPromptVerdict *vocabulary = palloc0(sizeof(AgentpayPromptVerdict) *
												Max(n_verdicts, 1));
	const char *problem = NULL;
	char *system;
	char *user;
	char *body = NULL;
	char *copy = NULL;
	size_t len = 0;

	if (role == NULL || fields == NULL || n_verdicts != n_descriptions)
		refuse_arguments();
	for (int i = 0; i < n_verdicts; i++)
	{
		if (names[i] == NULL)
			refuse_arguments();
		vocabulary[i].verdict = names[i];
		vocabulary[i].description = descriptions[i];
	}
	system = agentpay_prompt_system(role, prompt, vocabulary, n_verdicts);
	user = agentpay_prompt_user(fields, strlen(fields), &problem);
	if (system != NULL && user != NULL)
	{
		request.system = system;
		request.user = user;
		body = protocol->body(&request, &len, &problem);
	}
	if (body != NULL)
		copy = MemoryContextAllocExtended(CurrentMemoryContext, len + 1,
										  MCXT_ALLOC_NO_OOM);
	if (copy != NULL)
		memcpy(copy, body, len + 1);
	free(system);
	free(user);
	free(body);
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("could not build the request: %s",
							   problem ? problem : "out of memory")));
	return copy;
}

static void
refuse_arguments(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("_request_body() needs a role, fields, and verdicts with "
					"as many descriptions"),
			 errhint("SELECT request FROM agentpay.preview_call('fraud_llm', "
					 "'4711');")));
}

/* The elements as C strings, NULL for NULL; returns their number. */
static int
take_texts(FunctionCallInfo fcinfo, int argument, char ***texts)
{
	Datum *values;
	bool *nulls;
	int n;

	if (PG_ARGISNULL(argument))
		refuse_arguments();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, &nulls, &n);
	*texts = palloc0(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			(*texts)[i] = TextDatumGetCString(values[i]);
	return n;
}
