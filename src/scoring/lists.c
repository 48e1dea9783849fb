/*-------------------------------------------------------------------------
 * lists.c
 *		Named lists, for in_list(): a hash table per session.
 *
 * A list is read when it is first asked for, by SQL as the extension's owner
 * under the latest snapshot (base/owner.h), and forgotten when any list may
 * have changed.  That there is no such list is remembered as well.  A long
 * list is not read, or each new entry would make every session read it again:
 * its values are looked up in the index, one by one.  So are those of a list
 * that is asked as it was, unless its changes are few enough to be kept until
 * nobody looks back any more.
 *
 * Locking: AccessShareLock on lists and list_entries while a list is read or
 * a value is looked up, kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/appender.h"
#include "base/arguments.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/config.h"
#include "base/owner.h"
#include "scoring/lists.h"

/* A session reads lists up to this length: about 1 MB and 5 ms. */
#define ENTRIES_READ 10000

/* So many changes of one are read to look back. */
#define CHANGES_READ 10000

/* Columns of agentpay.list_entries; the first two are its key. */
#define ENTRY_LIST 1
#define ENTRY_VALUE 2
#define ENTRY_EXPIRES_AT 3

/* Columns of agentpay._list_history; the first three begin its key. */
#define HISTORY_LIST 1
#define HISTORY_VALUE 2
#define HISTORY_AT 3
#define HISTORY_PRESENT 5
#define HISTORY_EXPIRES_AT 6

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
	bool exists;
	entries_hash *entries; /* NULL: too many to keep */
} NamedList;

/* A row of agentpay._list_history. */
typedef struct Change
{
	const char *value;
	TimestampTz at;
	TimestampTz until; /* on the list; not: the beginning of time */
} Change;

/* One list as it ever was. */
typedef struct Past
{
	struct Past *next;
	char *name;
	int64 n_changes;
	Change *changes; /* by value and time; NULL: too many to keep */
} Past;

/* Whether lists are asked as they were, when, and what was read for that. */
static bool looks_back = false;
static TimestampTz looks_back_to;
static MemoryContext past_context = NULL;
static Past *pasts = NULL;

static MemoryContext context = NULL;
static NamedList *lists = NULL;
static uint64 generation = 0;

static bool contains(const char *list, const char *value, TimestampTz at);
static NamedList *find_list(const char *name);
static NamedList *read_list(const char *name);
static void fill_list(NamedList *list, MemoryContext memory);
static TimestampTz look_up(const char *list, const char *value);
static bool was_on(const char *list, const char *value, TimestampTz at);
static Past *find_past(const char *name);
static void fill_past(Past *past, MemoryContext memory);
static int compare(const Change *change, const char *value, TimestampTz at);
static bool look_up_past(const char *list, const char *value, TimestampTz at);

PG_FUNCTION_INFO_V1(agentpay_in_list);

/* agentpay.in_list(list text, value "any") */
Datum
agentpay_in_list(PG_FUNCTION_ARGS)
{
	char *list = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool isnull;
	Datum value = agentpay_arguments_text(fcinfo, 1, &isnull);

	if (isnull)
		PG_RETURN_NULL();
	/* once a statement: what changed elsewhere holds from here on */
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		AcceptInvalidationMessages();
		fcinfo->flinfo->fn_extra = &lists;
	}
	PG_RETURN_BOOL(
		contains(list, TextDatumGetCString(value), agentpay_clock_now()));
}

/* Whether value is on the list at that moment; expired entries are not. */
static bool
contains(const char *list, const char *value, TimestampTz at)
{
	NamedList *found = find_list(list);
	Entry *entry;

	if (!found->exists)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("list \"%s\" does not exist", list),
				 errhint("INSERT INTO agentpay.lists (name) VALUES (%s);",
						 quote_literal_cstr(list))));
	if (looks_back)
		return was_on(list, value, looks_back_to);
	if (found->entries == NULL)
		return look_up(list, value) > at;
	entry = entries_lookup(found->entries, value);
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
			MemoryContextReset(context);
		else
			context = AllocSetContextCreate(CacheMemoryContext,
											"agentpay lists",
											ALLOCSET_SMALL_SIZES);
		generation = now;
	}
	for (NamedList *list = lists; list != NULL; list = list->next)
		if (strcmp(list->name, name) == 0)
			return list;
	return read_list(name);
}

/* An error frees with the statement what was read. */
static NamedList *
read_list(const char *name)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext,
												 "agentpay list",
												 ALLOCSET_START_SMALL_SIZES);
	NamedList *list = MemoryContextAllocZero(memory, sizeof(NamedList));

	list->name = MemoryContextStrdup(memory, name);
	fill_list(list, memory);
	MemoryContextSetParent(memory, context);
	list->next = lists;
	lists = list;
	return list;
}

/* What the tables say of the list now. */
static void
fill_list(NamedList *list, MemoryContext memory)
{
	Oid type = TEXTOID;
	Datum name = CStringGetTextDatum(list->name);
	AgentpayOwnerReading reading;

	agentpay_owner_read_begin(&reading);
	agentpay_owner_select(&reading,
						  "SELECT FROM agentpay.lists WHERE name = $1", 1,
						  &type, &name, 1);
	list->exists = SPI_processed > 0;
	agentpay_owner_select(&reading,
						  "SELECT value, coalesce(expires_at, 'infinity')"
						  "  FROM agentpay.list_entries WHERE list = $1",
						  1, &type, &name, ENTRIES_READ + 1);
	if (SPI_processed <= ENTRIES_READ)
		list->entries = entries_create(memory, Max(SPI_processed, 8), NULL);
	for (uint64 i = 0; list->entries != NULL && i < SPI_processed; i++)
	{
		bool isnull;
		Datum value = SPI_getbinval(SPI_tuptable->vals[i],
									SPI_tuptable->tupdesc, 1, &isnull);
		Datum expires_at = SPI_getbinval(SPI_tuptable->vals[i],
										 SPI_tuptable->tupdesc, 2, &isnull);
		char *copy = MemoryContextStrdup(memory, TextDatumGetCString(value));
		Entry *entry = entries_insert(list->entries, copy, &isnull);

		entry->expires_at = DatumGetTimestampTz(expires_at);
	}
	agentpay_owner_read_end(&reading);
}

void
agentpay_lists_look_back(const TimestampTz *at)
{
	looks_back = at != NULL;
	if (looks_back)
	{
		looks_back_to = *at;
		return;
	}
	pasts = NULL;
	if (past_context != NULL)
		MemoryContextReset(past_context);
}

/* Whether a value was on a list: what the latest row up to then says. */
static bool
was_on(const char *list, const char *value, TimestampTz at)
{
	Past *past = find_past(list);
	int64 low = 0;
	int64 high = past->n_changes;

	if (past->changes == NULL)
		return look_up_past(list, value, at);
	while (low < high)
	{
		int64 middle = low + (high - low) / 2;

		if (compare(&past->changes[middle], value, at) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && strcmp(past->changes[low - 1].value, value) == 0 &&
		   past->changes[low - 1].until > at;
}

static int
compare(const Change *change, const char *value, TimestampTz at)
{
	int order = strcmp(change->value, value);

	if (order != 0)
		return order;
	return change->at < at ? -1 : change->at > at;
}

/* The list's history, read when it is not there yet. */
static Past *
find_past(const char *name)
{
	MemoryContext memory;
	Past *past;

	for (past = pasts; past != NULL; past = past->next)
		if (strcmp(past->name, name) == 0)
			return past;
	if (past_context == NULL)
		past_context = AllocSetContextCreate(CacheMemoryContext,
											 "agentpay lists of the past",
											 ALLOCSET_SMALL_SIZES);
	memory = AllocSetContextCreate(CurrentMemoryContext, "agentpay list",
								   ALLOCSET_START_SMALL_SIZES);
	past = MemoryContextAllocZero(memory, sizeof(Past));
	past->name = MemoryContextStrdup(memory, name);
	fill_past(past, memory);
	MemoryContextSetParent(memory, past_context);
	past->next = pasts;
	pasts = past;
	return past;
}

static void
fill_past(Past *past, MemoryContext memory)
{
	Oid type = TEXTOID;
	Datum name = CStringGetTextDatum(past->name);
	AgentpayOwnerReading reading;

	agentpay_owner_read_begin(&reading);
	agentpay_owner_select(&reading,
						  "SELECT value, at, CASE WHEN present"
						  " THEN coalesce(expires_at, 'infinity')"
						  " ELSE '-infinity' END"
						  "  FROM agentpay._list_history WHERE list = $1"
						  " ORDER BY value COLLATE \"C\", at, seq",
						  1, &type, &name, CHANGES_READ + 1);
	past->n_changes = SPI_processed;
	if (past->n_changes <= CHANGES_READ)
		past->changes = MemoryContextAllocHuge(memory,
											   sizeof(Change) *
												   Max(past->n_changes, 1));
	for (int64 i = 0; past->changes != NULL && i < past->n_changes; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		past->changes[i].value = MemoryContextStrdup(
			memory, TextDatumGetCString(SPI_getbinval(row, desc, 1, &isnull)));
		past->changes[i].at = DatumGetTimestampTz(
			SPI_getbinval(row, desc, 2, &isnull));
		past->changes[i].until = DatumGetTimestampTz(
			SPI_getbinval(row, desc, 3, &isnull));
	}
	agentpay_owner_read_end(&reading);
}

/* The same by index, of a list that changed too often to be kept. */
static bool
look_up_past(const char *list, const char *value, TimestampTz at)
{
	Relation rows = table_open(agentpay_relation("_list_history"),
							   AccessShareLock);
	Relation index = index_open(agentpay_relation("_list_history_pkey"),
								AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rows, NULL);
	ScanKeyData keys[3];
	IndexScanDesc scan;
	bool on = false;

	ScanKeyEntryInitialize(&keys[0], 0, HISTORY_LIST, BTEqualStrategyNumber,
						   TEXTOID, index->rd_indcollation[0], F_TEXTEQ,
						   CStringGetTextDatum(list));
	ScanKeyEntryInitialize(&keys[1], 0, HISTORY_VALUE, BTEqualStrategyNumber,
						   TEXTOID, index->rd_indcollation[1], F_TEXTEQ,
						   CStringGetTextDatum(value));
	ScanKeyEntryInitialize(&keys[2], 0, HISTORY_AT, BTLessEqualStrategyNumber,
						   TIMESTAMPTZOID, InvalidOid, F_TIMESTAMPTZ_LE,
						   TimestampTzGetDatum(at));
	scan = AGENTPAY_INDEX_BEGINSCAN(rows, index, snapshot, 3);
	index_rescan(scan, keys, 3, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		bool isnull;
		Datum expires;

		on = DatumGetBool(slot_getattr(slot, HISTORY_PRESENT, &isnull));
		expires = slot_getattr(slot, HISTORY_EXPIRES_AT, &isnull);
		on = on && (isnull || DatumGetTimestampTz(expires) > at);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	table_close(rows, NoLock);
	return on;
}

/* When a value leaves a list, by what is committed now; or the beginning. */
static TimestampTz
look_up(const char *list, const char *value)
{
	Relation rows = table_open(agentpay_relation("list_entries"),
							   AccessShareLock);
	Relation index = index_open(agentpay_relation("list_entries_pkey"),
								AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rows, NULL);
	ScanKeyData keys[2];
	IndexScanDesc scan;
	TimestampTz expires_at = DT_NOBEGIN;

	ScanKeyEntryInitialize(&keys[0], 0, ENTRY_LIST, BTEqualStrategyNumber,
						   TEXTOID, index->rd_indcollation[0], F_TEXTEQ,
						   CStringGetTextDatum(list));
	ScanKeyEntryInitialize(&keys[1], 0, ENTRY_VALUE, BTEqualStrategyNumber,
						   TEXTOID, index->rd_indcollation[1], F_TEXTEQ,
						   CStringGetTextDatum(value));
	scan = AGENTPAY_INDEX_BEGINSCAN(rows, index, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool isnull;
		Datum expires = slot_getattr(slot, ENTRY_EXPIRES_AT, &isnull);

		expires_at = isnull ? DT_NOEND : DatumGetTimestampTz(expires);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	table_close(rows, NoLock);
	return expires_at;
}
