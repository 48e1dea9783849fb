/*-------------------------------------------------------------------------
 * protocol.h
 *		How agents are spoken to: one table of functions per protocol.
 *
 * Pure: libc, json-c and libcrypto only, no network, no PostgreSQL.  The same
 * input gives the same bytes.  What is returned is malloc'd.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_PROTOCOL_H
#define AGENTPAY_PROTOCOL_H

#include <time.h>

#include "agents/answer.h"
#include "agents/http_client.h"

#define AGENTPAY_PROTOCOL_HEADERS 8
#define AGENTPAY_PROTOCOL_MAX_SECRET 16384 /* bytes of what it refers to */
#define AGENTPAY_PROTOCOL_MAX_KEY 4096	   /* bytes of one header's value */

/* How an agent is reached and read.  Strings are the caller's. */
typedef struct AgentpayProtocolAgent
{
	const char *endpoint;
	const char *model;			 /* NULL: none */
	const char *options;		 /* agents.options as JSON text; NULL: none */
	const char *const *verdicts; /* loosest first, if they are ranked */
	int n_verdicts;
	/* For services that give a score only. */
	const bool *positive;		  /* of each verdict; NULL: none is */
	const char *default_verdict;  /* NULL: the first */
	const char *positive_verdict; /* the tightest positive one, or NULL */
} AgentpayProtocolAgent;

typedef struct AgentpayProtocolRequest
{
	const char *model;
	const char *system; /* agentpay_prompt_system() */
	const char *user;	/* agentpay_prompt_user() */
	const char *const *verdicts;
	int n_verdicts;
	int max_output_tokens;
	const char *options; /* agents.options as JSON text; NULL: none */
} AgentpayProtocolRequest;

/* One call, about to be sent. */
typedef struct AgentpayProtocolCall
{
	const char *url;	 /* what url() gave */
	const char *options; /* as above */
	const char *secret;	 /* NULL: none */
	const char *idempotency_key;
	const char *body;
	size_t body_len;
	time_t now; /* the time of signatures */
} AgentpayProtocolCall;

/*
 * What goes before the body.  Values point into room, or to constants and to
 * the call.  It holds secrets: the caller wipes it when start() has copied
 * the headers.
 */
typedef struct AgentpayProtocolHeaders
{
	AgentpayHttpHeader headers[AGENTPAY_PROTOCOL_HEADERS];
	int n;
	size_t used; /* of room */
	char room[AGENTPAY_PROTOCOL_MAX_KEY + 2048];
} AgentpayProtocolHeaders;

typedef struct AgentpayProtocol
{
	const char *name;
	/* header of the answer that has the provider's id of the request */
	const char *request_id_header;
	bool request_id_from_header; /* before the one in the body */

	/*
	 * NULL when the options (a JSON object) are fit for this protocol, else
	 * what is wrong, written to problem.
	 */
	const char *(*check_options)(const char *options, size_t len, char *problem,
								 size_t size);

	/*
	 * The request's body, NUL-terminated, *len without the NUL; NULL with
	 * *problem set to a constant otherwise.  Its length in bytes is an upper
	 * bound of its input tokens.
	 */
	char *(*body)(const AgentpayProtocolRequest *request, size_t *len,
				  const char **problem);

	/*
	 * The body, as body() wrote it, that asks for the shape of the answer in
	 * a less demanding way; never longer.  NULL when there is none, or when
	 * out of memory.
	 */
	char *(*plainer_body)(const char *body, size_t *len);

	/* The URL that is called; NULL with *problem. */
	char *(*url)(const AgentpayProtocolAgent *agent, const char **problem);

	/* Fills in the headers; false with *problem, a constant. */
	bool (*headers)(const AgentpayProtocolCall *call,
					AgentpayProtocolHeaders *headers, const char **problem);

	/*
	 * Reads the body of a 200.  The answer is set in any case and is to be
	 * freed; its status says whether the agent's verdict may be used.
	 */
	void (*answer)(const AgentpayProtocolAgent *agent, const char *body,
				   size_t len, AgentpayAnswer *answer);

	/*
	 * The code or type that the body of an error names, as an identifier of
	 * at most 64 characters written to code; "" when there is none.  Nothing
	 * else of such a body may be logged.
	 */
	void (*error_code)(const char *body, size_t len, char *code, size_t size);

	/*
	 * Whether the server refused the call for the way in which the shape of
	 * the answer was asked for, so that plainer_body() may be taken.  NULL,
	 * as plainer_body: it asks for none.
	 */
	bool (*refuses_structure)(int http_status, const char *body, size_t len);
} AgentpayProtocol;

extern const AgentpayProtocol agentpay_protocol_openai;
extern const AgentpayProtocol agentpay_protocol_anthropic;
extern const AgentpayProtocol agentpay_protocol_bedrock;
extern const AgentpayProtocol agentpay_protocol_http;

/* By the name of agents.protocol; NULL for builtin, and for none of ours. */
extern const AgentpayProtocol *agentpay_protocol_find(const char *name);

#endif /* AGENTPAY_PROTOCOL_H */
