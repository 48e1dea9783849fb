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
#include "agents/protocol_openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_writer.h"

#define COMPLETIONS "/chat/completions"

typedef enum OptionKind
{
	OPTION_NUMBER,
	OPTION_INTEGER,
	OPTION_WORD,
	OPTION_FLAG,
} OptionKind;

typedef struct OptionRule
{
	const char *name;
	OptionKind kind;
	double low; /* of numbers */
	double high;
	bool may_be_null;
	bool is_sent;		/* under its own name */
	const char *choice; /* of words: "a|b"; NULL: any identifier */
} OptionRule;

/* All that options may hold, in the order in which it is sent. */
static const OptionRule option_rules[] = {
	{"temperature", OPTION_NUMBER, 0, 2, true, true, NULL},
	{"top_p", OPTION_NUMBER, 0, 1, false, true, NULL},
	{"seed", OPTION_INTEGER, -9007199254740991.0, 9007199254740991.0, false,
	 true, NULL},
	{"reasoning_effort", OPTION_WORD, 0, 0, false, true, NULL},
	{"service_tier", OPTION_WORD, 0, 0, false, true, NULL},
	{"max_completion_tokens", OPTION_FLAG, 0, 0, false, false, NULL},
	{"response_format", OPTION_WORD, 0, 0, false, false,
	 "json_schema|json_object|none"},
};
#define N_OPTION_RULES (sizeof(option_rules) / sizeof(*option_rules))

static bool check_option(const OptionRule *rule, json_object *value,
						 char *problem, size_t size);
static void write_options(AgentpayJsonWriter *out, json_object *options);
static void
write_response_format(AgentpayJsonWriter *out,
					  const AgentpayOpenaiRequest *request, const char *format);
static char *copy_text(json_object *parent, const char *name);
static void read_usage(json_object *envelope, AgentpayAnswer *answer);
static json_object *read_message(json_object *envelope, AgentpayAnswer *answer);

/* Whether the text is a short identifier, such as providers' enums are. */
static bool
is_word(const char *text)
{
	size_t len = strspn(text,
						"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
						"0123456789_.-");

	return len > 0 && len <= 64 && text[len] == '\0';
}

const char *
agentpay_openai_check_options(const char *options, size_t len, char *problem,
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
		const OptionRule *rule = NULL;

		for (size_t i = 0; i < N_OPTION_RULES; i++)
		{
			if (strcmp(option_rules[i].name, name) == 0)
				rule = &option_rules[i];
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

/* Whether the value fits the rule; otherwise problem says what would. */
static bool
check_option(const OptionRule *rule, json_object *value, char *problem,
			 size_t size)
{
	bool is_integer = json_object_is_type(value, json_type_int);
	double number = json_object_get_double(value);

	if (value == NULL && rule->may_be_null)
		return true;
	switch (rule->kind)
	{
		case OPTION_NUMBER:
		case OPTION_INTEGER:
			if ((is_integer ||
				 (rule->kind == OPTION_NUMBER &&
				  json_object_is_type(value, json_type_double))) &&
				number >= rule->low && number <= rule->high)
				return true;
			snprintf(problem, size,
					 "option \"%s\" is not %s between %.0f and %.0f",
					 rule->name,
					 rule->kind == OPTION_INTEGER ? "an integer" : "a number",
					 rule->low, rule->high);
			return false;
		case OPTION_WORD:
			if (json_object_is_type(value, json_type_string) &&
				is_word(json_object_get_string(value)) &&
				(rule->choice == NULL ||
				 is_choice(rule->choice, json_object_get_string(value))))
				return true;
			snprintf(problem, size, "option \"%s\" is not %s%s", rule->name,
					 rule->choice == NULL ? "a word" : "one of ",
					 rule->choice == NULL ? "" : rule->choice);
			return false;
		case OPTION_FLAG:
			if (json_object_is_type(value, json_type_boolean))
				return true;
			snprintf(problem, size,
					 "option \"%s\" is not true or false: the number is "
					 "max_output_tokens",
					 rule->name);
			return false;
	}
	return false;
}

/* The member of an object, NULL when there is none or no object. */
static json_object *
member(json_object *object, const char *name)
{
	json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, name, &value);
	return value;
}

char *
agentpay_openai_body(const AgentpayOpenaiRequest *request, size_t *len,
					 const char **problem)
{
	AgentpayJsonWriter out = {0};
	json_object *options = NULL;
	json_object *format;
	char number[32];
	char why[128];
	char *body;

	if (request->options != NULL)
	{
		if (agentpay_openai_check_options(request->options,
										  strlen(request->options), why,
										  sizeof(why)) != NULL)
		{
			*problem = "options do not fit the protocol";
			return NULL;
		}
		options = agentpay_json_parse(request->options,
									  strlen(request->options),
									  AGENTPAY_JSON_MAX_DEPTH, problem);
		if (options == NULL)
			return NULL;
	}

	agentpay_json_write(&out, "{\"model\":");
	agentpay_json_write_string(&out, request->model);
	agentpay_json_write(&out,
						",\"messages\":[{\"role\":\"system\",\"content\":");
	agentpay_json_write_string(&out, request->system);
	agentpay_json_write(&out, "},{\"role\":\"user\",\"content\":");
	agentpay_json_write_string(&out, request->user);
	agentpay_json_write(&out, "}],");
	agentpay_json_write(&out, json_object_get_boolean(
								  member(options, "max_completion_tokens"))
								  ? "\"max_completion_tokens\":"
								  : "\"max_tokens\":");
	snprintf(number, sizeof(number), "%d", request->max_output_tokens);
	agentpay_json_write(&out, number);
	write_options(&out, options);
	format = member(options, "response_format");
	write_response_format(&out, request,
						  format == NULL ? "json_schema"
										 : json_object_get_string(format));
	agentpay_json_write(&out, "}");
	json_object_put(options);

	*len = out.len;
	body = agentpay_json_write_finish(&out);
	if (body == NULL)
		*problem = "out of memory";
	return body;
}

/* Appends the options that are sent; temperature is 0 unless it is given. */
static void
write_options(AgentpayJsonWriter *out, json_object *options)
{
	if (!json_object_object_get_ex(options, "temperature", NULL))
		agentpay_json_write(out, ",\"temperature\":0");
	for (size_t i = 0; i < N_OPTION_RULES; i++)
	{
		json_object *value = member(options, option_rules[i].name);

		if (value == NULL || !option_rules[i].is_sent)
			continue;
		agentpay_json_write(out, ",\"");
		agentpay_json_write(out, option_rules[i].name);
		agentpay_json_write(out, "\":");
		/* A number prints as it was written, a word needs no escape. */
		agentpay_json_write(
			out, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
	}
}

/* The closed schema of the answer, unless the options ask for less. */
static void
write_response_format(AgentpayJsonWriter *out,
					  const AgentpayOpenaiRequest *request, const char *format)
{
	if (strcmp(format, "none") == 0)
		return;
	if (strcmp(format, "json_object") == 0)
	{
		agentpay_json_write(out,
							",\"response_format\":{\"type\":\"json_object\"}");
		return;
	}
	agentpay_json_write(
		out,
		",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
		"\"name\":\"verdict\",\"strict\":true,\"schema\":{\"type\":\"object\","
		"\"properties\":{\"verdict\":{\"type\":\"string\",\"enum\":[");
	for (int i = 0; i < request->n_verdicts; i++)
	{
		agentpay_json_write(out, i > 0 ? "," : "");
		agentpay_json_write_string(out, request->verdicts[i]);
	}
	agentpay_json_write(
		out,
		"]},\"confidence\":{\"type\":\"number\",\"description\":"
		"\"from 0 to 1\"},\"reasons\":{\"type\":\"array\",\"description\":"
		"\"at most 20 codes: letters, digits, underscores\",\"items\":"
		"{\"type\":\"string\"}},\"score\":{\"type\":[\"number\",\"null\"],"
		"\"description\":\"from 0 to 1, or null\"},\"explanation\":{\"type\":"
		"[\"string\",\"null\"],\"description\":\"at most 500 characters\"}},"
		"\"required\":[\"verdict\",\"confidence\",\"reasons\",\"score\","
		"\"explanation\"],\"additionalProperties\":false}}}");
}

char *
agentpay_openai_url(const char *base)
{
	AgentpayJsonWriter out = {0};
	const char *query = strchr(base, '?');
	size_t len = query == NULL ? strlen(base) : (size_t) (query - base);
	size_t suffix = strlen(COMPLETIONS);
	const char *authority = strstr(base, "://");
	const char *path;

	while (len > 0 && base[len - 1] == '/')
		len--;
	agentpay_json_write_bytes(&out, base, len);
	path = authority == NULL ? NULL : strchr(authority + 3, '/');
	if (path == NULL || path >= base + len)
		agentpay_json_write(&out, "/v1");
	if (len < suffix || memcmp(base + len - suffix, COMPLETIONS, suffix) != 0)
		agentpay_json_write(&out, COMPLETIONS);
	if (query != NULL)
		agentpay_json_write(&out, query);
	return agentpay_json_write_finish(&out);
}

int
agentpay_openai_headers(const char *secret, const char *idempotency_key,
						char *authorization, AgentpayHttpHeader *headers,
						const char **problem)
{
	int n = 0;

	headers[n++] = (AgentpayHttpHeader){"Content-Type", "application/json"};
	headers[n++] = (AgentpayHttpHeader){"Accept", "application/json"};
	if (idempotency_key != NULL)
		headers[n++] = (AgentpayHttpHeader){"Idempotency-Key", idempotency_key};
	if (secret != NULL)
	{
		size_t len = strlen(secret);

		if (len == 0 || len > AGENTPAY_OPENAI_MAX_SECRET)
		{
			*problem = "the secret is empty or too long";
			return -1;
		}
		for (size_t i = 0; i < len; i++)
		{
			if (secret[i] < 0x21 || secret[i] > 0x7e)
			{
				*problem = "the secret holds a blank or a control character";
				return -1;
			}
		}
		memcpy(authorization, "Bearer ", 7);
		memcpy(authorization + 7, secret, len + 1);
		headers[n++] = (AgentpayHttpHeader){"Authorization", authorization};
	}
	return n;
}

void
agentpay_openai_answer(const char *body, size_t len,
					   const char *const *verdicts, int n_verdicts,
					   AgentpayAnswer *answer)
{
	json_object *envelope;
	json_object *message;
	json_object *content;

	memset(answer, 0, sizeof(*answer));
	envelope = agentpay_json_parse(body, len, AGENTPAY_JSON_MAX_DEPTH,
								   &answer->problem);
	if (envelope == NULL)
	{
		answer->status = AGENTPAY_ANSWER_NOT_JSON;
		return;
	}
	answer->status = AGENTPAY_ANSWER_SCHEMA;
	answer->request_id = copy_text(envelope, "id");
	answer->response_model = copy_text(envelope, "model");
	read_usage(envelope, answer);
	message = read_message(envelope, answer);
	content = member(message, "content");

	if (answer->problem != NULL)
		;
	else if (answer->finish_reason != NULL &&
			 strcmp(answer->finish_reason, "length") == 0)
	{
		answer->status = AGENTPAY_ANSWER_TRUNCATED;
		answer->problem = "the answer ends at max_output_tokens";
	}
	else if (member(message, "refusal") != NULL)
		answer->problem = "the agent refused to answer";
	else if (!json_object_is_type(content, json_type_string))
		answer->problem = "the message has no text";
	else
		agentpay_answer_read(answer, json_object_get_string(content),
							 (size_t) json_object_get_string_len(content),
							 verdicts, n_verdicts);
	json_object_put(envelope);
}

/* A short printable text of the envelope, malloc'd; NULL when there is none. */
static char *
copy_text(json_object *parent, const char *name)
{
	json_object *value = member(parent, name);
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

/* The only choice's message; sets problem when there is not exactly one. */
static json_object *
read_message(json_object *envelope, AgentpayAnswer *answer)
{
	json_object *choices = member(envelope, "choices");
	json_object *choice;
	json_object *message;

	if (!json_object_is_type(choices, json_type_array) ||
		json_object_array_length(choices) != 1)
	{
		answer->problem = "the envelope has not exactly one choice";
		return NULL;
	}
	choice = json_object_array_get_idx(choices, 0);
	answer->finish_reason = copy_text(choice, "finish_reason");
	message = member(choice, "message");
	if (!json_object_is_type(message, json_type_object))
		answer->problem = "the choice has no message";
	return message;
}

/* A count of tokens; -1 when there is none or it is no integer. */
static int64_t
read_count(json_object *parent, const char *name)
{
	json_object *value = member(parent, name);

	return json_object_is_type(value, json_type_int)
			   ? json_object_get_int64(value)
			   : -1;
}

static void
read_usage(json_object *envelope, AgentpayAnswer *answer)
{
	json_object *usage = member(envelope, "usage");
	json_object *details = member(usage, "prompt_tokens_details");
	bool any_cached = member(details, "cached_tokens") != NULL;

	agentpay_answer_set_usage(answer, read_count(usage, "prompt_tokens"),
							  any_cached ? read_count(details, "cached_tokens")
										 : 0,
							  read_count(usage, "completion_tokens"));
}

void
agentpay_openai_error_code(const char *body, size_t len, char *code,
						   size_t size)
{
	static const char *const names[] = {"code", "type"};
	const char *problem;
	json_object *envelope =
		agentpay_json_parse(body, len, AGENTPAY_JSON_MAX_DEPTH, &problem);
	json_object *error = member(envelope, "error");

	code[0] = '\0';
	for (int i = 0; i < 2 && code[0] == '\0'; i++)
	{
		json_object *value = member(error, names[i]);

		if (json_object_is_type(value, json_type_string) &&
			is_word(json_object_get_string(value)))
			snprintf(code, size, "%s", json_object_get_string(value));
	}
	json_object_put(envelope);
}
