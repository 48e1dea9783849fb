/*-------------------------------------------------------------------------
 * tree.c
 *		Reads the Merkle tree's tables without SQL.
 *
 * Locking: AccessShareLock on what is read, kept to the end of the
 * transaction.  What is committed never changes, so no other lock is needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "evidence/log_row.h"
#include "evidence/tree.h"

/* 2^63 leaves have eight levels of tiles. */
#define TILE_LEVELS 8

/* Hashes of level 8 * place, from index first * 256 on. */
typedef struct Tile
{
	int64 first; /* -1: nothing is loaded */
	int count;
	AgentpayHash hashes[AGENTPAY_TILE_WIDTH];
} Tile;

struct AgentpayTree
{
	AgentpayTreeReader leaves;
	AgentpayTreeReader keys; /* of leaves, by row_key */
	AgentpayTreeReader nodes;
	AgentpayMerkleSource source;
	Tile tiles[TILE_LEVELS];
};

static const char log_letters[AGENTPAY_SEALED_LOGS] = {
	[AGENTPAY_LOG_DECISIONS] = 'd',
	[AGENTPAY_LOG_AGENT_CALLS] = 'c',
	[AGENTPAY_LOG_OUTCOMES] = 'o',
	[AGENTPAY_LOG_GOVERNANCE] = 'g',
};

static bool tree_node(void *arg, int level, uint64_t index, AgentpayHash *out);
static Tile *load_tile(AgentpayTree *tree, int place, int64 first);

char
agentpay_tree_letter(AgentpayLog log)
{
	return log_letters[log];
}

bool
agentpay_tree_log(char letter, AgentpayLog *log)
{
	for (int i = 0; i < AGENTPAY_SEALED_LOGS; i++)
		if (log_letters[i] == letter)
		{
			*log = i;
			return true;
		}
	return false;
}

AgentpayTree *
agentpay_tree_open(Snapshot snapshot)
{
	AgentpayTree *tree = palloc(sizeof(AgentpayTree));

	agentpay_tree_reader_open(&tree->leaves, "_leaves", AGENTPAY_LEAF_INDEX, 2,
							  snapshot);
	agentpay_tree_reader_open(&tree->keys, "_leaves", AGENTPAY_LEAF_KEY, 1,
							  snapshot);
	agentpay_tree_reader_open(&tree->nodes, "_nodes", AGENTPAY_NODE_LEVEL, 3,
							  snapshot);
	tree->source.node = tree_node;
	tree->source.arg = tree;
	for (int i = 0; i < TILE_LEVELS; i++)
		tree->tiles[i].first = -1;
	return tree;
}

void
agentpay_tree_close(AgentpayTree *tree)
{
	agentpay_tree_reader_close(&tree->leaves);
	agentpay_tree_reader_close(&tree->keys);
	agentpay_tree_reader_close(&tree->nodes);
	pfree(tree);
}

const AgentpayMerkleSource *
agentpay_tree_source(AgentpayTree *tree)
{
	return &tree->source;
}

void
agentpay_tree_reader_open(AgentpayTreeReader *reader, const char *name,
						  AttrNumber column, int keys, Snapshot snapshot)
{
	Oid relid = agentpay_relation(name);
	Oid index;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agentpay.%s\" does not exist", name),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	reader->table = table_open(relid, AccessShareLock);
	index = agentpay_log_row_index(reader->table, column);
	if (!OidIsValid(index))
		elog(ERROR, "agentpay.%s has lost an index", name);
	reader->index = index_open(index, AccessShareLock);
	reader->keys = keys;
	reader->scan = AGENTPAY_INDEX_BEGINSCAN(reader->table, reader->index,
											snapshot, keys);
	reader->slot = table_slot_create(reader->table, NULL);
	reader->context = CurrentMemoryContext;
}

/*
 * An index scan notes dead entries in the context that it happens to be called
 * in, and frees the notes at its end: the caller's may be gone by then.
 */
bool
agentpay_tree_reader_next(AgentpayTreeReader *reader, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(reader->context);
	bool found = index_getnext_slot(reader->scan, direction, reader->slot);

	MemoryContextSwitchTo(old);
	return found;
}

void
agentpay_tree_reader_close(AgentpayTreeReader *reader)
{
	index_endscan(reader->scan);
	ExecDropSingleTupleTableSlot(reader->slot);
	index_close(reader->index, NoLock);
	table_close(reader->table, NoLock);
}

/* The source's callback. */
static bool
tree_node(void *arg, int level, uint64_t index, AgentpayHash *out)
{
	AgentpayTree *tree = arg;
	int place = level / AGENTPAY_TILE_LEVELS;
	int above = level % AGENTPAY_TILE_LEVELS;
	int64 start = (int64) (index << above);
	int width = 1 << above;
	int offset = (int) (start % AGENTPAY_TILE_WIDTH);
	AgentpayHash hashes[AGENTPAY_TILE_WIDTH / 2];
	Tile *tile;

	if (place >= TILE_LEVELS)
		return false;
	tile = load_tile(tree, place, start / AGENTPAY_TILE_WIDTH);
	if (offset + width > tile->count)
		return false;
	memcpy(hashes, tile->hashes + offset, width * sizeof(AgentpayHash));
	for (; width > 1; width /= 2)
		for (int i = 0; i < width / 2; i++)
			agentpay_merkle_node(&hashes[2 * i], &hashes[2 * i + 1],
								 &hashes[i]);
	*out = hashes[0];
	return true;
}

/* As many hashes of the tile as are there without a gap. */
static Tile *
load_tile(AgentpayTree *tree, int place, int64 first)
{
	Tile *tile = &tree->tiles[place];
	AgentpayTreeReader *reader = place == 0 ? &tree->leaves : &tree->nodes;
	AttrNumber index_column = place == 0 ? AGENTPAY_LEAF_INDEX
										 : AGENTPAY_NODE_INDEX;
	AttrNumber hash_column = place == 0 ? AGENTPAY_LEAF_HASH
										: AGENTPAY_NODE_HASH;
	int64 from = first * AGENTPAY_TILE_WIDTH;
	ScanKeyData keys[3];
	int n = 0;
	bool isnull;

	if (tile->first == first)
		return tile;
	tile->first = first;
	tile->count = 0;
	if (place > 0)
		ScanKeyInit(&keys[n++], 1, BTEqualStrategyNumber, F_INT2EQ,
					Int16GetDatum(place * AGENTPAY_TILE_LEVELS));
	ScanKeyInit(&keys[n], n + 1, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(from));
	n++;
	ScanKeyInit(&keys[n], n, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(from + AGENTPAY_TILE_WIDTH));
	n++;
	Assert(n == reader->keys);
	index_rescan(reader->scan, keys, n, NULL, 0);
	while (tile->count < AGENTPAY_TILE_WIDTH &&
		   agentpay_tree_reader_next(reader, ForwardScanDirection))
	{
		int64 index = DatumGetInt64(
			slot_getattr(reader->slot, index_column, &isnull));

		if (index != from + tile->count ||
			!agentpay_tree_take_hash(reader->slot, hash_column,
									 &tile->hashes[tile->count]))
			break;
		tile->count++;
	}
	return tile;
}

bool
agentpay_tree_take_hash(TupleTableSlot *slot, AttrNumber column,
						AgentpayHash *out)
{
	bool isnull;
	Datum value = slot_getattr(slot, column, &isnull);
	bytea *bytes;

	if (isnull)
		return false;
	bytes = DatumGetByteaPP(value);
	if (VARSIZE_ANY_EXHDR(bytes) != AGENTPAY_HASH_SIZE)
		return false;
	memcpy(out->bytes, VARDATA_ANY(bytes), AGENTPAY_HASH_SIZE);
	return true;
}

bool
agentpay_tree_find(AgentpayTree *tree, const pg_uuid_t *key, AgentpayLeaf *leaf)
{
	AgentpayTreeReader *reader = &tree->keys;
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key));
	index_rescan(reader->scan, &scan_key, 1, NULL, 0);
	while (agentpay_tree_reader_next(reader, ForwardScanDirection))
		if (agentpay_tree_take_leaf(reader->slot, leaf))
			return true;
	return false;
}

bool
agentpay_tree_take_leaf(TupleTableSlot *slot, AgentpayLeaf *leaf)
{
	bool isnull;

	leaf->index = DatumGetInt64(
		slot_getattr(slot, AGENTPAY_LEAF_INDEX, &isnull));
	leaf->key = *DatumGetUUIDP(slot_getattr(slot, AGENTPAY_LEAF_KEY, &isnull));
	return agentpay_tree_log(DatumGetChar(slot_getattr(slot, AGENTPAY_LEAF_LOG,
													   &isnull)),
							 &leaf->log) &&
		   agentpay_tree_take_hash(slot, AGENTPAY_LEAF_HASH, &leaf->hash);
}

bool
agentpay_tree_last_seal(Snapshot snapshot, AgentpaySeal *seal)
{
	AgentpayTreeReader reader;
	bool found;
	bool isnull;

	agentpay_tree_reader_open(&reader, "_seals", AGENTPAY_SEAL_ID, 0, snapshot);
	index_rescan(reader.scan, NULL, 0, NULL, 0);
	found = agentpay_tree_reader_next(&reader, BackwardScanDirection);
	if (found)
	{
		seal->seal_id = DatumGetInt64(
			slot_getattr(reader.slot, AGENTPAY_SEAL_ID, &isnull));
		seal->tree_size = DatumGetInt64(
			slot_getattr(reader.slot, AGENTPAY_SEAL_TREE_SIZE, &isnull));
		if (!agentpay_tree_take_hash(reader.slot, AGENTPAY_SEAL_ROOT,
									 &seal->root))
			agentpay_tree_broken(seal->tree_size);
		seal->snapshot = OidOutputFunctionCall(
			F_PG_SNAPSHOT_OUT,
			slot_getattr(reader.slot, AGENTPAY_SEAL_SNAPSHOT, &isnull));
		seal->adopted_at = DatumGetTimestampTz(
			slot_getattr(reader.slot, AGENTPAY_SEAL_ADOPTED_AT, &isnull));
	}
	agentpay_tree_reader_close(&reader);
	return found;
}

void
agentpay_tree_broken(int64 size)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the log's tree of " INT64_FORMAT " leaves lacks nodes",
					size),
			 errhint("SELECT * FROM agentpay.verify_log() WHERE NOT ok;")));
}
