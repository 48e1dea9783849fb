/*-------------------------------------------------------------------------
 * note.c
 *		Checkpoints as signed notes.
 *
 * A note is a text, an empty line, and a line for each signature: an em dash,
 * the key's name, and in base64 the key's id and the signature of the text.
 * The id is the start of a hash of name, algorithm and key, so that a line says
 * which key it is of.
 *-------------------------------------------------------------------------
 */
#include "evidence/note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#define ALGORITHM_ED25519 0x01
#define SIGNATURE_SIZE 64
#define ID_SIZE 4

static const char em_dash[] = "\xE2\x80\x94 ";

/* One signature line. */
typedef struct Signature
{
	const char *name;
	size_t name_len;
	uint8_t bytes[1024]; /* id and signature; other algorithms' are longer */
	int len;
} Signature;

struct AgentpayNoteSigner
{
	EVP_PKEY *key;
};

static void key_id(const AgentpayNoteKey *key, uint8_t *id);
static bool
split_note(const char *note, size_t len, size_t *text_len, const char **lines);
static bool
read_signature(const char **line, const char *end, Signature *signature);
static bool is_valid(const AgentpayNoteKey *key, const char *text,
					 size_t text_len, const uint8_t *signature);
static bool read_size(const char *text, size_t len, uint64_t *size);

bool
agentpay_note_valid_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > AGENTPAY_NOTE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] >= 0x7F || name[i] == '+')
			return false;
	return true;
}

AgentpayNoteSigner *
agentpay_note_signer(const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int) len);
	AgentpayNoteSigner *signer = calloc(1, sizeof(AgentpayNoteSigner));

	if (bio != NULL && signer != NULL)
		/* a key behind a pass phrase is refused: nobody is there to ask */
		signer->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *) "");
	BIO_free(bio);
	if (signer != NULL && (signer->key == NULL ||
						   EVP_PKEY_base_id(signer->key) != EVP_PKEY_ED25519))
	{
		agentpay_note_free_signer(signer);
		signer = NULL;
	}
	return signer;
}

/* Wipes the key. */
void
agentpay_note_free_signer(AgentpayNoteSigner *signer)
{
	if (signer == NULL)
		return;
	EVP_PKEY_free(signer->key);
	free(signer);
}

bool
agentpay_note_signer_key(const AgentpayNoteSigner *signer, const char *name,
						 AgentpayNoteKey *key)
{
	size_t len = AGENTPAY_ED25519_SIZE;

	memset(key, 0, sizeof(*key));
	if (!agentpay_note_valid_name(name) ||
		EVP_PKEY_get_raw_public_key(signer->key, key->public_key, &len) != 1 ||
		len != AGENTPAY_ED25519_SIZE)
		return false;
	strcpy(key->name, name);
	key_id(key, key->id);
	return true;
}

/* The first four bytes of SHA-256(name || "\n" || algorithm || key). */
static void
key_id(const AgentpayNoteKey *key, uint8_t *id)
{
	uint8_t data[AGENTPAY_NOTE_NAME_MAX + 2 + AGENTPAY_ED25519_SIZE];
	uint8_t hash[EVP_MAX_MD_SIZE];
	size_t len = strlen(key->name);

	memcpy(data, key->name, len);
	data[len++] = '\n';
	data[len++] = ALGORITHM_ED25519;
	memcpy(data + len, key->public_key, AGENTPAY_ED25519_SIZE);
	len += AGENTPAY_ED25519_SIZE;
	memset(id, 0, ID_SIZE);
	if (EVP_Digest(data, len, hash, NULL, EVP_sha256(), NULL) == 1)
		memcpy(id, hash, ID_SIZE);
}

/* name+hex(id)+base64(algorithm || key) */
bool
agentpay_note_read_key(const char *vkey, AgentpayNoteKey *key)
{
	const char *plus = strchr(vkey, '+');
	uint8_t bytes[1 + AGENTPAY_ED25519_SIZE];
	char hex[2 * ID_SIZE + 1];

	memset(key, 0, sizeof(*key));
	if (plus == NULL || plus - vkey > AGENTPAY_NOTE_NAME_MAX)
		return false;
	memcpy(key->name, vkey, plus - vkey);
	plus++;
	if (!agentpay_note_valid_name(key->name) || strlen(plus) < 2 * ID_SIZE ||
		plus[2 * ID_SIZE] != '+')
		return false;
	if (agentpay_base64_decode(plus + 2 * ID_SIZE + 1,
							   strlen(plus + 2 * ID_SIZE + 1), bytes,
							   sizeof(bytes)) != (int) sizeof(bytes) ||
		bytes[0] != ALGORITHM_ED25519)
		return false;
	memcpy(key->public_key, bytes + 1, AGENTPAY_ED25519_SIZE);
	key_id(key, key->id);
	snprintf(hex, sizeof(hex), "%02x%02x%02x%02x", key->id[0], key->id[1],
			 key->id[2], key->id[3]);
	return strncmp(hex, plus, 2 * ID_SIZE) == 0;
}

void
agentpay_note_write_key(const AgentpayNoteKey *key, AgentpayJsonWriter *out)
{
	uint8_t bytes[1 + AGENTPAY_ED25519_SIZE];
	char hex[2 * ID_SIZE + 3];

	bytes[0] = ALGORITHM_ED25519;
	memcpy(bytes + 1, key->public_key, AGENTPAY_ED25519_SIZE);
	snprintf(hex, sizeof(hex), "+%02x%02x%02x%02x+", key->id[0], key->id[1],
			 key->id[2], key->id[3]);
	agentpay_json_write(out, key->name);
	agentpay_json_write(out, hex);
	agentpay_base64_encode(bytes, sizeof(bytes), out);
}

bool
agentpay_note_sign(const AgentpayNoteSigner *signer, const AgentpayNoteKey *key,
				   const AgentpayCheckpoint *checkpoint,
				   AgentpayJsonWriter *out)
{
	uint8_t bytes[ID_SIZE + SIGNATURE_SIZE];
	size_t len = SIGNATURE_SIZE;
	char size[32];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool done;

	out->len = 0;
	agentpay_json_write(out, checkpoint->origin);
	snprintf(size, sizeof(size), "\n%llu\n",
			 (unsigned long long) checkpoint->size);
	agentpay_json_write(out, size);
	agentpay_base64_encode(checkpoint->root.bytes, AGENTPAY_HASH_SIZE, out);
	agentpay_json_write(out, "\n");

	memcpy(bytes, key->id, ID_SIZE);
	done = context != NULL && !out->failed &&
		   EVP_DigestSignInit(context, NULL, NULL, NULL, signer->key) == 1 &&
		   EVP_DigestSign(context, bytes + ID_SIZE, &len,
						  (const uint8_t *) out->data, out->len) == 1 &&
		   len == SIGNATURE_SIZE;
	EVP_MD_CTX_free(context);
	if (!done)
		return false;
	agentpay_json_write(out, "\n");
	agentpay_json_write(out, em_dash);
	agentpay_json_write(out, key->name);
	agentpay_json_write(out, " ");
	agentpay_base64_encode(bytes, sizeof(bytes), out);
	agentpay_json_write(out, "\n");
	return !out->failed;
}

/* Origin, size and root are three lines; what follows them is others'. */
const char *
agentpay_note_read(const char *note, size_t len, AgentpayCheckpoint *checkpoint)
{
	size_t text_len;
	const char *signatures;
	const char *line = note;
	const char *end;

	memset(checkpoint, 0, sizeof(*checkpoint));
	if (!split_note(note, len, &text_len, &signatures))
		return "it is no signed note";
	end = memchr(line, '\n', text_len);
	if (end == line || end - line > AGENTPAY_NOTE_NAME_MAX)
		return "its first line is no origin";
	memcpy(checkpoint->origin, line, end - line);
	line = end + 1;
	end = memchr(line, '\n', note + text_len - line);
	if (end == NULL || !read_size(line, end - line, &checkpoint->size))
		return "its second line is no size";
	line = end + 1;
	end = memchr(line, '\n', note + text_len - line);
	if (end == NULL ||
		agentpay_base64_decode(line, end - line, checkpoint->root.bytes,
							   AGENTPAY_HASH_SIZE) != AGENTPAY_HASH_SIZE)
		return "its third line is no hash";
	return NULL;
}

bool
agentpay_note_verify(const char *note, size_t len, const AgentpayNoteKey *key)
{
	size_t text_len;
	const char *line;
	bool valid = false;

	if (!split_note(note, len, &text_len, &line))
		return false;
	while (line < note + len)
	{
		Signature signature;

		if (!read_signature(&line, note + len, &signature))
			return false;
		if (signature.name_len != strlen(key->name) ||
			memcmp(signature.name, key->name, signature.name_len) != 0 ||
			memcmp(signature.bytes, key->id, ID_SIZE) != 0)
			continue;
		if (signature.len != ID_SIZE + SIGNATURE_SIZE ||
			!is_valid(key, note, text_len, signature.bytes + ID_SIZE))
			return false;
		valid = true;
	}
	return valid;
}

/* The text with its last newline, and where the signatures begin. */
static bool
split_note(const char *note, size_t len, size_t *text_len, const char **lines)
{
	if (len < 2 || len > AGENTPAY_NOTE_MAX_LENGTH || note[len - 1] != '\n' ||
		memchr(note, '\0', len) != NULL)
		return false;
	/* the last empty line: a text may have some of its own */
	for (size_t i = len - 1; i > 1; i--)
		if (note[i - 1] == '\n' && note[i - 2] == '\n')
		{
			*text_len = i - 1;
			*lines = note + i;
			return true;
		}
	return false;
}

/* A line "— name base64"; moves on to the next one. */
static bool
read_signature(const char **line, const char *end, Signature *signature)
{
	size_t prefix = sizeof(em_dash) - 1;
	const char *newline = memchr(*line, '\n', end - *line);
	const char *space;

	if (newline == NULL || (size_t) (newline - *line) < prefix ||
		memcmp(*line, em_dash, prefix) != 0)
		return false;
	signature->name = *line + prefix;
	space = memchr(signature->name, ' ', newline - signature->name);
	if (space == NULL || space == signature->name)
		return false;
	signature->name_len = space - signature->name;
	signature->len = agentpay_base64_decode(space + 1, newline - space - 1,
											signature->bytes,
											sizeof(signature->bytes));
	*line = newline + 1;
	return signature->len > ID_SIZE;
}

static bool
is_valid(const AgentpayNoteKey *key, const char *text, size_t text_len,
		 const uint8_t *signature)
{
	EVP_PKEY *public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
													   key->public_key,
													   AGENTPAY_ED25519_SIZE);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool valid = public_key != NULL && context != NULL &&
				 EVP_DigestVerifyInit(context, NULL, NULL, NULL, public_key) ==
					 1 &&
				 EVP_DigestVerify(context, signature, SIGNATURE_SIZE,
								  (const uint8_t *) text, text_len) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(public_key);
	return valid;
}

/* Decimal, without leading zeros, below 2^63. */
static bool
read_size(const char *text, size_t len, uint64_t *size)
{
	*size = 0;
	if (len == 0 || len > 19 || (len > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		*size = *size * 10 + (uint64_t) (text[i] - '0');
	}
	return *size <= INT64_MAX;
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
agentpay_base64_encode(const uint8_t *data, size_t len, AgentpayJsonWriter *out)
{
	for (size_t i = 0; i < len; i += 3)
	{
		size_t rest = len - i;
		uint32_t bits = (uint32_t) data[i] << 16;
		char digits[4];

		if (rest > 1)
			bits |= (uint32_t) data[i + 1] << 8;
		if (rest > 2)
			bits |= data[i + 2];
		digits[0] = base64_digits[bits >> 18];
		digits[1] = base64_digits[bits >> 12 & 63];
		digits[2] = rest > 1 ? base64_digits[bits >> 6 & 63] : '=';
		digits[3] = rest > 2 ? base64_digits[bits & 63] : '=';
		agentpay_json_write_bytes(out, digits, 4);
	}
}

int
agentpay_base64_decode(const char *text, size_t len, uint8_t *out, size_t size)
{
	size_t written = 0;
	size_t padding = 0;

	if (len % 4 != 0)
		return -1;
	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	if (len / 4 * 3 - padding > size)
		return -1;
	for (size_t i = 0; i < len; i += 4)
	{
		uint32_t bits = 0;
		size_t bytes = i + 4 == len ? 3 - padding : 3;

		for (size_t j = 0; j < 4; j++)
		{
			const char *digit = j > bytes ? base64_digits
										  : strchr(base64_digits, text[i + j]);

			if (digit == NULL || *digit == '\0')
				return -1;
			bits = bits << 6 | (uint32_t) (digit - base64_digits);
		}
		/* bits that no byte takes must be zero: one form for one value */
		if (bytes < 3 && (bits & ((1u << (8 * (3 - bytes))) - 1)) != 0)
			return -1;
		for (size_t j = 0; j < bytes; j++)
			out[written++] = (uint8_t) (bits >> (16 - 8 * j));
	}
	return (int) written;
}
