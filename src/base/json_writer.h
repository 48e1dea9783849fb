/*-------------------------------------------------------------------------
 * json_writer.h
 *		Writes JSON into memory that grows, always the same bytes for the
 *		same input.
 *
 * Pure: libc only.  Running out of memory sets failed, after which appends
 * do nothing; so it is looked at once, at the end.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_JSON_WRITER_H
#define AGENTPAY_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>

/* Starts as {0}.  data is malloc'd and, once something was appended and
 * nothing failed, terminated by a NUL beyond len. */
typedef struct AgentpayJsonWriter
{
	char *data;
	size_t len;
	size_t size;
	bool failed;
} AgentpayJsonWriter;

/* Appends bytes, or a terminated string, as they are. */
extern void agentpay_json_write_bytes(AgentpayJsonWriter *writer,
									  const char *data, size_t len);
extern void agentpay_json_write(AgentpayJsonWriter *writer, const char *text);

/* Appends a string in quotes, escaped; the text is UTF-8. */
extern void
agentpay_json_write_string(AgentpayJsonWriter *writer, const char *text);

/* What was written, to be freed by the caller; NULL when it failed. */
extern char *agentpay_json_write_finish(AgentpayJsonWriter *writer);

#endif /* AGENTPAY_JSON_WRITER_H */
