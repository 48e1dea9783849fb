/*-------------------------------------------------------------------------
 * test_ff1.c
 *		FF1 against the samples that NIST publishes with SP 800-38G, and what
 *		it refuses.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "privacy/ff1.h"
#include "tap.h"

#define KEY_128 "2B7E151628AED2A6ABF7158809CF4F3C"
#define KEY_192 KEY_128 "EF4359D8D580AA4F"
#define KEY_256 KEY_192 "7F036D6F04FC6A94"
#define TWEAK_10 "39383736353433323130"
#define TWEAK_36 "3737373770717273373737"

/* "FF1samples", samples 1 to 9, in another order. */
static const struct
{
	const char *key;
	const char *tweak;
	int radix;
	const char *plain;
	const char *cipher;
} samples[] = {
	{KEY_128, "", 10, "0123456789", "2433477484"},
	{KEY_192, "", 10, "0123456789", "2830668132"},
	{KEY_256, "", 10, "0123456789", "6657667009"},
	{KEY_128, TWEAK_10, 10, "0123456789", "6124200773"},
	{KEY_192, TWEAK_10, 10, "0123456789", "2496655549"},
	{KEY_256, TWEAK_10, 10, "0123456789", "1001623463"},
	{KEY_128, TWEAK_36, 36, "0123456789abcdefghi", "a9tv40mll9kdu509eum"},
	{KEY_192, TWEAK_36, 36, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"},
	{KEY_256, TWEAK_36, 36, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"},
};

static size_t
from_hex(const char *hex, uint8_t *out)
{
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++)
	{
		unsigned byte;

		sscanf(hex + 2 * i, "%2x", &byte);
		out[i] = (uint8_t) byte;
	}
	return len;
}

static void
test_samples(void)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++)
	{
		uint8_t key[32];
		uint8_t tweak[32];
		char out[AGENTPAY_FF1_MAX_LEN + 1] = "";
		size_t len = strlen(samples[i].plain);
		AgentpayFf1 ff1 = {.key = key,
						   .key_size = from_hex(samples[i].key, key),
						   .tweak = tweak,
						   .tweak_len = from_hex(samples[i].tweak, tweak),
						   .radix = samples[i].radix};

		check(agentpay_ff1_encrypt(&ff1, samples[i].plain, len, out) &&
				  strcmp(out, samples[i].cipher) == 0,
			  "sample %zu is encrypted: %s", i, out);
		check(agentpay_ff1_decrypt(&ff1, samples[i].cipher, len, out) &&
				  strcmp(out, samples[i].plain) == 0,
			  "and decrypted: %s", out);
	}
}

/* Each length there and back; a sample of the smallest domain has no double. */
static void
test_permutation(void)
{
	static const uint8_t key[32] = {7};
	static char seen[1000000];
	AgentpayFf1 ff1 = {.key = key,
					   .key_size = sizeof(key),
					   .tweak = "card",
					   .tweak_len = 4,
					   .radix = 10};
	char text[AGENTPAY_FF1_MAX_LEN + 1];
	char out[AGENTPAY_FF1_MAX_LEN + 1] = "";
	char back[AGENTPAY_FF1_MAX_LEN + 1] = "";
	bool same = true;
	int doubles = 0;

	for (size_t len = 6; len <= AGENTPAY_FF1_MAX_LEN; len++)
		for (int digit = 0; digit < 10; digit++)
		{
			memset(text, '0' + digit, len);
			same &= agentpay_ff1_encrypt(&ff1, text, len, out) &&
					strspn(out, "0123456789") >= len &&
					agentpay_ff1_decrypt(&ff1, out, len, back) &&
					memcmp(text, back, len) == 0;
		}
	check(same, "6 to 36 digits, there and back");
	memset(out, 0, sizeof(out));
	for (int i = 0; i < 1000000; i += 97)
	{
		snprintf(text, sizeof(text), "%06d", i);
		if (agentpay_ff1_encrypt(&ff1, text, 6, out))
			doubles += seen[strtol(out, NULL, 10)]++;
	}
	check(doubles == 0, "no two of 10310 texts become the same");
	ff1.tweak = "iban";
	(void) agentpay_ff1_encrypt(&ff1, "123456", 6, back);
	ff1.tweak = "card";
	(void) agentpay_ff1_encrypt(&ff1, "123456", 6, out);
	check(strcmp(out, back) != 0, "another tweak, another text");
}

static void
test_refused(void)
{
	static const uint8_t key[32] = {7};
	static const char long_text[] = "0123456789012345678901234567890123456";
	char tweak[AGENTPAY_FF1_MAX_TWEAK + 1] = "";
	char out[64] = "";
	AgentpayFf1 ff1 = {.key = key, .key_size = 32, .tweak = "", .radix = 10};

	check(!agentpay_ff1_encrypt(&ff1, "12345", 5, out),
		  "100,000 texts are too few");
	check(agentpay_ff1_encrypt(&ff1, "123456", 6, out), "1,000,000 are not");
	ff1.radix = 2;
	check(!agentpay_ff1_encrypt(&ff1, "0101010101010101010", 19, out),
		  "2^19 are too few");
	check(agentpay_ff1_encrypt(&ff1, "01010101010101010101", 20, out),
		  "2^20 are not");
	ff1.radix = 10;
	check(!agentpay_ff1_encrypt(&ff1, "12345a", 6, out), "a letter");
	check(!agentpay_ff1_encrypt(&ff1, "1234 5678", 9, out), "a space");
	check(!agentpay_ff1_encrypt(&ff1, long_text, 37, out), "37 digits");
	check(!agentpay_ff1_encrypt(&ff1, "", 0, out), "nothing");
	ff1.radix = 37;
	check(!agentpay_ff1_encrypt(&ff1, "123456", 6, out), "radix 37");
	ff1.radix = 10;
	ff1.key_size = 20;
	check(!agentpay_ff1_encrypt(&ff1, "123456", 6, out), "a key of 20 bytes");
	ff1.key_size = 32;
	ff1.tweak = tweak;
	ff1.tweak_len = sizeof(tweak);
	check(!agentpay_ff1_encrypt(&ff1, "123456", 6, out), "a tweak too long");
}

int
main(void)
{
	test_samples();
	test_permutation();
	test_refused();
	return tap_done();
}
