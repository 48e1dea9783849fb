/*-------------------------------------------------------------------------
 * table.c
 *		The session's cache of compiled tables.
 *
 * What is compiled for a leaf lives until the configuration, the leaf or a
 * function that a rule calls changes.  An invalidation can arrive in the
 * middle of an evaluation, so the callback only marks; a statement keeps what
 * it has pinned, and the next one compiles again.
 *
 * No locks: the statement that scores a row holds one on the leaf.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "scoring/table.h"
#include "scoring/table_point.h"

typedef struct CacheEntry
{
	Oid leaf; /* key */
	AgentpayTable *table;
} CacheEntry;

static HTAB *cache = NULL;

static CacheEntry *cache_entry(Oid leaf);
static void mark_stale(Datum arg, Oid relid);
static bool is_fresh(AgentpayTable *table, AgentpayConfig *config);
static bool any_stale(const AgentpayPoint *point);
static AgentpayTable *compile(Relation leaf, AgentpayConfig *config);
static void add_streams(AgentpayTable *table, AgentpayPoint *point);
static bool has_later_trigger(Relation leaf);
static Bitmapset *received_columns(const AgentpayTable *table);
static void collect_used(AgentpayTable *table, Relation leaf);
static void await_tables(AgentpayTable *table, const AgentpayPoint *point);
static void free_table(AgentpayTable *table);

AgentpayTable *
agentpay_table_get(Relation leaf, AgentpayConfig *config)
{
	CacheEntry *entry = cache_entry(RelationGetRelid(leaf));
	AgentpayTable *table;

	if (entry->table != NULL && is_fresh(entry->table, config))
		return entry->table;
	if (entry->table != NULL)
	{
		table = entry->table;
		entry->table = NULL;
		agentpay_table_unpin(table);
	}
	table = compile(leaf, config);
	/* compiling may have reset the cache's memory, never its entries */
	cache_entry(RelationGetRelid(leaf))->table = table;
	return table;
}

void
agentpay_table_pin(AgentpayTable *table)
{
	table->pins++;
}

void
agentpay_table_unpin(AgentpayTable *table)
{
	Assert(table->pins > 0);
	if (--table->pins == 0)
		free_table(table);
}

/* The leaf's entry, made when missing. */
static CacheEntry *
cache_entry(Oid leaf)
{
	CacheEntry *entry;
	bool found;

	if (cache == NULL)
	{
		HASHCTL control = {
			.keysize = sizeof(Oid),
			.entrysize = sizeof(CacheEntry),
			.hcxt = CacheMemoryContext,
		};

		cache = hash_create("agentpay compiled tables", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
	}
	entry = hash_search(cache, &leaf, HASH_ENTER, &found);
	if (!found)
		entry->table = NULL;
	return entry;
}

/* Invalidation callback: relid InvalidOid means every relation. */
static void
mark_stale(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	CacheEntry *entry;

	if (OidIsValid(relid))
	{
		entry = hash_search(cache, &relid, HASH_FIND, NULL);
		if (entry != NULL && entry->table != NULL)
			entry->table->stale = true;
	}
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->table != NULL &&
			(!OidIsValid(relid) ||
			 list_member_oid(entry->table->awaited, relid)))
			entry->table->stale = true;
}

static bool
is_fresh(AgentpayTable *table, AgentpayConfig *config)
{
	if (table->stale || table->config != config)
		return false;
	for (int i = 0; i < table->n_points; i++)
		if (any_stale(&table->points[i]))
			return false;
	return true;
}

/* Whether a function or an index that the point uses changed. */
static bool
any_stale(const AgentpayPoint *point)
{
	for (int s = 0; s < point->n_rulesets; s++)
		for (int i = 0; i < point->rulesets[s].n_rules; i++)
		{
			const AgentpayRule *rule = &point->rulesets[s].rules[i];

			if (rule->condition != NULL &&
				agentpay_expression_stale(rule->condition))
				return true;
		}
	for (int i = 0; i < point->n_agents; i++)
		if (point->agents[i].invoke_when != NULL &&
			agentpay_expression_stale(point->agents[i].invoke_when))
			return true;
	for (int i = 0; i < point->config->n_features; i++)
	{
		const AgentpayFeatureSlot *slot = &point->features[i];

		if ((slot->reader != NULL && agentpay_feature_stale(slot->reader)) ||
			(slot->lookup != NULL && agentpay_lookup_stale(slot->lookup)))
			return true;
	}
	return false;
}

/* Compiles every enabled point that stands on the leaf or its ancestors. */
static AgentpayTable *
compile(Relation leaf, AgentpayConfig *config)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext,
												  "agentpay compiled table",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	AgentpayTable *table = palloc0(sizeof(AgentpayTable));
	List *relations = list_make1_oid(RelationGetRelid(leaf));
	bool later_trigger;

	table->leaf = RelationGetRelid(leaf);
	table->context = context;
	table->pins = 1; /* the cache's */
	table->config = config;
	agentpay_config_pin(config);
	if (leaf->rd_rel->relispartition)
		relations = list_concat(relations,
								get_partition_ancestors(table->leaf));
	table->points = palloc0(sizeof(AgentpayPoint) * Max(config->n_points, 1));
	table->econtext = CreateStandaloneExprContext();

	PG_TRY();
	{
		for (int i = 0; i < config->n_points; i++)
		{
			const AgentpayPointConfig *point = &config->points[i];

			if (list_member_oid(relations, point->table))
				agentpay_point_compile(&table->points[table->n_points++], leaf,
									   point, config);
		}
		collect_used(table, leaf);
		table->streams = agentpay_streams_make(leaf, received_columns(table));
		later_trigger = has_later_trigger(leaf);
		for (int i = 0; i < table->n_points; i++)
		{
			await_tables(table, &table->points[i]);
			if (!later_trigger)
				add_streams(table, &table->points[i]);
		}
	}
	PG_CATCH();
	{
		free_table(table);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return table;
}

/* Its features share what shared memory remembers of the table's rows. */
static void
add_streams(AgentpayTable *table, AgentpayPoint *point)
{
	for (int i = 0; i < point->config->n_features; i++)
		if (point->features[i].reader != NULL)
			agentpay_streams_add(table->streams, point->features[i].reader);
}

/*
 * Whether a trigger that sorts after ours may change or skip a row that was
 * scored: then nothing of the table is remembered.
 */
static bool
has_later_trigger(Relation leaf)
{
	TriggerDesc *triggers = leaf->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_INSERT(trigger->tgtype) &&
			TRIGGER_FOR_BEFORE(trigger->tgtype) &&
			TRIGGER_FOR_ROW(trigger->tgtype) &&
			trigger->tgenabled != TRIGGER_DISABLED &&
			strcmp(trigger->tgname, "~agentpay_score") > 0)
			return true;
	}
	return false;
}

/* The columns that receive something of a decision (and maybe 0). */
static Bitmapset *
received_columns(const AgentpayTable *table)
{
	Bitmapset *received = NULL;

	for (int i = 0; i < table->n_points; i++)
	{
		const AgentpayPoint *point = &table->points[i];

		received = bms_add_member(received, point->outcome.column.attno);
		received = bms_add_member(received, point->score.column.attno);
		received = bms_add_member(received, point->reasons.column.attno);
	}
	return bms_del_member(received, 0);
}

/* The columns that decide what was scored, for the digest. */
static void
collect_used(AgentpayTable *table, Relation leaf)
{
	Bitmapset *used = NULL;
	int attno = -1;

	for (int i = 0; i < table->n_points; i++)
		used = bms_add_members(used, agentpay_point_columns(&table->points[i]));
	used = bms_del_members(used, received_columns(table));
	used = bms_del_member(used, 0);
	table->used = palloc0(sizeof(AgentpayColumn) *
						  Max(bms_num_members(used), 1));
	while ((attno = bms_next_member(used, attno)) >= 0)
	{
		AgentpayColumn *column = &table->used[table->n_used++];

		agentpay_column_of(leaf, attno, column);
		if (column->type == NUMERICOID && table->unpacked == NULL)
			table->unpacked = MakeSingleTupleTableSlot(
				CreateTupleDescCopy(RelationGetDescr(leaf)), &TTSOpsVirtual);
	}
}

/* Nothing of a broken feature watches the table that it would read. */
static void
await_tables(AgentpayTable *table, const AgentpayPoint *point)
{
	for (int i = 0; i < point->config->n_features; i++)
		if (point->features[i].broken != NULL)
			table->awaited =
				list_append_unique_oid(table->awaited,
									   point->config->features[i].from_table);
}

static void
free_table(AgentpayTable *table)
{
	for (int i = 0; i < table->n_points; i++)
		agentpay_point_free(&table->points[i]);
	if (table->unpacked != NULL)
		ExecDropSingleTupleTableSlot(table->unpacked);
	FreeExprContext(table->econtext, false);
	agentpay_config_unpin(table->config);
	MemoryContextDelete(table->context);
}
