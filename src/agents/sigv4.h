/*-------------------------------------------------------------------------
 * sigv4.h
 *		AWS Signature Version 4, and the credentials that it needs.
 *
 * Our own, not libcurl's, which before 8.14 signs paths with a colon in them
 * wrongly (docs/internals/agents.md).  Pure: libc, json-c, libcrypto.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SIGV4_H
#define AGENTPAY_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "agents/http_client.h"

#define AGENTPAY_AWS_MAX_TOKEN 4096 /* bytes of a session token */
#define AGENTPAY_SIGV4_MAX_HEADERS 16
#define AGENTPAY_SIGV4_HASH_SIZE 65	  /* SHA-256 in hexadecimal */
#define AGENTPAY_SIGV4_DATE_SIZE 17	  /* 20150830T123600Z */
#define AGENTPAY_SIGV4_VALUE_SIZE 768 /* of Authorization */

/* Wiped by the caller with explicit_bzero(). */
typedef struct AgentpayAwsCredentials
{
	char access_key[129];
	char secret_key[129];
	char session_token[AGENTPAY_AWS_MAX_TOKEN + 1]; /* "": none */
} AgentpayAwsCredentials;

typedef struct AgentpaySigv4Request
{
	const char *method;
	const char *path;  /* as it is sent, its segments encoded once */
	const char *query; /* canonical already; "": none */
	const AgentpayHttpHeader *headers; /* all are signed, in any order */
	int n_headers;
	const char *payload_sha256; /* agentpay_sigv4_hash() */
	const char *region;
	const char *service;
	const char *date; /* agentpay_sigv4_date() */
} AgentpaySigv4Request;

/*
 * Reads either what a credential_process prints (JSON: AccessKeyId,
 * SecretAccessKey, SessionToken, Expiration) or a shared credentials file
 * (INI, of which the named profile, NULL: default).  False with *problem, a
 * constant, also when they have expired.
 */
extern bool
agentpay_aws_credentials_read(const char *text, const char *profile, time_t now,
							  AgentpayAwsCredentials *credentials,
							  const char **problem);

/* SHA-256 in lower case hexadecimal; false when libcrypto fails. */
extern bool agentpay_sigv4_hash(const char *data, size_t len,
								char hex[AGENTPAY_SIGV4_HASH_SIZE]);

extern void agentpay_sigv4_date(time_t at, char date[AGENTPAY_SIGV4_DATE_SIZE]);

/* Writes the value of Authorization; false with *problem. */
extern bool agentpay_sigv4_sign(const AgentpaySigv4Request *request,
								const AgentpayAwsCredentials *credentials,
								char value[AGENTPAY_SIGV4_VALUE_SIZE],
								const char **problem);

#endif /* AGENTPAY_SIGV4_H */
