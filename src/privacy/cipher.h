/*-------------------------------------------------------------------------
 * cipher.h
 *		AES-256-GCM and HMAC-SHA-256, as keys and sealed values use them.
 *
 * Pure: libc and libcrypto; of one thread.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CIPHER_H
#define AGENTPAY_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENTPAY_KEY_SIZE 32
#define AGENTPAY_MAC_SIZE 32
#define AGENTPAY_KEY_NAME_SIZE 8

/* What is sealed is longer by this: a version, the nonce and the tag. */
#define AGENTPAY_SEAL_OVERHEAD (1 + 12 + 16)

/*
 * Seals len bytes under a nonce drawn for them, bound to the aad_len bytes of
 * aad; out has len + AGENTPAY_SEAL_OVERHEAD bytes.  False: out of memory or of
 * entropy.
 */
extern bool
agentpay_cipher_seal(const uint8_t *key, const void *aad, size_t aad_len,
					 const void *in, size_t len, uint8_t *out);

/*
 * A cipher with its key already in it, for the many values of one key; NULL:
 * out of memory.  Seals as above; free() wipes it, and takes NULL.
 */
typedef struct evp_cipher_ctx_st AgentpaySealer;

extern AgentpaySealer *agentpay_cipher_sealer(const uint8_t *key);
extern bool
agentpay_cipher_seal_by(AgentpaySealer *sealer, const void *aad, size_t aad_len,
						const void *in, size_t len, uint8_t *out);
extern void agentpay_cipher_sealer_free(AgentpaySealer *sealer);

/*
 * The reverse; out has len - AGENTPAY_SEAL_OVERHEAD bytes.  False, and out
 * wiped: another key, other aad, or other bytes than were sealed.
 */
extern bool
agentpay_cipher_open(const uint8_t *key, const void *aad, size_t aad_len,
					 const uint8_t *in, size_t len, void *out);

/* HMAC-SHA-256 of a label, a zero byte and the data. */
extern bool agentpay_cipher_mac(const uint8_t *key, const char *label,
								const void *data, size_t len, uint8_t *mac);

/* What a master key is called, without saying what it is. */
extern bool agentpay_cipher_name(const uint8_t *key, uint8_t *name);

#endif /* AGENTPAY_CIPHER_H */
