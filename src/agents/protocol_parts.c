/*-------------------------------------------------------------------------
 * protocol_parts.c
 *		What the protocols share: options, schema, headers, envelopes.
 *-------------------------------------------------------------------------
 */
#include "agents/protocol_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agents/json_path.h"
#include "base/json.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool check_option(const AgentpayOptionRule *rule, json_object *value,
						 char *problem, size_t size);

const AgentpayProtocol *
agentpay_protocol_find(const char *name)
{
	static const AgentpayProtocol *const all[] = {&agentpay_protocol_openai,
												  &agentpay_protocol_anthropic,
												  &agentpay_protocol_bedrock,
												  &agentpay_protocol_http};

	for (size_t i = 0; name != NULL && i < sizeof(all) / sizeof(*all); i++)
	{
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	}
	return NULL;
}

bool
agentpay_protocol_is_word(const char *text)
{
	size_t len = strspn(text, LETTERS DIGITS "_.-");

	return len > 0 && len <= 64 && text[len] == '\0';
}

json_object *
agentpay_protocol_member(json_object *object, const char *name)
{
	json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, name, &value);
	return value;
}

const char *
agentpay_protocol_word(json_object *options, const char *name)
{
	json_object *value = agentpay_protocol_member(options, name);

	return json_object_is_type(value, json_type_string)
			   ? json_object_get_string(value)
			   : NULL;
}

/* ── options ──────────────────────────────────────────────────────────── */
const char *
agentpay_options_check(const AgentpayOptionRule *rules, size_t n_rules,
					   const char *options, size_t len, char *problem,
					   size_t size)
{
	const char *why;
	const char *result = NULL;
	json_object *parsed = agentpay_json_parse(options, len,
											  AGENTPAY_JSON_MAX_DEPTH, &why);

	if (!json_object_is_type(parsed, json_type_object))
	{
		json_object_put(parsed);
		snprintf(problem, size, "options is not one JSON object");
		return problem;
	}
	json_object_object_foreach(parsed, name, value)
	{
		const AgentpayOptionRule *rule = NULL;

		for (size_t i = 0; i < n_rules; i++)
		{
			if (strcmp(rules[i].name, name) == 0)
				rule = &rules[i];
		}
		if (rule == NULL)
		{
			snprintf(problem, size, "option \"%.64s\" is not known", name);
			result = problem;
		}
		else if (!check_option(rule, value, problem, size))
			result = problem;
		if (result != NULL)
			break;
	}
	json_object_put(parsed);
	return result;
}

json_object *
agentpay_options_read(const AgentpayOptionRule *rules, size_t n_rules,
					  const char *options, const char **problem)
{
	char why[256];

	if (options == NULL)
		options = "{}";
	if (agentpay_options_check(rules, n_rules, options, strlen(options), why,
							   sizeof(why)) != NULL)
	{
		*problem = "options do not fit the protocol";
		return NULL;
	}
	return agentpay_json_parse(options, strlen(options),
							   AGENTPAY_JSON_MAX_DEPTH, problem);
}

bool
agentpay_protocol_is_choice(const char *choice, const char *word)
{
	size_t len = strlen(word);

	for (; choice != NULL; choice = strchr(choice, '|'))
	{
		choice += *choice == '|';
		if (strncmp(choice, word, len) == 0 &&
			(choice[len] == '|' || choice[len] == '\0'))
			return true;
	}
	return false;
}

/*
 * Whether a secret may go under this name: a token of RFC 9110's, and none
 * that says how the message is to be read or where it goes.
 */
static bool
is_secret_header(const char *name)
{
	static const char *const ours[] = {"accept",
									   "connection",
									   "content-encoding",
									   "content-length",
									   "content-type",
									   "expect",
									   "host",
									   "idempotency-key",
									   "keep-alive",
									   "te",
									   "transfer-encoding",
									   "upgrade",
									   "accept-encoding"};
	size_t len = strspn(name, LETTERS DIGITS "_-");

	if (len == 0 || len > 64 || name[len] != '\0')
		return false;
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
	{
		if (strcasecmp(ours[i], name) == 0)
			return false;
	}
	return true;
}

/* Whether the value fits the rule; otherwise problem says what would. */
static bool
check_option(const AgentpayOptionRule *rule, json_object *value, char *problem,
			 size_t size)
{
	bool is_integer = json_object_is_type(value, json_type_int);
	bool is_text = json_object_is_type(value, json_type_string);
	const char *text = is_text ? json_object_get_string(value) : "";
	double number = json_object_get_double(value);
	const char *wanted = "true or false";
	char range[96];

	if (value == NULL && rule->may_be_null)
		return true;
	switch (rule->kind)
	{
		case AGENTPAY_OPTION_NUMBER:
		case AGENTPAY_OPTION_INTEGER:
			if ((is_integer ||
				 (rule->kind == AGENTPAY_OPTION_NUMBER &&
				  json_object_is_type(value, json_type_double))) &&
				number >= rule->low && number <= rule->high)
				return true;
			snprintf(range, sizeof(range), "%s between %.15g and %.16g",
					 rule->kind == AGENTPAY_OPTION_INTEGER ? "an integer"
														   : "a number",
					 rule->low, rule->high);
			wanted = range;
			break;
		case AGENTPAY_OPTION_WORD:
			if (is_text && agentpay_protocol_is_word(text) &&
				(rule->choice == NULL ||
				 agentpay_protocol_is_choice(rule->choice, text)))
				return true;
			wanted = "a word";
			if (rule->choice != NULL)
			{
				snprintf(range, sizeof(range), "one of %s", rule->choice);
				wanted = range;
			}
			break;
		case AGENTPAY_OPTION_FLAG:
			if (json_object_is_type(value, json_type_boolean))
				return true;
			break;
		case AGENTPAY_OPTION_HEADER:
			if (is_text && is_secret_header(text))
				return true;
			wanted = "the name of a header that may hold a secret";
			break;
		case AGENTPAY_OPTION_OBJECT:
			if (json_object_is_type(value, json_type_object))
				return true;
			wanted = "a JSON object";
			break;
		case AGENTPAY_OPTION_PATH:
			if (is_text && agentpay_json_path_writable(text))
				return true;
			wanted = "a path to write to such as $.instances[0]";
			break;
	}
	snprintf(problem, size, "option \"%s\" is not %s%s", rule->name, wanted,
			 rule->remark ? rule->remark : "");
	return false;
}

void
agentpay_options_write(AgentpayJsonWriter *out, const AgentpayOptionRule *rules,
					   size_t n_rules, json_object *options)
{
	for (size_t i = 0; i < n_rules; i++)
	{
		json_object *value = agentpay_protocol_member(options, rules[i].name);

		if (value == NULL || !rules[i].is_sent)
			continue;
		agentpay_json_write(out, ",\"");
		agentpay_json_write(out, rules[i].name);
		agentpay_json_write(out, "\":");
		/* A number prints as it was written, a word needs no escape. */
		agentpay_json_write(
			out, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
	}
}

/* ── the shape of the answer ──────────────────────────────────────────── */
void
agentpay_protocol_write_schema(AgentpayJsonWriter *out,
							   const char *const *verdicts, int n_verdicts,
							   bool strict)
{
	agentpay_json_write(out, "{\"type\":\"object\",\"properties\":{\"verdict\":"
							 "{\"type\":\"string\",\"enum\":[");
	for (int i = 0; i < n_verdicts; i++)
	{
		agentpay_json_write(out, i > 0 ? "," : "");
		agentpay_json_write_string(out, verdicts[i]);
	}
	agentpay_json_write(
		out, "]},\"confidence\":{\"type\":\"number\",\"description\":"
			 "\"from 0 to 1\"},\"reasons\":{\"type\":\"array\",\"description\":"
			 "\"at most 20 codes: letters, digits, underscores\",\"items\":"
			 "{\"type\":\"string\"}},\"score\":{\"type\":");
	agentpay_json_write(
		out, strict
				 ? "[\"number\",\"null\"],\"description\":\"from 0 to 1, or "
				   "null\"},\"explanation\":{\"type\":[\"string\",\"null\"],"
				   "\"description\":\"at most 500 characters\"}},\"required\":"
				   "[\"verdict\",\"confidence\",\"reasons\",\"score\","
				   "\"explanation\"],\"additionalProperties\":false}"
				 : "\"number\",\"description\":\"from 0 to 1\"},"
				   "\"explanation\":{\"type\":\"string\",\"description\":"
				   "\"at most 500 characters\"}},\"required\":[\"verdict\","
				   "\"confidence\",\"reasons\"],"
				   "\"additionalProperties\":false}");
}

/* ── envelopes ────────────────────────────────────────────────────────── */
char *
agentpay_protocol_copy_text(json_object *parent, const char *name)
{
	return agentpay_protocol_copy_string(
		agentpay_protocol_member(parent, name));
}

char *
agentpay_protocol_copy_string(json_object *value)
{
	const char *text;
	char *copy;

	if (!json_object_is_type(value, json_type_string))
		return NULL;
	text = json_object_get_string(value);
	copy = strndup(text, 128);
	for (char *at = copy; at != NULL && *at != '\0'; at++)
	{
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
	}
	return copy;
}

int64_t
agentpay_protocol_count(json_object *parent, const char *name)
{
	json_object *value = agentpay_protocol_member(parent, name);

	return json_object_is_type(value, json_type_int)
			   ? json_object_get_int64(value)
			   : -1;
}

int64_t
agentpay_protocol_optional_count(json_object *parent, const char *name)
{
	return agentpay_protocol_member(parent, name) == NULL
			   ? 0
			   : agentpay_protocol_count(parent, name);
}

void
agentpay_protocol_set_usage(AgentpayAnswer *answer, int64_t input,
							int64_t cache_read, int64_t cache_write,
							int64_t output)
{
	const int64_t most = AGENTPAY_ANSWER_MAX_TOKENS;

	/* each by itself, so that the sum neither overflows nor hides one */
	if (input < 0 || input > most || cache_read < 0 || cache_read > most ||
		cache_write < 0 || cache_write > most)
		return;
	agentpay_answer_set_usage(answer, input + cache_read + cache_write,
							  cache_read, output);
}

void
agentpay_protocol_doubt_usage(AgentpayAnswer *answer)
{
	if (answer->input_tokens == 0 ||
		(answer->output_tokens == 0 && answer->status == AGENTPAY_ANSWER_OK))
		answer->usage_valid = false;
}

json_object *
agentpay_protocol_envelope(const char *body, size_t len, AgentpayAnswer *answer)
{
	json_object *envelope;

	memset(answer, 0, sizeof(*answer));
	envelope = agentpay_json_parse(body, len, AGENTPAY_JSON_MAX_DEPTH,
								   &answer->problem);
	answer->status = envelope == NULL ? AGENTPAY_ANSWER_NOT_JSON
									  : AGENTPAY_ANSWER_SCHEMA;
	return envelope;
}

void
agentpay_protocol_add_tool(AgentpayProtocolBlocks *blocks, json_object *tool)
{
	blocks->n_tools++;
	blocks->tool = tool;
}

void
agentpay_protocol_add_text(AgentpayProtocolBlocks *blocks, json_object *text)
{
	blocks->n_texts++;
	blocks->text = text;
}

/* Whether the answer ended for this reason; Anthropic and Bedrock agree. */
static bool
finished(const AgentpayAnswer *answer, const char *reasons)
{
	return answer->finish_reason != NULL &&
		   agentpay_protocol_is_choice(reasons, answer->finish_reason);
}

void
agentpay_protocol_read_blocks(const AgentpayProtocolBlocks *blocks,
							  const AgentpayProtocolAgent *agent,
							  AgentpayAnswer *answer)
{
	const char *name = agentpay_protocol_word(blocks->tool, "name");
	const char *text = agentpay_protocol_word(blocks->text, "text");

	if (finished(answer, "max_tokens|model_context_window_exceeded"))
	{
		answer->status = AGENTPAY_ANSWER_TRUNCATED;
		answer->problem = "the answer ends at max_output_tokens";
	}
	else if (finished(answer, "refusal|guardrail_intervened|content_filtered"))
		answer->problem = "the agent refused to answer";
	else if (blocks->n_tools > 1)
		answer->problem = "more than one verdict";
	else if (blocks->n_tools == 1 &&
			 (name == NULL || strcmp(name, AGENTPAY_PROTOCOL_TOOL) != 0))
		answer->problem = "a tool that was not offered";
	else if (blocks->n_tools == 1)
		agentpay_answer_take(answer,
							 agentpay_protocol_member(blocks->tool, "input"),
							 agent->verdicts, agent->n_verdicts);
	else if (blocks->n_texts == 1 && text != NULL)
		agentpay_answer_read(answer, text, strlen(text), agent->verdicts,
							 agent->n_verdicts);
	else
		answer->problem = "the message has not exactly one answer";
}

void
agentpay_protocol_read_code(json_object *error, const char *const *names,
							int n_names, char *code, size_t size)
{
	code[0] = '\0';
	for (int i = 0; i < n_names && code[0] == '\0'; i++)
	{
		const char *text = agentpay_protocol_word(error, names[i]);

		if (text != NULL && agentpay_protocol_is_word(text))
			snprintf(code, size, "%s", text);
	}
}

void
agentpay_protocol_read_error(const char *body, size_t len,
							 const char *const *names, int n_names, char *code,
							 size_t size)
{
	const char *problem;
	json_object *envelope =
		agentpay_json_parse(body, len, AGENTPAY_JSON_MAX_DEPTH, &problem);

	agentpay_protocol_read_code(agentpay_protocol_member(envelope, "error"),
								names, n_names, code, size);
	json_object_put(envelope);
}

const char *
agentpay_protocol_find_text(const char *body, size_t len, const char *text)
{
	size_t wanted = strlen(text);

	for (size_t at = 0; at + wanted <= len; at++)
	{
		if (memcmp(body + at, text, wanted) == 0)
			return body + at;
	}
	return NULL;
}

char *
agentpay_protocol_cut_body(const char *body, size_t *len, const char *part)
{
	AgentpayJsonWriter out = {0};
	const char *at = agentpay_protocol_find_text(body, *len, part);

	if (at == NULL)
		return NULL;
	agentpay_json_write_bytes(&out, body, at - body);
	agentpay_json_write(&out, "}");
	*len = out.len;
	return agentpay_json_write_finish(&out);
}

char *
agentpay_protocol_url(const char *base, const char *version, const char *suffix,
					  const char **problem)
{
	AgentpayJsonWriter out = {0};
	const char *query = strchr(base, '?');
	size_t len = query == NULL ? strlen(base) : (size_t) (query - base);
	size_t suffix_len = strlen(suffix);
	const char *authority = strstr(base, "://");
	const char *path;
	char *url;

	while (len > 0 && base[len - 1] == '/')
		len--;
	agentpay_json_write_bytes(&out, base, len);
	path = authority == NULL ? NULL : strchr(authority + 3, '/');
	if (path == NULL || path >= base + len)
		agentpay_json_write(&out, version);
	if (len < suffix_len ||
		memcmp(base + len - suffix_len, suffix, suffix_len) != 0)
		agentpay_json_write(&out, suffix);
	if (query != NULL)
		agentpay_json_write(&out, query);
	url = agentpay_json_write_finish(&out);
	if (url == NULL)
		*problem = "out of memory";
	return url;
}

/* ── headers ──────────────────────────────────────────────────────────── */
void
agentpay_protocol_add_header(AgentpayProtocolHeaders *headers, const char *name,
							 const char *value)
{
	if (headers->n == AGENTPAY_PROTOCOL_HEADERS)
		abort(); /* our bug: no protocol has so many */
	headers->headers[headers->n++] = (AgentpayHttpHeader){name, value};
}

bool
agentpay_protocol_add_copy(AgentpayProtocolHeaders *headers, const char *name,
						   const char *value)
{
	size_t size = strlen(value) + 1;
	char *copy = headers->room + headers->used;

	if (size > sizeof(headers->room) - headers->used)
		return false;
	memcpy(copy, value, size);
	headers->used += size;
	agentpay_protocol_add_header(headers, name, copy);
	return true;
}

void
agentpay_protocol_common_headers(const AgentpayProtocolCall *call,
								 AgentpayProtocolHeaders *headers)
{
	headers->n = 0;
	headers->used = 0;
	agentpay_protocol_add_header(headers, "Content-Type", "application/json");
	agentpay_protocol_add_header(headers, "Accept", "application/json");
	if (call->idempotency_key != NULL)
		agentpay_protocol_add_header(headers, "Idempotency-Key",
									 call->idempotency_key);
}

/* Whether the secret can stand in a header; has_scheme: after a word. */
static bool
check_secret(const char *secret, bool authorization, bool *has_scheme,
			 const char **problem)
{
	size_t len = strlen(secret);

	*has_scheme = false;
	if (len == 0 || len > AGENTPAY_PROTOCOL_MAX_KEY)
	{
		*problem = "the secret is empty or too long";
		return false;
	}
	for (size_t i = 0; i < len; i++)
	{
		/* one blank, in Authorization: between scheme and credentials */
		if (secret[i] == ' ' && authorization && !*has_scheme && i > 0 &&
			i + 1 < len)
			*has_scheme = true;
		else if (secret[i] < 0x21 || secret[i] > 0x7e)
		{
			*problem = "the secret holds a blank or a control character";
			return false;
		}
	}
	return true;
}

bool
agentpay_protocol_secret_header(const AgentpayProtocolCall *call,
								const char *name,
								AgentpayProtocolHeaders *headers,
								const char **problem)
{
	bool authorization = strcasecmp(name, "Authorization") == 0;
	bool has_scheme;
	const char *copied;
	char *value = headers->room + headers->used;
	size_t left = sizeof(headers->room) - headers->used;
	size_t len;

	if (call->secret == NULL)
		return true;
	if (!check_secret(call->secret, authorization, &has_scheme, problem))
		return false;
	len = snprintf(value, left, "%s%s",
				   authorization && !has_scheme ? "Bearer " : "", call->secret);
	/* the name comes from the options, which do not live as long */
	copied = value + len + 1;
	if (len + 1 + strlen(name) + 1 > left)
	{
		*problem = "the secret is empty or too long";
		return false;
	}
	memcpy(value + len + 1, name, strlen(name) + 1);
	headers->used += len + strlen(name) + 2;
	agentpay_protocol_add_header(headers, copied, value);
	return true;
}
