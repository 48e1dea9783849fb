/*-------------------------------------------------------------------------
 * keys_sql.c
 *		Keys of subjects for SQL: forget(), rotate_master_key() and what reads
 *		sealed values.
 *
 * Locks: those of keys.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "base/compat.h"
#include "privacy/keys.h"
#include "privacy/keys_wrap.h"
#include "privacy/master_key.h"

static const AgentpayMasterKeys *need_masters(void);
static void refuse(const char *problem);

PG_FUNCTION_INFO_V1(agentpay_sql_open);
PG_FUNCTION_INFO_V1(agentpay_sql_open_text);
PG_FUNCTION_INFO_V1(agentpay_sql_seal_text);
PG_FUNCTION_INFO_V1(agentpay_sql_subject_hash);
PG_FUNCTION_INFO_V1(agentpay_sql_rewrap);
PG_FUNCTION_INFO_V1(agentpay_sql_new_lookup_key);
PG_FUNCTION_INFO_V1(agentpay_sql_master_names);
PG_FUNCTION_INFO_V1(agentpay_sql_keys_changed);

/*
 * _open(kind, id, key_id, sealed): what was sealed; NULL: the key is
 * destroyed.
 */
Datum
agentpay_sql_open(PG_FUNCTION_ARGS)
{
	char kind = PG_GETARG_CHAR(0);
	pg_uuid_t *id = PG_GETARG_UUID_P(1);
	int64 key_id = PG_GETARG_INT64(2);
	bytea *sealed = PG_GETARG_BYTEA_PP(3);
	const char *problem;
	size_t len;
	char *text = agentpay_keys_open(key_id, kind, id, sealed, &len, &problem);

	if (problem != NULL)
		refuse(problem);
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* _open_text(kind, id, key_id, sealed): the same of what is no JSON. */
Datum
agentpay_sql_open_text(PG_FUNCTION_ARGS)
{
	const char *problem;
	size_t len;
	char *text = agentpay_keys_open(PG_GETARG_INT64(2), PG_GETARG_CHAR(0),
									PG_GETARG_UUID_P(1), PG_GETARG_BYTEA_PP(3),
									&len, &problem);

	if (problem != NULL)
		refuse(problem);
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text, (int) len));
}

/* _seal_text(kind, id, key_id, value): NULL: the key is destroyed. */
Datum
agentpay_sql_seal_text(PG_FUNCTION_ARGS)
{
	char kind = PG_GETARG_CHAR(0);
	pg_uuid_t *id = PG_GETARG_UUID_P(1);
	int64 key_id = PG_GETARG_INT64(2);
	text *value = PG_GETARG_TEXT_PP(3);
	const char *problem;
	bytea *sealed = agentpay_keys_seal(key_id, kind, id, VARDATA_ANY(value),
									   VARSIZE_ANY_EXHDR(value), &problem);

	if (sealed != NULL)
		PG_RETURN_BYTEA_P(sealed);
	if (problem != NULL)
		agentpay_keys_complain(problem);
	PG_RETURN_NULL();
}

/* _subject_hash(subject): what _subject_keys and _erasures know it by. */
Datum
agentpay_sql_subject_hash(PG_FUNCTION_ARGS)
{
	text *subject = PG_GETARG_TEXT_PP(0);
	bytea *hash = palloc(VARHDRSZ + AGENTPAY_MAC_SIZE);
	const char *problem;

	SET_VARSIZE(hash, VARHDRSZ + AGENTPAY_MAC_SIZE);
	if (!agentpay_keys_hash(AGENTPAY_HASH_SUBJECT, VARDATA_ANY(subject),
							VARSIZE_ANY_EXHDR(subject), (uint8 *) VARDATA(hash),
							&problem))
		refuse(problem);
	PG_RETURN_BYTEA_P(hash);
}

/* _rewrap(key_id, wrapped, master_name): under the current master key. */
Datum
agentpay_sql_rewrap(PG_FUNCTION_ARGS)
{
	int64 key_id = PG_GETARG_INT64(0);
	const AgentpayMasterKeys *masters = need_masters();
	uint8 bytes[AGENTPAY_KEY_SIZE];
	bytea *name;
	bytea *wrapped;

	if (!agentpay_keys_unwrap(masters, key_id, PG_GETARG_BYTEA_PP(1),
							  PG_GETARG_BYTEA_PP(2), bytes))
		refuse("no master key that is given unwraps one of the keys");
	wrapped = agentpay_keys_wrap(masters, key_id, bytes, &name);
	explicit_bzero(bytes, sizeof(bytes));
	if (wrapped == NULL)
		refuse("a key could not be wrapped");
	PG_RETURN_BYTEA_P(wrapped);
}

/* _new_lookup_key(): random, wrapped under the current master key. */
Datum
agentpay_sql_new_lookup_key(PG_FUNCTION_ARGS)
{
	const AgentpayMasterKeys *masters = need_masters();
	uint8 bytes[AGENTPAY_KEY_SIZE];
	bytea *name;
	bytea *wrapped = NULL;

	if (pg_strong_random(bytes, sizeof(bytes)))
		wrapped = agentpay_keys_wrap(masters, 0, bytes, &name);
	explicit_bzero(bytes, sizeof(bytes));
	if (wrapped == NULL)
		refuse("a key could not be made");
	PG_RETURN_BYTEA_P(wrapped);
}

/*
 * _master_names(): of the master keys that are given, the current one first;
 * NULL: none is.
 */
Datum
agentpay_sql_master_names(PG_FUNCTION_ARGS)
{
	uint64 generation;
	const char *problem;
	const AgentpayMasterKeys *masters = agentpay_master_keys(true, &generation,
															 &problem);
	Datum names[AGENTPAY_MASTER_KEYS];

	if (masters == NULL)
		PG_RETURN_NULL();
	for (int i = 0; i < masters->count; i++)
	{
		bytea *name = palloc(VARHDRSZ + AGENTPAY_KEY_NAME_SIZE);

		SET_VARSIZE(name, VARHDRSZ + AGENTPAY_KEY_NAME_SIZE);
		memcpy(VARDATA(name), masters->keys[i].name, AGENTPAY_KEY_NAME_SIZE);
		names[i] = PointerGetDatum(name);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(names, masters->count, BYTEAOID, -1,
										  false, TYPALIGN_INT));
}

/* _keys_changed(): once this commits, no session keeps a key. */
Datum
agentpay_sql_keys_changed(PG_FUNCTION_ARGS)
{
	Oid relid = agentpay_relation("_subject_keys");

	if (OidIsValid(relid))
		CacheInvalidateRelcacheByRelid(relid);
	PG_RETURN_VOID();
}

static const AgentpayMasterKeys *
need_masters(void)
{
	uint64 generation;
	const char *problem;
	const AgentpayMasterKeys *masters = agentpay_master_keys(true, &generation,
															 &problem);

	if (masters == NULL)
		refuse(problem);
	return masters;
}

static void
refuse(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no key can be used: %s", problem),
			 errdetail("Keys of subjects are wrapped by the master key, which "
					   "agentpay.master_key names."),
			 errhint("ALTER SYSTEM SET agentpay.master_key = "
					 "'file:/etc/agentpay/master.key'; SELECT "
					 "pg_reload_conf();")));
}
