/*-------------------------------------------------------------------------
 * test_note.c
 *		Signed notes and checkpoints against the published example, and what
 *		is off by a byte.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "evidence/note.h"
#include "tap.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

/* c2sp.org/signed-note: the example, and its verifier key. */
static const char example_key[] =
	"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
static const char example[] =
	"This is an example message.\n"
	"\n"
	"\xE2\x80\x94 example.com/foo "
	"Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXm"
	"RKuwHjG1Yu72IneyaQM=\n";

/* RFC 8032, 7.1, test 1, as PKCS #8; its public key is below. */
static const char secret[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
	"-----END PRIVATE KEY-----\n";
static const uint8_t secret_public[] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1,
										0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3,
										0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
										0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25,
										0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07,
										0x51, 0x1a};

/* c2sp.org/tlog-checkpoint: the example, but for its signature. */
static const char example_checkpoint[] =
	"example.com/behind-the-sofa\n"
	"20852163\n"
	"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	"\n"
	"\xE2\x80\x94 example.com/behind-the-sofa "
	"Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9"
	"nTo+zyWE+xeMcTOAYQ8=\n";

typedef struct Base64Case
{
	const char *text;
	const char *written;
} Base64Case;

/* RFC 4648, 10 */
static const Base64Case base64[] = {
	{"", ""},
	{"f", "Zg=="},
	{"fo", "Zm8="},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"},
};
static const char *const no_base64[] = {
	"Zg=",	  "Zg",	  "Z===", "====", "Zg==Zg==", "Zm9v ",
	"Zm9v\n", "Zh==", "Zm9=", "Zm-_", "Zm 9",	  "\xC3\xA9\xC3\xA9",
};

static void
check_base64(void)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < N(base64); i++)
	{
		AgentpayJsonWriter out = {0};
		int len = agentpay_base64_decode(base64[i].written,
										 strlen(base64[i].written), bytes,
										 sizeof(bytes));

		agentpay_json_write(&out, "");
		agentpay_base64_encode((const uint8_t *) base64[i].text,
							   strlen(base64[i].text), &out);
		check(strcmp(out.data, base64[i].written) == 0 &&
				  len == (int) strlen(base64[i].text) &&
				  memcmp(bytes, base64[i].text, len) == 0,
			  "base64 of \"%s\"", base64[i].text);
		free(out.data);
	}
	for (size_t i = 0; i < N(no_base64); i++)
		check(agentpay_base64_decode(no_base64[i], strlen(no_base64[i]), bytes,
									 sizeof(bytes)) == -1,
			  "no base64: %zu", i);
	check(agentpay_base64_decode("Zm9v", 4, bytes, 2) == -1, "no room");
}

/* Every byte of the note changed, one after the other. */
static bool
refuses_changes(const char *note, const AgentpayNoteKey *key)
{
	size_t len = strlen(note);
	char *changed = malloc(len + 1);
	bool refused = true;

	for (size_t i = 0; i < len; i++)
	{
		memcpy(changed, note, len + 1);
		changed[i] ^= 1;
		refused = refused && !agentpay_note_verify(changed, len, key);
		refused = refused && (i == 0 || !agentpay_note_verify(note, i, key));
	}
	free(changed);
	return refused;
}

static void
check_example(void)
{
	AgentpayNoteKey key;
	AgentpayNoteKey other;
	AgentpayJsonWriter out = {0};
	char more[2048];

	check(agentpay_note_read_key(example_key, &key) &&
			  strcmp(key.name, "example.com/foo") == 0,
		  "the published verifier key");
	agentpay_note_write_key(&key, &out);
	check(strcmp(out.data, example_key) == 0, "is written as it was");
	free(out.data);
	check(agentpay_note_verify(example, strlen(example), &key),
		  "the published note");
	check(refuses_changes(example, &key), "no byte of it may change");

	/* of another key it says nothing, also of one that has the name */
	other = key;
	other.id[0] ^= 1;
	check(!agentpay_note_verify(example, strlen(example), &other),
		  "another key's signature does not count");
	snprintf(more, sizeof(more), "%s\xE2\x80\x94 witness %s", example,
			 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
	check(agentpay_note_verify(more, strlen(more), &key),
		  "a witness's signature may follow");
	snprintf(more, sizeof(more), "%sx\n", example);
	check(!agentpay_note_verify(more, strlen(more), &key),
		  "what is no signature may not");
}

static void
check_keys(void)
{
	static const char *const bad[] = {
		"",
		"example.com/foo",
		"example.com/foo+530d903a",
		"+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U0=",
		"example com+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
	};
	AgentpayNoteKey key;

	for (size_t i = 0; i < N(bad); i++)
		check(!agentpay_note_read_key(bad[i], &key), "no key: %s", bad[i]);
	check(agentpay_note_signer("x", 1) == NULL, "no private key");
	check(!agentpay_note_valid_name("a+b") &&
			  !agentpay_note_valid_name("a b") &&
			  !agentpay_note_valid_name("") &&
			  !agentpay_note_valid_name("\xC3\xA9") &&
			  agentpay_note_valid_name("example.com/ledger"),
		  "names of keys");
}

/* the hash: base64 of the bytes 0, 7, 14 ... modulo 256 */
static const char signed_text[] = "example.com/ledger\n9223372036854775807\n"
								  "AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk="
								  "\n\n\xE2\x80\x94 example.com/ledger ";

static void
check_signing(void)
{
	AgentpayNoteSigner *signer = agentpay_note_signer(secret, strlen(secret));
	AgentpayCheckpoint checkpoint = {.origin = "example.com/ledger",
									 .size = 9223372036854775807ULL};
	AgentpayCheckpoint read;
	AgentpayNoteKey key;
	AgentpayJsonWriter note = {0};

	for (int i = 0; i < AGENTPAY_HASH_SIZE; i++)
		checkpoint.root.bytes[i] = (uint8_t) (i * 7);
	check(signer != NULL &&
			  agentpay_note_signer_key(signer, checkpoint.origin, &key),
		  "a private key in PEM");
	check(memcmp(key.public_key, secret_public, sizeof(secret_public)) == 0,
		  "its public key");
	check(agentpay_note_sign(signer, &key, &checkpoint, &note), "signs");
	check(strncmp(note.data, signed_text, strlen(signed_text)) == 0,
		  "a checkpoint: %s", note.data);
	check(agentpay_note_verify(note.data, note.len, &key), "and verifies");
	check(refuses_changes(note.data, &key), "no byte of it may change");
	check(agentpay_note_read(note.data, note.len, &read) == NULL &&
			  strcmp(read.origin, checkpoint.origin) == 0 &&
			  read.size == checkpoint.size &&
			  agentpay_merkle_equal(&read.root, &checkpoint.root),
		  "and says what it said");
	agentpay_note_free_signer(signer);
	free(note.data);
}

static void
check_reading(void)
{
	static const char *const bad[] = {
		"",
		"\n",
		"a\n1\nAAAA\n",
		"a\n\n\n",
		"\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
		"a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
		"a\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
		"a\n9223372036854775808\n"
		"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
		"a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n\n",
		"a\n1\n\n",
	};
	AgentpayCheckpoint read;

	check(agentpay_note_read(example_checkpoint, strlen(example_checkpoint),
							 &read) == NULL &&
			  strcmp(read.origin, "example.com/behind-the-sofa") == 0 &&
			  read.size == 20852163 && read.root.bytes[0] == 0x0A &&
			  read.root.bytes[31] == 0x62,
		  "the published checkpoint");
	for (size_t i = 0; i < N(bad); i++)
		check(agentpay_note_read(bad[i], strlen(bad[i]), &read) != NULL,
			  "no checkpoint: %zu", i);
}

int
main(void)
{
	check_base64();
	check_example();
	check_keys();
	check_signing();
	check_reading();
	return tap_done();
}
