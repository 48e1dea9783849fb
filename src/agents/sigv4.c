/*-------------------------------------------------------------------------
 * sigv4.c
 *		AWS Signature Version 4.
 *
 * As AWS's documentation has it for every service but S3: the path that is
 * sent is encoded once more for the signature, so that a colon in a model's
 * id is %3A on the wire and %253A in what is signed.
 *-------------------------------------------------------------------------
 */
#include "agents/sigv4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/json_writer.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define HASH_BYTES 32

static void
to_hex(const unsigned char *bytes, char hex[AGENTPAY_SIGV4_HASH_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < HASH_BYTES; i++)
	{
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[2 * HASH_BYTES] = '\0';
}

bool
agentpay_sigv4_hash(const char *data, size_t len,
					char hex[AGENTPAY_SIGV4_HASH_SIZE])
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	to_hex(digest, hex);
	return true;
}

void
agentpay_sigv4_date(time_t at, char date[AGENTPAY_SIGV4_DATE_SIZE])
{
	struct tm utc;

	gmtime_r(&at, &utc);
	strftime(date, AGENTPAY_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &utc);
}

/* Encodes all but what RFC 3986 calls unreserved, and slashes. */
static void
write_path(AgentpayJsonWriter *out, const char *path)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
									 "abcdefghijklmnopqrstuvwxyz"
									 "0123456789-_.~/";

	for (; *path != '\0'; path++)
	{
		char code[4];

		if (strchr(unreserved, *path) != NULL)
			agentpay_json_write_bytes(out, path, 1);
		else
		{
			snprintf(code, sizeof(code), "%%%02X", (unsigned char) *path);
			agentpay_json_write(out, code);
		}
	}
}

/* A value without blanks around it, and single ones inside. */
static void
write_value(AgentpayJsonWriter *out, const char *value)
{
	size_t len = strlen(value);

	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	while (len > 0 && (*value == ' ' || *value == '\t'))
	{
		value++;
		len--;
	}
	for (size_t i = 0; i < len; i++)
	{
		if (i == 0 || value[i] != ' ' || value[i - 1] != ' ')
			agentpay_json_write_bytes(out, value + i, 1);
	}
}

static void
write_lower(AgentpayJsonWriter *out, const char *name)
{
	for (; *name != '\0'; name++)
	{
		char c = *name >= 'A' && *name <= 'Z' ? *name + ('a' - 'A') : *name;

		agentpay_json_write_bytes(out, &c, 1);
	}
}

static void
write_signed_names(AgentpayJsonWriter *out,
				   const AgentpayHttpHeader *const *headers, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			agentpay_json_write(out, ";");
		write_lower(out, headers[i]->name);
	}
}

/* The headers by their names; there are few. */
static void
sort_headers(const AgentpaySigv4Request *request,
			 const AgentpayHttpHeader **sorted)
{
	for (int i = 0; i < request->n_headers; i++)
	{
		int at = i;

		for (; at > 0 &&
			   strcasecmp(sorted[at - 1]->name, request->headers[i].name) > 0;
			 at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &request->headers[i];
	}
}

/* The canonical request, malloc'd; NULL when out of memory. */
static char *
canonical_request(const AgentpaySigv4Request *request,
				  const AgentpayHttpHeader *const *headers)
{
	AgentpayJsonWriter out = {0};

	agentpay_json_write(&out, request->method);
	agentpay_json_write(&out, "\n");
	write_path(&out, request->path);
	agentpay_json_write(&out, "\n");
	agentpay_json_write(&out, request->query);
	agentpay_json_write(&out, "\n");
	for (int i = 0; i < request->n_headers; i++)
	{
		write_lower(&out, headers[i]->name);
		agentpay_json_write(&out, ":");
		write_value(&out, headers[i]->value);
		agentpay_json_write(&out, "\n");
	}
	agentpay_json_write(&out, "\n");
	write_signed_names(&out, headers, request->n_headers);
	agentpay_json_write(&out, "\n");
	agentpay_json_write(&out, request->payload_sha256);
	return agentpay_json_write_finish(&out);
}

static bool
hmac(unsigned char key[HASH_BYTES], size_t key_len, const char *data)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len;
	bool good = HMAC(EVP_sha256(), key, (int) key_len,
					 (const unsigned char *) data, strlen(data), digest,
					 &len) != NULL;

	if (good)
		memcpy(key, digest, HASH_BYTES);
	explicit_bzero(digest, sizeof(digest));
	return good;
}

/* The hexadecimal signature of text. */
static bool
sign_text(const AgentpaySigv4Request *request, const char *secret_key,
		  const char *day, const char *text,
		  char signature[AGENTPAY_SIGV4_HASH_SIZE])
{
	unsigned char key[4 + 128 + 1]; /* "AWS4" and a secret key, then hashes */
	int len = snprintf((char *) key, sizeof(key), "AWS4%s", secret_key);
	bool good = len > 4 && (size_t) len < sizeof(key) && hmac(key, len, day) &&
				hmac(key, HASH_BYTES, request->region) &&
				hmac(key, HASH_BYTES, request->service) &&
				hmac(key, HASH_BYTES, "aws4_request") &&
				hmac(key, HASH_BYTES, text);

	if (good)
		to_hex(key, signature);
	explicit_bzero(key, sizeof(key));
	return good;
}

bool
agentpay_sigv4_sign(const AgentpaySigv4Request *request,
					const AgentpayAwsCredentials *credentials,
					char value[AGENTPAY_SIGV4_VALUE_SIZE], const char **problem)
{
	const AgentpayHttpHeader *headers[AGENTPAY_SIGV4_MAX_HEADERS];
	AgentpayJsonWriter out = {0};
	char hash[AGENTPAY_SIGV4_HASH_SIZE];
	char signature[AGENTPAY_SIGV4_HASH_SIZE];
	char day[9];
	char scope[160];
	char text[512];
	char *canonical;
	bool good;

	*problem = "the request could not be signed";
	if (request->n_headers > AGENTPAY_SIGV4_MAX_HEADERS ||
		strlen(request->date) != AGENTPAY_SIGV4_DATE_SIZE - 1)
		return false;
	sort_headers(request, headers);
	canonical = canonical_request(request, headers);
	good = canonical != NULL &&
		   agentpay_sigv4_hash(canonical, strlen(canonical), hash);
	free(canonical);
	snprintf(day, sizeof(day), "%.8s", request->date);
	good = good &&
		   (size_t) snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", day,
							 request->region, request->service) < sizeof(scope);
	if (!good)
		return false;
	snprintf(text, sizeof(text), ALGORITHM "\n%s\n%s\n%s", request->date, scope,
			 hash);
	if (!sign_text(request, credentials->secret_key, day, text, signature))
		return false;

	agentpay_json_write(&out, ALGORITHM " Credential=");
	agentpay_json_write(&out, credentials->access_key);
	agentpay_json_write(&out, "/");
	agentpay_json_write(&out, scope);
	agentpay_json_write(&out, ", SignedHeaders=");
	write_signed_names(&out, headers, request->n_headers);
	agentpay_json_write(&out, ", Signature=");
	agentpay_json_write(&out, signature);
	good = !out.failed && out.len < AGENTPAY_SIGV4_VALUE_SIZE;
	if (good)
		memcpy(value, out.data, out.len + 1);
	free(out.data);
	return good;
}
