/*-------------------------------------------------------------------------
 * vault.c
 *		Tokens in place of values, and agentpay._vault, which leads back.
 *
 * A token is a keyed hash of domain and value under the lookup key: without
 * that key it says nothing of the value, and two payments in flight with the
 * same new value get the same token without waiting for each other, which a
 * token that is drawn and written down could not promise.
 *
 * The vault has a row for each token and key, so that forget() of one subject
 * takes nothing from another.  Rows may be double, when payments in flight
 * wrote them together.
 *
 * Locking: AccessShareLock on the vault, RowExclusiveLock to add to it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "privacy/keys.h"
#include "privacy/vault.h"

#define PREFIX "tok_"

/* Columns of _vault. */
enum
{
	COL_TOKEN = 1,
	COL_KEY_ID,
	COL_DOMAIN,
	COL_TOKEN_ID,
	COL_SEALED,
	COL_CREATED_AT,
	N_COLS = COL_CREATED_AT
};

static bool make_token(const char *domain, const char *value, size_t len,
					   char *token, pg_uuid_t *id, const char **problem);
static bool is_kept(Datum token, int64 key_id);
static void add(Datum token, int64 key_id, const char *domain, pg_uuid_t *id,
				bytea *sealed);

bool
agentpay_vault_token(const char *domain, const char *subject, const char *value,
					 size_t len, char *token)
{
	const char *problem = NULL;
	pg_uuid_t id;
	int64 key_id = 0;
	bytea *sealed;
	Datum text;

	if (make_token(domain, value, len, token, &id, &problem))
		key_id = agentpay_keys_of(subject, &problem);
	if (key_id == 0)
	{
		agentpay_keys_complain(problem);
		return false;
	}
	text = PointerGetDatum(
		cstring_to_text_with_len(token, AGENTPAY_TOKEN_SIZE));
	if (is_kept(text, key_id))
		return true;
	sealed = agentpay_keys_seal(key_id, AGENTPAY_SEALED_TOKEN, &id, value, len,
								&problem);
	if (sealed == NULL)
	{
		agentpay_keys_complain(problem == NULL ? "a key was destroyed meanwhile"
											   : problem);
		return false;
	}
	add(text, key_id, domain, &id, sealed);
	return true;
}

static bool
make_token(const char *domain, const char *value, size_t len, char *token,
		   pg_uuid_t *id, const char **problem)
{
	static const char digits[] = "0123456789abcdef";
	size_t domain_size = strlen(domain) + 1;
	char *text = palloc(domain_size + len);
	uint8 mac[AGENTPAY_MAC_SIZE];
	bool made;

	memcpy(text, domain, domain_size);
	memcpy(text + domain_size, value, len);
	made = agentpay_keys_hash("token", text, domain_size + len, mac, problem);
	explicit_bzero(text, domain_size + len);
	pfree(text);
	if (!made)
		return false;
	memcpy(id->data, mac, UUID_LEN);
	memcpy(token, PREFIX, strlen(PREFIX));
	token += strlen(PREFIX);
	for (int i = 0; i < UUID_LEN; i++)
	{
		token[2 * i] = digits[mac[i] >> 4];
		token[2 * i + 1] = digits[mac[i] & 15];
	}
	return true;
}

/* Whether the vault has the token under that key: committed, or our own. */
static bool
is_kept(Datum token, int64 key_id)
{
	Oid relid = agentpay_relation("_vault");
	Oid index = agentpay_relation("_vault_token_idx");
	Relation vault;
	SysScanDesc scan;
	ScanKeyData keys[2];
	bool found;

	if (!OidIsValid(relid) || !OidIsValid(index))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("agentpay._vault is missing"),
						errhint("Run CREATE EXTENSION agentpay in this "
								"database.")));
	vault = table_open(relid, AccessShareLock);
	ScanKeyEntryInitialize(&keys[0], 0, COL_TOKEN, BTEqualStrategyNumber,
						   TEXTOID, C_COLLATION_OID, F_TEXTEQ, token);
	ScanKeyInit(&keys[1], COL_KEY_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key_id));
	scan = systable_beginscan(vault, index, true, SnapshotSelf, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(vault, NoLock);
	return found;
}

static void
add(Datum token, int64 key_id, const char *domain, pg_uuid_t *id, bytea *sealed)
{
	Relation vault = table_open(agentpay_relation("_vault"), RowExclusiveLock);
	Datum values[N_COLS];
	bool nulls[N_COLS] = {false};

	values[COL_TOKEN - 1] = token;
	values[COL_KEY_ID - 1] = Int64GetDatum(key_id);
	values[COL_DOMAIN - 1] = CStringGetTextDatum(domain);
	values[COL_TOKEN_ID - 1] = UUIDPGetDatum(id);
	values[COL_SEALED - 1] = PointerGetDatum(sealed);
	values[COL_CREATED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(vault,
					   heap_form_tuple(RelationGetDescr(vault), values, nulls));
	table_close(vault, NoLock);
}
