/*-------------------------------------------------------------------------
 * keys_wrap.c
 *		Keys under the master keys, and what sealed values are bound to.
 *
 * A wrapped key is bound to its key_id, so that no row can be given another's.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "privacy/keys_wrap.h"

#define KIND_KEY 'k'

static const pg_uuid_t no_id = {{0}};

void
agentpay_keys_bind(AgentpaySealedFor *bound, char kind, const pg_uuid_t *id,
				   int64 key_id)
{
	memset(bound, 0, sizeof(*bound));
	memcpy(bound->kind, "agentpay", sizeof(bound->kind));
	bound->kind[sizeof(bound->kind) - 1] = kind;
	memcpy(bound->id, id->data, UUID_LEN);
	for (int i = 0; i < 8; i++)
		bound->key_id[i] = (uint8) ((uint64) key_id >> (8 * i));
}

bytea *
agentpay_keys_wrap(const AgentpayMasterKeys *masters, int64 key_id,
				   const uint8 *bytes, bytea **name)
{
	Size size = VARHDRSZ + AGENTPAY_KEY_SIZE + AGENTPAY_SEAL_OVERHEAD;
	bytea *wrapped = palloc(size);
	AgentpaySealedFor bound;

	SET_VARSIZE(wrapped, size);
	*name = palloc(VARHDRSZ + AGENTPAY_KEY_NAME_SIZE);
	SET_VARSIZE(*name, VARHDRSZ + AGENTPAY_KEY_NAME_SIZE);
	memcpy(VARDATA(*name), masters->keys[0].name, AGENTPAY_KEY_NAME_SIZE);
	agentpay_keys_bind(&bound, KIND_KEY, &no_id, key_id);
	if (!agentpay_cipher_seal(masters->keys[0].bytes, &bound, sizeof(bound),
							  bytes, AGENTPAY_KEY_SIZE,
							  (uint8 *) VARDATA(wrapped)))
		return NULL;
	return wrapped;
}

bool
agentpay_keys_unwrap(const AgentpayMasterKeys *masters, int64 key_id,
					 const bytea *wrapped, const bytea *name, uint8 *bytes)
{
	AgentpaySealedFor bound;

	if (VARSIZE_ANY_EXHDR(name) != AGENTPAY_KEY_NAME_SIZE ||
		VARSIZE_ANY_EXHDR(wrapped) !=
			AGENTPAY_KEY_SIZE + AGENTPAY_SEAL_OVERHEAD)
		return false;
	agentpay_keys_bind(&bound, KIND_KEY, &no_id, key_id);
	for (int i = 0; i < masters->count; i++)
		if (memcmp(VARDATA_ANY(name), masters->keys[i].name,
				   AGENTPAY_KEY_NAME_SIZE) == 0)
			return agentpay_cipher_open(masters->keys[i].bytes, &bound,
										sizeof(bound),
										(const uint8 *) VARDATA_ANY(wrapped),
										VARSIZE_ANY_EXHDR(wrapped), bytes);
	return false;
}
