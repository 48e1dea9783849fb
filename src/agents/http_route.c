/*-------------------------------------------------------------------------
 * http_route.c
 *		Which way a call goes: directly, or through a proxy.
 *
 * A proxy is asked for a tunnel (CONNECT), and TLS goes through it to the
 * agent, whose certificate is verified as ever: the proxy sees the host's
 * name and the number of bytes.  What it is trusted for is where the name
 * leads; a service that has no certificate for the name gets nothing.
 * This machine is never called through a proxy, and nothing goes through it
 * in clear.  The environment (http_proxy, no_proxy, ...) has no say.
 *-------------------------------------------------------------------------
 */
#include "agents/http_transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#define MAX_PROXY_SECRET 1024 /* bytes */

bool
agentpay_http_route_create(AgentpayHttpRoute *route,
						   const AgentpayHttpOptions *options,
						   const char **problem)
{
	route->no_dns_cache = options->no_dns_cache;
	if (options->proxy != NULL && options->proxy[0] != '\0')
	{
		route->proxy = strdup(options->proxy);
		if (route->proxy == NULL)
			return false;
	}
	route->trust = agentpay_http_trust_create(options->ca_file, problem);
	return route->trust != NULL;
}

void
agentpay_http_route_free(AgentpayHttpRoute *route)
{
	agentpay_http_trust_free(route->trust);
	free(route->proxy);
}

/* Whether the proxy may be told, and what it is told makes sense. */
static bool
check_proxy_secret(const AgentpayHttpRoute *route, const char *secret,
				   const char **problem)
{
	if (strncmp(route->proxy, "https:", 6) != 0 &&
		agentpay_http_judge_host(route->proxy) != AGENTPAY_HTTP_HOST_LOCAL)
		*problem = "the proxy's credentials would go out in clear";
	else if (strlen(secret) > MAX_PROXY_SECRET || strchr(secret, ':') == NULL ||
			 strpbrk(secret, "\r\n") != NULL)
		*problem = "the proxy's credentials are not user:password";
	else
		return true;
	return false;
}

bool
agentpay_http_transfer_route(AgentpayHttpTransfer *transfer,
							 const AgentpayHttpRoute *route, const char *origin,
							 const char *proxy_secret, const char **problem)
{
	AgentpayHttpHost host = agentpay_http_judge_host(origin);
	char proxy_origin[512];

	transfer->proxied = route->proxy != NULL &&
						host != AGENTPAY_HTTP_HOST_LOCAL;
	/* Without a proxy the address itself will be judged. */
	if (!transfer->proxied)
		return true;
	if (host == AGENTPAY_HTTP_HOST_FORBIDDEN)
		*problem = "the host is forbidden: link-local or a metadata service";
	else if (!transfer->tls)
		*problem = "http beyond loopback";
	else if (!agentpay_http_origin(route->proxy, proxy_origin,
								   sizeof(proxy_origin), problem))
		*problem = "agentpay.egress_proxy is not valid";
	else
		return proxy_secret == NULL ||
			   check_proxy_secret(route, proxy_secret, problem);
	return false;
}

void
agentpay_http_transfer_refuse(AgentpayHttpTransfer *transfer,
							  const AgentpayHttpRequest *request,
							  const char *problem)
{
	transfer->result = (AgentpayHttpResult){.status = AGENTPAY_HTTP_REFUSED,
											.problem = problem,
											.body = "",
											.retry_after_ms = -1,
											.address = "",
											.request_id = "",
											.user = request->user};
}

/* To the proxy, and to nobody else. */
bool
agentpay_http_transfer_log_in(AgentpayHttpTransfer *transfer,
							  const char *secret)
{
	static const char name[] = "Proxy-Authorization: Basic ";
	char line[sizeof(name) + MAX_PROXY_SECRET / 3 * 4 + 8];
	bool good;

	memcpy(line, name, sizeof(name));
	EVP_EncodeBlock((unsigned char *) line + sizeof(name) - 1,
					(const unsigned char *) secret, (int) strlen(secret));
	good = agentpay_http_append_line(&transfer->proxy_headers, line);
	explicit_bzero(line, sizeof(line));
	return good;
}

bool
agentpay_http_transfer_set_proxy(AgentpayHttpTransfer *transfer,
								 const AgentpayHttpRoute *route)
{
	CURL *easy = transfer->easy;
	bool good = true;

#define SET(option, value) \
	(good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)
	/* The agent's headers are for the agent, the proxy's for the proxy. */
	SET(CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
	if (!transfer->proxied)
	{
		SET(CURLOPT_PROXY, "");
		SET(CURLOPT_NOPROXY, "*");
		return good;
	}
	SET(CURLOPT_PROXY, route->proxy);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (transfer->proxy_headers != NULL)
		SET(CURLOPT_PROXYHEADER, transfer->proxy_headers);
#undef SET
	return good;
}
