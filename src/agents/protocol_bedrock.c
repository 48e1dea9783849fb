/*-------------------------------------------------------------------------
 * protocol_bedrock.c
 *		Amazon Bedrock's Converse: how a call is written and signed, how its
 *		answer is read.
 *
 * As with Anthropic's messages the answer is the input of one tool.  The
 * model is part of the path, encoded as AWS's own SDKs encode it.
 *-------------------------------------------------------------------------
 */
#include "agents/protocol_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/sigv4.h"
#include "base/json.h"

#define TOOLS ",\"toolConfig\":{\"tools\":["

static const AgentpayOptionRule rules[] = {
	{.name = "region", .kind = AGENTPAY_OPTION_WORD},
	{.name = "profile", .kind = AGENTPAY_OPTION_WORD},
	{.name = "temperature",
	 .kind = AGENTPAY_OPTION_NUMBER,
	 .high = 1,
	 .may_be_null = true},
	{.name = "top_p", .kind = AGENTPAY_OPTION_NUMBER, .high = 1},
	{.name = "response_format",
	 .kind = AGENTPAY_OPTION_WORD,
	 .choice = "tool|none"},
};
#define N_RULES (sizeof(rules) / sizeof(*rules))

static const char *
check_options(const char *options, size_t len, char *problem, size_t size)
{
	const char *why;
	json_object *parsed;
	bool has_region;

	if (agentpay_options_check(rules, N_RULES, options, len, problem, size) !=
		NULL)
		return problem;
	parsed = agentpay_json_parse(options, len, AGENTPAY_JSON_MAX_DEPTH, &why);
	has_region = agentpay_protocol_word(parsed, "region") != NULL;
	json_object_put(parsed);
	if (has_region)
		return NULL;
	snprintf(problem, size,
			 "option \"region\" is missing: it is part of the signature");
	return problem;
}

/* ,"name":number when the option is given */
static void
write_number(AgentpayJsonWriter *out, const char *name, json_object *value)
{
	if (value == NULL)
		return;
	agentpay_json_write(out, name);
	agentpay_json_write(out,
						json_object_to_json_string_ext(value,
													   JSON_C_TO_STRING_PLAIN));
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
	agentpay_json_write(&out, "{\"system\":[{\"text\":");
	agentpay_json_write_string(&out, request->system);
	agentpay_json_write(&out, "}],\"messages\":[{\"role\":\"user\","
							  "\"content\":[{\"text\":");
	agentpay_json_write_string(&out, request->user);
	snprintf(number, sizeof(number), "%d", request->max_output_tokens);
	agentpay_json_write(&out, "}]}],\"inferenceConfig\":{\"maxTokens\":");
	agentpay_json_write(&out, number);
	if (!json_object_object_get_ex(options, "temperature", NULL))
		agentpay_json_write(&out, ",\"temperature\":0");
	write_number(&out, ",\"temperature\":",
				 agentpay_protocol_member(options, "temperature"));
	write_number(&out,
				 ",\"topP\":", agentpay_protocol_member(options, "top_p"));
	agentpay_json_write(&out, "}");
	format = agentpay_protocol_word(options, "response_format");
	if (format == NULL || strcmp(format, "tool") == 0)
	{
		agentpay_json_write(&out, TOOLS
							"{\"toolSpec\":{\"name\":\"" AGENTPAY_PROTOCOL_TOOL
							"\",\"description\":\"" AGENTPAY_PROTOCOL_TOOL_TEXT
							"\",\"inputSchema\":{\"json\":");
		agentpay_protocol_write_schema(&out, request->verdicts,
									   request->n_verdicts, false);
		agentpay_json_write(&out, "}}}],\"toolChoice\":{\"tool\":{\"name\":"
								  "\"" AGENTPAY_PROTOCOL_TOOL "\"}}}");
	}
	agentpay_json_write(&out, "}");
	json_object_put(options);

	*len = out.len;
	body = agentpay_json_write_finish(&out);
	if (body == NULL)
		*problem = "out of memory";
	return body;
}

/* Without the tool: many models take no toolChoice, some no tool. */
static char *
plainer_body(const char *body, size_t *len)
{
	return agentpay_protocol_cut_body(body, len, TOOLS);
}

/* A path segment, everything but RFC 3986's unreserved bytes encoded. */
static void
write_segment(AgentpayJsonWriter *out, const char *text)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
									 "abcdefghijklmnopqrstuvwxyz"
									 "0123456789-_.~";

	for (; *text != '\0'; text++)
	{
		char code[4];

		if (strchr(unreserved, *text) != NULL)
			agentpay_json_write_bytes(out, text, 1);
		else
		{
			snprintf(code, sizeof(code), "%%%02X", (unsigned char) *text);
			agentpay_json_write(out, code);
		}
	}
}

static char *
write_url(const AgentpayProtocolAgent *agent, const char **problem)
{
	AgentpayJsonWriter out = {0};
	size_t len = strlen(agent->endpoint);
	char *url;

	if (agent->model == NULL)
	{
		*problem = "the agent has no model";
		return NULL;
	}
	while (len > 0 && agent->endpoint[len - 1] == '/')
		len--;
	agentpay_json_write_bytes(&out, agent->endpoint, len);
	agentpay_json_write(&out, "/model/");
	write_segment(&out, agent->model);
	agentpay_json_write(&out, "/converse");
	url = agentpay_json_write_finish(&out);
	if (url == NULL)
		*problem = "out of memory";
	return url;
}

/* The Host that libcurl sends, and where the path begins; false: too long. */
static bool
split_url(const char *url, char *host, size_t size, const char **path)
{
	const char *start = strstr(url, "://");
	size_t len;

	if (start == NULL)
		return false;
	start += 3;
	len = strcspn(start, "/");
	*path = start + len;
	/* a port that is the scheme's own is not sent */
	if (strncmp(url, "https:", 6) == 0 && len > 4 &&
		strncmp(start + len - 4, ":443", 4) == 0)
		len -= 4;
	else if (strncmp(url, "http:", 5) == 0 && len > 3 &&
			 strncmp(start + len - 3, ":80", 3) == 0)
		len -= 3;
	if (len == 0 || len >= size)
		return false;
	memcpy(host, start, len);
	host[len] = '\0';
	return true;
}

/* Adds what is signed, and the signature. */
static bool
sign(const AgentpayProtocolCall *call, const char *region,
	 const AgentpayAwsCredentials *credentials,
	 AgentpayProtocolHeaders *headers, const char **problem)
{
	AgentpayHttpHeader signed_headers[5];
	char host[300];
	char date[AGENTPAY_SIGV4_DATE_SIZE];
	char hash[AGENTPAY_SIGV4_HASH_SIZE];
	char value[AGENTPAY_SIGV4_VALUE_SIZE];
	bool has_token = credentials->session_token[0] != '\0';
	AgentpaySigv4Request request = {
		.method = "POST",
		.query = "",
		.headers = signed_headers,
		.payload_sha256 = hash,
		.region = region,
		.service = "bedrock",
		.date = date,
	};

	*problem = "the request could not be signed";
	agentpay_sigv4_date(call->now, date);
	if (!split_url(call->url, host, sizeof(host), &request.path) ||
		!agentpay_sigv4_hash(call->body, call->body_len, hash))
		return false;
	signed_headers[request.n_headers++] =
		(AgentpayHttpHeader){"content-type", "application/json"};
	signed_headers[request.n_headers++] = (AgentpayHttpHeader){"host", host};
	signed_headers[request.n_headers++] =
		(AgentpayHttpHeader){"x-amz-content-sha256", hash};
	signed_headers[request.n_headers++] = (AgentpayHttpHeader){"x-amz-date",
															   date};
	if (has_token)
		signed_headers[request.n_headers++] =
			(AgentpayHttpHeader){"x-amz-security-token",
								 credentials->session_token};
	return agentpay_sigv4_sign(&request, credentials, value, problem) &&
		   agentpay_protocol_add_copy(headers, "X-Amz-Date", date) &&
		   agentpay_protocol_add_copy(headers, "X-Amz-Content-Sha256", hash) &&
		   (!has_token ||
			agentpay_protocol_add_copy(headers, "X-Amz-Security-Token",
									   credentials->session_token)) &&
		   agentpay_protocol_add_copy(headers, "Authorization", value);
}

static bool
write_headers(const AgentpayProtocolCall *call,
			  AgentpayProtocolHeaders *headers, const char **problem)
{
	json_object *options = agentpay_options_read(rules, N_RULES, call->options,
												 problem);
	AgentpayAwsCredentials credentials;
	const char *region;
	bool good = false;

	if (options == NULL)
		return false;
	agentpay_protocol_common_headers(call, headers);
	region = agentpay_protocol_word(options, "region");
	if (call->secret == NULL || region == NULL)
		*problem = "the agent has no secret or no region to sign with";
	else
		good = agentpay_aws_credentials_read(
				   call->secret, agentpay_protocol_word(options, "profile"),
				   call->now, &credentials, problem) &&
			   sign(call, region, &credentials, headers, problem);
	explicit_bzero(&credentials, sizeof(credentials));
	json_object_put(options);
	return good;
}

/* Cached tokens are not part of inputTokens. */
static void
read_usage(json_object *envelope, AgentpayAnswer *answer)
{
	json_object *usage = agentpay_protocol_member(envelope, "usage");

	agentpay_protocol_set_usage(
		answer, agentpay_protocol_count(usage, "inputTokens"),
		agentpay_protocol_optional_count(usage, "cacheReadInputTokens"),
		agentpay_protocol_optional_count(usage, "cacheWriteInputTokens"),
		agentpay_protocol_count(usage, "outputTokens"));
}

static void
read_answer(const AgentpayProtocolAgent *agent, const char *body, size_t len,
			AgentpayAnswer *answer)
{
	AgentpayProtocolBlocks blocks = {0};
	json_object *envelope = agentpay_protocol_envelope(body, len, answer);
	json_object *content;
	size_t n;

	if (envelope == NULL)
		return;
	answer->finish_reason = agentpay_protocol_copy_text(envelope, "stopReason");
	read_usage(envelope, answer);
	content = agentpay_protocol_member(
		agentpay_protocol_member(agentpay_protocol_member(envelope, "output"),
								 "message"),
		"content");
	n = json_object_is_type(content, json_type_array)
			? json_object_array_length(content)
			: 0;
	for (size_t i = 0; i < n; i++)
	{
		json_object *block = json_object_array_get_idx(content, i);
		json_object *tool = agentpay_protocol_member(block, "toolUse");

		if (tool != NULL)
			agentpay_protocol_add_tool(&blocks, tool);
		else if (agentpay_protocol_member(block, "text") != NULL)
			agentpay_protocol_add_text(&blocks, block);
	}
	agentpay_protocol_read_blocks(&blocks, agent, answer);
	agentpay_protocol_doubt_usage(answer);
	json_object_put(envelope);
}

/* __type is, for example, com.amazon.coral.service#ThrottlingException. */
static void
read_error_code(const char *body, size_t len, char *code, size_t size)
{
	static const char *const names[] = {"code", "type"};
	const char *problem;
	json_object *envelope =
		agentpay_json_parse(body, len, AGENTPAY_JSON_MAX_DEPTH, &problem);
	const char *type = agentpay_protocol_word(envelope, "__type");
	const char *mark = type == NULL ? NULL : strrchr(type, '#');

	if (mark != NULL)
		type = mark + 1;
	if (type != NULL && agentpay_protocol_is_word(type))
		snprintf(code, size, "%s", type);
	else
		agentpay_protocol_read_code(envelope, names, 2, code, size);
	json_object_put(envelope);
}

static bool
refuses_structure(int http_status, const char *body, size_t len)
{
	return http_status == 400 &&
		   (agentpay_protocol_find_text(body, len, "toolConfig") ||
			agentpay_protocol_find_text(body, len, "toolChoice") ||
			agentpay_protocol_find_text(body, len, "tool use"));
}

const AgentpayProtocol agentpay_protocol_bedrock = {
	.name = "bedrock",
	.request_id_header = "x-amzn-requestid",
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
