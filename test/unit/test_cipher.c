/*-------------------------------------------------------------------------
 * test_cipher.c
 *		What sealed values are made of: AES-256-GCM and HMAC-SHA-256.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "privacy/cipher.h"
#include "tap.h"

#define NONCE_AT 1
#define TEXT_AT (1 + 12)

/*
 * McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B,
 * test cases 13 to 16: those of a key of 256 bits and a nonce of 96.
 */
#define KEY_16                         \
	"feffe9928665731c6d6a8f9467308308" \
	"feffe9928665731c6d6a8f9467308308"
#define ZEROS "00000000000000000000000000000000"
#define PLAIN_15                       \
	"d9313225f88406e5a55909c5aff5269a" \
	"86a7a9531534f7da2e4c303d8a318a72" \
	"1c3c0c95956809532fcf0e2449a6b525" \
	"b16aedf5aa0de657ba637b39"
#define SEALED_15                      \
	"522dc1f099567d07f47f37a32a84427d" \
	"643a8cdcbfe5c0c97598a2bd2555d1aa" \
	"8cb08e48590dbb3da7b08b1056828838" \
	"c5f61e6393ba7a0abcc9f662"

static const struct
{
	const char *key;
	const char *nonce;
	const char *aad;
	const char *plain;
	const char *sealed;
	const char *tag;
} cases[] = {
	{ZEROS ZEROS, "000000000000000000000000", "", "", "",
	 "530f8afbc74536b9a963b4f1c4cb738b"},
	{ZEROS ZEROS, "000000000000000000000000", "", ZEROS,
	 "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
	{KEY_16, "cafebabefacedbaddecaf888", "", PLAIN_15 "1aafd255",
	 SEALED_15 "898015ad", "b094dac5d93471bdec1a502270e3cc6c"},
	{KEY_16, "cafebabefacedbaddecaf888",
	 "feedfacedeadbeeffeedfacedeadbeefabaddad2", PLAIN_15, SEALED_15,
	 "76fc6ece0f4e1768cddf8853bb2d551b"},
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

/* What others sealed is opened; with any bit changed it is not. */
static void
test_vectors(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		uint8_t key[AGENTPAY_KEY_SIZE];
		uint8_t aad[64];
		uint8_t plain[128];
		uint8_t sealed[128] = {1};
		uint8_t out[128];
		uint8_t wiped[128] = {0};
		size_t aad_len = from_hex(cases[i].aad, aad);
		size_t len = from_hex(cases[i].plain, plain);
		size_t all;
		int taken = 0;

		from_hex(cases[i].key, key);
		from_hex(cases[i].nonce, sealed + NONCE_AT);
		from_hex(cases[i].sealed, sealed + TEXT_AT);
		all = TEXT_AT + len;
		all += from_hex(cases[i].tag, sealed + all);
		check(all == len + AGENTPAY_SEAL_OVERHEAD &&
				  agentpay_cipher_open(key, aad, aad_len, sealed, all, out) &&
				  memcmp(out, plain, len) == 0,
			  "test case %zu is opened", 13 + i);
		for (size_t bit = 0; bit < 8 * all; bit++)
		{
			sealed[bit / 8] ^= 1 << bit % 8;
			taken += agentpay_cipher_open(key, aad, aad_len, sealed, all, out);
			sealed[bit / 8] ^= 1 << bit % 8;
		}
		check(taken == 0 && memcmp(out, wiped, len) == 0,
			  "with none of its bits changed, and nothing of it is left");
		for (size_t cut = 1; cut <= all; cut++)
			taken += agentpay_cipher_open(key, aad, aad_len, sealed, all - cut,
										  out);
		check(taken == 0, "nor cut short");
		check(!agentpay_cipher_open(key, "other", 5, sealed, all, out),
			  "nor for another row");
		key[31] ^= 1;
		check(!agentpay_cipher_open(key, aad, aad_len, sealed, all, out),
			  "nor under another key");
	}
}

/* What is sealed here is opened, and never the same twice. */
static void
test_seal(void)
{
	static const uint8_t key[AGENTPAY_KEY_SIZE] = {42};
	static char text[5000];
	static uint8_t sealed[2][sizeof(text) + AGENTPAY_SEAL_OVERHEAD];
	static char out[sizeof(text)];
	bool same = true;
	bool fresh = true;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char) (i * 7);
	for (size_t len = 0; len <= sizeof(text); len += len < 70 ? 1 : 493)
	{
		for (int i = 0; i < 2; i++)
			same &= agentpay_cipher_seal(key, "row", 3, text, len, sealed[i]);
		same &= agentpay_cipher_open(key, "row", 3, sealed[0],
									 len + AGENTPAY_SEAL_OVERHEAD, out) &&
				memcmp(out, text, len) == 0;
		fresh &= memcmp(sealed[0] + NONCE_AT, sealed[1] + NONCE_AT, 12) != 0;
		same &= sealed[0][0] == 1;
	}
	check(same, "sealed and opened, 0 to 5000 bytes");
	check(fresh, "under a nonce of its own each time");
}

/* A cipher that keeps its key seals as one that is given it each time. */
static void
test_sealer(void)
{
	static const uint8_t keys[2][AGENTPAY_KEY_SIZE] = {{42}, {43}};
	AgentpaySealer *sealers[2] = {agentpay_cipher_sealer(keys[0]),
								  agentpay_cipher_sealer(keys[1])};
	uint8_t sealed[3][40 + AGENTPAY_SEAL_OVERHEAD];
	char text[40] = "what is sealed";
	char out[40];
	int opened = 0;
	int wrong = 0;

	for (int i = 0; i < 100; i++)
	{
		size_t len = (size_t) i % sizeof(text);
		size_t size = len + AGENTPAY_SEAL_OVERHEAD;

		/* by turns, and with others between */
		for (int k = 0; k < 2; k++)
			opened += agentpay_cipher_seal_by(sealers[k], "row", 3, text, len,
											  sealed[k]);
		opened += agentpay_cipher_seal(keys[1], "row", 3, text, len, sealed[2]);
		for (int k = 0; k < 3; k++)
		{
			opened += agentpay_cipher_open(keys[k > 0], "row", 3, sealed[k],
										   size, out) &&
					  memcmp(out, text, len) == 0;
			wrong += agentpay_cipher_open(keys[k == 0], "row", 3, sealed[k],
										  size, out);
			wrong += agentpay_cipher_open(keys[k > 0], "other", 5, sealed[k],
										  size, out);
		}
		wrong += memcmp(sealed[1] + NONCE_AT, sealed[2] + NONCE_AT, 12) == 0;
	}
	check(opened == 600, "sealers of two keys, by turns");
	check(wrong == 0, "each only its own key's, bound to its row");
	for (int k = 0; k < 2; k++)
		agentpay_cipher_sealer_free(sealers[k]);
	agentpay_cipher_sealer_free(NULL);
}

/* By Python's hmac: the key 00 01 .. 1f, the label, a zero byte, the data. */
static void
test_mac(void)
{
	uint8_t key[AGENTPAY_KEY_SIZE];
	uint8_t mac[AGENTPAY_MAC_SIZE];
	uint8_t expected[AGENTPAY_MAC_SIZE];
	uint8_t name[AGENTPAY_KEY_NAME_SIZE];

	for (int i = 0; i < AGENTPAY_KEY_SIZE; i++)
		key[i] = (uint8_t) i;
	from_hex("070d1aed5c04286e49536e3bc413efa2"
			 "40726dba92d8863af38a77b1ae40e1d3",
			 expected);
	check(agentpay_cipher_mac(key, "subject", "alice", 5, mac) &&
			  memcmp(mac, expected, sizeof(mac)) == 0,
		  "HMAC-SHA-256 of a label and data");
	from_hex("2aa0f6cb358b02b7", expected);
	check(agentpay_cipher_name(key, name) &&
			  memcmp(name, expected, sizeof(name)) == 0,
		  "the name of a master key");
}

int
main(void)
{
	test_vectors();
	test_seal();
	test_sealer();
	test_mac();
	return tap_done();
}
