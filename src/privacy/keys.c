/*-------------------------------------------------------------------------
 * keys.c
 *		Keys of subjects: agentpay._subject_keys, and what this process keeps
 *		of it.
 *
 * A row is found by a keyed hash of its subject, so the table names nobody.
 * The hash's key, the lookup key, is random, wrapped as the others, and the
 * same for the life of the database: what is hashed survives a change of
 * master keys.
 *
 * Several keys of one subject are allowed, and arise when payments of a new
 * one are in flight together: a unique row would make one wait for the other.
 * forget() destroys all.  A key that is found is used to the end of the
 * statement, though it is destroyed meanwhile: then what it sealed cannot be
 * read, as what came before.
 *
 * Without SQL: the INSERT path asks.  What is kept is wiped when the tables or
 * the master keys change, and what an aborted transaction made goes with it.
 *
 * Locking: AccessShareLock on the tables to read, RowExclusiveLock to add a
 * key, both to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/appender.h"
#include "base/settings.h"
#include "privacy/key_memo.h"
#include "privacy/keys.h"
#include "privacy/keys_wrap.h"
#include "privacy/master_key.h"

#define MAX_KEPT 4096
#define COMPLAIN_EVERY_MS 60000

/* Columns of _subject_keys. */
enum
{
	COL_KEY_ID = 1,
	COL_SUBJECT_HASH,
	COL_WRAPPED,
	COL_MASTER_NAME,
	COL_CREATED_AT,
	N_COLS = COL_CREATED_AT
};

/* Of _lookup_key. */
enum
{
	COL_LOOKUP_WRAPPED = 2,
	COL_LOOKUP_MASTER_NAME
};

/* By the subject's hash, or by a key_id with zeros behind it. */
typedef struct Kept
{
	uint8 by[AGENTPAY_MAC_SIZE];
	int64 key_id;
	uint8 bytes[AGENTPAY_KEY_SIZE];
	bool own; /* made by this transaction */
} Kept;

static HTAB *kept_keys = NULL;
static bool has_own = false;
static bool has_lookup = false;
static uint8 lookup_key[AGENTPAY_KEY_SIZE];
static uint64 kept_generation = 0; /* of the master keys */
static Oid subject_keys = InvalidOid;
static Oid lookup_table = InvalidOid;

static bool ready(const char **problem);
static bool
read_lookup_key(const AgentpayMasterKeys *masters, const char **problem);
static Kept *key_of(const char *subject, const char **problem);
static Kept *find_kept(const uint8 *by);
static Kept *keep(const uint8 *by, int64 key_id, const uint8 *bytes, bool own);
static Kept *
keep_both(const uint8 *by, int64 key_id, const uint8 *bytes, bool own);
static void by_id(int64 key_id, uint8 *by);
static Kept *
find_key(AttrNumber column, Datum value, const uint8 *by, const char **problem);
static bool unwrap_tuple(HeapTuple tuple, TupleDesc desc, int64 *key_id,
						 uint8 *bytes, const char **problem);
static Kept *make_key(const uint8 *hash, const char **problem);
static const uint8 *bytes_of(int64 key_id, const char **problem);
static void watch(void);
static void wipe(void);
static void wipe_own(void);

bool
agentpay_keys_wanted(void)
{
	uint64 generation;
	const char *problem;

	if (agentpay_master_key == NULL || agentpay_master_key[0] == '\0')
		return false;
	if (agentpay_master_keys(false, &generation, &problem) != NULL)
		return true;
	agentpay_keys_complain(problem);
	return false;
}

int64
agentpay_keys_of(const char *subject, const char **problem)
{
	Kept *found = key_of(subject, problem);

	return found == NULL ? 0 : found->key_id;
}

/* Good until another one is asked for. */
static Kept *
key_of(const char *subject, const char **problem)
{
	uint8 hash[AGENTPAY_MAC_SIZE];
	char day[32];
	const char *label = AGENTPAY_HASH_SUBJECT;
	bytea *key;
	Kept *found;

	if (subject == NULL)
	{
		/* many rows under one key would wear it out */
		snprintf(day, sizeof(day), INT64_FORMAT,
				 GetCurrentTimestamp() / USECS_PER_DAY);
		subject = day;
		label = AGENTPAY_HASH_NOBODY;
	}
	if (!agentpay_keys_hash(label, subject, strlen(subject), hash, problem))
		return NULL;
	found = find_kept(hash);
	if (found == NULL)
	{
		key = palloc(VARHDRSZ + sizeof(hash));
		SET_VARSIZE(key, VARHDRSZ + sizeof(hash));
		memcpy(VARDATA(key), hash, sizeof(hash));
		found = find_key(COL_SUBJECT_HASH, PointerGetDatum(key), hash, problem);
	}
	/* one that cannot be unwrapped now is no reason to seal nothing */
	if (found == NULL)
		found = make_key(hash, problem);
	return found;
}

bytea *
agentpay_keys_seal(int64 key_id, char kind, const pg_uuid_t *id,
				   const char *text, size_t len, const char **problem)
{
	AgentpaySealedFor bound;
	const uint8 *key;
	bytea *sealed;

	*problem = NULL;
	if (!ready(problem))
		return NULL;
	key = bytes_of(key_id, problem);
	if (key == NULL)
		return NULL;
	agentpay_keys_bind(&bound, kind, id, key_id);
	sealed = palloc(VARHDRSZ + len + AGENTPAY_SEAL_OVERHEAD);
	SET_VARSIZE(sealed, VARHDRSZ + len + AGENTPAY_SEAL_OVERHEAD);
	if (agentpay_cipher_seal(key, &bound, sizeof(bound), text, len,
							 (uint8 *) VARDATA(sealed)))
		return sealed;
	*problem = "a value could not be encrypted";
	return NULL;
}

int64
agentpay_keys_seal_of(const char *subject, char kind, const pg_uuid_t *id,
					  const char *text, size_t len, uint8 *out,
					  const char **problem)
{
	AgentpaySealedFor bound;
	AgentpayKeyMemo *memo;
	Kept *found = NULL;
	int64 key_id;
	bool done;

	*problem = NULL;
	if (!ready(problem))
		return 0;
	memo = subject == NULL ? NULL : agentpay_key_memo_find(subject);
	if (memo == NULL)
	{
		found = key_of(subject, problem);
		if (found == NULL)
			return 0;
		if (subject != NULL)
			agentpay_key_memo_note(subject, found->key_id, found->bytes,
								   found->own);
	}
	else if (memo->sealer == NULL)
		memo->sealer = agentpay_cipher_sealer(memo->bytes);
	key_id = memo == NULL ? found->key_id : memo->key_id;
	agentpay_keys_bind(&bound, kind, id, key_id);
	if (memo != NULL && memo->sealer != NULL)
		done = agentpay_cipher_seal_by(memo->sealer, &bound, sizeof(bound),
									   text, len, out);
	else
		done = agentpay_cipher_seal(memo == NULL ? found->bytes : memo->bytes,
									&bound, sizeof(bound), text, len, out);
	if (done)
		return key_id;
	*problem = "a value could not be encrypted";
	return 0;
}

char *
agentpay_keys_open(int64 key_id, char kind, const pg_uuid_t *id,
				   const bytea *sealed, size_t *len, const char **problem)
{
	AgentpaySealedFor bound;
	size_t size = VARSIZE_ANY_EXHDR(sealed);
	const uint8 *key;
	char *text;

	*problem = NULL;
	if (!ready(problem))
		return NULL;
	key = bytes_of(key_id, problem);
	if (key == NULL)
		return NULL;
	agentpay_keys_bind(&bound, kind, id, key_id);
	text = palloc(size + 1);
	if (!agentpay_cipher_open(key, &bound, sizeof(bound),
							  (const uint8 *) VARDATA_ANY(sealed), size, text))
	{
		*problem = "a sealed value is not what was sealed for its row";
		return NULL;
	}
	*len = size - AGENTPAY_SEAL_OVERHEAD;
	text[*len] = '\0';
	return text;
}

bool
agentpay_keys_hash(const char *label, const char *text, size_t len, uint8 *mac,
				   const char **problem)
{
	*problem = NULL;
	if (!ready(problem))
		return false;
	if (agentpay_cipher_mac(lookup_key, label, text, len, mac))
		return true;
	*problem = "out of memory";
	return false;
}

void
agentpay_keys_complain(const char *problem)
{
	static TimestampTz complained_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (complained_at != 0 &&
		!TimestampDifferenceExceeds(complained_at, now, COMPLAIN_EVERY_MS))
		return;
	complained_at = now;
	ereport(LOG,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("agentpay seals nothing: %s", problem),
			 errdetail("Payments go on; what a data policy treats is stored in "
					   "its treated form only."),
			 errhint("SELECT * FROM agentpay.advice;")));
}

/* Whether the lookup key is at hand; looks at the master keys first. */
static bool
ready(const char **problem)
{
	uint64 generation;
	const AgentpayMasterKeys *masters = agentpay_master_keys(false, &generation,
															 problem);

	watch();
	if (generation != kept_generation)
	{
		wipe();
		kept_generation = generation;
	}
	if (masters == NULL)
		return false;
	return has_lookup || read_lookup_key(masters, problem);
}

/* As of a catalog: what is committed now, whatever the snapshot is. */
static bool
read_lookup_key(const AgentpayMasterKeys *masters, const char **problem)
{
	Oid relid = agentpay_relation("_lookup_key");
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;

	*problem = "there is no lookup key yet";
	if (!OidIsValid(relid))
		return false;
	lookup_table = relid;
	relation = table_open(relid, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		bytea *wrapped = DatumGetByteaPP(
			heap_getattr(tuple, COL_LOOKUP_WRAPPED, RelationGetDescr(relation),
						 &isnull));
		bytea *name = DatumGetByteaPP(
			heap_getattr(tuple, COL_LOOKUP_MASTER_NAME,
						 RelationGetDescr(relation), &isnull));

		if (agentpay_keys_unwrap(masters, 0, wrapped, name, lookup_key))
			has_lookup = true;
		else
			*problem = "no master key that is given unwraps the lookup key";
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (has_lookup)
		*problem = NULL;
	return has_lookup;
}

static Kept *
find_kept(const uint8 *by)
{
	return kept_keys == NULL ? NULL
							 : hash_search(kept_keys, by, HASH_FIND, NULL);
}

static Kept *
keep(const uint8 *by, int64 key_id, const uint8 *bytes, bool own)
{
	Kept *kept;
	bool found;

	if (kept_keys != NULL && hash_get_num_entries(kept_keys) >= MAX_KEPT)
	{
		bool lookup = has_lookup;
		uint8 copy[AGENTPAY_KEY_SIZE];
		uint8 saved[AGENTPAY_KEY_SIZE];

		/* bytes may be those of an entry */
		memcpy(copy, bytes, sizeof(copy));
		memcpy(saved, lookup_key, sizeof(saved));
		wipe();
		memcpy(lookup_key, saved, sizeof(saved));
		has_lookup = lookup;
		kept = keep(by, key_id, copy, own);
		explicit_bzero(copy, sizeof(copy));
		explicit_bzero(saved, sizeof(saved));
		return kept;
	}
	if (kept_keys == NULL)
	{
		HASHCTL control = {.keysize = AGENTPAY_MAC_SIZE,
						   .entrysize = sizeof(Kept),
						   .hcxt = TopMemoryContext};

		kept_keys = hash_create("agentpay keys", 256, &control,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	kept = hash_search(kept_keys, by, HASH_ENTER, &found);
	kept->key_id = key_id;
	memcpy(kept->bytes, bytes, AGENTPAY_KEY_SIZE);
	kept->own = own;
	has_own |= own;
	return kept;
}

/* Also by its id: what is sealed next asks for it. */
static Kept *
keep_both(const uint8 *by, int64 key_id, const uint8 *bytes, bool own)
{
	uint8 id[AGENTPAY_MAC_SIZE];

	by_id(key_id, id);
	(void) keep(id, key_id, bytes, own);
	return keep(by, key_id, bytes, own);
}

static void
by_id(int64 key_id, uint8 *by)
{
	memset(by, 0, AGENTPAY_MAC_SIZE);
	memcpy(by, &key_id, sizeof(key_id));
}

/* Looks in the table, and keeps what is found. */
static Kept *
find_key(AttrNumber column, Datum value, const uint8 *by, const char **problem)
{
	Oid relid = agentpay_relation("_subject_keys");
	Oid index = agentpay_relation(column == COL_KEY_ID
									  ? "_subject_keys_pkey"
									  : "_subject_keys_subject_hash_idx");
	Relation relation;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	Kept *found = NULL;

	if (!OidIsValid(relid) || !OidIsValid(index))
	{
		*problem = "agentpay._subject_keys is missing";
		return NULL;
	}
	subject_keys = relid;
	relation = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber,
				column == COL_KEY_ID ? F_INT8EQ : F_BYTEAEQ, value);
	scan = systable_beginscan(relation, index, true, SnapshotSelf, 1, &key);
	while (found == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int64 key_id;
		uint8 bytes[AGENTPAY_KEY_SIZE];

		/* it may be this transaction's own, and go with a savepoint */
		if (unwrap_tuple(tuple, RelationGetDescr(relation), &key_id, bytes,
						 problem))
			found = keep_both(by, key_id, bytes,
							  TransactionIdIsCurrentTransactionId(
								  HeapTupleHeaderGetXmin(tuple->t_data)));
		explicit_bzero(bytes, sizeof(bytes));
	}
	systable_endscan(scan);
	table_close(relation, NoLock);
	return found;
}

static bool
unwrap_tuple(HeapTuple tuple, TupleDesc desc, int64 *key_id, uint8 *bytes,
			 const char **problem)
{
	uint64 generation;
	const AgentpayMasterKeys *masters = agentpay_master_keys(false, &generation,
															 problem);
	bool isnull;
	bytea *wrapped = DatumGetByteaPP(
		heap_getattr(tuple, COL_WRAPPED, desc, &isnull));
	bytea *name = DatumGetByteaPP(
		heap_getattr(tuple, COL_MASTER_NAME, desc, &isnull));

	*key_id = DatumGetInt64(heap_getattr(tuple, COL_KEY_ID, desc, &isnull));
	if (masters != NULL &&
		agentpay_keys_unwrap(masters, *key_id, wrapped, name, bytes))
		return true;
	*problem = "no master key that is given unwraps the key of a subject";
	return false;
}

static Kept *
make_key(const uint8 *hash, const char **problem)
{
	uint64 generation;
	const AgentpayMasterKeys *masters = agentpay_master_keys(true, &generation,
															 problem);
	uint8 bytes[AGENTPAY_KEY_SIZE];
	Datum values[N_COLS];
	bool nulls[N_COLS] = {false};
	bytea *subject_hash = palloc(VARHDRSZ + AGENTPAY_MAC_SIZE);
	bytea *wrapped;
	bytea *name;
	int64 key_id;
	Relation relation;
	HeapTuple tuple;
	Kept *kept;

	if (masters == NULL)
		return NULL;
	if (!pg_strong_random(&key_id, sizeof(key_id)) ||
		!pg_strong_random(bytes, sizeof(bytes)))
	{
		*problem = "there is no entropy for a key";
		return NULL;
	}
	key_id = (key_id & PG_INT64_MAX) | 1;
	wrapped = agentpay_keys_wrap(masters, key_id, bytes, &name);
	if (wrapped == NULL)
	{
		*problem = "a key could not be wrapped";
		return NULL;
	}
	SET_VARSIZE(subject_hash, VARHDRSZ + AGENTPAY_MAC_SIZE);
	memcpy(VARDATA(subject_hash), hash, AGENTPAY_MAC_SIZE);
	values[COL_KEY_ID - 1] = Int64GetDatum(key_id);
	values[COL_SUBJECT_HASH - 1] = PointerGetDatum(subject_hash);
	values[COL_WRAPPED - 1] = PointerGetDatum(wrapped);
	values[COL_MASTER_NAME - 1] = PointerGetDatum(name);
	values[COL_CREATED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	relation = table_open(subject_keys, RowExclusiveLock);
	tuple = heap_form_tuple(RelationGetDescr(relation), values, nulls);
	CatalogTupleInsert(relation, tuple);
	table_close(relation, NoLock);
	kept = keep_both(hash, key_id, bytes, true);
	explicit_bzero(bytes, sizeof(bytes));
	return kept;
}

/* Of a key by its id; NULL: it is destroyed, or *problem. */
static const uint8 *
bytes_of(int64 key_id, const char **problem)
{
	uint8 by[AGENTPAY_MAC_SIZE];
	Kept *found;

	by_id(key_id, by);
	found = find_kept(by);
	if (found == NULL)
		found = find_key(COL_KEY_ID, Int64GetDatum(key_id), by, problem);
	return found == NULL ? NULL : found->bytes;
}

/* ── callbacks ───────────────────────────────────────────────────────────── */

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == subject_keys || relid == lookup_table)
		wipe();
}

static void
transaction_ends(XactEvent event, void *arg)
{
	if (!has_own)
		return;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wipe_own();
	else if (event == XACT_EVENT_COMMIT)
	{
		HASH_SEQ_STATUS scan;
		Kept *kept;

		has_own = false;
		agentpay_key_memo_keep_own();
		if (kept_keys == NULL)
			return;
		hash_seq_init(&scan, kept_keys);
		while ((kept = hash_seq_search(&scan)) != NULL)
			kept->own = false;
	}
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine,
					SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && has_own)
		wipe_own();
}

static void
wipe_at_exit(int code, Datum arg)
{
	wipe();
}

static void
watch(void)
{
	static int watching_pid = 0;

	if (watching_pid == MyProcPid)
		return;
	watching_pid = MyProcPid;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
	on_proc_exit(wipe_at_exit, (Datum) 0);
}

/* All that is kept, but for the master keys. */
static void
wipe(void)
{
	HASH_SEQ_STATUS scan;
	Kept *kept;

	explicit_bzero(lookup_key, sizeof(lookup_key));
	agentpay_key_memo_wipe(false);
	has_lookup = false;
	has_own = false;
	if (kept_keys == NULL)
		return;
	hash_seq_init(&scan, kept_keys);
	while ((kept = hash_seq_search(&scan)) != NULL)
		explicit_bzero(kept->bytes, sizeof(kept->bytes));
	hash_destroy(kept_keys);
	kept_keys = NULL;
}

/* What this transaction made is not there any more. */
static void
wipe_own(void)
{
	HASH_SEQ_STATUS scan;
	Kept *kept;

	has_own = false;
	agentpay_key_memo_wipe(true);
	if (kept_keys == NULL)
		return;
	hash_seq_init(&scan, kept_keys);
	while ((kept = hash_seq_search(&scan)) != NULL)
		if (kept->own)
		{
			explicit_bzero(kept->bytes, sizeof(kept->bytes));
			(void) hash_search(kept_keys, kept->by, HASH_REMOVE, NULL);
		}
}
