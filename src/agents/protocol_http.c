/*-------------------------------------------------------------------------
 * protocol_http.c
 *		Plain JSON in and out, for scoring services of any make.
 *
 * The fields go as they are, or in the place that input_path names.  Where
 * the answer stands is said by paths; a service that gives a score only is
 * judged by thresholds, as a builtin agent's model is.  What is read must fit
 * the same closed schema as any agent's answer.
 *-------------------------------------------------------------------------
 */
#include "agents/protocol_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/json_path.h"
#include "base/json.h"

static const AgentpayOptionRule rules[] = {
	{.name = "answer_paths", .kind = AGENTPAY_OPTION_OBJECT},
	{.name = "usage_paths", .kind = AGENTPAY_OPTION_OBJECT},
	{.name = "verdicts", .kind = AGENTPAY_OPTION_OBJECT},
	{.name = "thresholds", .kind = AGENTPAY_OPTION_OBJECT},
	{.name = "confidence", .kind = AGENTPAY_OPTION_NUMBER, .high = 1},
	{.name = "score_max",
	 .kind = AGENTPAY_OPTION_NUMBER,
	 .low = 1,
	 .high = 1000000},
	{.name = "input_path", .kind = AGENTPAY_OPTION_PATH},
	{.name = "secret_header", .kind = AGENTPAY_OPTION_HEADER},
};
#define N_RULES (sizeof(rules) / sizeof(*rules))

/* What the members of an option have to be. */
typedef enum MemberKind
{
	MEMBER_PATH,
	MEMBER_WORD,
	MEMBER_PROBABILITY,
} MemberKind;

static const char *
read_content(const AgentpayProtocolAgent *agent, json_object *options,
			 json_object *root, AgentpayAnswer *answer);

/* Whether all members of an option are of a kind, and known. */
static bool
check_members(json_object *options, const char *option, const char *known,
			  MemberKind kind, char *problem, size_t size)
{
	json_object *object = agentpay_protocol_member(options, option);

	if (object == NULL)
		return true;
	json_object_object_foreach(object, name, value)
	{
		bool is_text = json_object_is_type(value, json_type_string);
		const char *text = is_text ? json_object_get_string(value) : "";
		double number = json_object_get_double(value);
		bool is_number = json_object_is_type(value, json_type_int) ||
						 json_object_is_type(value, json_type_double);
		const char *wanted = NULL;

		if (known != NULL && !agentpay_protocol_is_choice(known, name))
		{
			snprintf(problem, size, "\"%.64s\" in option \"%s\" is none of %s",
					 name, option, known);
			return false;
		}
		if (kind == MEMBER_PATH && !(is_text && agentpay_json_path_valid(text)))
			wanted = "a path such as $.result.score or /result/0/score";
		if (kind == MEMBER_WORD && !(is_text && *text != '\0'))
			wanted = "a verdict";
		if (kind == MEMBER_PROBABILITY &&
			!(is_number && number >= 0 && number <= 1))
			wanted = "a number between 0 and 1";
		if (wanted != NULL)
		{
			snprintf(problem, size, "\"%.64s\" in option \"%s\" is not %s",
					 name, option, wanted);
			return false;
		}
	}
	return true;
}

/* Whether the paths lead to a verdict and how sure it is. */
static const char *
check_sense(json_object *options)
{
	json_object *paths = agentpay_protocol_member(options, "answer_paths");
	bool verdict = agentpay_protocol_word(paths, "verdict") != NULL;
	bool score = agentpay_protocol_word(paths, "score") != NULL;
	bool confidence = agentpay_protocol_word(paths, "confidence") != NULL ||
					  agentpay_protocol_member(options, "confidence") != NULL;

	if (!verdict && !score)
		return "option \"answer_paths\" names neither \"verdict\" nor "
			   "\"score\"";
	if (!score && !confidence)
		return "nothing says how sure a verdict is: give \"confidence\" or "
			   "\"score\" in answer_paths, or option \"confidence\"";
	if (verdict && agentpay_protocol_member(options, "thresholds") != NULL)
		return "option \"thresholds\" is for services that give a score and "
			   "no verdict";
	if (!verdict && agentpay_protocol_member(options, "verdicts") != NULL)
		return "option \"verdicts\" is for services that give a verdict";
	if (!score && agentpay_protocol_member(options, "score_max") != NULL)
		return "option \"score_max\" is for services that give a score";
	return NULL;
}

static const char *
check_options(const char *options, size_t len, char *problem, size_t size)
{
	const char *why;
	json_object *parsed;
	bool good;

	if (agentpay_options_check(rules, N_RULES, options, len, problem, size) !=
		NULL)
		return problem;
	parsed = agentpay_json_parse(options, len, AGENTPAY_JSON_MAX_DEPTH, &why);
	good = check_members(parsed, "answer_paths",
						 "verdict|confidence|score|reasons|explanation|model|"
						 "request_id|finish_reason",
						 MEMBER_PATH, problem, size) &&
		   check_members(parsed, "usage_paths",
						 "input_tokens|cached_tokens|output_tokens",
						 MEMBER_PATH, problem, size) &&
		   check_members(parsed, "verdicts", NULL, MEMBER_WORD, problem,
						 size) &&
		   check_members(parsed, "thresholds", NULL, MEMBER_PROBABILITY,
						 problem, size);
	if (good)
	{
		why = check_sense(parsed);
		good = why == NULL;
		if (!good)
			snprintf(problem, size, "%s", why);
	}
	json_object_put(parsed);
	return good ? NULL : problem;
}

static char *
write_body(const AgentpayProtocolRequest *request, size_t *len,
		   const char **problem)
{
	AgentpayJsonWriter out = {0};
	json_object *options = agentpay_options_read(rules, N_RULES,
												 request->options, problem);
	const char *path;
	char *body;

	if (options == NULL)
		return NULL;
	path = agentpay_protocol_word(options, "input_path");
	agentpay_json_path_wrap(&out, path ? path : "$", request->user);
	json_object_put(options);
	*len = out.len;
	body = agentpay_json_write_finish(&out);
	if (body == NULL)
		*problem = "out of memory";
	return body;
}

/* The endpoint as it is. */
static char *
write_url(const AgentpayProtocolAgent *agent, const char **problem)
{
	char *url = strdup(agent->endpoint);

	if (url == NULL)
		*problem = "out of memory";
	return url;
}

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
	good = agentpay_protocol_secret_header(call, name ? name : "Authorization",
										   headers, problem);
	json_object_put(options);
	return good;
}

/* What stands at a path of an option; NULL: no path, nothing there, null. */
static json_object *
at_path(json_object *options, const char *option, const char *name,
		json_object *root)
{
	const char *path =
		agentpay_protocol_word(agentpay_protocol_member(options, option), name);
	json_object *value = NULL;

	if (path == NULL || !agentpay_json_path_get(root, path, &value))
		return NULL;
	return value;
}

/* A short printable text at a path, malloc'd; NULL: there is none. */
static char *
copy_text(json_object *options, const char *name, json_object *root)
{
	return agentpay_protocol_copy_string(
		at_path(options, "answer_paths", name, root));
}

static int64_t
count_at(json_object *options, const char *name, json_object *root)
{
	json_object *value = at_path(options, "usage_paths", name, root);

	return json_object_is_type(value, json_type_int)
			   ? json_object_get_int64(value)
			   : -1;
}

static void
read_usage(json_object *options, json_object *root, AgentpayAnswer *answer)
{
	json_object *paths = agentpay_protocol_member(options, "usage_paths");

	if (paths == NULL)
		return;
	agentpay_answer_set_usage(answer, count_at(options, "input_tokens", root),
							  agentpay_protocol_member(paths, "cached_tokens")
								  ? count_at(options, "cached_tokens", root)
								  : 0,
							  agentpay_protocol_member(paths, "output_tokens")
								  ? count_at(options, "output_tokens", root)
								  : 0);
}

static void
read_answer(const AgentpayProtocolAgent *agent, const char *body, size_t len,
			AgentpayAnswer *answer)
{
	json_object *root = agentpay_protocol_envelope(body, len, answer);
	json_object *options;
	const char *problem;

	if (root == NULL)
		return;
	options = agentpay_options_read(rules, N_RULES, agent->options,
									&answer->problem);
	if (options != NULL)
	{
		answer->request_id = copy_text(options, "request_id", root);
		answer->response_model = copy_text(options, "model", root);
		answer->finish_reason = copy_text(options, "finish_reason", root);
		read_usage(options, root, answer);
		problem = read_content(agent, options, root, answer);
		if (problem != NULL)
			agentpay_answer_refuse(answer, problem);
		else
			agentpay_answer_judge(answer, agent->verdicts, agent->n_verdicts);
		json_object_put(options);
	}
	json_object_put(root);
}

/* The verdict for a probability, as agentpay._builtin_verdict() gives it. */
static const char *
verdict_of_score(const AgentpayProtocolAgent *agent, json_object *options,
				 double score)
{
	json_object *thresholds = agentpay_protocol_member(options, "thresholds");

	if (thresholds == NULL && score >= 0.5 && agent->positive_verdict != NULL)
		return agent->positive_verdict;
	for (int i = agent->n_verdicts - 1; i >= 0 && thresholds != NULL; i--)
	{
		json_object *threshold = agentpay_protocol_member(thresholds,
														  agent->verdicts[i]);

		if (threshold != NULL && score >= json_object_get_double(threshold))
			return agent->verdicts[i];
	}
	if (agent->default_verdict != NULL || agent->n_verdicts == 0)
		return agent->default_verdict;
	return agent->verdicts[0];
}

/* The agent's word for what the service says; NULL with *problem. */
static const char *
read_word(json_object *options, json_object *value, const char **problem)
{
	json_object *words = agentpay_protocol_member(options, "verdicts");
	const char *text = "";

	if (json_object_is_type(value, json_type_string) ||
		json_object_is_type(value, json_type_boolean) ||
		json_object_is_type(value, json_type_int))
		text = json_object_get_string(value);
	else
		*problem = value == NULL ? "the answer has no verdict at its path"
								 : "the verdict is no word";
	if (*problem != NULL)
		return NULL;
	if (words != NULL)
	{
		const char *ours = agentpay_protocol_word(words, text);

		/* a word that is not listed is no verdict, whatever it is */
		return ours ? ours : "";
	}
	return text;
}

/* The score as a probability; NULL, or what is wrong with it. */
static const char *
read_score(json_object *options, json_object *value, AgentpayAnswer *answer)
{
	json_object *most = agentpay_protocol_member(options, "score_max");

	if (!json_object_is_type(value, json_type_double) &&
		!json_object_is_type(value, json_type_int))
		return "the answer has no number as score at its path";
	answer->score = json_object_get_double(value) /
					(most ? json_object_get_double(most) : 1);
	answer->has_score = answer->score >= 0 && answer->score <= 1;
	return answer->has_score ? NULL : "the score is out of its range";
}

static bool
is_positive(const AgentpayProtocolAgent *agent, const char *verdict)
{
	for (int i = 0; i < agent->n_verdicts && agent->positive != NULL; i++)
	{
		if (strcmp(agent->verdicts[i], verdict) == 0)
			return agent->positive[i];
	}
	return false;
}

/* How sure it is: as it says, as configured, or by its score. */
static const char *
read_confidence(const AgentpayProtocolAgent *agent, json_object *options,
				json_object *root, AgentpayAnswer *answer)
{
	json_object *paths = agentpay_protocol_member(options, "answer_paths");
	json_object *fixed = agentpay_protocol_member(options, "confidence");

	if (agentpay_protocol_member(paths, "confidence") != NULL)
		return agentpay_answer_field(answer, "confidence",
									 at_path(options, "answer_paths",
											 "confidence", root));
	if (fixed != NULL)
		return agentpay_answer_field(answer, "confidence", fixed);
	answer->confidence = is_positive(agent, answer->verdict)
							 ? answer->score
							 : 1 - answer->score;
	return NULL;
}

/* Fills in the fields; NULL, or what does not fit the schema. */
static const char *
read_content(const AgentpayProtocolAgent *agent, json_object *options,
			 json_object *root, AgentpayAnswer *answer)
{
	json_object *paths = agentpay_protocol_member(options, "answer_paths");
	const char *problem = check_sense(options);
	const char *word;
	json_object *value;

	if (problem != NULL)
		return problem;
	if (agentpay_protocol_member(paths, "score") != NULL)
		problem = read_score(options,
							 at_path(options, "answer_paths", "score", root),
							 answer);
	if (problem != NULL)
		return problem;
	if (agentpay_protocol_member(paths, "verdict") != NULL)
		word = read_word(options,
						 at_path(options, "answer_paths", "verdict", root),
						 &problem);
	else
		word = verdict_of_score(agent, options, answer->score);
	if (problem != NULL)
		return problem;
	answer->verdict = strdup(word ? word : "");
	if (answer->verdict == NULL)
		return "out of memory";
	problem = read_confidence(agent, options, root, answer);
	if (problem != NULL)
		return problem;
	value = at_path(options, "answer_paths", "reasons", root);
	if (value != NULL)
		problem = agentpay_answer_field(answer, "reasons", value);
	if (problem != NULL)
		return problem;
	return agentpay_answer_field(answer, "explanation",
								 at_path(options, "answer_paths", "explanation",
										 root));
}

/* Services have no form of error in common; these are the usual ones. */
static void
read_error_code(const char *body, size_t len, char *code, size_t size)
{
	static const char *const names[] = {"code", "error_code", "type", "error"};
	const char *problem;
	json_object *envelope =
		agentpay_json_parse(body, len, AGENTPAY_JSON_MAX_DEPTH, &problem);

	agentpay_protocol_read_code(agentpay_protocol_member(envelope, "error"),
								names, 3, code, size);
	if (code[0] == '\0')
		agentpay_protocol_read_code(envelope, names, 4, code, size);
	json_object_put(envelope);
}

const AgentpayProtocol agentpay_protocol_http = {
	.name = "http",
	.request_id_header = "x-request-id",
	.check_options = check_options,
	.body = write_body,
	.url = write_url,
	.headers = write_headers,
	.answer = read_answer,
	.error_code = read_error_code,
};
