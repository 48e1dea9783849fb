/*-------------------------------------------------------------------------
 * lists.c
 *		Named lists, for in_list(): a hash table per session.
 *
 * A list is read whole when it is first asked for, by SQL as the extension's
 * owner under the latest snapshot (see base/config_load.c for why), and
 * forgotten when any list may have changed.
 *
 * Locking: AccessShareLock on lists and list_entries while a list is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/owner.h"
#include "scoring/lists.h"

typedef struct Entry
{
	const char *value;
	uint32 hash;
	char status;
	TimestampTz expires_at; /* infinity: never */
} Entry;

#define SH_PREFIX entries
#define SH_ELEMENT_TYPE Entry
#define SH_KEY_TYPE const char *
#define SH_KEY value
#define SH_HASH_KEY(table, key) \
	hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(table, element) ((element)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* One list; there are few, so they are looked through one after another. */
typedef struct NamedList
{
	struct NamedList *next;
	char *name;
	entries_hash *entries;
} NamedList;

static MemoryContext context = NULL;
static NamedList *lists = NULL;
static uint64 generation = 0;

static NamedList *find_list(const char *name);
static NamedList *read_list(const char *name);
static void select_for(const char *sql, const char *name, Snapshot snapshot);

PG_FUNCTION_INFO_V1(agentpay_in_list);

bool
agentpay_list_contains(const char *list, const char *value, TimestampTz at)
{
	NamedList *found = find_list(list);
	Entry *entry = entries_lookup(found->entries, value);

	return entry != NULL && entry->expires_at > at;
}

/* The list, read when it is not there yet. */
static NamedList *
find_list(const char *name)
{
	uint64 now = agentpay_config_lists_generation();

	if (now != generation)
	{
		lists = NULL;
		if (context != NULL)
			MemoryContextDelete(context);
		context = AllocSetContextCreate(CacheMemoryContext, "agentpay lists",
										ALLOCSET_DEFAULT_SIZES);
		generation = now;
	}
	for (NamedList *list = lists; list != NULL; list = list->next)
		if (strcmp(list->name, name) == 0)
			return list;
	return read_list(name);
}

/* Reads one list; an error when there is none of that name. */
static NamedList *
read_list(const char *name)
{
	NamedList *list = MemoryContextAllocZero(context, sizeof(NamedList));
	AgentpayOwnerState saved;
	Snapshot snapshot;

	list->name = MemoryContextStrdup(context, name);
	agentpay_owner_enter(&saved);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	select_for("SELECT FROM agentpay.lists WHERE name = $1", name, snapshot);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("list \"%s\" does not exist", name),
				 errhint("INSERT INTO agentpay.lists (name) VALUES (%s);",
						 quote_literal_cstr(name))));
	select_for("SELECT value, coalesce(expires_at, 'infinity')"
			   "  FROM agentpay.list_entries WHERE list = $1",
			   name, snapshot);
	list->entries = entries_create(context, Max(SPI_processed, 8), NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Datum value = SPI_getbinval(SPI_tuptable->vals[i],
									SPI_tuptable->tupdesc, 1, &isnull);
		Datum expires_at = SPI_getbinval(SPI_tuptable->vals[i],
										 SPI_tuptable->tupdesc, 2, &isnull);
		char *copy = MemoryContextStrdup(context, TextDatumGetCString(value));
		Entry *entry = entries_insert(list->entries, copy, &isnull);

		entry->expires_at = DatumGetTimestampTz(expires_at);
	}
	SPI_finish();
	UnregisterSnapshot(snapshot);
	agentpay_owner_leave(&saved);
	/* only now: an error above leaves nothing half read */
	list->next = lists;
	lists = list;
	return list;
}

/* Runs a query whose parameter is the list's name. */
static void
select_for(const char *sql, const char *name, Snapshot snapshot)
{
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);
	SPIPlanPtr plan = SPI_prepare(sql, 1, &type);

	if (plan == NULL ||
		SPI_execute_snapshot(plan, &value, NULL, snapshot, InvalidSnapshot,
							 true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read list \"%s\"", name);
}

/* agentpay.in_list(list text, value "any") */
Datum
agentpay_in_list(PG_FUNCTION_ARGS)
{
	char *list = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool isnull;
	Datum value = agentpay_arguments_text(fcinfo, 1, &isnull);

	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(agentpay_list_contains(list, TextDatumGetCString(value),
										  agentpay_clock_now()));
}
