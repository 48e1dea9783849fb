/*-------------------------------------------------------------------------
 * http_client.h
 *		Thousands of HTTP calls at once, behind one file descriptor.
 *
 * A thin layer over libcurl's multi interface.  It knows no PostgreSQL: no
 * palloc, no ereport, no SPI, no transaction; what it returns was malloc'd.
 * All signals are blocked while libcurl runs, since its resolver threads
 * would otherwise run the backend's signal handlers.  One process, one
 * thread, one client; never in the postmaster.
 *
 * Use: start() any number of calls, wait until fd() is readable or
 * timeout_ms() has passed, perform(), take results with next_done(), and
 * free each with transfer_free().
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_HTTP_CLIENT_H
#define AGENTPAY_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

typedef struct AgentpayHttpClient AgentpayHttpClient;
typedef struct AgentpayHttpTransfer AgentpayHttpTransfer;

#define AGENTPAY_HTTP_HEADER_LIMIT_BYTES (64 * 1024)
#define AGENTPAY_HTTP_RETRY_AFTER_MAX_MS (60 * 1000)

/* How calls go out; create() and configure() copy it. */
typedef struct AgentpayHttpOptions
{
	int max_connections; /* calls beyond wait inside; 0: no limit */
	int max_idle;		 /* connections kept; at least 64 */
	const char *ca_file; /* authorities beside the system's; NULL, "": none */
	const char *proxy;	 /* http(s)://host:port; NULL, "": none */
	bool no_dns_cache;	 /* ask for each connection.  For tests. */
} AgentpayHttpOptions;

typedef struct AgentpayHttpHeader
{
	const char *name;
	const char *value;
} AgentpayHttpHeader;

/* One POST.  start() copies all of it, but for user. */
typedef struct AgentpayHttpRequest
{
	const char *url; /* https, or http to a loopback address */
	const AgentpayHttpHeader *headers;
	int n_headers;
	const char *body;
	size_t body_len;
	int timeout_ms;				   /* from start() to the last byte, > 0 */
	int connect_timeout_ms;		   /* 0: timeout_ms */
	int low_speed_bytes;		   /* answers slower than so many per second */
	int low_speed_seconds;		   /* ... for so long: time-out; 0: off */
	size_t response_limit_bytes;   /* of the body, > 0 */
	size_t header_limit_bytes;	   /* 0: AGENTPAY_HTTP_HEADER_LIMIT_BYTES */
	const char *secret;			   /* blotted out of what comes back; or NULL */
	const char *proxy_secret;	   /* "user:password" for the proxy, or NULL */
	const char *resolve;		   /* "host:port:address" instead of asking the
								  * resolver; NULL: ask.  For tests. */
	const char *request_id_header; /* of the answer; NULL: x-request-id */
	void *user;					   /* the caller's own, handed back */
} AgentpayHttpRequest;

typedef enum AgentpayHttpStatus
{
	AGENTPAY_HTTP_OK,		 /* a whole answer, whatever its HTTP status */
	AGENTPAY_HTTP_TIMEOUT,	 /* any of the time limits */
	AGENTPAY_HTTP_ERROR,	 /* name, connection, TLS or protocol */
	AGENTPAY_HTTP_REFUSED,	 /* by us, for its address; nothing was sent */
	AGENTPAY_HTTP_TRUNCATED, /* over a byte limit, or cut off half-way */
	AGENTPAY_HTTP_KILLED,	 /* by abort() */
} AgentpayHttpStatus;

/* Strings and body belong to the transfer. */
typedef struct AgentpayHttpResult
{
	AgentpayHttpStatus status;
	const char *problem; /* "" or what went wrong, without URL or secret */
	const char *request; /* the body that was to be sent */
	size_t request_len;
	int http_status;  /* 0: none came */
	const char *body; /* up to the limit; terminated by a NUL beyond len */
	size_t body_len;
	/*
	 * The whole request was, or may have been, sent.  When it is and status is
	 * not OK, the agent may have worked and may charge: `uncertain`.  libcurl
	 * never repeats such a request by itself.
	 */
	bool sent;
	int retry_after_ms;		/* Retry-After within [0, 60 s]; -1: none */
	double latency_ms;		/* start() to the last byte, or to the failure */
	const char *address;	/* connected to (the proxy's), "" when never */
	int protocol;			/* of the answer: 11 HTTP/1.1, 20 HTTP/2, 0 none */
	const char *request_id; /* of request_id_header, "" when none */
	void *user;
} AgentpayHttpResult;

/* NULL when out of memory or descriptors; *problem then says which. */
extern AgentpayHttpClient *
agentpay_http_client_create(const AgentpayHttpOptions *options,
							const char **problem);

/*
 * Changes how calls go out that are started from now on, over connections of
 * their own; those in flight go on as they were started.  Also to read again
 * certificate authorities that have changed.  False, and nothing has changed,
 * when out of memory.  *problem: NULL, or what is wrong with ca_file (calls
 * go on, by the system's authorities alone), or "out of memory".
 */
extern bool agentpay_http_client_configure(AgentpayHttpClient *client,
										   const AgentpayHttpOptions *options,
										   const char **problem);

/* Whether files of certificate authorities have changed since configure(). */
extern bool
agentpay_http_client_authorities_changed(const AgentpayHttpClient *client);

/* Drops all transfers, in flight or not yet taken, and their handles. */
extern void agentpay_http_client_destroy(AgentpayHttpClient *client);

/*
 * Hands a call over to libcurl; from here on it counts as started.  Nothing
 * is sent before the next perform().  NULL with *problem when the request
 * is refused as malformed (URL, header with a line break, limits).  One that
 * may not go through the proxy is REFUSED at once, by next_done().
 */
extern AgentpayHttpTransfer *
agentpay_http_client_start(AgentpayHttpClient *client,
						   const AgentpayHttpRequest *request,
						   const char **problem);

/* To wait on for reading (epoll); valid until destroy(). */
extern int agentpay_http_client_fd(const AgentpayHttpClient *client);

/* How long to wait at most before perform(): 0 now, -1 no limit. */
extern long agentpay_http_client_timeout_ms(const AgentpayHttpClient *client);

/* Moves everything that can move; never blocks. */
extern void agentpay_http_client_perform(AgentpayHttpClient *client);

/* Transfers started and not finished. */
extern int agentpay_http_client_in_flight(const AgentpayHttpClient *client);

/*
 * The next finished transfer with its result, or NULL.  It stays the
 * caller's until agentpay_http_transfer_free().
 */
extern AgentpayHttpTransfer *
agentpay_http_client_next_done(AgentpayHttpClient *client,
							   AgentpayHttpResult *result);

/*
 * Cuts a transfer off at once: before this returns its connection is closed,
 * or its stream is, where others share the connection, and next_done() brings
 * it as KILLED.  One that has finished keeps its result.
 */
extern void agentpay_http_client_abort(AgentpayHttpClient *client,
									   AgentpayHttpTransfer *transfer);

/* Releases a transfer that next_done() brought, and wipes its headers. */
extern void agentpay_http_transfer_free(AgentpayHttpTransfer *transfer);

/* Whether a connection to the address is allowed, over TLS or in clear. */
extern bool
agentpay_http_address_allowed(const struct sockaddr *address, bool tls);
extern bool agentpay_http_text_allowed(const char *address, bool tls);

/* What the host of an origin says by itself, without asking a resolver. */
typedef enum AgentpayHttpHost
{
	AGENTPAY_HTTP_HOST_ELSEWHERE,
	AGENTPAY_HTTP_HOST_LOCAL,	  /* this machine: never through a proxy */
	AGENTPAY_HTTP_HOST_FORBIDDEN, /* by address, or by a metadata name */
} AgentpayHttpHost;

/* The origin is one that agentpay_http_origin() wrote. */
extern AgentpayHttpHost agentpay_http_judge_host(const char *origin);

/*
 * Writes the origin of a URL as libcurl itself reads it, in the form of
 * allowed_endpoints: lower case, the port only when it is not the scheme's.
 * False with *problem for anything but http(s)://host[:port][/path] (user
 * names, fragments, control characters and other schemes are refused).
 */
extern bool agentpay_http_origin(const char *url, char *origin, size_t size,
								 const char **problem);

#endif /* AGENTPAY_HTTP_CLIENT_H */
