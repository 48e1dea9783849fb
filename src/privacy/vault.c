/*-------------------------------------------------------------------------
 * vault.c
 *		Tokens in place of values, and agentpay._vault, which leads back.
 *
 * A token is a keyed hash of domain and value under the lookup key: without
 * that key it says nothing of the value, and two payments in flight with the
 * same new value get the same token without waiting for each other, which a
 * token that is drawn and written down could not promise.
 *
 * Where digits are to stay digits, the token is the value under FF1, with a
 * key for each domain, derived from the lookup key, and the domain as tweak.
 * Whoever has that key can turn it back without the vault; detokenise() does
 * not, so that what was forgotten has no way back through SQL.
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
#include "privacy/ff1.h"
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

static bool make_token(const AgentpayTokenOf *of, char *token, size_t *size,
					   pg_uuid_t *id, const char **problem);
static bool
keep_format(const AgentpayTokenOf *of, char *token, const char **problem);
static bool is_kept(Datum token, int64 key_id, const char *domain);
static void add(Datum token, int64 key_id, const char *domain, pg_uuid_t *id,
				bytea *sealed);

size_t
agentpay_vault_token(const AgentpayTokenOf *of, char *token)
{
	const char *problem = NULL;
	pg_uuid_t id;
	int64 key_id = 0;
	size_t size = AGENTPAY_TOKEN_SIZE;
	bytea *sealed;
	Datum text;

	if (make_token(of, token, &size, &id, &problem))
		key_id = agentpay_keys_of(of->subject, &problem);
	if (key_id == 0)
	{
		agentpay_keys_complain(problem);
		return 0;
	}
	text = PointerGetDatum(cstring_to_text_with_len(token, (int) size));
	if (is_kept(text, key_id, of->domain))
		return size;
	sealed = agentpay_keys_seal(key_id, AGENTPAY_SEALED_TOKEN, &id, of->value,
								of->len, &problem);
	if (sealed == NULL)
	{
		agentpay_keys_complain(problem == NULL ? "a key was destroyed meanwhile"
											   : problem);
		return 0;
	}
	add(text, key_id, of->domain, &id, sealed);
	return size;
}

/* The token, and what the sealed value is bound to. */
static bool
make_token(const AgentpayTokenOf *of, char *token, size_t *size, pg_uuid_t *id,
		   const char **problem)
{
	static const char digits[] = "0123456789abcdef";
	size_t domain_size = strlen(of->domain) + 1;
	char *text = palloc(domain_size + of->len);
	uint8 mac[AGENTPAY_MAC_SIZE];
	bool made;

	memcpy(text, of->domain, domain_size);
	memcpy(text + domain_size, of->value, of->len);
	made = agentpay_keys_hash("token", text, domain_size + of->len, mac,
							  problem);
	explicit_bzero(text, domain_size + of->len);
	pfree(text);
	if (!made)
		return false;
	memcpy(id->data, mac, UUID_LEN);
	if (of->keeps_format && keep_format(of, token, problem))
	{
		*size = of->len;
		return true;
	}
	memcpy(token, PREFIX, strlen(PREFIX));
	token += strlen(PREFIX);
	for (int i = 0; i < UUID_LEN; i++)
	{
		token[2 * i] = digits[mac[i] >> 4];
		token[2 * i + 1] = digits[mac[i] & 15];
	}
	return true;
}

/* As many digits as the value; false: it is no 6 to 36 digits. */
static bool
keep_format(const AgentpayTokenOf *of, char *token, const char **problem)
{
	uint8 key[AGENTPAY_MAC_SIZE];
	size_t domain_size = strlen(of->domain);
	AgentpayFf1 ff1 = {.key = key,
					   .key_size = sizeof(key),
					   .tweak = of->domain,
					   .tweak_len = domain_size,
					   .radix = 10};
	bool kept = agentpay_keys_hash("ff1", of->domain, domain_size, key,
								   problem) &&
				agentpay_ff1_encrypt(&ff1, of->value, of->len, token);

	explicit_bzero(key, sizeof(key));
	return kept;
}

/*
 * Whether the vault has the domain's token under that key: committed, or our
 * own.
 */
static bool
is_kept(Datum token, int64 key_id, const char *domain)
{
	Oid relid = agentpay_relation("_vault");
	Oid index = agentpay_relation("_vault_token_idx");
	Relation vault;
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple tuple;
	bool found = false;

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
	/* digits may be a token in another domain, too */
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum other = heap_getattr(tuple, COL_DOMAIN, RelationGetDescr(vault),
								   &isnull);

		found = strcmp(TextDatumGetCString(other), domain) == 0;
	}
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
