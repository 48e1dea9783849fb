/*-------------------------------------------------------------------------
 * http_trust.c
 *		Whose certificates the HTTP client believes, and why it does not.
 *
 * libcurl can read one file of authorities for each connection.  Here the
 * system's and those of agentpay.ca_file are read once, into one store that
 * all connections share, which costs each of them some milliseconds less.
 * What is verified is libcurl's and OpenSSL's business: the chain, times, the
 * purpose, the host.
 *-------------------------------------------------------------------------
 */
#include "agents/http_trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

/* A file as it was when it was read. */
typedef struct FileState
{
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed;
} FileState;

struct AgentpayHttpTrust
{
	X509_STORE *store;
	char *ca_file; /* NULL: none */
	FileState system_state;
	FileState ca_state;
};

/* All zeros when there is no such file. */
static FileState
look_at(const char *path)
{
	FileState state;
	struct stat seen;

	memset(&state, 0, sizeof(state));
	if (path != NULL && stat(path, &seen) == 0)
	{
		state.device = seen.st_dev;
		state.inode = seen.st_ino;
		state.size = seen.st_size;
		state.changed = seen.st_mtim;
	}
	return state;
}

static bool
is_same(const FileState *one, const FileState *other)
{
	return one->device == other->device && one->inode == other->inode &&
		   one->size == other->size &&
		   one->changed.tv_sec == other->changed.tv_sec &&
		   one->changed.tv_nsec == other->changed.tv_nsec;
}

/* What libcurl was built to believe; either may be NULL. */
static void
find_system(const char **file, const char **directory)
{
	const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);

	*file = curl->age >= CURLVERSION_SEVENTH ? curl->cainfo : NULL;
	*directory = curl->age >= CURLVERSION_SEVENTH ? curl->capath : NULL;
}

static void
load_system(X509_STORE *store)
{
	const char *file;
	const char *directory;

	find_system(&file, &directory);
	/* Either may be missing: then nothing is signed by them. */
	if (file != NULL)
		(void) X509_STORE_load_locations(store, file, NULL);
	if (directory != NULL)
		(void) X509_STORE_load_locations(store, NULL, directory);
	if (file == NULL && directory == NULL)
		(void) X509_STORE_set_default_paths(store);
}

AgentpayHttpTrust *
agentpay_http_trust_create(const char *ca_file, const char **problem)
{
	AgentpayHttpTrust *trust = calloc(1, sizeof(*trust));

	const char *system_file;
	const char *system_directory;
	bool own = ca_file != NULL && ca_file[0] != '\0';

	*problem = NULL;
	if (trust == NULL)
		return NULL;
	trust->store = X509_STORE_new();
	if (own)
		trust->ca_file = strdup(ca_file);
	if (trust->store == NULL || (own && trust->ca_file == NULL))
	{
		agentpay_http_trust_free(trust);
		return NULL;
	}
	find_system(&system_file, &system_directory);
	trust->system_state = look_at(system_file);
	trust->ca_state = look_at(trust->ca_file);
	load_system(trust->store);
	if (own && X509_STORE_load_locations(trust->store, ca_file, NULL) != 1)
		*problem = "agentpay.ca_file cannot be read, or holds no certificate";
	ERR_clear_error();
	return trust;
}

void
agentpay_http_trust_free(AgentpayHttpTrust *trust)
{
	if (trust == NULL)
		return;
	X509_STORE_free(trust->store);
	free(trust->ca_file);
	free(trust);
}

bool
agentpay_http_trust_changed(const AgentpayHttpTrust *trust)
{
	const char *file;
	const char *directory;
	FileState system_state;
	FileState ca_state = look_at(trust->ca_file);

	find_system(&file, &directory);
	system_state = look_at(file);
	return !is_same(&system_state, &trust->system_state) ||
		   !is_same(&ca_state, &trust->ca_state);
}

/* libcurl: a context for a connection, to the agent or to the proxy. */
static CURLcode
on_ssl_context(CURL *easy, void *context, void *arg)
{
	AgentpayHttpTrust *trust = arg;

	(void) easy;
	if (X509_STORE_up_ref(trust->store) != 1)
		return CURLE_OUT_OF_MEMORY;
	SSL_CTX_set_cert_store(context, trust->store);
#ifdef SSL_OP_CLEANSE_PLAINTEXT
	/* what was received is not kept where it was deciphered */
	SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
#endif
	return CURLE_OK;
}

bool
agentpay_http_trust_use(AgentpayHttpTrust *trust, CURL *easy)
{
	bool good = true;

#define SET(option, value) \
	(good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_PROXY_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	/* The store is ours: libcurl reads none, and keeps none. */
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_PROXY_CAINFO, NULL);
	SET(CURLOPT_PROXY_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
	SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_context);
	SET(CURLOPT_SSL_CTX_DATA, trust);
#undef SET
	return good;
}

/* Whether libcurl's words have some of these. */
static bool
has_words(const char *heard, const char *some, const char *other)
{
	return strstr(heard, some) != NULL || strstr(heard, other) != NULL;
}

bool
agentpay_http_trust_describe(CURL *easy, CURLcode code, const char *heard,
							 char *problem, size_t size)
{
	long result = X509_V_OK;
	long proxy_result = X509_V_OK;
	const char *whose = "";

	switch (code)
	{
		case CURLE_PEER_FAILED_VERIFICATION:
			curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &result);
			curl_easy_getinfo(easy, CURLINFO_PROXY_SSL_VERIFYRESULT,
							  &proxy_result);
			if (proxy_result != X509_V_OK)
			{
				result = proxy_result;
				whose = "proxy's ";
			}
			/* The host is looked at before the result is noted. */
			if (result == X509_V_OK || result == X509_V_ERR_UNSPECIFIED)
				snprintf(problem, size, "the %scertificate is for another host",
						 whose);
			else
				snprintf(problem, size, "the %scertificate is refused: %s",
						 whose, X509_verify_cert_error_string(result));
			return true;
		case CURLE_SSL_CONNECT_ERROR:
			if (has_words(heard, "protocol version", "unsupported protocol"))
				snprintf(problem, size,
						 "no TLS: the other side does not speak 1.2 or later");
			else if (has_words(heard, "wrong version number",
							   "packet length too long"))
				snprintf(problem, size,
						 "no TLS: the other side speaks "
						 "something else");
			else
				snprintf(problem, size, "no TLS: the handshake failed");
			return true;
		default:
			return false;
	}
}
