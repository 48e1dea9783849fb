/*-------------------------------------------------------------------------
 * json.c
 *		Reads JSON that strangers wrote, strictly.
 *
 * One scan accepts RFC 8259 and nothing else, without recursion and without
 * allocation; only what it accepts is handed to json-c, which then has
 * nothing left to be lenient about.  The scan counts the members, so that
 * equal keys show as a difference to the tree, where the last one won.  It
 * also counts the values, because json-c spends up to a kilobyte on "{}".
 *-------------------------------------------------------------------------
 */
#include "base/json.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define MAX_DEPTH_EVER 512

typedef struct JsonScan
{
	const unsigned char *at;
	const unsigned char *end;
	int depth;
	int max_depth;
	size_t members;
	size_t values;
	const char *problem;
	char closers[MAX_DEPTH_EVER]; /* of the open containers */
} JsonScan;

static bool scan_text(JsonScan *scan);
static bool scan_containers(JsonScan *scan);
static bool scan_scalar(JsonScan *scan);
static bool scan_string(JsonScan *scan);
static bool scan_escape(JsonScan *scan);
static bool scan_character(JsonScan *scan);
static bool scan_number(JsonScan *scan);
static size_t count_members(json_object *value);

json_object *
agentpay_json_parse(const char *data, size_t len, int max_depth,
					const char **problem)
{
	JsonScan scan = {.at = (const unsigned char *) data,
					 .end = (const unsigned char *) data + len,
					 .max_depth = max_depth};
	json_tokener *tokener;
	json_object *value;

	if (scan.max_depth > MAX_DEPTH_EVER)
		scan.max_depth = MAX_DEPTH_EVER;
	if (len >= INT_MAX)
	{
		*problem = "longer than 2 GB";
		return NULL;
	}
	if (!scan_text(&scan))
	{
		*problem = scan.problem;
		return NULL;
	}

	tokener = json_tokener_new_ex(scan.max_depth + 2);
	if (tokener == NULL)
	{
		*problem = "out of memory";
		return NULL;
	}
	json_tokener_set_flags(tokener,
						   JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	value = json_tokener_parse_ex(tokener, data, (int) len);
	/* A number ends only where something else begins. */
	if (json_tokener_get_error(tokener) == json_tokener_continue)
		value = json_tokener_parse_ex(tokener, "", 1);
	if (json_tokener_get_error(tokener) != json_tokener_success)
	{
		json_object_put(value);
		value = NULL;
		*problem = "not JSON";
	}
	else if (value == NULL)
		*problem = "null";
	else if (count_members(value) != scan.members)
	{
		json_object_put(value);
		value = NULL;
		*problem = "a key occurs twice in one object";
	}
	json_tokener_free(tokener);
	return value;
}

/* Notes why the scan ends. */
static bool
refuse(JsonScan *scan, const char *problem)
{
	scan->problem = problem;
	return false;
}

static void
skip_space(JsonScan *scan)
{
	while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t' ||
									*scan->at == '\n' || *scan->at == '\r'))
		scan->at++;
}

/* The next byte, or -1 at the end. */
static int
peek(const JsonScan *scan)
{
	return scan->at < scan->end ? *scan->at : -1;
}

/* Takes the next byte if it is this one. */
static bool
take(JsonScan *scan, char byte)
{
	if (peek(scan) != byte)
		return false;
	scan->at++;
	return true;
}

/* Exactly one value, and nothing after it. */
static bool
scan_text(JsonScan *scan)
{
	if (!scan_containers(scan))
		return false;
	skip_space(scan);
	if (scan->at < scan->end)
		return refuse(scan, "something follows the JSON value");
	return true;
}

/* Takes a member's name and its colon, when the container is an object. */
static bool
scan_name(JsonScan *scan)
{
	if (scan->closers[scan->depth - 1] != '}')
		return true;
	skip_space(scan);
	if (peek(scan) != '"')
		return refuse(scan, "a member without a name");
	if (!scan_string(scan))
		return false;
	skip_space(scan);
	if (!take(scan, ':'))
		return refuse(scan, "a name without a colon");
	scan->members++;
	return true;
}

/* Closes containers after a value; true also when the next member begins. */
static bool
scan_after_value(JsonScan *scan)
{
	while (scan->depth > 0)
	{
		skip_space(scan);
		if (take(scan, scan->closers[scan->depth - 1]))
			scan->depth--;
		else if (take(scan, ','))
			return scan_name(scan);
		else
			return refuse(scan, scan->at < scan->end
									? "no comma between two values"
									: "the JSON text ends too early");
	}
	return true;
}

/* One value with all that it contains, without recursion. */
static bool
scan_containers(JsonScan *scan)
{
	do
	{
		int first;
		char closer;

		skip_space(scan);
		first = peek(scan);
		if (++scan->values > AGENTPAY_JSON_MAX_VALUES)
			return refuse(scan, "too many values");
		if (first != '{' && first != '[')
		{
			if (!scan_scalar(scan) || !scan_after_value(scan))
				return false;
			continue;
		}

		if (scan->depth >= scan->max_depth)
			return refuse(scan, "nested too deeply");
		closer = first == '{' ? '}' : ']';
		scan->at++;
		scan->closers[scan->depth++] = closer;
		skip_space(scan);
		if (peek(scan) == closer)
		{
			if (!scan_after_value(scan))
				return false;
		}
		else if (!scan_name(scan))
			return false;
	} while (scan->depth > 0);
	return true;
}

/* A string, a number or one of the three words. */
static bool
scan_scalar(JsonScan *scan)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t left = (size_t) (scan->end - scan->at);

	if (left == 0)
		return refuse(scan, "the JSON text ends too early");
	if (*scan->at == '"')
		return scan_string(scan);
	if (*scan->at == '-' || (*scan->at >= '0' && *scan->at <= '9'))
		return scan_number(scan);
	for (int i = 0; i < 3; i++)
	{
		size_t len = strlen(words[i]);

		if (left >= len && memcmp(scan->at, words[i], len) == 0)
		{
			scan->at += len;
			return true;
		}
	}
	return refuse(scan, "not a JSON value");
}

/* A string with its quotes. */
static bool
scan_string(JsonScan *scan)
{
	scan->at++;
	while (scan->at < scan->end)
	{
		unsigned char byte = *scan->at;

		if (byte == '"')
		{
			scan->at++;
			return true;
		}
		if (byte < 0x20)
			return refuse(scan, "a control character in a string");
		if (byte == '\\' ? !scan_escape(scan) : !scan_character(scan))
			return false;
	}
	return refuse(scan, "the JSON text ends too early");
}

/* Four hexadecimal digits; -1 when they are not. */
static int
scan_hex(JsonScan *scan)
{
	int code = 0;

	for (int i = 0; i < 4; i++)
	{
		int byte = peek(scan);

		if (byte >= '0' && byte <= '9')
			byte -= '0';
		else if (byte >= 'a' && byte <= 'f')
			byte -= 'a' - 10;
		else if (byte >= 'A' && byte <= 'F')
			byte -= 'A' - 10;
		else
			return -1;
		code = code * 16 + byte;
		scan->at++;
	}
	return code;
}

/* A backslash and what belongs to it. */
static bool
scan_escape(JsonScan *scan)
{
	int byte;
	int code;

	scan->at++;
	byte = peek(scan);
	if (byte == -1)
		return refuse(scan, "the JSON text ends too early");
	scan->at++;
	if (byte != 'u')
	{
		if (byte == '\0' || strchr("\"\\/bfnrt", byte) == NULL)
			return refuse(scan, "an unknown escape in a string");
		return true;
	}

	code = scan_hex(scan);
	if (code < 0)
		return refuse(scan, "a broken \\u escape in a string");
	if (code == 0)
		return refuse(scan, "U+0000 in a string");
	if (code >= 0xD800 && code <= 0xDBFF)
	{
		if (!take(scan, '\\') || !take(scan, 'u'))
			return refuse(scan, "a lone surrogate in a string");
		code = scan_hex(scan);
		if (code < 0xDC00 || code > 0xDFFF)
			return refuse(scan, "a lone surrogate in a string");
	}
	else if (code >= 0xDC00 && code <= 0xDFFF)
		return refuse(scan, "a lone surrogate in a string");
	return true;
}

/* One character in UTF-8: no overlong forms, no surrogates, ≤ U+10FFFF. */
static bool
scan_character(JsonScan *scan)
{
	unsigned char first = *scan->at;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;
	int more;

	if (first < 0x80)
		more = 0;
	else if (first >= 0xC2 && first <= 0xDF)
		more = 1;
	else if (first >= 0xE0 && first <= 0xEF)
		more = 2;
	else if (first >= 0xF0 && first <= 0xF4)
		more = 3;
	else
		return refuse(scan, "invalid UTF-8");
	if (first == 0xE0)
		low = 0xA0;
	else if (first == 0xED)
		high = 0x9F;
	else if (first == 0xF0)
		low = 0x90;
	else if (first == 0xF4)
		high = 0x8F;

	scan->at++;
	for (; more > 0; more--)
	{
		int byte = peek(scan);

		if (byte < low || byte > high)
			return refuse(scan, "invalid UTF-8");
		low = 0x80;
		high = 0xBF;
		scan->at++;
	}
	return true;
}

/* Takes digits; whether there was one at least. */
static bool
scan_digits(JsonScan *scan)
{
	const unsigned char *start = scan->at;

	while (peek(scan) >= '0' && peek(scan) <= '9')
		scan->at++;
	return scan->at > start;
}

/* A number; what follows it is seen by the caller. */
static bool
scan_number(JsonScan *scan)
{
	(void) take(scan, '-');
	if (!take(scan, '0') && !scan_digits(scan))
		return refuse(scan, "a broken number");
	if (take(scan, '.') && !scan_digits(scan))
		return refuse(scan, "a broken number");
	if (take(scan, 'e') || take(scan, 'E'))
	{
		if (!take(scan, '+'))
			(void) take(scan, '-');
		if (!scan_digits(scan))
			return refuse(scan, "a broken number");
	}
	return true;
}

/* Members of all objects in the tree, whose depth the scan has bounded. */
static size_t
count_members(json_object *value)
{
	size_t members = 0;

	if (json_object_is_type(value, json_type_object))
	{
		struct json_object_iterator at = json_object_iter_begin(value);
		struct json_object_iterator end = json_object_iter_end(value);

		members = (size_t) json_object_object_length(value);
		for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
			members += count_members(json_object_iter_peek_value(&at));
	}
	else if (json_object_is_type(value, json_type_array))
	{
		for (size_t i = 0; i < json_object_array_length(value); i++)
			members += count_members(json_object_array_get_idx(value, i));
	}
	return members;
}
