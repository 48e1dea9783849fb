/*-------------------------------------------------------------------------
 * canonical.c
 *		Writes the canonical form of a row of a log.
 *
 * Only two things of RFC 8785 are needed, the order of keys and the escapes of
 * strings: every value is a string, or bytes, which are an object.
 *-------------------------------------------------------------------------
 */
#include "evidence/canonical.h"

#include <stdio.h>
#include <string.h>

static void write_key(AgentpayJsonWriter *writer, const char *key);
static size_t plain_length(const char *text, size_t len);
static void write_escape(AgentpayJsonWriter *writer, unsigned char byte);

void
agentpay_canonical_begin(AgentpayJsonWriter *writer)
{
	writer->len = 0;
	agentpay_json_write_bytes(writer, "{", 1);
}

void
agentpay_canonical_member(AgentpayJsonWriter *writer, const char *key,
						  const char *value, size_t len)
{
	write_key(writer, key);
	agentpay_canonical_string(writer, value, len);
}

void
agentpay_canonical_bytes(AgentpayJsonWriter *writer, const char *key,
						 const char *value, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	write_key(writer, key);
	agentpay_json_write(writer, "{\"hex\":\"");
	for (size_t i = 0; i < len; i++)
	{
		unsigned char byte = (unsigned char) value[i];
		char pair[2] = {digits[byte >> 4], digits[byte & 15]};

		agentpay_json_write_bytes(writer, pair, sizeof(pair));
	}
	agentpay_json_write(writer, "\"}");
}

void
agentpay_canonical_end(AgentpayJsonWriter *writer)
{
	agentpay_json_write_bytes(writer, "}", 1);
}

void
agentpay_canonical_string(AgentpayJsonWriter *writer, const char *text,
						  size_t len)
{
	agentpay_json_write_bytes(writer, "\"", 1);
	while (len > 0)
	{
		size_t plain = plain_length(text, len);

		agentpay_json_write_bytes(writer, text, plain);
		text += plain;
		len -= plain;
		if (len == 0)
			break;
		write_escape(writer, (unsigned char) *text);
		text++;
		len--;
	}
	agentpay_json_write_bytes(writer, "\"", 1);
}

static void
write_key(AgentpayJsonWriter *writer, const char *key)
{
	if (writer->len > 1)
		agentpay_json_write_bytes(writer, ",", 1);
	agentpay_canonical_string(writer, key, strlen(key));
	agentpay_json_write_bytes(writer, ":", 1);
}

/* How many bytes stand for themselves. */
static size_t
plain_length(const char *text, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
	{
		unsigned char byte = (unsigned char) text[i];

		if (byte < 0x20 || byte == '"' || byte == '\\')
			break;
	}
	return i;
}

static void
write_escape(AgentpayJsonWriter *writer, unsigned char byte)
{
	char escape[8] = {'\\', (char) byte, '\0'};

	switch (byte)
	{
		case '"':
		case '\\':
			break;
		case '\b':
			escape[1] = 'b';
			break;
		case '\t':
			escape[1] = 't';
			break;
		case '\n':
			escape[1] = 'n';
			break;
		case '\f':
			escape[1] = 'f';
			break;
		case '\r':
			escape[1] = 'r';
			break;
		default:
			snprintf(escape, sizeof(escape), "\\u%04x", byte);
	}
	agentpay_json_write(writer, escape);
}

/*
 * UTF-8 sorts as UTF-16 does, but that surrogate pairs (four bytes, from 0xF0)
 * come before U+E000 to U+FFFF (three bytes, 0xEE and 0xEF).
 */
int
agentpay_canonical_compare(const char *a, const char *b)
{
	const unsigned char *left = (const unsigned char *) a;
	const unsigned char *right = (const unsigned char *) b;

	while (*left != '\0' && *left == *right)
	{
		left++;
		right++;
	}
	if (*left >= 0xEE && *right >= 0xEE && (*left >= 0xF0) != (*right >= 0xF0))
		return *left >= 0xF0 ? -1 : 1;
	return (int) *left - (int) *right;
}
