/*-------------------------------------------------------------------------
 * ff1.h
 *		FF1 of NIST SP 800-38G: encryption that keeps length and alphabet.
 *
 * Pure: libc and libcrypto.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_FF1_H
#define AGENTPAY_FF1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numerals; the sums of a half then fit 128 bits for every radix. */
#define AGENTPAY_FF1_MAX_LEN 36
#define AGENTPAY_FF1_MAX_TWEAK 64
/* Fewer texts than that can be tried (SP 800-38G Rev. 1, 2.3). */
#define AGENTPAY_FF1_MIN_DOMAIN 1000000

typedef struct AgentpayFf1
{
	const uint8_t *key;
	size_t key_size; /* 16, 24 or 32 bytes, of AES */
	const void *tweak;
	size_t tweak_len;
	int radix; /* 2 to 36: digits, then small letters */
} AgentpayFf1;

/*
 * Writes the len numerals that those of in become; not terminated.  False, and
 * nothing written: a character is none of the radix, there are fewer than
 * AGENTPAY_FF1_MIN_DOMAIN texts of that length, a limit is exceeded, or
 * libcrypto fails.
 */
extern bool agentpay_ff1_encrypt(const AgentpayFf1 *ff1, const char *in,
								 size_t len, char *out);

/* The reverse. */
extern bool agentpay_ff1_decrypt(const AgentpayFf1 *ff1, const char *in,
								 size_t len, char *out);

#endif /* AGENTPAY_FF1_H */
