/*-------------------------------------------------------------------------
 * cipher.c
 *		AES-256-GCM and HMAC-SHA-256, as keys and sealed values use them.
 *
 * Sealed: the byte 1, a random nonce of 96 bits, the ciphertext, the tag of
 * 128 bits.  Random nonces are safe for 2^32 values under a key (NIST SP
 * 800-38D, 8.3); a key is one subject's.
 *-------------------------------------------------------------------------
 */
#include "privacy/cipher.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define VERSION 1
#define NONCE_SIZE 12
#define TAG_SIZE 16

bool
agentpay_cipher_seal(const uint8_t *key, const void *aad, size_t aad_len,
					 const void *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *context;
	uint8_t *nonce = out + 1;
	uint8_t *sealed = nonce + NONCE_SIZE;
	int n;
	bool done;

	if (len > INT_MAX || aad_len > INT_MAX ||
		RAND_bytes(nonce, NONCE_SIZE) != 1)
		return false;
	out[0] = VERSION;
	context = EVP_CIPHER_CTX_new();
	done = context != NULL &&
		   EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce) ==
			   1 &&
		   EVP_EncryptUpdate(context, NULL, &n, aad, (int) aad_len) == 1 &&
		   EVP_EncryptUpdate(context, sealed, &n, in, (int) len) == 1 &&
		   EVP_EncryptFinal_ex(context, sealed + len, &n) == 1 &&
		   EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_SIZE,
							   sealed + len) == 1;
	EVP_CIPHER_CTX_free(context);
	return done;
}

bool
agentpay_cipher_open(const uint8_t *key, const void *aad, size_t aad_len,
					 const uint8_t *in, size_t len, void *out)
{
	EVP_CIPHER_CTX *context;
	const uint8_t *nonce = in + 1;
	const uint8_t *sealed = nonce + NONCE_SIZE;
	uint8_t tag[TAG_SIZE];
	size_t size;
	int n;
	bool done;

	if (len < AGENTPAY_SEAL_OVERHEAD || len > INT_MAX || aad_len > INT_MAX ||
		in[0] != VERSION)
		return false;
	size = len - AGENTPAY_SEAL_OVERHEAD;
	memcpy(tag, sealed + size, TAG_SIZE);
	context = EVP_CIPHER_CTX_new();
	done = context != NULL &&
		   EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce) ==
			   1 &&
		   EVP_DecryptUpdate(context, NULL, &n, aad, (int) aad_len) == 1 &&
		   EVP_DecryptUpdate(context, out, &n, sealed, (int) size) == 1 &&
		   EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) ==
			   1 &&
		   EVP_DecryptFinal_ex(context, (uint8_t *) out + size, &n) == 1;
	EVP_CIPHER_CTX_free(context);
	if (!done)
		explicit_bzero(out, size);
	return done;
}

bool
agentpay_cipher_mac(const uint8_t *key, const char *label, const void *data,
					size_t len, uint8_t *mac)
{
	size_t label_size = strlen(label) + 1;
	uint8_t *text = malloc(label_size + len);
	unsigned int size = 0;
	bool done;

	if (text == NULL)
		return false;
	memcpy(text, label, label_size);
	if (len > 0)
		memcpy(text + label_size, data, len);
	done = HMAC(EVP_sha256(), key, AGENTPAY_KEY_SIZE, text, label_size + len,
				mac, &size) != NULL &&
		   size == AGENTPAY_MAC_SIZE;
	explicit_bzero(text, label_size + len);
	free(text);
	return done;
}

bool
agentpay_cipher_name(const uint8_t *key, uint8_t *name)
{
	uint8_t mac[AGENTPAY_MAC_SIZE];

	if (!agentpay_cipher_mac(key, "agentpay name of a master key", NULL, 0,
							 mac))
		return false;
	memcpy(name, mac, AGENTPAY_KEY_NAME_SIZE);
	return true;
}
