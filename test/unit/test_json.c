/*-------------------------------------------------------------------------
 * test_json.c
 *		The strict reader of foreign JSON, and the writer.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_writer.h"
#include "tap.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

static const char *const good[] = {
	"{}",
	"[]",
	" {\"a\" : [1, -0, 0.5, -1.25e+10, 1E-2, true, false, null]} \r\n\t",
	"\"text\"",
	"12",
	"-0.0",
	"1e400",
	"123456789012345678901234567890",
	"{\"\":1}",
	"{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
	"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"",
	"\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \xF4\x8F\xBF\xBF\"",
	"\":\"",
	"{\"a:b\":\"c:d\"}",
};

static const char *const bad[] = {
	"",
	" ",
	"null", /* json-c has no object for it */
	"{",
	"[",
	"[1",
	"[1,",
	"[1,]",
	"[,1]",
	"[1 2]",
	"{\"a\"}",
	"{\"a\":}",
	"{\"a\":1,}",
	"{,}",
	"{a:1}",
	"{'a':1}",
	"{1:1}",
	"{\"a\":1]",
	"[1}",
	"]",
	"{}{}",
	"{} x",
	"{}//",
	"/* */{}",
	"Here it is: {}",
	"```json\n{}\n```",
	"NaN",
	"[NaN]",
	"[Infinity]",
	"[-Infinity]",
	"-",
	"+1",
	"01",
	"-01",
	".5",
	"1.",
	"1.e5",
	"1e",
	"1e+",
	"0x10",
	"TRUE",
	"True",
	"nul",
	"truefalse",
	"\"abc",
	"\"\\\"",
	"\"\\x41\"",
	"\"\\u12\"",
	"\"\\u12g4\"",
	"\"\\u0000\"",
	"{\"a\\u0000b\":1}",
	"\"\\ud800\"",
	"\"\\ud800\\u0041\"",
	"\"\\ude00\"",
	"\"a\nb\"",
	"\"a\tb\"",
	"\"\x80\"",
	"\"\xC0\x80\"",
	"\"\xC3\"",
	"\"\xE0\x80\x80\"",
	"\"\xED\xA0\x80\"",
	"\"\xF4\x90\x80\x80\"",
	"\"\xF8\x88\x80\x80\x80\"",
	"\xEF\xBB\xBF{}",
	"{\"a\":1,\"a\":2}",
	"{\"a\":1,\"\\u0061\":2}",
	"[{\"x\":{\"b\":1,\"b\":1}}]",
};

/* Whether the text is taken, from memory that ends exactly behind it. */
static bool
is_taken(const char *text, size_t len, int max_depth)
{
	const char *problem = NULL;
	char *exact = malloc(len > 0 ? len : 1);
	json_object *value;
	bool taken;

	memcpy(exact, text, len);
	value = agentpay_json_parse(exact, len, max_depth, &problem);
	taken = value != NULL;
	if (!taken && problem == NULL)
		check(false, "a refusal says why");
	json_object_put(value);
	free(exact);
	return taken;
}

static void
test_depth(void)
{
	size_t len = 10000;
	char *text = malloc(2 * len);

	memset(text, '[', len);
	memset(text + len, ']', len);
	check(!is_taken(text, 2 * len, 64), "10,000 brackets are refused");
	check(is_taken(text + len - 64, 128, 64), "64 of them are taken");
	check(!is_taken(text + len - 65, 130, 64), "65 are not");
	free(text);
}

static void
test_values(void)
{
	AgentpayJsonWriter writer = {0};

	agentpay_json_write(&writer, "[");
	for (int i = 0; i < 200000; i++)
		agentpay_json_write(&writer, "{},");
	agentpay_json_write(&writer, "0]");
	check(!is_taken(writer.data, writer.len, 64),
		  "200,000 empty objects are refused");
	free(agentpay_json_write_finish(&writer));
}

/* Every way to cut a text short is refused, and none reads beyond it. */
static void
test_cut(void)
{
	const char *text =
		"{\"a\":[1.5e3,\"\\ud83d\\ude00\xE2\x82\xAC\",{\"b\":true}]}";
	bool any = false;

	for (size_t len = 0; len < strlen(text); len++)
		any |= is_taken(text, len, 64);
	check(!any, "no prefix of a text is taken");
}

static void
test_tree(void)
{
	const char *text = "{\"a\":[1,\"\\u00e9\"],\"b\":0.1}";
	const char *problem;
	json_object *value = agentpay_json_parse(text, strlen(text), 64, &problem);
	json_object *a = json_object_object_get(value, "a");

	check(json_object_get_int(json_object_array_get_idx(a, 0)) == 1, "number");
	check(strcmp(json_object_get_string(json_object_array_get_idx(a, 1)),
				 "\xC3\xA9") == 0,
		  "an escape becomes UTF-8");
	check(strcmp(json_object_to_json_string_ext(json_object_object_get(value,
																	   "b"),
												JSON_C_TO_STRING_PLAIN),
				 "0.1") == 0,
		  "a number prints as it was written");
	json_object_put(value);
}

static void
test_writer(void)
{
	AgentpayJsonWriter writer = {0};
	char *text;

	agentpay_json_write(&writer, "{");
	agentpay_json_write_string(&writer, "a\"b\\c\nd\te\x01/\xC3\xA9");
	agentpay_json_write(&writer, ":1}");
	text = agentpay_json_write_finish(&writer);
	check(strcmp(text, "{\"a\\\"b\\\\c\\nd\\u0009e\\u0001/\xC3\xA9\":1}") == 0,
		  "strings are escaped");
	check(is_taken(text, strlen(text), 64), "and read again");
	free(text);
}

int
main(void)
{
	for (size_t i = 0; i < N(good); i++)
		check(is_taken(good[i], strlen(good[i]), 64), "taken: %s",
			  i == 2 ? "spaces around" : good[i]);
	for (size_t i = 0; i < N(bad); i++)
		check(!is_taken(bad[i], strlen(bad[i]), 64), "refused: number %zu", i);
	check(!is_taken("{\"a\":\"\0\"}", 9, 64), "a NUL byte is refused");
	test_depth();
	test_values();
	test_cut();
	test_tree();
	test_writer();
	return tap_done();
}
