/*-------------------------------------------------------------------------
 * seeds_answers.c
 *		Writes what fuzz_answers.c begins with: good answers, options and
 *		credentials, each behind the byte that chooses its reader.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#define GOOD "{\"verdict\":\"review\",\"confidence\":0.75,\"reasons\":[\"a\"]}"
#define TEXT                                                                    \
	"{\\\"verdict\\\":\\\"approve\\\",\\\"confidence\\\":1,\\\"reasons\\\":[]," \
	"\\\"score\\\":0.1,\\\"explanation\\\":\\\"b\\\"}"

static const struct
{
	char reader;
	const char *text;
} seeds[] = {
	{0, "{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"finish_reason\":"
		"\"stop\",\"message\":{\"refusal\":null,\"content\":\"" TEXT
		"\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,"
		"\"prompt_tokens_details\":{\"cached_tokens\":1}}}"},
	{0, "{\"error\":{\"type\":\"t\",\"code\":\"c\"}}"},
	{1, "{\"id\":\"msg_1\",\"model\":\"m\",\"content\":[{\"type\":"
		"\"tool_use\",\"name\":\"verdict\",\"input\":" GOOD
		"}],\"stop_reason\":\"tool_use\",\"usage\":{\"input_tokens\":1,"
		"\"cache_read_input_tokens\":2,\"output_tokens\":3}}"},
	{1, "{\"content\":[{\"type\":\"text\",\"text\":\"" TEXT
		"\"}],\"stop_reason\":\"end_turn\"}"},
	{2, "{\"output\":{\"message\":{\"content\":[{\"toolUse\":{\"name\":"
		"\"verdict\",\"input\":" GOOD
		"}}]}},\"stopReason\":\"tool_use\",\"usage\":{\"inputTokens\":1,"
		"\"outputTokens\":2,\"cacheReadInputTokens\":3}}"},
	{2, "{\"__type\":\"x#ThrottlingException\",\"message\":\"toolConfig\"}"},
	{3, "{\"s\":0.5,\"r\":[\"a_1\"],\"e\":\"why\",\"m\":\"m\",\"i\":[\"q\"],"
		"\"u\":1,\"c\":0,\"o\":2}"},
	{4, "{\"a\":[{\"v\":\"DENY\",\"c\":0.5}]}"},
	{5, "{\"v\":\"review\",\"s\":500}"},
	{6, "{\"temperature\":0.5,\"seed\":1,\"api_version\":\"2024-10-21\","
		"\"secret_header\":\"api-key\",\"response_format\":\"json_object\"}"},
	{7, "{\"temperature\":null,\"top_k\":5,\"anthropic_version\":\"v\"}"},
	{8, "{\"region\":\"us-east-1\",\"profile\":\"default\",\"top_p\":0.5}"},
	{9, "{\"answer_paths\":{\"score\":\"$.a[0]['b']\"},\"thresholds\":"
		"{\"review\":0.5},\"input_path\":\"/instances/0\",\"score_max\":100}"},
	{10, "{\"answer_paths\":{\"verdict\":\"/v\"},\"confidence\":1,"
		 "\"verdicts\":{\"NO\":\"decline\"}}"},
	{12, "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"b\","
		 "\"SessionToken\":\"c\",\"Expiration\":\"2030-01-01T00:00:00Z\"}"},
	{12, "[default]\naws_access_key_id = A\naws_secret_access_key=b\n"
		 "aws_session_token = c\n"},
	{13, "$.a['b'][0]"},
	{13, "/a/~0~1/0"},
};

int
main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(seeds) / sizeof(*seeds); i++)
	{
		char path[512];
		FILE *file;

		snprintf(path, sizeof(path), "%s/seed_%zu", argv[1], i);
		file = fopen(path, "w");
		if (file == NULL)
			return 1;
		fputc(seeds[i].reader, file);
		fputs(seeds[i].text, file);
		fclose(file);
	}
	return argc == 2 ? 0 : 1;
}
