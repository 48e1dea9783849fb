/*-------------------------------------------------------------------------
 * hash.c
 *		A keyed hash of a value.
 *
 * Card and account numbers are so few that a plain hash is undone by trying
 * them all.  Without the key, which is outside the database, a keyed one is
 * not.  That equal values are equal is meant to be seen.
 *-------------------------------------------------------------------------
 */
#include "privacy/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/secret.h"

static char loaded[1024]; /* the reference that key is of; "": none */
static char key[AGENTPAY_HASH_KEY_MAX + 1];
static size_t key_size;

/* Reads the key anew; NULL, or why it cannot be used. */
static const char *
load(const char *reference)
{
	const char *problem = NULL;

	loaded[0] = '\0';
	OPENSSL_cleanse(key, sizeof(key));
	if (reference == NULL || reference[0] == '\0')
		return "agentpay.hash_key is not set";
	if (strlen(reference) >= sizeof(loaded))
		return "the reference is too long";
	if (!agentpay_secret_read(reference, key, sizeof(key), &problem))
		return problem;
	key_size = strlen(key);
	if (key_size < AGENTPAY_HASH_KEY_MIN)
	{
		OPENSSL_cleanse(key, sizeof(key));
		return "the key is shorter than 32 bytes";
	}
	strcpy(loaded, reference);
	return NULL;
}

bool
agentpay_hash_value(const char *reference, const char *in, size_t len,
					char *out)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char code[EVP_MAX_MD_SIZE];
	unsigned size = 0;

	if (reference == NULL || reference[0] == '\0')
		return false;
	if (strcmp(reference, loaded) != 0 && load(reference) != NULL)
		return false;
	if (HMAC(EVP_sha256(), key, (int) key_size, (const unsigned char *) in, len,
			 code, &size) == NULL ||
		size < AGENTPAY_HASH_SIZE / 2)
		return false;
	for (int i = 0; i < AGENTPAY_HASH_SIZE / 2; i++)
	{
		out[2 * i] = digits[code[i] >> 4];
		out[2 * i + 1] = digits[code[i] & 15];
	}
	return true;
}

const char *
agentpay_hash_key_problem(const char *reference)
{
	return load(reference);
}
