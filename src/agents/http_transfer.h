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

struct AgentpayHttpTransfer
{
	AgentpayHttpClient *client;
	AgentpayHttpTransfer *next; /* in the client's list of its state */
	AgentpayHttpTransfer *previous;
	CURL *easy;					/* NULL once finished */
	struct curl_slist *headers; /* NULL once finished */
	char *request;				/* NULL once finished */
	size_t request_len;
	size_t request_at; /* read by libcurl so far */
	bool tls;

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
	bool answered;	 /* a status line came */

	int64_t started_ns;
	int64_t last_ns; /* a byte came */
	struct curl_slist *resolve;
	char retry_after[64];
	char request_id_header[32];
	char request_id[128];
	char address[64];
	char problem[128];
	AgentpayHttpResult result;
};

extern int64_t agentpay_http_now_ns(void);

/* Copies the request; false with *problem, or when out of memory. */
extern bool agentpay_http_transfer_copy(AgentpayHttpTransfer *transfer,
										const AgentpayHttpRequest *request,
										const char **problem);

/* Sets all options of the transfer's easy handle; false: out of memory. */
extern bool agentpay_http_transfer_prepare(AgentpayHttpTransfer *transfer,
										   const AgentpayHttpRequest *request,
										   const char *ca_file);

/* Fills in the result, while the easy handle is still there. */
extern void agentpay_http_transfer_conclude(AgentpayHttpTransfer *transfer,
											CURLcode code, bool killed);

/* Wipes and frees what was to be sent. */
extern void agentpay_http_transfer_wipe(AgentpayHttpTransfer *transfer);

#endif /* AGENTPAY_HTTP_TRANSFER_H */
