/*-------------------------------------------------------------------------
 * test_protocols.c
 *		What anthropic, bedrock and http send, and how their answers are read.
 *
 * What any answer must be is test_openai.c's; here is what differs.  The
 * envelopes are written after the providers' references, by hand.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/json_path.h"
#include "agents/protocol.h"
#include "base/json.h"
#include "tap.h"

static const AgentpayProtocol *const anthropic = &agentpay_protocol_anthropic;
static const AgentpayProtocol *const bedrock = &agentpay_protocol_bedrock;
static const AgentpayProtocol *const http = &agentpay_protocol_http;
static const AgentpayProtocol *const openai = &agentpay_protocol_openai;
static const char *const verdicts[] = {"approve", "review", "decline"};
static const bool positive[] = {false, true, true};

#define GOOD "{\"verdict\":\"review\",\"confidence\":0.75,\"reasons\":[\"a\"]}"

static AgentpayAnswer
read_with(const AgentpayProtocol *protocol, const char *options,
		  const char *body)
{
	AgentpayProtocolAgent agent = {.options = options,
								   .verdicts = verdicts,
								   .n_verdicts = 3,
								   .positive = positive,
								   .default_verdict = "approve",
								   .positive_verdict = "decline"};
	AgentpayAnswer answer;

	protocol->answer(&agent, body, strlen(body), &answer);
	return answer;
}

/* The body's answer has this status, and a verdict only when it is OK. */
static void
expect(const AgentpayProtocol *protocol, const char *options, const char *body,
	   AgentpayAnswerStatus status, const char *what)
{
	AgentpayAnswer answer = read_with(protocol, options, body);

	check(answer.status == status &&
			  (answer.verdict != NULL) == (status == AGENTPAY_ANSWER_OK) &&
			  (answer.problem == NULL) == (status == AGENTPAY_ANSWER_OK),
		  "%s: %s: %s, %s", protocol->name, what,
		  agentpay_answer_status_name(answer.status),
		  answer.problem ? answer.problem : "no problem");
	agentpay_answer_free(&answer);
}

#define CLAUDE(blocks, stop)                                                  \
	"{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","          \
	"\"model\":\"claude-x\",\"content\":[" blocks "],\"stop_reason\":\"" stop \
	"\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":70,"       \
	"\"cache_creation_input_tokens\":20,\"output_tokens\":7}}"
#define TOOL_USE(name, input)                                    \
	"{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"" name \
	"\",\"input\":" input "}"
#define TEXT(text) "{\"type\":\"text\",\"text\":\"" text "\"}"

static void
test_anthropic_answers(void)
{
	AgentpayAnswer answer = read_with(anthropic, NULL,
									  CLAUDE(TOOL_USE("verdict", GOOD),
											 "tool_use"));

	check(answer.status == AGENTPAY_ANSWER_OK &&
			  strcmp(answer.verdict, "review") == 0 &&
			  answer.confidence == 0.75 && answer.n_reasons == 1,
		  "anthropic: the tool's input is the answer");
	check(answer.usage_valid && answer.input_tokens == 100 &&
			  answer.cached_tokens == 70 && answer.output_tokens == 7,
		  "anthropic: cached tokens and cache writes count as input");
	check(strcmp(answer.request_id, "msg_1") == 0 &&
			  strcmp(answer.response_model, "claude-x") == 0 &&
			  strcmp(answer.finish_reason, "tool_use") == 0,
		  "anthropic: the envelope's names");
	agentpay_answer_free(&answer);

#define EXPECT(blocks, stop, status, what)                                  \
	expect(anthropic, NULL, CLAUDE(blocks, stop), AGENTPAY_ANSWER_##status, \
		   what)
	EXPECT(TEXT("let me see") "," TOOL_USE("verdict", GOOD), "tool_use", OK,
		   "text before the tool");
	EXPECT("{\"type\":\"thinking\",\"thinking\":\"hm\"}," TOOL_USE("verdict",
																   GOOD),
		   "tool_use", OK, "thinking before the tool");
	EXPECT(TEXT("{\\\"verdict\\\":\\\"approve\\\",\\\"confidence\\\":1,"
				"\\\"reasons\\\":[]}"),
		   "end_turn", OK, "an answer in text");
	EXPECT(TEXT("approve"), "end_turn", NOT_JSON, "prose");
	EXPECT(TEXT("a") "," TEXT("b"), "end_turn", SCHEMA, "two texts");
	EXPECT("", "end_turn", SCHEMA, "no block");
	EXPECT(TOOL_USE("verdict", GOOD) "," TOOL_USE("verdict", GOOD), "tool_use",
		   SCHEMA, "two verdicts");
	EXPECT(TOOL_USE("other", GOOD), "tool_use", SCHEMA, "another tool");
	EXPECT(TOOL_USE("verdict", "null"), "tool_use", SCHEMA, "no input");
	EXPECT(TOOL_USE("verdict", "\"x\""), "tool_use", SCHEMA, "a text as input");
	EXPECT(TOOL_USE("verdict",
					"{\"verdict\":\"refund\",\"confidence\":1,\"reasons\":[]}"),
		   "tool_use", UNKNOWN_VERDICT, "an unknown verdict");
	EXPECT(
		TOOL_USE("verdict",
				 "{\"verdict\":\"approve\",\"confidence\":7,\"reasons\":[]}"),
		"tool_use", SCHEMA, "confidence 7");
	EXPECT(TOOL_USE("verdict", GOOD), "max_tokens", TRUNCATED, "max_tokens");
	EXPECT(TOOL_USE("verdict", GOOD), "refusal", SCHEMA, "a refusal");
#undef EXPECT
	expect(anthropic, NULL, "{}", AGENTPAY_ANSWER_SCHEMA, "an empty envelope");
	expect(anthropic, NULL, "[]", AGENTPAY_ANSWER_SCHEMA, "an array");
	expect(anthropic, NULL, "{\"content\":[null,1,\"x\",[]]}",
		   AGENTPAY_ANSWER_SCHEMA, "blocks that are none");
	expect(anthropic, NULL, "{\"a\":1,\"a\":2}", AGENTPAY_ANSWER_NOT_JSON,
		   "keys twice");
}

#define CONVERSE(blocks, stop)                                              \
	"{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[" blocks \
	"]}},\"stopReason\":\"" stop "\",\"usage\":{\"inputTokens\":30,"        \
	"\"outputTokens\":8,\"totalTokens\":38,\"cacheReadInputTokens\":5},"    \
	"\"metrics\":{\"latencyMs\":1}}"
#define CONVERSE_TOOL(name, input)                        \
	"{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"" name \
	"\",\"input\":" input "}}"

static void
test_bedrock_answers(void)
{
	AgentpayAnswer answer = read_with(bedrock, NULL,
									  CONVERSE(CONVERSE_TOOL("verdict", GOOD),
											   "tool_use"));

	check(answer.status == AGENTPAY_ANSWER_OK &&
			  strcmp(answer.verdict, "review") == 0 &&
			  strcmp(answer.finish_reason, "tool_use") == 0 &&
			  answer.request_id == NULL,
		  "bedrock: the tool's input is the answer");
	check(answer.usage_valid && answer.input_tokens == 35 &&
			  answer.cached_tokens == 5 && answer.output_tokens == 8,
		  "bedrock: usage");
	agentpay_answer_free(&answer);
	answer = read_with(bedrock, NULL,
					   "{\"usage\":{\"inputTokens\":1,\"outputTokens\":1,"
					   "\"cacheReadInputTokens\":-3}}");
	check(!answer.usage_valid, "bedrock: a negative count is no usage");
	agentpay_answer_free(&answer);
	answer = read_with(bedrock, NULL,
					   "{\"usage\":{\"inputTokens\":9223372036854775807,"
					   "\"outputTokens\":1,\"cacheWriteInputTokens\":1}}");
	check(!answer.usage_valid, "bedrock: no sum overflows");
	agentpay_answer_free(&answer);
	answer = read_with(bedrock, NULL,
					   "{\"usage\":{\"inputTokens\":0,\"outputTokens\":1}}");
	check(!answer.usage_valid, "bedrock: no prompt takes no token");
	agentpay_answer_free(&answer);
	answer = read_with(anthropic, NULL,
					   "{\"usage\":{\"input_tokens\":0,\"output_tokens\":1}}");
	check(!answer.usage_valid, "anthropic: no prompt takes no token");
	agentpay_answer_free(&answer);
	/* all of the prompt was cached; there is no answer */
	answer = read_with(anthropic, NULL,
					   "{\"usage\":{\"input_tokens\":0,\"output_tokens\":0,"
					   "\"cache_read_input_tokens\":9}}");
	check(answer.usage_valid, "anthropic: nothing was said");
	agentpay_answer_free(&answer);

	expect(bedrock, NULL,
		   CONVERSE("{\"text\":\"{\\\"verdict\\\":\\\"approve\\\","
					"\\\"confidence\\\":1,\\\"reasons\\\":[]}\"}",
					"end_turn"),
		   AGENTPAY_ANSWER_OK, "an answer in text");
	expect(bedrock, NULL,
		   CONVERSE("{\"reasoningContent\":{\"reasoningText\":{\"text\":\"hm\"}"
					"}}," CONVERSE_TOOL("verdict", GOOD),
					"tool_use"),
		   AGENTPAY_ANSWER_OK, "reasoning before the tool");
	expect(bedrock, NULL, CONVERSE(CONVERSE_TOOL("x", GOOD), "tool_use"),
		   AGENTPAY_ANSWER_SCHEMA, "another tool");
	expect(bedrock, NULL,
		   CONVERSE(CONVERSE_TOOL("verdict", GOOD), "max_tokens"),
		   AGENTPAY_ANSWER_TRUNCATED, "max_tokens");
	expect(bedrock, NULL,
		   CONVERSE(CONVERSE_TOOL("verdict", GOOD), "guardrail_intervened"),
		   AGENTPAY_ANSWER_SCHEMA, "a guardrail");
	expect(bedrock, NULL, "{\"output\":{\"message\":[]}}",
		   AGENTPAY_ANSWER_SCHEMA, "no message");
}

#define SCORE "{\"answer_paths\":{\"score\":\"$.s\"}"
#define SCORED SCORE ",\"thresholds\":{\"review\":0.3,\"decline\":0.8}}"

/* A score becomes this verdict with this confidence. */
static void
expect_score(const char *options, const char *body, const char *verdict,
			 double confidence)
{
	AgentpayAnswer answer = read_with(http, options, body);

	check(answer.status == AGENTPAY_ANSWER_OK &&
			  strcmp(answer.verdict, verdict) == 0 &&
			  answer.confidence == confidence && answer.has_score,
		  "http: %s is %s", body, answer.verdict ? answer.verdict : "nothing");
	agentpay_answer_free(&answer);
}

static void
test_http_scores(void)
{
	/* by hand: the tightest threshold that is reached; p, or 1 - p */
	expect_score(SCORED, "{\"s\":0.25}", "approve", 0.75);
	expect_score(SCORED, "{\"s\":0.3}", "review", 0.3);
	expect_score(SCORED, "{\"s\":0.75}", "review", 0.75);
	expect_score(SCORED, "{\"s\":0.8}", "decline", 0.8);
	expect_score(SCORED, "{\"s\":1}", "decline", 1);
	expect_score(SCORED, "{\"s\":0}", "approve", 1);
	/* without thresholds: the tightest positive one from 0.5 on */
	expect_score(SCORE "}", "{\"s\":0.5}", "decline", 0.5);
	expect_score(SCORE "}", "{\"s\":0.25}", "approve", 0.75);
	expect_score(SCORE ",\"thresholds\":{}}", "{\"s\":1}", "approve", 0);
	expect_score(SCORE ",\"confidence\":0.9}", "{\"s\":1}", "decline", 0.9);
	expect_score(SCORE ",\"score_max\":1000}", "{\"s\":750}", "decline", 0.75);

	expect(http, SCORED, "{\"s\":1.01}", AGENTPAY_ANSWER_SCHEMA, "too much");
	expect(http, SCORED, "{\"s\":-0.1}", AGENTPAY_ANSWER_SCHEMA, "too little");
	expect(http, SCORED, "{\"s\":1e999}", AGENTPAY_ANSWER_SCHEMA, "infinite");
	expect(http, SCORED, "{\"s\":NaN}", AGENTPAY_ANSWER_NOT_JSON, "NaN");
	expect(http, SCORED, "{\"s\":\"0.5\"}", AGENTPAY_ANSWER_SCHEMA, "a text");
	expect(http, SCORED, "{\"s\":null}", AGENTPAY_ANSWER_SCHEMA, "null");
	expect(http, SCORED, "{}", AGENTPAY_ANSWER_SCHEMA, "nothing there");
	expect(http, SCORED, "[1]", AGENTPAY_ANSWER_SCHEMA, "an array");
	expect(http, "{}", "{\"s\":0}", AGENTPAY_ANSWER_SCHEMA,
		   "no paths, no verdict");
	expect(http, NULL, "{\"s\":0}", AGENTPAY_ANSWER_SCHEMA,
		   "no options, no verdict");
}

#define WORDS                                                              \
	"{\"answer_paths\":{\"verdict\":\"/r/0/d\",\"confidence\":\"/r/0/c\"," \
	"\"reasons\":\"/r/0/w\",\"explanation\":\"/r/0/e\",\"model\":\"/m\","  \
	"\"request_id\":\"$.id\"},\"usage_paths\":{\"input_tokens\":\"$.u.i\"}"
#define MAPPED WORDS ",\"verdicts\":{\"DENY\":\"decline\",\"true\":\"review\"}}"

static void
test_http_words(void)
{
	AgentpayAnswer answer =
		read_with(http, MAPPED,
				  "{\"r\":[{\"d\":\"DENY\",\"c\":0.5,\"w\":[\"v1\"],\"e\":"
				  "\"card 4111 1111 1111 1111\"}],\"m\":\"m7\",\"id\":\"q\","
				  "\"u\":{\"i\":12}}");

	check(answer.status == AGENTPAY_ANSWER_OK &&
			  strcmp(answer.verdict, "decline") == 0 &&
			  answer.confidence == 0.5 && !answer.has_score &&
			  answer.n_reasons == 1,
		  "http: the service's word becomes a verdict");
	check(answer.explanation != NULL &&
			  strcmp(answer.explanation, "card [PAN]") == 0,
		  "http: the explanation is redacted");
	check(strcmp(answer.response_model, "m7") == 0 &&
			  strcmp(answer.request_id, "q") == 0 && answer.usage_valid &&
			  answer.input_tokens == 12 && answer.output_tokens == 0,
		  "http: what else has a path");
	agentpay_answer_free(&answer);
#define BODY(d) "{\"r\":[{\"d\":" d ",\"c\":1}]}"
	expect(http, MAPPED, BODY("true"), AGENTPAY_ANSWER_OK, "a boolean");
	expect(http, MAPPED, BODY("\"deny\""), AGENTPAY_ANSWER_UNKNOWN_VERDICT,
		   "a word that is not listed");
	expect(http, MAPPED, BODY("\"decline\""), AGENTPAY_ANSWER_UNKNOWN_VERDICT,
		   "our word, which is not theirs");
	expect(http, WORDS "}", BODY("\"decline\""), AGENTPAY_ANSWER_OK,
		   "our word");
	expect(http, WORDS "}", BODY("null"), AGENTPAY_ANSWER_SCHEMA, "null");
	expect(http, WORDS "}", BODY("{}"), AGENTPAY_ANSWER_SCHEMA, "an object");
	expect(http, WORDS "}", "{\"r\":[{\"d\":\"decline\"}]}",
		   AGENTPAY_ANSWER_SCHEMA, "no confidence");
	expect(http, WORDS "}", "{\"r\":[{\"d\":\"decline\",\"c\":7}]}",
		   AGENTPAY_ANSWER_SCHEMA, "confidence 7");
	expect(http, WORDS "}",
		   "{\"r\":[{\"d\":\"decline\",\"c\":1,\"w\":[\"in prose\"]}]}",
		   AGENTPAY_ANSWER_SCHEMA, "reasons in prose");
#undef BODY
}

static void
test_bodies(void)
{
	AgentpayProtocolRequest request = {.model = "m:1",
									   .system = "rules \",\"tools\":[",
									   .user = "{\"n\":1.10}",
									   .verdicts = verdicts,
									   .n_verdicts = 3,
									   .max_output_tokens = 64,
									   .options = "{}"};
	const char *problem = NULL;
	size_t len;
	size_t plain_len;
	char *body = anthropic->body(&request, &len, &problem);
	char *plain;

	check(strstr(body,
				 "{\"model\":\"m:1\",\"max_tokens\":64,\"system\":\"rules "
				 "\\\",\\\"tools\\\":[\",\"messages\":[{\"role\":\"user\","
				 "\"content\":\"{\\\"n\\\":1.10}\"}],\"temperature\":0,"
				 "\"tools\":[{\"name\":\"verdict\",") == body &&
			  strstr(body, "\"tool_choice\":{\"type\":\"tool\",\"name\":"
						   "\"verdict\",") &&
			  strstr(body, "\"additionalProperties\":false"),
		  "anthropic: the body");
	plain_len = len;
	plain = anthropic->plainer_body(body, &plain_len);
	check(plain != NULL && plain_len < len && plain_len == strlen(plain) &&
			  strcmp(plain + plain_len - 19, "}],\"temperature\":0}") == 0,
		  "anthropic: the same without its tool");
	check(anthropic->plainer_body(plain, &plain_len) == NULL,
		  "anthropic: nothing is plainer");
	free(plain);
	free(body);

	request.options = "{\"region\":\"us-east-1\",\"temperature\":null,"
					  "\"top_p\":0.5}";
	body = bedrock->body(&request, &len, &problem);
	check(strstr(body, "\"inferenceConfig\":{\"maxTokens\":64,\"topP\":0.5},"
					   "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":"
					   "\"verdict\"") != NULL &&
			  strstr(body, "\"toolChoice\":{\"tool\":{\"name\":\"verdict\"}}}"
						   "}") != NULL &&
			  strstr(body, "m:1") == NULL,
		  "bedrock: the body, without the model");
	plain_len = len;
	plain = bedrock->plainer_body(body, &plain_len);
	check(plain != NULL &&
			  strcmp(plain + plain_len - 12, "\"topP\":0.5}}") == 0,
		  "bedrock: the same without its tool");
	free(plain);
	free(body);

	request.options = "{\"answer_paths\":{\"score\":\"$.s\"},\"input_path\":"
					  "\"$.a['b c'][0]\"}";
	body = http->body(&request, &len, &problem);
	check(strcmp(body, "{\"a\":{\"b c\":[{\"n\":1.10}]}}") == 0,
		  "http: the fields in their place");
	free(body);
	request.options = "{\"answer_paths\":{\"score\":\"$.s\"}}";
	body = http->body(&request, &len, &problem);
	check(strcmp(body, "{\"n\":1.10}") == 0, "http: the fields alone");
	free(body);

	request.options = NULL;
	request.system = "a \",\"response_format\":{\"type\":";
	body = openai->body(&request, &len, &problem);
	plain_len = len;
	plain = openai->plainer_body(body, &plain_len);
	check(plain != NULL && plain_len < len &&
			  strcmp(plain + plain_len - 42,
					 ",\"response_format\":{\"type\":\"json_object\"}}") == 0,
		  "openai: json_object instead of a schema");
	free(body);
	body = openai->plainer_body(plain, &plain_len);
	check(body != NULL &&
			  strcmp(body + plain_len - 17, ",\"temperature\":0}") == 0,
		  "openai: then neither");
	check(openai->plainer_body(body, &plain_len) == NULL,
		  "openai: then nothing");
	free(plain);
	free(body);
}

static void
expect_url(const AgentpayProtocol *protocol, const char *options,
		   const char *endpoint, const char *expected)
{
	AgentpayProtocolAgent agent = {.endpoint = endpoint,
								   .model = "eu.claude-1:0",
								   .options = options};
	const char *problem = NULL;
	char *url = protocol->url(&agent, &problem);

	check(strcmp(url, expected) == 0, "%s: %s", protocol->name, url);
	free(url);
}

static void
test_urls(void)
{
	expect_url(openai, "{\"api_version\":\"2024-10-21\"}",
			   "https://x.openai.azure.com/openai/deployments/gpt",
			   "https://x.openai.azure.com/openai/deployments/gpt/chat/"
			   "completions?api-version=2024-10-21");
	expect_url(openai, NULL, "https://openrouter.ai/api/v1",
			   "https://openrouter.ai/api/v1/chat/completions");
	expect_url(anthropic, NULL, "https://api.anthropic.com",
			   "https://api.anthropic.com/v1/messages");
	expect_url(anthropic, NULL, "https://gw.example/anthropic/v1/",
			   "https://gw.example/anthropic/v1/messages");
	expect_url(bedrock, "{\"region\":\"eu-west-1\"}",
			   "https://bedrock-runtime.eu-west-1.amazonaws.com/",
			   "https://bedrock-runtime.eu-west-1.amazonaws.com/model/"
			   "eu.claude-1%3A0/converse");
	expect_url(http, NULL, "https://s.example/score",
			   "https://s.example/score");
}

/* The header's value, NULL when it is not sent. */
static const char *
header(const AgentpayProtocolHeaders *headers, const char *name)
{
	const char *found = NULL;

	for (int i = 0; i < headers->n; i++)
	{
		if (strcmp(headers->headers[i].name, name) == 0)
			found = headers->headers[i].value;
	}
	return found;
}

static void
expect_secret(const AgentpayProtocol *protocol, const char *options,
			  const char *secret, const char *name, const char *value)
{
	AgentpayProtocolHeaders to;
	AgentpayProtocolCall call = {.options = options, .secret = secret};
	const char *problem = NULL;
	bool good = protocol->headers(&call, &to, &problem);
	const char *found = good ? header(&to, name) : NULL;

	check(value == NULL ? !good : found != NULL && strcmp(found, value) == 0,
		  "%s: %s: %s", protocol->name, name, good ? "sent" : problem);
}

static void
test_secrets(void)
{
#define PATHS "{\"answer_paths\":{\"score\":\"$.s\"}"
	expect_secret(anthropic, NULL, "k1", "x-api-key", "k1");
	expect_secret(anthropic, NULL, "k1", "anthropic-version", "2023-06-01");
	expect_secret(anthropic, "{\"secret_header\":\"Authorization\"}", "k1",
				  "Authorization", "Bearer k1");
	expect_secret(openai, "{\"api_version\":\"v\"}", "k1", "api-key", "k1");
	expect_secret(openai,
				  "{\"api_version\":\"v\",\"secret_header\":"
				  "\"Authorization\"}",
				  "k1", "Authorization", "Bearer k1");
	expect_secret(http, PATHS "}", "k1", "Authorization", "Bearer k1");
	expect_secret(http, PATHS "}", "Basic dTpw", "Authorization", "Basic dTpw");
	expect_secret(http, PATHS ",\"secret_header\":\"X-Key\"}", "k1", "X-Key",
				  "k1");
	expect_secret(http, PATHS ",\"secret_header\":\"X-Key\"}", "a b", "X-Key",
				  NULL);
	expect_secret(http, PATHS "}", "a\nb", "Authorization", NULL);
	expect_secret(http, PATHS "}", "a b c", "Authorization", NULL);
	expect_secret(bedrock, "{\"region\":\"us-east-1\"}", NULL, "Authorization",
				  NULL);
	expect_secret(bedrock, "{\"region\":\"us-east-1\"}", "sk-1",
				  "Authorization", NULL);
}

/* As AWS's SDK for JavaScript signs the same request. */
static void
test_bedrock_headers(void)
{
	AgentpayProtocolHeaders to;
	AgentpayProtocolCall call = {
		.url = "https://bedrock-runtime.us-east-1.amazonaws.com:443/model/"
			   "anthropic.claude-3-haiku-20240307-v1%3A0/converse",
		.options = "{\"region\":\"us-east-1\"}",
		.secret = "{\"AccessKeyId\":\"AKIDEXAMPLE\",\"SecretAccessKey\":"
				  "\"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\"}",
		.body = "{}",
		.body_len = 2,
		.now = 1440938160};
	const char *problem = NULL;

	check(bedrock->headers(&call, &to, &problem) &&
			  strstr(header(&to, "Authorization"),
					 "SignedHeaders=content-type;host;x-amz-content-sha256;"
					 "x-amz-date, Signature=c30d36b012922b9e5c247b449e0accd3a0"
					 "d1299e1ead16e468797d1f7391917b") != NULL &&
			  strcmp(header(&to, "X-Amz-Date"), "20150830T123600Z") == 0 &&
			  header(&to, "X-Amz-Security-Token") == NULL,
		  "bedrock: signed");
	call.secret = "[p]\naws_access_key_id=A\naws_secret_access_key=b\n"
				  "aws_session_token=tok\n";
	call.options = "{\"region\":\"us-east-1\",\"profile\":\"p\"}";
	check(bedrock->headers(&call, &to, &problem) &&
			  strcmp(header(&to, "X-Amz-Security-Token"), "tok") == 0 &&
			  strstr(header(&to, "Authorization"), ";x-amz-security-token,"),
		  "bedrock: with a session token");
}

static void
test_options(void)
{
	static const struct
	{
		const AgentpayProtocol *protocol;
		const char *options;
		bool good;
	} cases[] = {
		{anthropic, "{\"temperature\":0.5,\"top_k\":5}", true},
		{anthropic, "{\"temperature\":1.5}", false},
		{anthropic, "{\"max_tokens\":5}", false},
		{anthropic, "{\"response_format\":\"json_schema\"}", false},
		{anthropic, "{\"secret_header\":\"X-Key\"}", true},
		{anthropic, "{\"secret_header\":\"Host\"}", false},
		{anthropic, "{\"secret_header\":\"content-length\"}", false},
		{anthropic, "{\"secret_header\":\"A: b\"}", false},
		{anthropic, "{\"secret_header\":\"A\\r\\nB\"}", false},
		{anthropic, "{\"secret_header\":\"\"}", false},
		{openai, "{\"api_version\":\"2024-10-21\"}", true},
		{openai, "{\"api_version\":\"a&b=c\"}", false},
		{bedrock, "{\"region\":\"us-east-1\"}", true},
		{bedrock, "{}", false},
		{bedrock, "{\"region\":\"us/east\"}", false},
		{bedrock, "{\"region\":\"r\",\"profile\":\"a b\"}", false},
		{http, PATHS "}", true},
		{http, "{}", false},
		{http, "{\"answer_paths\":{}}", false},
		{http, "{\"answer_paths\":{\"verdict\":\"$.v\"}}", false},
		{http, "{\"answer_paths\":{\"verdict\":\"$.v\"},\"confidence\":1}",
		 true},
		{http, "{\"answer_paths\":{\"score\":\"s\"}}", false},
		{http, "{\"answer_paths\":{\"score\":\"$.s\",\"x\":\"$\"}}", false},
		{http, "{\"answer_paths\":{\"score\":1}}", false},
		{http, PATHS ",\"input_path\":\"$.a[1]\"}", false},
		{http, PATHS ",\"input_path\":\"/instances/0\"}", true},
		{http, PATHS ",\"thresholds\":{\"review\":2}}", false},
		{http, PATHS ",\"verdicts\":{\"a\":\"approve\"}}", false},
		{http, PATHS ",\"score_max\":0}", false},
		{http, PATHS ",\"usage_paths\":{\"tokens\":\"$.t\"}}", false},
		{http, PATHS ",\"temperature\":0}", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		char problem[256] = "taken";
		bool good = cases[i].protocol->check_options(cases[i].options,
													 strlen(cases[i].options),
													 problem,
													 sizeof(problem)) == NULL;

		check(good == cases[i].good, "%s: %s: %s", cases[i].protocol->name,
			  cases[i].options, problem);
	}
}

static void
test_paths(void)
{
	static const char text[] = "{\"a\":{\"b c\":[1,{\"d/e\":2,\"~\":null}]},"
							   "\"0\":3}";
	static const struct
	{
		const char *path;
		int found; /* -1: invalid, 0: nothing there; -2: null */
	} cases[] = {
		{"$.a['b c'][0]", 1},
		{"$['a'][\"b c\"][1]['d/e']", 2},
		{"/a/b c/1/d~1e", 2},
		{"/a/b c/1/~0", -2},
		{"/0", 3},
		{"$['0']", 3},
		{"$[0]", 0},
		{"$.a[0]", 0},
		{"/a/b c/2", 0},
		{"/a/b c/01", 0},
		{"/a/b c/-", 0},
		{"$.a.x.y", 0},
		{"a", -1},
		{"$a", -1},
		{"$.", -1},
		{"$.a[", -1},
		{"$.a[-1]", -1},
		{"$..a", -1},
		{"$.a[*]", -1},
		{"/a~2", -1},
		{"/a~", -1},
		{"$['a", -1},
		{"$.a[99999999]", -1},
	};
	const char *problem;
	json_object *root = agentpay_json_parse(text, strlen(text), 64, &problem);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		json_object *value = NULL;
		int found = -1;

		if (agentpay_json_path_valid(cases[i].path))
			found = !agentpay_json_path_get(root, cases[i].path, &value) ? 0
					: value == NULL										 ? -2
									: json_object_get_int(value);
		check(found == cases[i].found, "path %s: %d", cases[i].path, found);
	}
	json_object_put(root);
}

static void
test_errors(void)
{
	static const struct
	{
		const AgentpayProtocol *protocol;
		const char *body;
		const char *code;
	} cases[] = {
		{anthropic,
		 "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
		 "\"message\":\"x\"}}",
		 "overloaded_error"},
		{bedrock,
		 "{\"__type\":\"com.amazon.coral.service#ThrottlingException\","
		 "\"message\":\"x\"}",
		 "ThrottlingException"},
		{bedrock, "{\"message\":\"card 4111111111111111\"}", ""},
		{http, "{\"error\":\"bad_request\"}", "bad_request"},
		{http, "{\"error\":{\"code\":\"E1\"}}", "E1"},
		{http, "{\"error\":\"card 4111 1111\"}", ""},
		{http, "[]", ""},
	};
	char code[65];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		cases[i].protocol->error_code(cases[i].body, strlen(cases[i].body),
									  code, sizeof(code));
		check(strcmp(code, cases[i].code) == 0, "%s: code \"%s\"",
			  cases[i].protocol->name, code);
	}
#define REFUSES(protocol, status, body) \
	protocol->refuses_structure(status, body, strlen(body))
	check(REFUSES(openai, 400, "'response_format.type' must be 'text'") &&
			  REFUSES(openai, 400, "\xFF json_schema is not supported") &&
			  !REFUSES(openai, 400, "bad temperature") &&
			  !REFUSES(openai, 500, "response_format"),
		  "openai: a refused response_format");
	check(REFUSES(bedrock, 400,
				  "{\"message\":\"This model doesn't support the "
				  "toolConfig.toolChoice.tool field.\"}") &&
			  !REFUSES(bedrock, 403, "toolConfig"),
		  "bedrock: a refused tool");
	check(REFUSES(anthropic, 400, "tool_choice: Extra inputs") &&
			  !REFUSES(anthropic, 429, "tool_choice"),
		  "anthropic: a refused tool");
	check(http->refuses_structure == NULL && http->plainer_body == NULL,
		  "http asks for no structure");
	check(agentpay_protocol_find("http") == http &&
			  agentpay_protocol_find("builtin") == NULL &&
			  agentpay_protocol_find(NULL) == NULL,
		  "protocols by name");
}

int
main(void)
{
	test_anthropic_answers();
	test_bedrock_answers();
	test_http_scores();
	test_http_words();
	test_bodies();
	test_urls();
	test_secrets();
	test_bedrock_headers();
	test_options();
	test_paths();
	test_errors();
	return tap_done();
}
