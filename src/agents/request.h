/*-------------------------------------------------------------------------
 * request.h
 *		The body of a request, of an agent's settings and a payment's fields.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_REQUEST_H
#define AGENTPAY_REQUEST_H

#include "postgres.h"

#include "utils/array.h"

#include "agents/protocol.h"

typedef struct AgentpayRequest
{
	const AgentpayProtocol *protocol;
	const char *role;
	const char *prompt; /* NULL: the role's */
	char **verdicts;
	char **notes; /* of each verdict; NULL: none */
	int n_verdicts;
	const char *fields; /* one JSON object */
	const char *model;
	int max_output_tokens;
	const char *options;
} AgentpayRequest;

/* The protocol of that name; an error when it has no requests. */
extern const AgentpayProtocol *agentpay_request_protocol(const char *name);

/* The elements as C strings, NULL for NULL; returns their number. */
extern int agentpay_request_texts(ArrayType *array, char ***texts);

/* palloc'd; an error when it cannot be built. */
extern char *agentpay_request_body(const AgentpayRequest *request);

#endif /* AGENTPAY_REQUEST_H */
