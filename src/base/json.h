/*-------------------------------------------------------------------------
 * json.h
 *		Reads JSON that strangers wrote (the answers of agents), strictly.
 *
 * json-c alone is too lenient for bytes from outside: it takes NaN, keeps the
 * last of two equal keys and recurses as deep as it is told.  Pure: libc and
 * json-c only, no PostgreSQL, so that it is unit-tested and fuzzed.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_JSON_H
#define AGENTPAY_JSON_H

#include <stddef.h>

#include <json-c/json.h>

/* Deep enough for any answer, shallow enough for any stack. */
#define AGENTPAY_JSON_MAX_DEPTH 64
/* Bounds json-c's memory: an empty object costs it about a kilobyte. */
#define AGENTPAY_JSON_MAX_VALUES 10000

/*
 * The value of exactly one JSON text (RFC 8259) of len bytes, to be released
 * with json_object_put(); or NULL with *problem set to a constant string.
 * Refused beside what is not JSON: nesting beyond max_depth, more than
 * AGENTPAY_JSON_MAX_VALUES values, equal keys in one object, U+0000, invalid
 * UTF-8, lone surrogates, anything after the value.  The text "null" is
 * refused too, since json-c has no object for it.
 */
extern json_object *agentpay_json_parse(const char *data, size_t len,
										int max_depth, const char **problem);

#endif /* AGENTPAY_JSON_H */
