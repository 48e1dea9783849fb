/*-------------------------------------------------------------------------
 * test_canonical.c
 *		The canonical form of rows against the examples of RFC 8785.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "evidence/canonical.h"
#include "tap.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

/* RFC 8785, 3.2.3: the keys of its example, sorted as it says. */
static const char *const sorted_keys[] = {
	"\r", /* carriage return */
	"1",
	"\xC2\x80",			/* U+0080 */
	"\xC3\xB6",			/* U+00F6 */
	"\xE2\x82\xAC",		/* U+20AC */
	"\xF0\x9F\x98\x82", /* U+1F602: a surrogate pair, D83D DE02 */
	"\xEF\xAC\xB3",		/* U+FB33 */
};

typedef struct StringCase
{
	const char *text;
	size_t len;
	const char *written;
} StringCase;

#define CASE(text, written)             \
	{                                   \
		text, sizeof(text) - 1, written \
	}

static const StringCase strings[] = {
	/* RFC 8785, 3.2.2 and Appendix: its example of a string */
	CASE("\xE2\x82\xAC$\x0F\nA'B\"\\\\\"/",
		 "\"\xE2\x82\xAC$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""),
	/* RFC 8785, 3.2.2.2: the short forms, and no others */
	CASE("\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\""),
	CASE("\x01\x0b\x1f\x7f", "\"\\u0001\\u000b\\u001f\x7f\""),
	CASE("\0", "\"\\u0000\""),
	CASE("", "\"\""),
	CASE("a/b<&>", "\"a/b<&>\""),
	/* no normalization: e and a combining accent stay two */
	CASE("e\xCC\x81 \xF0\x9F\x98\x82", "\"e\xCC\x81 \xF0\x9F\x98\x82\""),
};

static void
check_strings(void)
{
	for (size_t i = 0; i < N(strings); i++)
	{
		AgentpayJsonWriter writer = {0};
		char *written;

		agentpay_canonical_string(&writer, strings[i].text, strings[i].len);
		written = agentpay_json_write_finish(&writer);
		check(written != NULL && strcmp(written, strings[i].written) == 0,
			  "string %zu: %s", i, written);
		free(written);
	}
}

static void
check_order(void)
{
	bool right = true;

	for (size_t i = 0; i < N(sorted_keys); i++)
		for (size_t j = 0; j < N(sorted_keys); j++)
		{
			int order = agentpay_canonical_compare(sorted_keys[i],
												   sorted_keys[j]);

			right = right && (order < 0) == (i < j) && (order > 0) == (i > j);
		}
	check(right, "keys sort by UTF-16");
	check(agentpay_canonical_compare("a", "ab") < 0 &&
			  agentpay_canonical_compare("ab", "a") > 0 &&
			  agentpay_canonical_compare("a_b", "ab") < 0,
		  "a prefix comes first, an underscore before letters");
}

static void
check_object(void)
{
	AgentpayJsonWriter writer = {0};
	char *written;

	agentpay_canonical_begin(&writer);
	agentpay_canonical_end(&writer);
	check(writer.len == 2 && memcmp(writer.data, "{}", 2) == 0, "no member");
	/* again, with the same writer */
	agentpay_canonical_begin(&writer);
	agentpay_canonical_member(&writer, "amount", "12.50", 5);
	agentpay_canonical_member(&writer, "log", "decisions", 9);
	agentpay_canonical_bytes(&writer, "source", "caf\xE9\"\x0F", 6);
	agentpay_canonical_member(&writer, "verdict", "", 0);
	agentpay_canonical_end(&writer);
	written = agentpay_json_write_finish(&writer);
	check(strcmp(written, "{\"amount\":\"12.50\",\"log\":\"decisions\","
						  "\"source\":{\"hex\":\"636166e9220f\"},"
						  "\"verdict\":\"\"}") == 0,
		  "no space between members, bytes in hex: %s", written);
	free(written);
}

int
main(void)
{
	check_strings();
	check_order();
	check_object();
	return tap_done();
}
