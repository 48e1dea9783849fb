/*-------------------------------------------------------------------------
 * http_transfer.h
 *		One call inside the HTTP client; only for http_client.c.
 *
 * All of these are to be called with signals blocked.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_HTTP_TRANSFER_H
#define AGENTPAY_HTTP_TRANSFER_H

#include <stdint.h>

#include <curl/curl.h>

#include "agents/http_client.h"
#include "agents/http_trust.h"

typedef struct AgentpayHttpPool AgentpayHttpPool;

/* How the calls of a pool go out. */
typedef struct AgentpayHttpRoute
{
	AgentpayHttpTrust *trust;
	char *proxy; /* NULL: none */
	bool no_dns_cache;
} AgentpayHttpRoute;

struct AgentpayHttpTransfer
{
	AgentpayHttpClient *client;
	AgentpayHttpPool *pool;		/* NULL once finished */
	AgentpayHttpTransfer *next; /* in the client's list of its state */
	AgentpayHttpTransfer *previous;
	CURL *easy;						  /* NULL once finished */
	struct curl_slist *headers;		  /* NULL once finished */
	struct curl_slist *proxy_headers; /* for the proxy alone; likewise */
	char *secret;					  /* likewise */
	char *request;					  /* the body; NULL: refused at once */
	size_t request_len;
	size_t request_at; /* read by libcurl so far */
	bool tls;
	bool proxied;
	int low_speed_seconds; /* once an answer has begun */

	char *body;
	size_t body_len;
	size_t body_size;
	size_t body_limit;
	size_t header_len;
	size_t header_limit;
	bool over_limit;
	bool out_of_memory;
	bool forbidden;	 /* an address was refused */
	bool connecting; /* an address was not */
	bool refused;	 /* the address that the connection has */
	bool underway;	 /* the request was handed to a connection */
	bool answered;	 /* a status line came */

	int64_t started_ns;
	int64_t last_ns; /* a byte came */
	struct curl_slist *resolve;
	char retry_after[64];
	char request_id_header[32];
	char request_id[128];
	char address[64];
	char problem[160];
	char heard[CURL_ERROR_SIZE]; /* libcurl's words; not passed on */
	AgentpayHttpResult result;
};

extern int64_t agentpay_http_now_ns(void);

/* Appends to a list of libcurl's; false when out of memory. */
extern bool
agentpay_http_append_line(struct curl_slist **list, const char *line);

/* Copies options; false when out of memory.  *problem as configure()'s. */
extern bool agentpay_http_route_create(AgentpayHttpRoute *route,
									   const AgentpayHttpOptions *options,
									   const char **problem);
extern void agentpay_http_route_free(AgentpayHttpRoute *route);

/* Which way the call goes; false with *problem when it may go neither. */
extern bool
agentpay_http_transfer_route(AgentpayHttpTransfer *transfer,
							 const AgentpayHttpRoute *route, const char *origin,
							 const char *proxy_secret, const char **problem);

/* The call comes to nothing, for this reason, a constant. */
extern void agentpay_http_transfer_refuse(AgentpayHttpTransfer *transfer,
										  const AgentpayHttpRequest *request,
										  const char *problem);

/* Has the proxy told "user:password"; false when out of memory. */
extern bool agentpay_http_transfer_log_in(AgentpayHttpTransfer *transfer,
										  const char *secret);

/* Copies the request; false with *problem, or when out of memory. */
extern bool agentpay_http_transfer_copy(AgentpayHttpTransfer *transfer,
										const AgentpayHttpRequest *request,
										const char **problem);

/* Sets the options that say which way the call goes; false: out of memory. */
extern bool agentpay_http_transfer_set_proxy(AgentpayHttpTransfer *transfer,
											 const AgentpayHttpRoute *route);

/* Sets all options of the transfer's easy handle; false: out of memory. */
extern bool agentpay_http_transfer_prepare(AgentpayHttpTransfer *transfer,
										   const AgentpayHttpRequest *request,
										   const AgentpayHttpRoute *route);

/* Fills in the result, while the easy handle is still there. */
extern void agentpay_http_transfer_conclude(AgentpayHttpTransfer *transfer,
											CURLcode code, bool killed);

/* Wipes and frees the headers, and with them the secret. */
extern void agentpay_http_transfer_wipe(AgentpayHttpTransfer *transfer);

#endif /* AGENTPAY_HTTP_TRANSFER_H */
