/*-------------------------------------------------------------------------
 * protocol_anthropic.c
 *		Messages: how a call is written, how its answer is read.
 *
 * The answer is the input of one tool that the model is made to call.  A
 * model that answers in text instead is taken at its word only where the
 * whole text is the answer: the closed schema is the same.
 *-------------------------------------------------------------------------
 */
#include "agents/protocol_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define API_VERSION "2023-06-01"
#define TOOLS ",\"tools\":["

static const AgentpayOptionRule rules[] = {
	{.name = "temperature",
	 .kind = AGENTPAY_OPTION_NUMBER,
	 .high = 1,
	 .may_be_null = true,
	 .is_sent = true},
	{.name = "top_p",
	 .kind = AGENTPAY_OPTION_NUMBER,
	 .high = 1,
	 .is_sent = true},
	{.name = "top_k",
	 .kind = AGENTPAY_OPTION_INTEGER,
	 .low = 1,
	 .high = 1000,
	 .is_sent = true},
	{.name = "service_tier", .kind = AGENTPAY_OPTION_WORD, .is_sent = true},
	{.name = "response_format",
	 .kind = AGENTPAY_OPTION_WORD,
	 .choice = "tool|none"},
	{.name = "anthropic_version", .kind = AGENTPAY_OPTION_WORD},
	{.name = "secret_header", .kind = AGENTPAY_OPTION_HEADER},
};
#define N_RULES (sizeof(rules) / sizeof(*rules))

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
	snprintf(number, sizeof(number), "%d", request->max_output_tokens);
	agentpay_json_write(&out, ",\"max_tokens\":");
	agentpay_json_write(&out, number);
	agentpay_json_write(&out, ",\"system\":");
	agentpay_json_write_string(&out, request->system);
	agentpay_json_write(&out, ",\"messages\":[{\"role\":\"user\",\"content\":");
	agentpay_json_write_string(&out, request->user);
	agentpay_json_write(&out, "}]");
	if (!json_object_object_get_ex(options, "temperature", NULL))
		agentpay_json_write(&out, ",\"temperature\":0");
	agentpay_options_write(&out, rules, N_RULES, options);
	format = agentpay_protocol_word(options, "response_format");
	if (format == NULL || strcmp(format, "tool") == 0)
	{
		agentpay_json_write(&out, TOOLS
							"{\"name\":\"" AGENTPAY_PROTOCOL_TOOL
							"\",\"description\":\"" AGENTPAY_PROTOCOL_TOOL_TEXT
							"\",\"input_schema\":");
		agentpay_protocol_write_schema(&out, request->verdicts,
									   request->n_verdicts, false);
		agentpay_json_write(&out, "}],\"tool_choice\":{\"type\":\"tool\","
								  "\"name\":\"" AGENTPAY_PROTOCOL_TOOL
								  "\",\"disable_parallel_tool_use\":true}");
	}
	agentpay_json_write(&out, "}");
	json_object_put(options);

	*len = out.len;
	body = agentpay_json_write_finish(&out);
	if (body == NULL)
		*problem = "out of memory";
	return body;
}

/* Without the tool: the instructions say what to answer. */
static char *
plainer_body(const char *body, size_t *len)
{
	return agentpay_protocol_cut_body(body, len, TOOLS);
}

static char *
write_url(const AgentpayProtocolAgent *agent, const char **problem)
{
	return agentpay_protocol_url(agent->endpoint, "/v1", "/messages", problem);
}

static bool
write_headers(const AgentpayProtocolCall *call,
			  AgentpayProtocolHeaders *headers, const char **problem)
{
	json_object *options = agentpay_options_read(rules, N_RULES, call->options,
												 problem);
	const char *name;
	const char *version;
	bool good;

	if (options == NULL)
		return false;
	agentpay_protocol_common_headers(call, headers);
	name = agentpay_protocol_word(options, "secret_header");
	version = agentpay_protocol_word(options, "anthropic_version");
	good = agentpay_protocol_add_copy(headers, "anthropic-version",
									  version ? version : API_VERSION) &&
		   agentpay_protocol_secret_header(call, name ? name : "x-api-key",
										   headers, problem);
	json_object_put(options);
	return good;
}

/* What the blocks hold. */
static void
read_blocks(json_object *content, AgentpayProtocolBlocks *blocks)
{
	size_t n = json_object_is_type(content, json_type_array)
				   ? json_object_array_length(content)
				   : 0;

	for (size_t i = 0; i < n; i++)
	{
		json_object *block = json_object_array_get_idx(content, i);
		const char *type = agentpay_protocol_word(block, "type");

		if (type != NULL && strcmp(type, "tool_use") == 0)
			agentpay_protocol_add_tool(blocks, block);
		else if (type != NULL && strcmp(type, "text") == 0)
			agentpay_protocol_add_text(blocks, block);
	}
}

/* Cached tokens are not part of input_tokens here. */
static void
read_usage(json_object *envelope, AgentpayAnswer *answer)
{
	json_object *usage = agentpay_protocol_member(envelope, "usage");

	agentpay_protocol_set_usage(
		answer, agentpay_protocol_count(usage, "input_tokens"),
		agentpay_protocol_optional_count(usage, "cache_read_input_tokens"),
		agentpay_protocol_optional_count(usage, "cache_creation_input_tokens"),
		agentpay_protocol_count(usage, "output_tokens"));
}

static void
read_answer(const AgentpayProtocolAgent *agent, const char *body, size_t len,
			AgentpayAnswer *answer)
{
	AgentpayProtocolBlocks blocks = {0};
	json_object *envelope = agentpay_protocol_envelope(body, len, answer);

	if (envelope == NULL)
		return;
	answer->request_id = agentpay_protocol_copy_text(envelope, "id");
	answer->response_model = agentpay_protocol_copy_text(envelope, "model");
	answer->finish_reason = agentpay_protocol_copy_text(envelope,
														"stop_reason");
	read_usage(envelope, answer);
	read_blocks(agentpay_protocol_member(envelope, "content"), &blocks);
	agentpay_protocol_read_blocks(&blocks, agent, answer);
	agentpay_protocol_doubt_usage(answer);
	json_object_put(envelope);
}

static void
read_error_code(const char *body, size_t len, char *code, size_t size)
{
	static const char *const names[] = {"type", "code"};

	agentpay_protocol_read_error(body, len, names, 2, code, size);
}

static bool
refuses_structure(int http_status, const char *body, size_t len)
{
	return (http_status == 400 || http_status == 422) &&
		   (agentpay_protocol_find_text(body, len, "tool_choice") ||
			agentpay_protocol_find_text(body, len, "tools"));
}

const AgentpayProtocol agentpay_protocol_anthropic = {
	.name = "anthropic",
	.request_id_header = "request-id",
	.request_id_from_header = true,
	.check_options = check_options,
	.body = write_body,
	.plainer_body = plainer_body,
	.url = write_url,
	.headers = write_headers,
	.answer = read_answer,
	.error_code = read_error_code,
	.refuses_structure = refuses_structure,
};
