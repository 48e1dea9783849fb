/*-------------------------------------------------------------------------
 * ff1.c
 *		FF1 of NIST SP 800-38G: encryption that keeps length and alphabet.
 *
 * Names of one letter are those of the standard, algorithms 6 to 8.
 *-------------------------------------------------------------------------
 */
#include "privacy/ff1.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define BLOCK 16
#define ROUNDS 10
/* P, and Q: the tweak, up to a block of zeros, the round and a half. */
#define INPUT_SIZE (BLOCK + AGENTPAY_FF1_MAX_TWEAK + 2 * BLOCK + 1)

typedef unsigned __int128 Number;

/* What is the same in all rounds. */
typedef struct Cipher
{
	EVP_CIPHER_CTX *aes; /* one block at a time, no padding */
	int radix;
	size_t u; /* numerals of the halves */
	size_t v;
	Number modulus_u; /* radix to that power */
	Number modulus_v;
	int b; /* bytes of a half as a number */
	int d; /* bytes of a round's result that are used */
	uint8_t input[INPUT_SIZE];
	size_t input_len; /* whole blocks */
} Cipher;

static bool
start(Cipher *c, const AgentpayFf1 *ff1, size_t len, Number *domain);
static void write_prefix(Cipher *c, const AgentpayFf1 *ff1, size_t len);
static bool
run(const AgentpayFf1 *ff1, const char *in, size_t len, char *out, bool forth);
static bool round_of(Cipher *c, int i, Number half, Number *y);
static bool encrypt_block(Cipher *c, const uint8_t *in, uint8_t *out);
static bool read_number(const char *in, size_t len, int radix, Number *number);
static void write_number(Number number, size_t len, int radix, char *out);

bool
agentpay_ff1_encrypt(const AgentpayFf1 *ff1, const char *in, size_t len,
					 char *out)
{
	return run(ff1, in, len, out, true);
}

bool
agentpay_ff1_decrypt(const AgentpayFf1 *ff1, const char *in, size_t len,
					 char *out)
{
	return run(ff1, in, len, out, false);
}

static bool
run(const AgentpayFf1 *ff1, const char *in, size_t len, char *out, bool forth)
{
	Cipher c = {0};
	Number domain;
	Number a;
	Number b;
	bool done = start(&c, ff1, len, &domain) &&
				domain >= AGENTPAY_FF1_MIN_DOMAIN &&
				read_number(in, c.u, c.radix, &a) &&
				read_number(in + c.u, c.v, c.radix, &b);

	for (int n = 0; done && n < ROUNDS; n++)
	{
		int i = forth ? n : ROUNDS - 1 - n;
		Number modulus = i % 2 == 0 ? c.modulus_u : c.modulus_v;
		Number y = 0;
		Number sum;

		done = round_of(&c, i, forth ? b : a, &y);
		y %= modulus;
		if (forth)
		{
			sum = (a + y) % modulus;
			a = b;
			b = sum;
		}
		else
		{
			sum = (b + modulus - y) % modulus;
			b = a;
			a = sum;
		}
	}
	if (done)
	{
		write_number(a, c.u, c.radix, out);
		write_number(b, c.v, c.radix, out + c.u);
	}
	EVP_CIPHER_CTX_free(c.aes);
	OPENSSL_cleanse(&c, sizeof(c));
	return done;
}

/* *domain: how many texts of that length there are, or the limit beyond it. */
static bool
start(Cipher *c, const AgentpayFf1 *ff1, size_t len, Number *domain)
{
	const EVP_CIPHER *cipher = ff1->key_size == 16	 ? EVP_aes_128_ecb()
							   : ff1->key_size == 24 ? EVP_aes_192_ecb()
							   : ff1->key_size == 32 ? EVP_aes_256_ecb()
													 : NULL;

	if (cipher == NULL || ff1->radix < 2 || ff1->radix > 36 || len < 2 ||
		len > AGENTPAY_FF1_MAX_LEN || ff1->tweak_len > AGENTPAY_FF1_MAX_TWEAK)
		return false;
	c->radix = ff1->radix;
	c->u = len / 2;
	c->v = len - c->u;
	c->modulus_u = c->modulus_v = *domain = 1;
	for (size_t i = 0; i < c->u; i++)
		c->modulus_u *= ff1->radix;
	for (size_t i = 0; i < c->v; i++)
		c->modulus_v *= ff1->radix;
	for (size_t i = 0; i < len && *domain < AGENTPAY_FF1_MIN_DOMAIN; i++)
		*domain *= ff1->radix;
	for (Number most = c->modulus_v - 1; most > 0; most >>= 8)
		c->b++;
	c->d = 4 * ((c->b + 3) / 4) + 4;
	write_prefix(c, ff1, len);
	c->aes = EVP_CIPHER_CTX_new();
	return c->aes != NULL &&
		   EVP_EncryptInit_ex(c->aes, cipher, NULL, ff1->key, NULL) == 1 &&
		   EVP_CIPHER_CTX_set_padding(c->aes, 0) == 1;
}

/* P, and of Q what comes before the round. */
static void
write_prefix(Cipher *c, const AgentpayFf1 *ff1, size_t len)
{
	uint8_t *p = c->input;
	size_t t = ff1->tweak_len;
	size_t used = t + 1 + c->b;

	p[0] = 1;
	p[1] = 2;
	p[2] = 1;
	p[5] = (uint8_t) c->radix;
	p[6] = ROUNDS;
	p[7] = (uint8_t) c->u;
	p[11] = (uint8_t) len;
	p[15] = (uint8_t) t;
	if (t > 0)
		memcpy(p + BLOCK, ff1->tweak, t);
	c->input_len = BLOCK + (used + BLOCK - 1) / BLOCK * BLOCK;
}

/* y of round i: NUM(S) of one half. */
static bool
round_of(Cipher *c, int i, Number half, Number *y)
{
	uint8_t r[BLOCK] = {0};
	uint8_t *end = c->input + c->input_len;
	bool done = true;

	end[-c->b - 1] = (uint8_t) i;
	for (int k = 1; k <= c->b; k++, half >>= 8)
		end[-k] = (uint8_t) half;
	/* PRF: the last block of CBC */
	for (size_t at = 0; done && at < c->input_len; at += BLOCK)
	{
		for (int k = 0; k < BLOCK; k++)
			r[k] ^= c->input[at + k];
		done = encrypt_block(c, r, r);
	}
	/* d is at most a block here: S is a part of R */
	*y = 0;
	for (int k = 0; k < c->d; k++)
		*y = *y << 8 | r[k];
	OPENSSL_cleanse(r, sizeof(r));
	return done;
}

static bool
encrypt_block(Cipher *c, const uint8_t *in, uint8_t *out)
{
	int n = 0;

	return EVP_EncryptUpdate(c->aes, out, &n, in, BLOCK) == 1 && n == BLOCK;
}

static bool
read_number(const char *in, size_t len, int radix, Number *number)
{
	*number = 0;
	for (size_t i = 0; i < len; i++)
	{
		int numeral = in[i] >= '0' && in[i] <= '9'	 ? in[i] - '0'
					  : in[i] >= 'a' && in[i] <= 'z' ? in[i] - 'a' + 10
													 : 36;

		if (numeral >= radix)
			return false;
		*number = *number * radix + numeral;
	}
	return true;
}

static void
write_number(Number number, size_t len, int radix, char *out)
{
	static const char numerals[] = "0123456789abcdefghijklmnopqrstuvwxyz";

	for (; len > 0; number /= radix)
		out[--len] = numerals[(int) (number % radix)];
}
