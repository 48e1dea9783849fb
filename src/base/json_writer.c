/*-------------------------------------------------------------------------
 * json_writer.c
 *		Writes JSON into memory that grows.
 *
 * json-c could print too, but escapes slashes by default and differs between
 * its versions; the bytes of a request are hashed and kept as evidence.
 *-------------------------------------------------------------------------
 */
#include "base/json_writer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
agentpay_json_write_bytes(AgentpayJsonWriter *writer, const char *data,
						  size_t len)
{
	if (writer->failed)
		return;
	if (len >= SIZE_MAX / 4 - writer->len)
	{
		writer->failed = true;
		return;
	}
	if (writer->len + len >= writer->size)
	{
		size_t size = (writer->len + len + 1) * 2;
		char *grown = realloc(writer->data, size);

		if (grown == NULL)
		{
			writer->failed = true;
			return;
		}
		writer->data = grown;
		writer->size = size;
	}
	memcpy(writer->data + writer->len, data, len);
	writer->len += len;
	writer->data[writer->len] = '\0';
}

void
agentpay_json_write(AgentpayJsonWriter *writer, const char *text)
{
	agentpay_json_write_bytes(writer, text, strlen(text));
}

void
agentpay_json_write_string(AgentpayJsonWriter *writer, const char *text)
{
	const char *plain = text;

	agentpay_json_write(writer, "\"");
	for (; *text != '\0'; text++)
	{
		unsigned char byte = (unsigned char) *text;
		char escape[8];

		if (byte >= 0x20 && byte != '"' && byte != '\\')
			continue;
		agentpay_json_write_bytes(writer, plain, (size_t) (text - plain));
		plain = text + 1;
		if (byte == '"' || byte == '\\')
			snprintf(escape, sizeof(escape), "\\%c", byte);
		else if (byte == '\n')
			snprintf(escape, sizeof(escape), "\\n");
		else
			snprintf(escape, sizeof(escape), "\\u%04x", byte);
		agentpay_json_write(writer, escape);
	}
	agentpay_json_write_bytes(writer, plain, (size_t) (text - plain));
	agentpay_json_write(writer, "\"");
}

char *
agentpay_json_write_finish(AgentpayJsonWriter *writer)
{
	char *data = writer->data;

	if (writer->failed)
	{
		free(writer->data);
		data = NULL;
	}
	memset(writer, 0, sizeof(*writer));
	return data;
}
