/*-------------------------------------------------------------------------
 * canonical.h
 *		The canonical form of a row of a log: JSON as RFC 8785 (JCS) has it,
 *		with every value a string.
 *
 * Numbers would be IEEE doubles there, in which different amounts are equal;
 * so each value is the text that COPY writes, which loses nothing.
 * docs/reference/canonical.md says how to make the same bytes out of a CSV.
 *
 * Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CANONICAL_H
#define AGENTPAY_CANONICAL_H

#include <stddef.h>

#include "base/json_writer.h"

/*
 * An object: begin, members by ascending key, end.  The writer is used again
 * for the next row; whether it failed (memory) is looked at once, at the end.
 */
extern void agentpay_canonical_begin(AgentpayJsonWriter *writer);
extern void
agentpay_canonical_member(AgentpayJsonWriter *writer, const char *key,
						  const char *value, size_t len);

/* A value that is no text in UTF-8: {"hex": "<its bytes>"}. */
extern void
agentpay_canonical_bytes(AgentpayJsonWriter *writer, const char *key,
						 const char *value, size_t len);
extern void agentpay_canonical_end(AgentpayJsonWriter *writer);

/* A string in quotes, as RFC 8785, 3.2.2.2 has it; the text is UTF-8. */
extern void agentpay_canonical_string(AgentpayJsonWriter *writer,
									  const char *text, size_t len);

/* The order of keys: by UTF-16 code units (RFC 8785, 3.2.3); as strcmp(). */
extern int agentpay_canonical_compare(const char *a, const char *b);

#endif /* AGENTPAY_CANONICAL_H */
