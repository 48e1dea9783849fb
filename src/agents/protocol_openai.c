/*-------------------------------------------------------------------------
 * protocol_openai.c
 *		Chat completions: how a call is written, how its answer is read.
 *
 * The schema that is sent keeps to what providers accept in strict mode:
 * every property required, null instead of leaving out, and no limits on
 * lengths or numbers (some refuse the whole request for a maxLength).  The
 * limits stand in the descriptions and are enforced by answer.c.
 *-------------------------------------------------------------------------
 */
#include "agents/protocol_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* All that options may hold, in the order in which it is sent. */
static const AgentpayOptionRule rules[] = {
	{.name = "temperature",
	 .kind = AGENTPAY_OPTION_NUMBER,
	 .high = 2,
	 .may_be_null = true,
	 .is_sent = true},
	{.name = "top_p",
	 .kind = AGENTPAY_OPTION_NUMBER,
	 .high = 1,
	 .is_sent = true},
	{.name = "seed",
	 .kind = AGENTPAY_OPTION_INTEGER,
	 .low = -9007199254740991.0,
	 .high = 9007199254740991.0,
	 .is_sent = true},
	{.name = "reasoning_effort", .kind = AGENTPAY_OPTION_WORD, .is_sent = true},
	{.name = "service_tier", .kind = AGENTPAY_OPTION_WORD, .is_sent = true},
	{.name = "max_completion_tokens",
	 .kind = AGENTPAY_OPTION_FLAG,
	 .remark = ": the number is max_output_tokens"},
	{.name = "api_version", .kind = AGENTPAY_OPTION_WORD},
	{.name = "secret_header", .kind = AGENTPAY_OPTION_HEADER},
	{.name = "response_format",
	 .kind = AGENTPAY_OPTION_WORD,
	 .choice = "json_schema|json_object|none"},
};
#define N_RULES (sizeof(rules) / sizeof(*rules))

static void write_response_format(AgentpayJsonWriter *out,
								  const AgentpayProtocolRequest *request,
								  const char *format);
static void read_usage(json_object *envelope, AgentpayAnswer *answer);
static json_object *read_message(json_object *envelope, AgentpayAnswer *answer);

static const char *
check_options(const char *options, size_t len, char *problem, size_t size)
{
	return agentpay_options_check(rules, N_RULES, options, len, problem, size);
}

static char *
write_body(const AgentpayProtocolRequest *request, size_t *len,
		   const char **problem)
{
	AgentpayJsonWriter out = {0};
	json_object *options = agentpay_options_read(rules, N_RULES,
												 request->options, problem);
	const char *format;
	char number[32];
	char *body;

	if (options == NULL)
		return NULL;
	agentpay_json_write(&out, "{\"model\":");
	agentpay_json_write_string(&out, request->model);
	agentpay_json_write(&out,
						",\"messages\":[{\"role\":\"system\",\"content\":");
	agentpay_json_write_string(&out, request->system);
	agentpay_json_write(&out, "},{\"role\":\"user\",\"content\":");
	agentpay_json_write_string(&out, request->user);
	agentpay_json_write(&out, "}],");
	agentpay_json_write(&out, json_object_get_boolean(agentpay_protocol_member(
								  options, "max_completion_tokens"))
								  ? "\"max_completion_tokens\":"
								  : "\"max_tokens\":");
	snprintf(number, sizeof(number), "%d", request->max_output_tokens);
	agentpay_json_write(&out, number);
	/* temperature is 0 unless it is given */
	if (!json_object_object_get_ex(options, "temperature", NULL))
		agentpay_json_write(&out, ",\"temperature\":0");
	agentpay_options_write(&out, rules, N_RULES, options);
	format = agentpay_protocol_word(options, "response_format");
	write_response_format(&out, request, format ? format : "json_schema");
	agentpay_json_write(&out, "}");
	json_object_put(options);

	*len = out.len;
	body = agentpay_json_write_finish(&out);
	if (body == NULL)
		*problem = "out of memory";
	return body;
}

#define FORMAT ",\"response_format\":{\"type\":"
#define FORMAT_OBJECT FORMAT "\"json_object\"}"

/* The closed schema of the answer, unless the options ask for less. */
static void
write_response_format(AgentpayJsonWriter *out,
					  const AgentpayProtocolRequest *request,
					  const char *format)
{
	if (strcmp(format, "none") == 0)
		return;
	if (strcmp(format, "json_object") == 0)
	{
		agentpay_json_write(out, FORMAT_OBJECT);
		return;
	}
	agentpay_json_write(out, FORMAT
						"\"json_schema\",\"json_schema\":{\"name\":\"verdict\","
						"\"strict\":true,\"schema\":");
	agentpay_protocol_write_schema(out, request->verdicts, request->n_verdicts,
								   true);
	agentpay_json_write(out, "}}");
}

/*
 * json_object instead of a schema, then nothing.  What is looked for cannot
 * stand in a text of the body: a quote there has a backslash before it.
 */
static char *
plainer_body(const char *body, size_t *len)
{
	AgentpayJsonWriter out = {0};
	const char *format = agentpay_protocol_find_text(body, *len, FORMAT);
	bool any = format != NULL &&
			   strncmp(format, FORMAT_OBJECT, strlen(FORMAT_OBJECT)) != 0;

	if (format == NULL)
		return NULL;
	agentpay_json_write_bytes(&out, body, format - body);
	agentpay_json_write(&out, any ? FORMAT_OBJECT "}" : "}");
	*len = out.len;
	return agentpay_json_write_finish(&out);
}

/*
 * The URL of a base such as https://api.openai.com, …/v1 or …/v1/: …/v1 is
 * added to a bare origin only, /chat/completions unless it is there.  With
 * option api_version it ends in what Azure's deployments want.
 */
static char *
write_url(const AgentpayProtocolAgent *agent, const char **problem)
{
	AgentpayJsonWriter out = {0};
	json_object *options = agentpay_options_read(rules, N_RULES, agent->options,
												 problem);
	const char *version = agentpay_protocol_word(options, "api_version");
	char *url = options == NULL
					? NULL
					: agentpay_protocol_url(agent->endpoint, "/v1",
											"/chat/completions", problem);

	if (url != NULL && version != NULL)
	{
		agentpay_json_write(&out, url);
		agentpay_json_write(&out, "?api-version=");
		agentpay_json_write(&out, version);
		free(url);
		url = agentpay_json_write_finish(&out);
		if (url == NULL)
			*problem = "out of memory";
	}
	json_object_put(options);
	return url;
}

/* Azure takes its keys in a header of their own. */
static bool
write_headers(const AgentpayProtocolCall *call,
			  AgentpayProtocolHeaders *headers, const char **problem)
{
	json_object *options = agentpay_options_read(rules, N_RULES, call->options,
												 problem);
	const char *name;
	bool good;

	if (options == NULL)
		return false;
	agentpay_protocol_common_headers(call, headers);
	name = agentpay_protocol_word(options, "secret_header");
	if (name == NULL)
		name = agentpay_protocol_word(options, "api_version") != NULL
				   ? "api-key"
				   : "Authorization";
	good = agentpay_protocol_secret_header(call, name, headers, problem);
	json_object_put(options);
	return good;
}

static void
read_answer(const AgentpayProtocolAgent *agent, const char *body, size_t len,
			AgentpayAnswer *answer)
{
	json_object *envelope;
	json_object *message;
	json_object *content;

	envelope = agentpay_protocol_envelope(body, len, answer);
	if (envelope == NULL)
		return;
	answer->request_id = agentpay_protocol_copy_text(envelope, "id");
	answer->response_model = agentpay_protocol_copy_text(envelope, "model");
	read_usage(envelope, answer);
	message = read_message(envelope, answer);
	content = agentpay_protocol_member(message, "content");

	if (answer->problem != NULL)
		;
	else if (answer->finish_reason != NULL &&
			 strcmp(answer->finish_reason, "length") == 0)
	{
		answer->status = AGENTPAY_ANSWER_TRUNCATED;
		answer->problem = "the answer ends at max_output_tokens";
	}
	else if (agentpay_protocol_member(message, "refusal") != NULL)
		answer->problem = "the agent refused to answer";
	else if (!json_object_is_type(content, json_type_string))
		answer->problem = "the message has no text";
	else
		agentpay_answer_read(answer, json_object_get_string(content),
							 (size_t) json_object_get_string_len(content),
							 agent->verdicts, agent->n_verdicts);
	agentpay_protocol_doubt_usage(answer);
	json_object_put(envelope);
}

/* The only choice's message; sets problem when there is not exactly one. */
static json_object *
read_message(json_object *envelope, AgentpayAnswer *answer)
{
	json_object *choices = agentpay_protocol_member(envelope, "choices");
	json_object *choice;
	json_object *message;

	if (!json_object_is_type(choices, json_type_array) ||
		json_object_array_length(choices) != 1)
	{
		answer->problem = "the envelope has not exactly one choice";
		return NULL;
	}
	choice = json_object_array_get_idx(choices, 0);
	answer->finish_reason = agentpay_protocol_copy_text(choice,
														"finish_reason");
	message = agentpay_protocol_member(choice, "message");
	if (!json_object_is_type(message, json_type_object))
		answer->problem = "the choice has no message";
	return message;
}

static void
read_usage(json_object *envelope, AgentpayAnswer *answer)
{
	json_object *usage = agentpay_protocol_member(envelope, "usage");
	json_object *details = agentpay_protocol_member(usage,
													"prompt_tokens_details");
	bool any_cached = agentpay_protocol_member(details, "cached_tokens") !=
					  NULL;

	agentpay_answer_set_usage(
		answer, agentpay_protocol_count(usage, "prompt_tokens"),
		any_cached ? agentpay_protocol_count(details, "cached_tokens") : 0,
		agentpay_protocol_count(usage, "completion_tokens"));
}

static void
read_error_code(const char *body, size_t len, char *code, size_t size)
{
	static const char *const names[] = {"code", "type"};

	agentpay_protocol_read_error(body, len, names, 2, code, size);
}

/* Servers say in their own words what they do not know. */
static bool
refuses_structure(int http_status, const char *body, size_t len)
{
	return (http_status == 400 || http_status == 422) &&
		   (agentpay_protocol_find_text(body, len, "response_format") ||
			agentpay_protocol_find_text(body, len, "json_schema"));
}

const AgentpayProtocol agentpay_protocol_openai = {
	.name = "openai",
	.request_id_header = "x-request-id",
	.check_options = check_options,
	.body = write_body,
	.plainer_body = plainer_body,
	.url = write_url,
	.headers = write_headers,
	.answer = read_answer,
	.error_code = read_error_code,
	.refuses_structure = refuses_structure,
};
