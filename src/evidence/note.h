/*-------------------------------------------------------------------------
 * note.h
 *		Checkpoints as signed notes: c2sp.org/signed-note and
 *		c2sp.org/tlog-checkpoint, with Ed25519.
 *
 * Pure: libc and libcrypto.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_NOTE_H
#define AGENTPAY_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json_writer.h"
#include "evidence/merkle.h"

#define AGENTPAY_NOTE_NAME_MAX 255
#define AGENTPAY_ED25519_SIZE 32
/* A note of ours has one signature; witnesses may add theirs. */
#define AGENTPAY_NOTE_MAX_LENGTH (64 * 1024)

/* A verifier key: whose signature it checks, and with what. */
typedef struct AgentpayNoteKey
{
	char name[AGENTPAY_NOTE_NAME_MAX + 1];
	uint8_t id[4];
	uint8_t public_key[AGENTPAY_ED25519_SIZE];
} AgentpayNoteKey;

/* What a checkpoint says. */
typedef struct AgentpayCheckpoint
{
	char origin[AGENTPAY_NOTE_NAME_MAX + 1];
	uint64_t size;
	AgentpayHash root;
} AgentpayCheckpoint;

/* An Ed25519 key that signs; freed by agentpay_note_free_signer(). */
typedef struct AgentpayNoteSigner AgentpayNoteSigner;

/* Whether that can be the name of a key: printable ASCII without "+". */
extern bool agentpay_note_valid_name(const char *name);

/* From a PEM file's content; NULL: it is no Ed25519 private key. */
extern AgentpayNoteSigner *agentpay_note_signer(const char *pem, size_t len);
extern void agentpay_note_free_signer(AgentpayNoteSigner *signer);

/* The verifier key of a signer, or of a text name+id+key. */
extern bool agentpay_note_signer_key(const AgentpayNoteSigner *signer,
									 const char *name, AgentpayNoteKey *key);
extern bool agentpay_note_read_key(const char *vkey, AgentpayNoteKey *key);
extern void
agentpay_note_write_key(const AgentpayNoteKey *key, AgentpayJsonWriter *out);

/* The checkpoint's text and its signature; false: could not sign. */
extern bool
agentpay_note_sign(const AgentpayNoteSigner *signer, const AgentpayNoteKey *key,
				   const AgentpayCheckpoint *checkpoint,
				   AgentpayJsonWriter *out);

/*
 * Reads a checkpoint out of a note, whoever signed it; NULL, or why it is
 * none.
 */
extern const char *agentpay_note_read(const char *note, size_t len,
									  AgentpayCheckpoint *checkpoint);

/*
 * Whether the note has a valid signature of that key; one that is not valid is
 * enough to say no.
 */
extern bool
agentpay_note_verify(const char *note, size_t len, const AgentpayNoteKey *key);

/* RFC 4648, 4.  decode() takes no other form than encode() writes: the length
 * that was decoded, or -1. */
extern void agentpay_base64_encode(const uint8_t *data, size_t len,
								   AgentpayJsonWriter *out);
extern int
agentpay_base64_decode(const char *text, size_t len, uint8_t *out, size_t size);

#endif /* AGENTPAY_NOTE_H */
