/*-------------------------------------------------------------------------
 * http_trust.h
 *		Whose certificates the HTTP client believes; only for http_*.c.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_HTTP_TRUST_H
#define AGENTPAY_HTTP_TRUST_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

typedef struct AgentpayHttpTrust AgentpayHttpTrust;

/*
 * The system's authorities and, unless it is NULL or empty, those of ca_file.
 * NULL when out of memory.  *problem is set, and the file left out, when it
 * cannot be read or holds no certificate.
 */
extern AgentpayHttpTrust *
agentpay_http_trust_create(const char *ca_file, const char **problem);

/* Connections that use them keep them. */
extern void agentpay_http_trust_free(AgentpayHttpTrust *trust);

/* Whether the files they were read from are others now. */
extern bool agentpay_http_trust_changed(const AgentpayHttpTrust *trust);

/* Has a handle verify by them, and by nothing else; false: it cannot. */
extern bool agentpay_http_trust_use(AgentpayHttpTrust *trust, CURL *easy);

/*
 * Writes why TLS failed, when it did; heard is libcurl's error buffer, of
 * which nothing is passed on.  False when the code is of something else.
 */
extern bool
agentpay_http_trust_describe(CURL *easy, CURLcode code, const char *heard,
							 char *problem, size_t size);

#endif /* AGENTPAY_HTTP_TRUST_H */
