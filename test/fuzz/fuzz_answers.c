/*-------------------------------------------------------------------------
 * fuzz_answers.c
 *		libFuzzer's entry to what reads the answers of agents, and to what
 *		reads their options and credentials.
 *
 * The first byte says which reader gets the rest.  Whatever the bytes are, an
 * answer that is taken fits the closed schema and one that is not has no
 * verdict; an error names nothing but an identifier; options that are taken
 * make a body that is JSON and headers that end no line.  Under the address
 * and undefined behaviour sanitizers (scripts/check fuzz).
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/json_path.h"
#include "agents/protocol.h"
#include "agents/sigv4.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const char *const verdicts[] = {"approve", "review", "decline"};
static const bool positive[] = {false, true, true};

static const struct
{
	const AgentpayProtocol *protocol;
	const char *options;
} readers[] = {
	{&agentpay_protocol_openai, NULL},
	{&agentpay_protocol_anthropic, NULL},
	{&agentpay_protocol_bedrock, "{\"region\":\"us-east-1\"}"},
	{&agentpay_protocol_http,
	 "{\"answer_paths\":{\"score\":\"$.s\",\"reasons\":\"$.r\",\"explanation\":"
	 "\"/e\",\"model\":\"/m\",\"request_id\":\"$.i[0]\"},\"thresholds\":"
	 "{\"review\":0.3,\"decline\":0.8},\"usage_paths\":{\"input_tokens\":"
	 "\"$.u\",\"cached_tokens\":\"$.c\",\"output_tokens\":\"$.o\"}}"},
	{&agentpay_protocol_http,
	 "{\"answer_paths\":{\"verdict\":\"/a/0/v\",\"confidence\":\"/a/0/c\"},"
	 "\"verdicts\":{\"DENY\":\"decline\",\"true\":\"review\",\"1\":\"approve\""
	 "}}"},
	{&agentpay_protocol_http,
	 "{\"answer_paths\":{\"verdict\":\"$['v']\",\"score\":\"$.s\"},"
	 "\"score_max\":999}"},
};
#define N_READERS (sizeof(readers) / sizeof(*readers))

/* Aborts, which libFuzzer reports with the input. */
static void
require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void
require_printable(const char *text)
{
	for (; text != NULL && *text != '\0'; text++)
		require(*text >= 0x20 && *text <= 0x7e, "a name is printable");
}

/* Whether the text is a code as the schema has it. */
static int
is_code(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz"
							  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return len > 0 && len <= 48 && text[len] == '\0' && text[0] != '_' &&
		   !(text[0] >= '0' && text[0] <= '9');
}

static void
check_content(const AgentpayAnswer *answer)
{
	int known = 0;
	int characters = 0;

	for (int i = 0; i < 3; i++)
		known |= strcmp(verdicts[i], answer->verdict) == 0;
	require(known, "the verdict is one of the vocabulary");
	require(answer->confidence >= 0 && answer->confidence <= 1, "confidence");
	require(!answer->has_score || (answer->score >= 0 && answer->score <= 1),
			"score");
	require(answer->n_reasons <= AGENTPAY_ANSWER_MAX_REASONS, "reasons");
	for (int i = 0; i < answer->n_reasons; i++)
		require(is_code(answer->reasons[i]), "a reason is a code");
	for (const char *at = answer->explanation; at != NULL && *at != '\0'; at++)
		characters += ((unsigned char) *at & 0xC0) != 0x80;
	/* redaction makes it longer by a sixth at the most */
	require(characters <= 600, "the explanation's length");
}

static void
check_answer(size_t reader, const char *body, size_t len)
{
	AgentpayProtocolAgent agent = {.options = readers[reader].options,
								   .verdicts = verdicts,
								   .n_verdicts = 3,
								   .positive = positive,
								   .default_verdict = "approve",
								   .positive_verdict = "decline"};
	AgentpayAnswer answer;
	bool good;

	readers[reader].protocol->answer(&agent, body, len, &answer);
	good = answer.status == AGENTPAY_ANSWER_OK;
	require((answer.verdict != NULL) == good, "a verdict only if it is OK");
	require((answer.problem == NULL) == good, "a problem only if it is not");
	require(good || (answer.explanation == NULL && answer.reasons == NULL &&
					 !answer.has_score),
			"nothing else, either");
	if (good)
		check_content(&answer);
	require(!answer.usage_valid ||
				(answer.cached_tokens >= 0 &&
				 answer.input_tokens >= answer.cached_tokens &&
				 answer.output_tokens >= 0 &&
				 answer.input_tokens <= AGENTPAY_ANSWER_MAX_TOKENS &&
				 answer.output_tokens <= AGENTPAY_ANSWER_MAX_TOKENS),
			"usage");
	require_printable(answer.request_id);
	require_printable(answer.response_model);
	require_printable(answer.finish_reason);
	agentpay_answer_free(&answer);
}

static void
check_error(const AgentpayProtocol *protocol, const char *body, size_t len)
{
	char code[65];

	memset(code, 'x', sizeof(code));
	protocol->error_code(body, len, code, sizeof(code));
	require(memchr(code, '\0', sizeof(code)) != NULL, "the code ends");
	require(strspn(code,
				   "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == strlen(code),
			"the code is an identifier");
	if (protocol->refuses_structure != NULL)
		(void) protocol->refuses_structure(400, body, len);
}

/* A body is one JSON text, and so is each plainer one, none longer. */
static void
check_bodies(const AgentpayProtocol *protocol, const char *options)
{
	AgentpayProtocolRequest request = {
		.model = "m",
		.system = "a \",\"tools\":[ \",\"response_format\":{\"type\":",
		.user = "{\"memo\":\"\\\",\\\"toolConfig\\\":{\"}",
		.verdicts = verdicts,
		.n_verdicts = 3,
		.max_output_tokens = 9,
		.options = options};
	const char *problem = NULL;
	size_t len = 0;
	char *body = protocol->body(&request, &len, &problem);

	require(body != NULL, "options that are taken make a body");
	while (body != NULL)
	{
		size_t shorter = len;
		char *next = NULL;
		json_object *parsed = agentpay_json_parse(body, len, 64, &problem);

		require(json_object_is_type(parsed, json_type_object) ||
					json_object_is_type(parsed, json_type_array),
				"a body is JSON");
		require(strlen(body) == len, "its length");
		json_object_put(parsed);
		if (protocol->plainer_body != NULL)
			next = protocol->plainer_body(body, &shorter);
		require(next == NULL || shorter < len, "a plainer body is shorter");
		free(body);
		body = next;
		len = shorter;
	}
}

static void
check_headers(const AgentpayProtocol *protocol, const char *options)
{
	AgentpayProtocolAgent agent = {.endpoint = "https://a.example/b",
								   .model = "m/\n:x",
								   .options = options};
	AgentpayProtocolHeaders headers;
	AgentpayProtocolCall call = {.options = options,
								 .idempotency_key = "k",
								 .secret =
									 protocol == &agentpay_protocol_bedrock
										 ? "[default]\naws_access_key_id=A\n"
										   "aws_secret_access_key=b\n"
										 : "s3cret",
								 .body = "{}",
								 .body_len = 2,
								 .now = 1700000000};
	const char *problem = NULL;
	char *url = protocol->url(&agent, &problem);

	require(url != NULL, "options that are taken make a URL");
	for (const char *at = url; *at != '\0'; at++)
		require(*at > 0x20 && *at < 0x7f, "a URL of printable bytes");
	call.url = url;
	if (protocol->headers(&call, &headers, &problem))
	{
		for (int i = 0; i < headers.n; i++)
		{
			require_printable(headers.headers[i].name);
			require_printable(headers.headers[i].value);
			require(strpbrk(headers.headers[i].name, ": ") == NULL,
					"the name of a header");
		}
	}
	free(url);
}

static void
check_options(const AgentpayProtocol *protocol, const char *options, size_t len)
{
	char problem[256];

	memset(problem, 'x', sizeof(problem));
	if (protocol->check_options(options, len, problem, sizeof(problem)) != NULL)
	{
		require(memchr(problem, '\0', sizeof(problem)) != NULL,
				"the problem ends");
		return;
	}
	check_bodies(protocol, options);
	check_headers(protocol, options);
}

static void
check_credentials(const char *text)
{
	AgentpayAwsCredentials credentials;
	const char *problem = NULL;
	bool read = agentpay_aws_credentials_read(text, NULL, 1700000000,
											  &credentials, &problem);

	require(read || (problem != NULL && credentials.secret_key[0] == '\0'),
			"credentials that are refused are wiped");
	if (!read)
		return;
	require_printable(credentials.access_key);
	require_printable(credentials.secret_key);
	require_printable(credentials.session_token);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	size_t which = size > 0 ? data[0] % (2 * N_READERS + 2) : 0;
	size_t len = size > 0 ? size - 1 : 0;
	char *text = malloc(len + 1);

	if (text == NULL)
		return 0;
	memcpy(text, data + (size > 0), len);
	text[len] = '\0';
	if (which < N_READERS)
	{
		check_answer(which, text, len);
		check_error(readers[which].protocol, text, len);
	}
	else if (which < 2 * N_READERS)
		/* a reader of terminated texts is given no shorter one */
		check_options(readers[which - N_READERS].protocol, text, strlen(text));
	else if (which == 2 * N_READERS)
		check_credentials(text);
	else if (agentpay_json_path_valid(text))
	{
		json_object *value = NULL;

		(void) agentpay_json_path_get(NULL, text, &value);
	}
	free(text);
	return 0;
}
