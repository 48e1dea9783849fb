/*-------------------------------------------------------------------------
 * preview.c
 *		The body of a request, for preview_call().
 *
 * Built by the same function as the dispatcher's (agents/request.c), so that
 * what is shown is what would be sent.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "agents/request.h"

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

	if (name == NULL || strcmp(name, "builtin") == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(
		cstring_to_text(request_body(agentpay_request_protocol(name), fcinfo)));
}

static char *
request_body(const AgentpayProtocol *protocol, FunctionCallInfo fcinfo)
{
	AgentpayRequest request = {
		.protocol = protocol,
		.role = ARG_TEXT(1),
		.prompt = ARG_TEXT(2),
		.fields = ARG_TEXT(5),
		.model = ARG_TEXT(6),
		.max_output_tokens = PG_GETARG_INT32(7),
		.options = ARG_TEXT(8),
	};
	int n_notes = take_texts(fcinfo, 4, &request.notes);

	request.n_verdicts = take_texts(fcinfo, 3, &request.verdicts);
	if (request.role == NULL || request.fields == NULL ||
		request.n_verdicts != n_notes)
		refuse_arguments();
	for (int i = 0; i < request.n_verdicts; i++)
		if (request.verdicts[i] == NULL)
			refuse_arguments();
	return agentpay_request_body(&request);
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

/* Those of an argument that may not be NULL. */
static int
take_texts(FunctionCallInfo fcinfo, int argument, char ***texts)
{
	if (PG_ARGISNULL(argument))
		refuse_arguments();
	return agentpay_request_texts(PG_GETARG_ARRAYTYPE_P(argument), texts);
}
