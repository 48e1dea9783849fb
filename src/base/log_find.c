/*-------------------------------------------------------------------------
 * log_find.c
 *		Rows of one log by a key and their time, without SQL.
 *
 * A plan that looks into a log has a node for each partition and each of its
 * indexes, and sets them all up for every batch.  Whoever knows a row's time
 * knows its partition; this keeps that one open, with the index of the key.
 *
 * Locking: AccessShareLock on the parent and the leaf, kept to the end of the
 * transaction; the leaf is looked up after the parent's lock is held.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "executor/tuptable.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/log_find.h"

/* The second column of every log is the time that it is partitioned by. */
#define TIME_COLUMN 1

struct AgentpayLogFinder
{
	Relation parent;
	int column;
	RegProcedure equal;
	Snapshot snapshot;
	Relation leaf;			/* the open one, or NULL */
	TimestampTz leaf_from;	/* inclusive */
	TimestampTz leaf_until; /* exclusive */
	AttrNumber key;			/* the column in the leaf */
	Relation index;			/* NULL: none begins with the key */
	IndexScanDesc scan;
	TupleTableSlot *slot;
	TupleConversionMap *map; /* NULL when the parent's columns are equal */
	TupleTableSlot *parent_slot;
};

static bool open_leaf(AgentpayLogFinder *finder, TimestampTz at);
static void close_leaf(AgentpayLogFinder *finder);
static Relation find_index(Relation leaf, AttrNumber key);
static bool by_index(AgentpayLogFinder *finder, TimestampTz at, Datum key);
static bool by_scan(AgentpayLogFinder *finder, TimestampTz at, Datum key);
static bool is_of(AgentpayLogFinder *finder, TimestampTz at);
static TupleTableSlot *parent_row(AgentpayLogFinder *finder);

AgentpayLogFinder *
agentpay_log_finder_open(AgentpayLog log, int column, RegProcedure equal)
{
	AgentpayLogFinder *finder = palloc0(sizeof(AgentpayLogFinder));

	finder->parent = table_open(agentpay_log_relation(log), AccessShareLock);
	finder->column = column;
	finder->equal = equal;
	finder->snapshot = RegisterSnapshot(GetActiveSnapshot());
	return finder;
}

bool
agentpay_log_find(AgentpayLogFinder *finder, TimestampTz at, Datum key,
				  Datum **values, bool **nulls)
{
	TupleTableSlot *row;

	if ((finder->leaf == NULL || at < finder->leaf_from ||
		 at >= finder->leaf_until) &&
		!open_leaf(finder, at))
		return false;
	if (!(finder->index ? by_index(finder, at, key) : by_scan(finder, at, key)))
		return false;
	row = parent_row(finder);
	slot_getallattrs(row);
	*values = row->tts_values;
	*nulls = row->tts_isnull;
	return true;
}

TupleDesc
agentpay_log_finder_columns(const AgentpayLogFinder *finder)
{
	return RelationGetDescr(finder->parent);
}

void
agentpay_log_finder_close(AgentpayLogFinder *finder)
{
	close_leaf(finder);
	UnregisterSnapshot(finder->snapshot);
	table_close(finder->parent, NoLock);
	pfree(finder);
}

static bool
open_leaf(AgentpayLogFinder *finder, TimestampTz at)
{
	Oid relid;
	TupleDesc desc;

	close_leaf(finder);
	if (!agentpay_log_leaf(finder->parent, at, &relid, &finder->leaf_from,
						   &finder->leaf_until))
		return false;
	finder->leaf = table_open(relid, AccessShareLock);
	desc = RelationGetDescr(finder->parent);
	finder->map = convert_tuples_by_name(RelationGetDescr(finder->leaf), desc);
	finder->key = finder->map ? finder->map->attrMap->attnums[finder->column]
							  : finder->column + 1;
	if (finder->map)
		finder->parent_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	finder->slot = table_slot_create(finder->leaf, NULL);
	finder->index = find_index(finder->leaf, finder->key);
	if (finder->index)
		finder->scan = AGENTPAY_INDEX_BEGINSCAN(finder->leaf, finder->index,
												finder->snapshot, 1);
	return true;
}

static void
close_leaf(AgentpayLogFinder *finder)
{
	if (finder->leaf == NULL)
		return;
	ExecDropSingleTupleTableSlot(finder->slot);
	if (finder->map)
	{
		ExecDropSingleTupleTableSlot(finder->parent_slot);
		free_conversion_map(finder->map);
	}
	if (finder->index)
	{
		index_endscan(finder->scan);
		index_close(finder->index, NoLock);
	}
	table_close(finder->leaf, NoLock);
	finder->leaf = NULL;
}

/* An index of all rows that begins with this column, open; NULL: none. */
static Relation
find_index(Relation leaf, AttrNumber key)
{
	List *indexes = RelationGetIndexList(leaf);
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indisvalid &&
			index->rd_index->indkey.values[0] == key &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		{
			list_free(indexes);
			return index;
		}
		index_close(index, NoLock);
	}
	list_free(indexes);
	return NULL;
}

static bool
by_index(AgentpayLogFinder *finder, TimestampTz at, Datum key)
{
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, finder->equal, key);
	index_rescan(finder->scan, &scan_key, 1, NULL, 0);
	while (index_getnext_slot(finder->scan, ForwardScanDirection, finder->slot))
		if (is_of(finder, at))
			return true;
	return false;
}

/* Somebody has dropped the index. */
static bool
by_scan(AgentpayLogFinder *finder, TimestampTz at, Datum key)
{
	ScanKeyData scan_key;
	TableScanDesc scan;
	bool found = false;

	ScanKeyInit(&scan_key, finder->key, BTEqualStrategyNumber, finder->equal,
				key);
	scan = table_beginscan(finder->leaf, finder->snapshot, 1, &scan_key);
	while (!found &&
		   table_scan_getnextslot(scan, ForwardScanDirection, finder->slot))
		found = is_of(finder, at);
	if (found)
		ExecMaterializeSlot(finder->slot);
	table_endscan(scan);
	return found;
}

/* Whether the row that was found is of that time. */
static bool
is_of(AgentpayLogFinder *finder, TimestampTz at)
{
	AttrNumber column = finder->map ? finder->map->attrMap->attnums[TIME_COLUMN]
									: TIME_COLUMN + 1;
	bool isnull;

	return DatumGetTimestampTz(slot_getattr(finder->slot, column, &isnull)) ==
		   at;
}

static TupleTableSlot *
parent_row(AgentpayLogFinder *finder)
{
	return finder->map
			   ? execute_attr_map_slot(finder->map->attrMap, finder->slot,
									   finder->parent_slot)
			   : finder->slot;
}
