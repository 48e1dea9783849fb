/*-------------------------------------------------------------------------
 * tree.h
 *		The Merkle tree as it stands in agentpay._leaves and agentpay._nodes.
 *
 * A leaf is a row of _leaves.  Of the nodes above only every eighth level is
 * kept, each complete subtree of 256, 65,536 ... leaves once, in _nodes; what
 * is between is computed from at most 256 hashes.  Nothing is ever updated.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TREE_H
#define AGENTPAY_TREE_H

#include "postgres.h"

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "base/compat.h"
#include "evidence/merkle.h"

/* Levels of the tree between those that are kept. */
#define AGENTPAY_TILE_LEVELS 8
#define AGENTPAY_TILE_WIDTH (1 << AGENTPAY_TILE_LEVELS)

/* Columns of agentpay._leaves, _nodes, _seals and checkpoints. */
#define AGENTPAY_LEAF_INDEX 1
#define AGENTPAY_LEAF_KEY 2
#define AGENTPAY_LEAF_LOG 3
#define AGENTPAY_LEAF_HASH 4
#define AGENTPAY_NODE_LEVEL 1
#define AGENTPAY_NODE_INDEX 2
#define AGENTPAY_NODE_HASH 3
#define AGENTPAY_SEAL_ID 1
#define AGENTPAY_SEAL_TREE_SIZE 2
#define AGENTPAY_SEAL_ROOT 3
#define AGENTPAY_SEAL_SNAPSHOT 4
#define AGENTPAY_SEAL_ADOPTED_AT 5
#define AGENTPAY_CHECKPOINT_SIZE 1
#define AGENTPAY_CHECKPOINT_ROOT 2
#define AGENTPAY_CHECKPOINT_NOTE 3

typedef struct AgentpayTree AgentpayTree;

/* A table of the tree, read by one of its indexes. */
typedef struct AgentpayTreeReader
{
	Relation table;
	Relation index;
	IndexScanDesc scan;
	int keys;
	TupleTableSlot *slot;
	MemoryContext context; /* of what the scan keeps */
} AgentpayTreeReader;

/* A leaf that was found. */
typedef struct AgentpayLeaf
{
	int64 index;
	AgentpayLog log;
	pg_uuid_t key;
	AgentpayHash hash;
} AgentpayLeaf;

/* The last seal. */
typedef struct AgentpaySeal
{
	int64 seal_id;
	int64 tree_size;
	AgentpayHash root;
	char *snapshot; /* text of the pg_snapshot */
	TimestampTz adopted_at;
} AgentpaySeal;

/* What log a leaf is of, and back; false: that is no log. */
extern char agentpay_tree_letter(AgentpayLog log);
extern bool agentpay_tree_log(char letter, AgentpayLog *log);

/*
 * In the current memory context, under the current resource owner; close it
 * under the same one.  After an error it is forgotten.
 */
extern AgentpayTree *agentpay_tree_open(Snapshot snapshot);
extern void agentpay_tree_close(AgentpayTree *tree);
extern const AgentpayMerkleSource *agentpay_tree_source(AgentpayTree *tree);

/* The leaf of a row; false: it has none. */
extern bool agentpay_tree_find(AgentpayTree *tree, const pg_uuid_t *key,
							   AgentpayLeaf *leaf);

/* The last seal of the snapshot; false: none. */
extern bool agentpay_tree_last_seal(Snapshot snapshot, AgentpaySeal *seal);

/* By the index that begins with that column; keys: of each scan. */
extern void
agentpay_tree_reader_open(AgentpayTreeReader *reader, const char *name,
						  AttrNumber column, int keys, Snapshot snapshot);
extern void agentpay_tree_reader_close(AgentpayTreeReader *reader);

/* The next row into the reader's slot; false: there is none. */
extern bool
agentpay_tree_reader_next(AgentpayTreeReader *reader, ScanDirection direction);

/* What a row says; false: it is no leaf, or no hash. */
extern bool agentpay_tree_take_leaf(TupleTableSlot *slot, AgentpayLeaf *leaf);
extern bool agentpay_tree_take_hash(TupleTableSlot *slot, AttrNumber column,
									AgentpayHash *out);

/* Raises an error: nodes are missing. */
extern void agentpay_tree_broken(int64 size) pg_attribute_noreturn();

#endif /* AGENTPAY_TREE_H */
