/*-------------------------------------------------------------------------
 * http_address.c
 *		Which addresses and URLs an agent may be called at.
 *
 * Names are checked where they are configured; here the address is checked
 * that libcurl is about to connect to, since a name may resolve to anything,
 * and to something else the next time.  Metadata services hand out the
 * credentials of the machine, so they are refused whatever is allowed.
 *-------------------------------------------------------------------------
 */
#include "agents/http_client.h"

#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#define MAX_URL 2048

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

/* One that carries an IPv4 address is judged by that, too. */
static AddressKind
classify_ipv6(const uint8_t *ip)
{
	static const uint8_t loopback[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
	static const uint8_t nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
	/* fd00:ec2::254 of AWS, fd20:ce::254 of Google Cloud */
	static const uint8_t aws[16] = {0xFD, 0x00,		   0x0E,
									0xC2, [14] = 0x02, [15] = 0x54};
	static const uint8_t google[16] = {0xFD, 0x20,		  0x00,
									   0xCE, [14] = 0x02, [15] = 0x54};
	AddressKind inner;

	if (memcmp(ip, loopback, 16) == 0)
		return ADDRESS_LOOPBACK;
	if (memcmp(ip, mapped, 12) == 0)
		return classify_ipv4(read_ipv4(ip + 12));
	if (memcmp(ip, aws, 16) == 0 || memcmp(ip, google, 16) == 0)
		return ADDRESS_FORBIDDEN;
	if ((ip[0] == 0xFE && (ip[1] & 0xC0) == 0x80) || ip[0] == 0xFF)
		return ADDRESS_FORBIDDEN; /* link-local, multicast */
	if (memcmp(ip, loopback, 12) == 0)
		return ADDRESS_FORBIDDEN; /* unspecified, IPv4-compatible */
	if (memcmp(ip, nat64, 12) == 0)
		inner = classify_ipv4(read_ipv4(ip + 12));
	else if (ip[0] == 0x20 && ip[1] == 0x02) /* 6to4 */
		inner = classify_ipv4(read_ipv4(ip + 2));
	else
		return ADDRESS_OTHER;
	return inner == ADDRESS_OTHER ? ADDRESS_OTHER : ADDRESS_FORBIDDEN;
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
		host[0] != '\0')
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
