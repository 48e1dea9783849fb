/*-------------------------------------------------------------------------
 * keys.h
 *		Keys of subjects: what a row may not hold in clear is sealed under its
 *		subject's, and unreadable once that is destroyed.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_KEYS_H
#define AGENTPAY_KEYS_H

#include "postgres.h"

#include "utils/uuid.h"

#include "privacy/cipher.h"

/* Which row a sealed value belongs to: part of what it is bound to. */
#define AGENTPAY_SEALED_DECISION 'd'
#define AGENTPAY_SEALED_CALL 'c'
#define AGENTPAY_SEALED_TOKEN 't'

/* Whether there is a master key to seal with; raises nothing. */
extern bool agentpay_keys_wanted(void);

/*
 * A key of the subject, made if it has none, in this transaction; subject
 * NULL: of the rows of today that have none.  0: the master key or the lookup
 * key is missing, *problem says why.  Raises what the tables raise.
 */
extern int64 agentpay_keys_of(const char *subject, const char **problem);

/*
 * Seals the text under that key as a value of the row with that id.  NULL: the
 * key is destroyed, or cannot be unwrapped.
 */
extern bytea *
agentpay_keys_seal(int64 key_id, char kind, const pg_uuid_t *id,
				   const char *text, size_t len, const char **problem);

/*
 * Both in one: seals under a key of the subject into out, which has room for
 * len + AGENTPAY_SEAL_OVERHEAD bytes.  The key's id; 0: not sealed, *problem
 * says why.
 */
extern int64
agentpay_keys_seal_of(const char *subject, char kind, const pg_uuid_t *id,
					  const char *text, size_t len, uint8 *out,
					  const char **problem);

/*
 * The text of what was sealed, terminated.  NULL, with *problem NULL: the key
 * is destroyed.
 */
extern char *
agentpay_keys_open(int64 key_id, char kind, const pg_uuid_t *id,
				   const bytea *sealed, size_t *len, const char **problem);

/* A keyed hash under the lookup key; false: there is none, *problem why. */
extern bool agentpay_keys_hash(const char *label, const char *text, size_t len,
							   uint8 *mac, const char **problem);

/* Logs once a minute why nothing is sealed. */
extern void agentpay_keys_complain(const char *problem);

#endif /* AGENTPAY_KEYS_H */
