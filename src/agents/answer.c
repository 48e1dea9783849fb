/*-------------------------------------------------------------------------
 * answer.c
 *		Reads what an agent answered against one closed schema.
 *
 * {"verdict": one of the point's, "confidence": 0..1, "reasons": [codes],
 *  "score": 0..1 or null, "explanation": text or null}; the last two may be
 * left out.  Anything else is a failure with a name, never a guess: a verdict
 * taken from broken text would be an approval that nobody gave.
 *-------------------------------------------------------------------------
 */
#include "agents/answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "privacy/detect.h"

#define MAX_REASON 48

static const char *read_fields(AgentpayAnswer *answer, json_object *content);
static char *redact(const char *text);
static const char *read_reasons(AgentpayAnswer *answer, json_object *value);
static void free_content(AgentpayAnswer *answer);

const char *
agentpay_answer_status_name(AgentpayAnswerStatus status)
{
	switch (status)
	{
		case AGENTPAY_ANSWER_OK:
			return "ok";
		case AGENTPAY_ANSWER_NOT_JSON:
			return "not_json";
		case AGENTPAY_ANSWER_SCHEMA:
			return "schema";
		case AGENTPAY_ANSWER_UNKNOWN_VERDICT:
			return "unknown_verdict";
		case AGENTPAY_ANSWER_TRUNCATED:
			return "truncated";
	}
	return "schema";
}

void
agentpay_answer_read(AgentpayAnswer *answer, const char *content, size_t len,
					 const char *const *verdicts, int n_verdicts)
{
	json_object *parsed = agentpay_json_parse(content, len,
											  AGENTPAY_JSON_MAX_DEPTH,
											  &answer->problem);

	if (parsed == NULL)
	{
		answer->status = AGENTPAY_ANSWER_NOT_JSON;
		return;
	}
	agentpay_answer_take(answer, parsed, verdicts, n_verdicts);
	json_object_put(parsed);
}

void
agentpay_answer_take(AgentpayAnswer *answer, json_object *content,
					 const char *const *verdicts, int n_verdicts)
{
	const char *problem = read_fields(answer, content);

	if (problem != NULL)
		agentpay_answer_refuse(answer, problem);
	else
		agentpay_answer_judge(answer, verdicts, n_verdicts);
}

void
agentpay_answer_refuse(AgentpayAnswer *answer, const char *problem)
{
	answer->status = AGENTPAY_ANSWER_SCHEMA;
	answer->problem = problem;
	free_content(answer);
}

void
agentpay_answer_judge(AgentpayAnswer *answer, const char *const *verdicts,
					  int n_verdicts)
{
	answer->status = AGENTPAY_ANSWER_OK;
	answer->problem = NULL;
	for (int i = 0; i < n_verdicts; i++)
	{
		if (strcmp(answer->verdict, verdicts[i]) == 0)
			return;
	}
	answer->status = AGENTPAY_ANSWER_UNKNOWN_VERDICT;
	answer->problem = "the verdict is not one of the point's";
	free_content(answer);
}

void
agentpay_answer_set_usage(AgentpayAnswer *answer, int64_t input, int64_t cached,
						  int64_t output)
{
	if (input < 0 || input > AGENTPAY_ANSWER_MAX_TOKENS || output < 0 ||
		output > AGENTPAY_ANSWER_MAX_TOKENS || cached < 0 || cached > input)
		return;
	answer->usage_valid = true;
	answer->input_tokens = input;
	answer->cached_tokens = cached;
	answer->output_tokens = output;
}

void
agentpay_answer_free(AgentpayAnswer *answer)
{
	free_content(answer);
	free(answer->request_id);
	free(answer->response_model);
	free(answer->finish_reason);
	memset(answer, 0, sizeof(*answer));
}

static void
free_content(AgentpayAnswer *answer)
{
	for (int i = 0; i < answer->n_reasons; i++)
		free(answer->reasons[i]);
	free(answer->reasons);
	free(answer->verdict);
	free(answer->explanation);
	answer->reasons = NULL;
	answer->n_reasons = 0;
	answer->verdict = NULL;
	answer->explanation = NULL;
	answer->confidence = 0;
	answer->has_score = false;
	answer->score = 0;
}

/* NULL, or what does not fit the schema. */
static const char *
read_fields(AgentpayAnswer *answer, json_object *content)
{
	struct json_object_iterator at;
	struct json_object_iterator end;

	if (!json_object_is_type(content, json_type_object))
		return "the answer is not a JSON object";
	at = json_object_iter_begin(content);
	end = json_object_iter_end(content);
	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
	{
		const char *problem =
			agentpay_answer_field(answer, json_object_iter_peek_name(&at),
								  json_object_iter_peek_value(&at));

		if (problem != NULL)
			return problem;
	}
	if (answer->verdict == NULL)
		return "the answer has no verdict";
	if (!json_object_object_get_ex(content, "confidence", NULL))
		return "the answer has no confidence";
	if (!json_object_object_get_ex(content, "reasons", NULL))
		return "the answer has no reasons";
	return NULL;
}

/* Whether the value is a number between 0 and 1, which is then written. */
static bool
read_unit(json_object *value, double *number)
{
	if (!json_object_is_type(value, json_type_double) &&
		!json_object_is_type(value, json_type_int))
		return false;
	*number = json_object_get_double(value);
	return *number >= 0 && *number <= 1;
}

/* Characters in valid UTF-8. */
static int
count_characters(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char) *text & 0xC0) != 0x80;
	return n;
}

const char *
agentpay_answer_field(AgentpayAnswer *answer, const char *name,
					  json_object *value)
{
	if (strcmp(name, "verdict") == 0)
	{
		if (!json_object_is_type(value, json_type_string))
			return "verdict is not a string";
		free(answer->verdict);
		answer->verdict = strdup(json_object_get_string(value));
		return answer->verdict == NULL ? "out of memory" : NULL;
	}
	if (strcmp(name, "confidence") == 0)
		return read_unit(value, &answer->confidence)
				   ? NULL
				   : "confidence is not a number between 0 and 1";
	if (strcmp(name, "reasons") == 0)
		return read_reasons(answer, value);
	if (strcmp(name, "score") == 0)
	{
		answer->has_score = value != NULL;
		return value == NULL || read_unit(value, &answer->score)
				   ? NULL
				   : "score is not a number between 0 and 1";
	}
	if (strcmp(name, "explanation") == 0)
	{
		if (value == NULL)
			return NULL;
		if (!json_object_is_type(value, json_type_string))
			return "explanation is not a string";
		if (count_characters(json_object_get_string(value)) >
			AGENTPAY_ANSWER_MAX_EXPLANATION)
			return "explanation is longer than 500 characters";
		free(answer->explanation);
		answer->explanation = redact(json_object_get_string(value));
		return answer->explanation == NULL ? "out of memory" : NULL;
	}
	return "the answer has a member outside the schema";
}

/* The text without card numbers, IBANs and e-mail addresses, malloc'd. */
static char *
redact(const char *text)
{
	size_t len = strlen(text);
	char *out = malloc(AGENTPAY_DETECT_OUT_SIZE(len) + 1);

	if (out != NULL)
		out[agentpay_detect_redact(text, len, out, NULL)] = '\0';
	return out;
}

/* Whether a code spells out what may not be stored in clear. */
static bool
tells_too_much(const char *code)
{
	char out[AGENTPAY_DETECT_OUT_SIZE(MAX_REASON)];
	size_t len = strlen(code);

	return agentpay_detect_redact(code, len, out, NULL) != len ||
		   memcmp(out, code, len) != 0;
}

/* Whether the text is [A-Za-z][A-Za-z0-9_]{0,47}, whatever the locale. */
static bool
is_code(const char *text)
{
	for (int i = 0; text[i] != '\0'; i++)
	{
		char c = text[i];
		bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

		if (i >= MAX_REASON ||
			!(letter || (i > 0 && ((c >= '0' && c <= '9') || c == '_'))))
			return false;
	}
	return text[0] != '\0';
}

static const char *
read_reasons(AgentpayAnswer *answer, json_object *value)
{
	size_t n;

	if (answer->reasons != NULL)
		return "reasons twice";
	if (!json_object_is_type(value, json_type_array))
		return "reasons is not an array";
	n = json_object_array_length(value);
	if (n > AGENTPAY_ANSWER_MAX_REASONS)
		return "more than 20 reasons";
	answer->reasons = calloc(n + 1, sizeof(char *));
	if (answer->reasons == NULL)
		return "out of memory";
	for (size_t i = 0; i < n; i++)
	{
		json_object *reason = json_object_array_get_idx(value, i);

		if (!json_object_is_type(reason, json_type_string) ||
			!is_code(json_object_get_string(reason)))
			return "a reason is not a code of letters, digits and underscores";
		if (tells_too_much(json_object_get_string(reason)))
			return "a reason holds a card number or an IBAN";
		answer->reasons[i] = strdup(json_object_get_string(reason));
		if (answer->reasons[i] == NULL)
			return "out of memory";
		answer->n_reasons++;
	}
	return NULL;
}
