/*-------------------------------------------------------------------------
 * json_path.h
 *		Where in a JSON text a value stands.
 *
 * Either a JSON pointer (RFC 6901: /a/0/b) or that part of JSONPath (RFC
 * 9535) which names one place: $.a[0]['b c'].  Pure: libc and json-c only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_JSON_PATH_H
#define AGENTPAY_JSON_PATH_H

#include <stdbool.h>

#include <json-c/json.h>

#include "base/json_writer.h"

#define AGENTPAY_JSON_PATH_MAX_STEPS 16
#define AGENTPAY_JSON_PATH_MAX_NAME 64 /* bytes */

/* Whether the text is such a path. */
extern bool agentpay_json_path_valid(const char *path);

/* Whether a value can be put there in a new text: array indexes are 0. */
extern bool agentpay_json_path_writable(const char *path);

/* What stands there; false when there is nothing, *value NULL for null. */
extern bool agentpay_json_path_get(json_object *root, const char *path,
								   json_object **value);

/* Appends a JSON text with this value, a JSON text itself, in that place. */
extern void agentpay_json_path_wrap(AgentpayJsonWriter *out, const char *path,
									const char *value);

#endif /* AGENTPAY_JSON_PATH_H */
