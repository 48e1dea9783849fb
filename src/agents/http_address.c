/*-------------------------------------------------------------------------
 * http_address.c
 *		Which addresses and URLs an agent may be called at.
 *
 * Names are checked where they are configured; here the address is checked
 * that libcurl is about to connect to, and again the one that a request is
 * about to be sent to, since a name may resolve to anything, and to something
 * else the next time.  Metadata services hand out the credentials of the
 * machine, so they are refused whatever is allowed.  Behind a proxy the host
 * of the URL is all there is to judge.
 *-------------------------------------------------------------------------
 */
#include "agents/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#define MAX_URL 2048
#define MAX_HOST 256

typedef enum AddressKind
{
	ADDRESS_FORBIDDEN,
	ADDRESS_LOOPBACK,
	ADDRESS_OTHER,
} AddressKind;

/* An IPv4 address in host byte order. */
static AddressKind
classify_ipv4(uint32_t ip)
{
	switch (ip)
	{
		case 0x646464C8: /* 100.100.100.200, metadata of Alibaba Cloud */
		case 0xA83F8110: /* 168.63.129.16, Azure's host agent */
		case 0xC00000C0: /* 192.0.0.192, metadata of Oracle Cloud */
			return ADDRESS_FORBIDDEN;
	}
	if (ip >> 16 == 0xA9FE) /* 169.254/16, link-local and metadata */
		return ADDRESS_FORBIDDEN;
	if (ip >> 24 == 0 || ip >> 24 >= 224) /* this host, multicast, reserved */
		return ADDRESS_FORBIDDEN;
	return ip >> 24 == 127 ? ADDRESS_LOOPBACK : ADDRESS_OTHER;
}

static uint32_t
read_ipv4(const uint8_t *bytes)
{
	return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 |
		   (uint32_t) bytes[2] << 8 | bytes[3];
}

/* An address that carries an IPv4 address: whatever that one may be, a way
 * around it is not. */
static AddressKind
classify_carried(const uint8_t *ipv4)
{
	AddressKind inner = classify_ipv4(read_ipv4(ipv4));

	return inner == ADDRESS_OTHER ? ADDRESS_OTHER : ADDRESS_FORBIDDEN;
}

/* One that carries an IPv4 address is judged by that, too. */
static AddressKind
classify_ipv6(const uint8_t *ip)
{
	static const uint8_t loopback[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
	static const uint8_t translated[12] = {[8] = 0xFF, [9] = 0xFF};
	static const uint8_t nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
	static const uint8_t local_nat64[6] = {0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01};
	static const uint8_t teredo[4] = {0x20, 0x01};
	static const uint8_t isatap[3] = {0x00, 0x5E, 0xFE};
	/* fd00:ec2::/32 of AWS, services and credentials of its machines */
	static const uint8_t aws[4] = {0xFD, 0x00, 0x0E, 0xC2};
	/* fd20:ce::254 of Google Cloud, fd00:c1::a9fe:a9fe of Oracle Cloud */
	static const uint8_t google[16] = {0xFD, 0x20,		  0x00,
									   0xCE, [14] = 0x02, [15] = 0x54};
	static const uint8_t oracle[16] = {0xFD,		0x00,		 0x00,
									   0xC1,		[12] = 0xA9, [13] = 0xFE,
									   [14] = 0xA9, [15] = 0xFE};

	if (memcmp(ip, loopback, 16) == 0)
		return ADDRESS_LOOPBACK;
	if (memcmp(ip, mapped, 12) == 0)
		return classify_ipv4(read_ipv4(ip + 12));
	if (memcmp(ip, aws, 4) == 0 || memcmp(ip, google, 16) == 0 ||
		memcmp(ip, oracle, 16) == 0)
		return ADDRESS_FORBIDDEN;
	if ((ip[0] == 0xFE && ip[1] >= 0x80) || ip[0] == 0xFF)
		return ADDRESS_FORBIDDEN; /* link-local, site-local, multicast */
	if (memcmp(ip, loopback, 12) == 0)
		return ADDRESS_FORBIDDEN; /* unspecified, IPv4-compatible */
	if (memcmp(ip, teredo, 4) == 0 || memcmp(ip, local_nat64, 6) == 0)
		return ADDRESS_FORBIDDEN; /* their IPv4 address is disguised */
	if (memcmp(ip, nat64, 12) == 0 || memcmp(ip, translated, 12) == 0)
		return classify_carried(ip + 12);
	if (ip[0] == 0x20 && ip[1] == 0x02) /* 6to4 */
		return classify_carried(ip + 2);
	if ((ip[8] & 0xFD) == 0 && memcmp(ip + 9, isatap, 3) == 0)
		return classify_carried(ip + 12);
	return ADDRESS_OTHER;
}

bool
agentpay_http_address_allowed(const struct sockaddr *address, bool tls)
{
	AddressKind kind = ADDRESS_FORBIDDEN;

	if (address->sa_family == AF_INET)
	{
		struct sockaddr_in in;

		memcpy(&in, address, sizeof(in));
		kind = classify_ipv4(ntohl(in.sin_addr.s_addr));
	}
	else if (address->sa_family == AF_INET6)
	{
		struct sockaddr_in6 in6;

		memcpy(&in6, address, sizeof(in6));
		kind = classify_ipv6(in6.sin6_addr.s6_addr);
	}
	return kind == ADDRESS_LOOPBACK || (tls && kind == ADDRESS_OTHER);
}

/* Reads an address as text; false when it is none. */
static bool
read_address(const char *text, struct sockaddr_storage *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		memcpy(address, &in, sizeof(in));
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		memcpy(address, &in6, sizeof(in6));
	else
		return false;
	return true;
}

bool
agentpay_http_text_allowed(const char *address, bool tls)
{
	struct sockaddr_storage parsed;

	return address != NULL && read_address(address, &parsed) &&
		   agentpay_http_address_allowed((struct sockaddr *) &parsed, tls);
}

/* Whether a name is this one, or ends with it after a dot. */
static bool
is_within(const char *name, const char *domain)
{
	size_t len = strlen(name);
	size_t end = strlen(domain);

	return len >= end && strcasecmp(name + len - end, domain) == 0 &&
		   (len == end || name[len - end - 1] == '.');
}

/* Names by which clouds give out credentials; all lead to addresses that are
 * forbidden, but a proxy resolves names itself. */
static bool
is_metadata_name(const char *name)
{
	static const char *const names[] = {"metadata",
										"metadata.goog",
										"metadata.google.internal",
										"metadata.azure.internal",
										"metadata.tencentyun.com",
										"instance-data",
										"instance-data.ec2.internal"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
	{
		if (strcasecmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

AgentpayHttpHost
agentpay_http_judge_host(const char *origin)
{
	struct sockaddr_storage address;
	const char *start = strstr(origin, "://");
	char host[MAX_HOST];
	size_t len;

	start = start == NULL ? origin : start + 3;
	len = *start == '[' ? strcspn(++start, "]") : strcspn(start, ":/");
	if (len > 0 && start[len - 1] == '.')
		len--;
	if (len >= sizeof(host))
		return AGENTPAY_HTTP_HOST_FORBIDDEN;
	memcpy(host, start, len);
	host[len] = '\0';
	if (is_metadata_name(host))
		return AGENTPAY_HTTP_HOST_FORBIDDEN;
	if (is_within(host, "localhost"))
		return AGENTPAY_HTTP_HOST_LOCAL;
	if (!read_address(host, &address))
		return strpbrk(host, ":%") != NULL ? AGENTPAY_HTTP_HOST_FORBIDDEN
										   : AGENTPAY_HTTP_HOST_ELSEWHERE;
	if (!agentpay_http_address_allowed((struct sockaddr *) &address, true))
		return AGENTPAY_HTTP_HOST_FORBIDDEN;
	return agentpay_http_address_allowed((struct sockaddr *) &address, false)
			   ? AGENTPAY_HTTP_HOST_LOCAL
			   : AGENTPAY_HTTP_HOST_ELSEWHERE;
}

/*
 * Whether a host ends in a number and yet is no address: some readers of such
 * a name take it for one (169.254.169.254. or 1.2.3.4.5).
 */
static bool
is_ambiguous(const char *host)
{
	struct sockaddr_storage address;
	size_t len = strlen(host);
	size_t label;

	if (host[0] == '[' || read_address(host, &address))
		return false;
	if (len > 0 && host[len - 1] == '.')
		len--;
	for (label = len; label > 0 && host[label - 1] != '.'; label--)
		;
	if (strncasecmp(host + label, "0x", 2) == 0)
		return true;
	return len > label && strspn(host + label, "0123456789") >= len - label;
}

/* Whether the URL has the part at all. */
static bool
has_part(CURLU *parsed, CURLUPart part)
{
	char *text = NULL;
	bool has = curl_url_get(parsed, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return has;
}

/* Writes the origin of a URL that libcurl has read. */
static bool
write_origin(CURLU *parsed, char *origin, size_t size, const char **problem)
{
	char *scheme = NULL;
	char *host = NULL;
	char *port = NULL;
	bool fits = false;

	*problem = "not a URL";
	if (curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		host[0] != '\0' && !is_ambiguous(host))
	{
		int len;

		(void) curl_url_get(parsed, CURLUPART_PORT, &port,
							CURLU_NO_DEFAULT_PORT);
		len = snprintf(origin, size, "%s://%s%s%s", scheme, host,
					   port == NULL ? "" : ":", port == NULL ? "" : port);
		fits = len > 0 && (size_t) len < size;
		if (!fits)
			*problem = "too long";
		for (char *at = origin; fits && *at != '\0'; at++)
		{
			if (*at >= 'A' && *at <= 'Z')
				*at += 'a' - 'A';
		}
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	return fits;
}

bool
agentpay_http_origin(const char *url, char *origin, size_t size,
					 const char **problem)
{
	const char *authority = NULL;
	CURLU *parsed;
	bool good = false;

	if (strlen(url) > MAX_URL)
	{
		*problem = "too long";
		return false;
	}
	for (const char *at = url; *at != '\0'; at++)
	{
		if (*at < 0x21 || *at > 0x7e || *at == '\\')
		{
			*problem = "a blank, a backslash, a control character or one "
					   "beyond ASCII in the URL";
			return false;
		}
	}
	if (strncasecmp(url, "https://", 8) == 0)
		authority = url + 8;
	else if (strncasecmp(url, "http://", 7) == 0)
		authority = url + 7;
	if (authority == NULL || *authority == '/')
	{
		*problem = "neither http:// nor https://";
		return false;
	}

	parsed = curl_url();
	if (parsed == NULL)
	{
		*problem = "out of memory";
		return false;
	}
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK)
		*problem = "not a URL";
	else if (has_part(parsed, CURLUPART_USER) ||
			 has_part(parsed, CURLUPART_PASSWORD))
		*problem = "a user name or password in the URL";
	else if (has_part(parsed, CURLUPART_FRAGMENT))
		*problem = "a fragment in the URL";
	else
		good = write_origin(parsed, origin, size, problem);
	curl_url_cleanup(parsed);
	return good;
}
