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

#include "base/json.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool check_option(const AgentpayOptionRule *rule, json_object *value,
						 char *problem, size_t size);

const AgentpayProtocol *
agentpay_protocol_find(const char *name)
{
	static const AgentpayProtocol *const all[] = {&agentpay_protocol_openai};

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

/* Whether a word is one of "a|b|c". */
static bool
is_choice(const char *choice, const char *word)
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
				(rule->choice == NULL || is_choice(rule->choice, text)))
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
	json_object *value = agentpay_protocol_member(parent, name);
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

/* ── headers ──────────────────────────────────────────────────────────── */
void
agentpay_protocol_add_header(AgentpayProtocolHeaders *headers, const char *name,
							 const char *value)
{
	if (headers->n == AGENTPAY_PROTOCOL_HEADERS)
		abort(); /* our bug: no protocol has so many */
	headers->headers[headers->n++] = (AgentpayHttpHeader){name, value};
}

void
agentpay_protocol_common_headers(const AgentpayProtocolCall *call,
								 AgentpayProtocolHeaders *headers)
{
	headers->n = 0;
	agentpay_protocol_add_header(headers, "Content-Type", "application/json");
	agentpay_protocol_add_header(headers, "Accept", "application/json");
	if (call->idempotency_key != NULL)
		agentpay_protocol_add_header(headers, "Idempotency-Key",
									 call->idempotency_key);
}

bool
agentpay_protocol_secret_header(const AgentpayProtocolCall *call,
								const char *name,
								AgentpayProtocolHeaders *headers,
								const char **problem)
{
	bool authorization = strcasecmp(name, "Authorization") == 0;
	bool has_scheme = false;
	size_t len;

	if (call->secret == NULL)
		return true;
	len = strlen(call->secret);
	if (len == 0 || len > AGENTPAY_PROTOCOL_MAX_KEY)
	{
		*problem = "the secret is empty or too long";
		return false;
	}
	for (size_t i = 0; i < len; i++)
	{
		char c = call->secret[i];

		/* one blank, in Authorization: between scheme and credentials */
		if (c == ' ' && authorization && !has_scheme && i > 0 && i + 1 < len)
			has_scheme = true;
		else if (c < 0x21 || c > 0x7e)
		{
			*problem = "the secret holds a blank or a control character";
			return false;
		}
	}
	snprintf(headers->room, sizeof(headers->room), "%s%s",
			 authorization && !has_scheme ? "Bearer " : "", call->secret);
	agentpay_protocol_add_header(headers, name, headers->room);
	return true;
}
