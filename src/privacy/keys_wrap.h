/*-------------------------------------------------------------------------
 * keys_wrap.h
 *		Keys under the master keys, and what sealed values are bound to; for
 *		keys.c and keys_sql.c.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_KEYS_WRAP_H
#define AGENTPAY_KEYS_WRAP_H

#include "postgres.h"

#include "utils/uuid.h"

#include "privacy/master_key.h"

#define AGENTPAY_HASH_SUBJECT "subject"
#define AGENTPAY_HASH_NOBODY "no subject"

/* The associated data of a sealed value: the identity of its row. */
typedef struct AgentpaySealedFor
{
	char kind[8];
	uint8 id[UUID_LEN];
	uint8 key_id[8]; /* the least significant byte first */
} AgentpaySealedFor;

extern void agentpay_keys_bind(AgentpaySealedFor *bound, char kind,
							   const pg_uuid_t *id, int64 key_id);

/* Under the first master key, whose name is set; NULL: it failed. */
extern bytea *
agentpay_keys_wrap(const AgentpayMasterKeys *masters, int64 key_id,
				   const uint8 *bytes, bytea **name);

/* Under the master key of that name; false: there is none, or it failed. */
extern bool
agentpay_keys_unwrap(const AgentpayMasterKeys *masters, int64 key_id,
					 const bytea *wrapped, const bytea *name, uint8 *bytes);

#endif /* AGENTPAY_KEYS_WRAP_H */
