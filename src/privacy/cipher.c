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
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define VERSION 1
#define NONCE_SIZE 12
#define TAG_SIZE 16
#define NONCES 64
#define HMAC_BLOCK 64

/*
 * Algorithms are looked up once, and contexts made once: that costs more than
 * to run them.  What a key leaves in one of these is overwritten after each use.
 */
static EVP_CIPHER *gcm = NULL;
static EVP_CIPHER_CTX *seal_context = NULL;
static EVP_MD_CTX *mac_context = NULL;

static bool seal(EVP_CIPHER_CTX *context, const uint8_t *key, const void *aad,
				 size_t aad_len, const void *in, size_t len, uint8_t *out);
static bool draw_nonce(uint8_t *nonce);
static bool prepare_gcm(void);
static bool prepare_seal(void);
static bool prepare_mac(void);
static bool digest(const uint8_t *key, uint8_t pad, const void *a, size_t a_len,
				   const void *b, size_t b_len, uint8_t *out);

bool
agentpay_cipher_seal(const uint8_t *key, const void *aad, size_t aad_len,
					 const void *in, size_t len, uint8_t *out)
{
	static const uint8_t no_key[AGENTPAY_KEY_SIZE] = {0};
	bool done;

	if (!prepare_seal())
		return false;
	done = seal(seal_context, key, aad, aad_len, in, len, out);
	if (EVP_EncryptInit_ex(seal_context, NULL, NULL, no_key, NULL) != 1)
	{
		EVP_CIPHER_CTX_free(seal_context);
		seal_context = NULL;
	}
	return done;
}

AgentpaySealer *
agentpay_cipher_sealer(const uint8_t *key)
{
	EVP_CIPHER_CTX *context = prepare_gcm() ? EVP_CIPHER_CTX_new() : NULL;

	if (context == NULL ||
		EVP_EncryptInit_ex(context, gcm, NULL, key, NULL) == 1)
		return context;
	EVP_CIPHER_CTX_free(context);
	return NULL;
}

bool
agentpay_cipher_seal_by(AgentpaySealer *sealer, const void *aad, size_t aad_len,
						const void *in, size_t len, uint8_t *out)
{
	return seal(sealer, NULL, aad, aad_len, in, len, out);
}

void
agentpay_cipher_sealer_free(AgentpaySealer *sealer)
{
	EVP_CIPHER_CTX_free(sealer);
}

/* key NULL: the one that is in the context. */
static bool
seal(EVP_CIPHER_CTX *context, const uint8_t *key, const void *aad,
	 size_t aad_len, const void *in, size_t len, uint8_t *out)
{
	uint8_t *nonce = out + 1;
	uint8_t *sealed = nonce + NONCE_SIZE;
	int n;

	if (len > INT_MAX || aad_len > INT_MAX || !draw_nonce(nonce))
		return false;
	out[0] = VERSION;
	return EVP_EncryptInit_ex(context, NULL, NULL, key, nonce) == 1 &&
		   EVP_EncryptUpdate(context, NULL, &n, aad, (int) aad_len) == 1 &&
		   EVP_EncryptUpdate(context, sealed, &n, in, (int) len) == 1 &&
		   EVP_EncryptFinal_ex(context, sealed + len, &n) == 1 &&
		   EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_SIZE,
							   sealed + len) == 1;
}

/* Nonces are no secret: many are drawn at once, by each process its own. */
static bool
draw_nonce(uint8_t *nonce)
{
	static uint8_t drawn[NONCES][NONCE_SIZE];
	static int left = 0;
	static pid_t drawn_by = 0;

	if (left == 0 || drawn_by != getpid())
	{
		if (RAND_bytes(drawn[0], sizeof(drawn)) != 1)
			return false;
		left = NONCES;
		drawn_by = getpid();
	}
	memcpy(nonce, drawn[--left], NONCE_SIZE);
	return true;
}

static bool
prepare_gcm(void)
{
	if (gcm == NULL)
		gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	return gcm != NULL;
}

static bool
prepare_seal(void)
{
	if (seal_context != NULL)
		return true;
	if (!prepare_gcm())
		return false;
	seal_context = EVP_CIPHER_CTX_new();
	if (seal_context != NULL &&
		EVP_EncryptInit_ex(seal_context, gcm, NULL, NULL, NULL) == 1)
		return true;
	EVP_CIPHER_CTX_free(seal_context);
	seal_context = NULL;
	return false;
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
		in[0] != VERSION || !prepare_gcm())
		return false;
	size = len - AGENTPAY_SEAL_OVERHEAD;
	memcpy(tag, sealed + size, TAG_SIZE);
	context = EVP_CIPHER_CTX_new();
	done = context != NULL &&
		   EVP_DecryptInit_ex(context, gcm, NULL, key, nonce) == 1 &&
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
	uint8_t inner[AGENTPAY_MAC_SIZE];
	bool done = prepare_mac() &&
				digest(key, 0x36, label, strlen(label) + 1, data, len, inner) &&
				digest(key, 0x5c, inner, sizeof(inner), NULL, 0, mac);

	OPENSSL_cleanse(inner, sizeof(inner));
	if (mac_context != NULL && EVP_DigestInit_ex(mac_context, NULL, NULL) != 1)
	{
		EVP_MD_CTX_free(mac_context);
		mac_context = NULL;
	}
	return done;
}

static bool
prepare_mac(void)
{
	if (mac_context != NULL)
		return true;
	mac_context = EVP_MD_CTX_new();
	if (mac_context != NULL &&
		EVP_DigestInit_ex(mac_context, EVP_sha256(), NULL) == 1)
		return true;
	EVP_MD_CTX_free(mac_context);
	mac_context = NULL;
	return false;
}

/* One of HMAC's two hashes (RFC 2104): the padded key, a and b. */
static bool
digest(const uint8_t *key, uint8_t pad, const void *a, size_t a_len,
	   const void *b, size_t b_len, uint8_t *out)
{
	uint8_t block[HMAC_BLOCK];
	unsigned int size = 0;
	bool done;

	memset(block, pad, sizeof(block));
	for (int i = 0; i < AGENTPAY_KEY_SIZE; i++)
		block[i] ^= key[i];
	done = EVP_DigestInit_ex(mac_context, NULL, NULL) == 1 &&
		   EVP_DigestUpdate(mac_context, block, sizeof(block)) == 1 &&
		   EVP_DigestUpdate(mac_context, a, a_len) == 1 &&
		   (b_len == 0 || EVP_DigestUpdate(mac_context, b, b_len) == 1) &&
		   EVP_DigestFinal_ex(mac_context, out, &size) == 1 &&
		   size == AGENTPAY_MAC_SIZE;
	OPENSSL_cleanse(block, sizeof(block));
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
