/*-------------------------------------------------------------------------
 * hash.h
 *		A keyed hash of a value.
 *
 * Pure: libc and libcrypto only.  Not for several threads: keeps the key.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_HASH_H
#define AGENTPAY_HASH_H

#include <stdbool.h>
#include <stddef.h>

#define AGENTPAY_HASH_SIZE 32	  /* characters of a hash */
#define AGENTPAY_HASH_KEY_MIN 32  /* bytes of a key */
#define AGENTPAY_HASH_KEY_MAX 512 /* bytes of a key */

/*
 * Writes the first 128 bits of HMAC-SHA-256 (RFC 2104) of the value as
 * AGENTPAY_HASH_SIZE hexadecimal digits, not terminated.  The key is what
 * reference (file:/path or env:NAME) leads to; it is read once and kept until
 * another reference is asked for.  False: the key could not be read, or
 * libcrypto fails.
 */
extern bool agentpay_hash_value(const char *reference, const char *in,
								size_t len, char *out);

/* NULL if the reference leads to a key, else why not; reads it again. */
extern const char *agentpay_hash_key_problem(const char *reference);

#endif /* AGENTPAY_HASH_H */
