/*-------------------------------------------------------------------------
 * verify_tree.c
 *		verify_log()'s first half: the tree by itself.
 *
 * The leaves are hashed together again in their order.  A node that differs
 * says in which 256 leaves something was changed; where everything above was
 * changed with it, the root of the first checkpoint that differs says behind
 * which leaf.
 *
 * Locking: AccessShareLock on what is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "evidence/checkpoint.h"
#include "evidence/note.h"
#include "evidence/tree.h"
#include "evidence/verify.h"

/* Roots on record, in the order of their sizes. */
typedef struct Roots
{
	AgentpayTreeReader reader;
	const char *what;
	AttrNumber size_column;
	AttrNumber root_column;
	bool more;
	bool reported; /* later ones differ, too */
	int64 size;
	int64 good; /* the last size whose root was right */
	AgentpayHash root;
} Roots;

typedef struct Walk
{
	AgentpayVerification *check;
	AgentpayMerkleFrontier frontier;
	Roots seals;
	Roots checkpoints;
	bool node_reported;
} Walk;

static void
open_roots(Roots *roots, AgentpayVerification *check, const char *table,
		   const char *what, AttrNumber size_column, AttrNumber root_column);
static void next_root(Roots *roots, AgentpayVerification *check);
static void check_root(Roots *roots, Walk *walk);
static void check_note(Roots *roots, AgentpayVerification *check);
static bool walk_leaves(Walk *walk);
static void
check_node(void *arg, int level, uint64_t index, const AgentpayHash *hash);
static void check_end(Walk *walk);

void
agentpay_verify_tree(AgentpayVerification *check)
{
	Walk *walk = palloc0(sizeof(Walk));

	walk->check = check;
	if (!agentpay_merkle_load(agentpay_tree_source(check->tree), check->start,
							  &walk->frontier))
		agentpay_tree_broken(check->start);
	open_roots(&walk->seals, check, "_seals", "seal", AGENTPAY_SEAL_TREE_SIZE,
			   AGENTPAY_SEAL_ROOT);
	open_roots(&walk->checkpoints, check, "checkpoints", "checkpoint",
			   AGENTPAY_CHECKPOINT_SIZE, AGENTPAY_CHECKPOINT_ROOT);
	if (walk_leaves(walk))
		check_end(walk);
	agentpay_tree_reader_close(&walk->seals.reader);
	agentpay_tree_reader_close(&walk->checkpoints.reader);
	pfree(walk);
}

/* Both tables have one index, on their first column. */
static void
open_roots(Roots *roots, AgentpayVerification *check, const char *table,
		   const char *what, AttrNumber size_column, AttrNumber root_column)
{
	agentpay_tree_reader_open(&roots->reader, table, 1, 0, check->snapshot);
	index_rescan(roots->reader.scan, NULL, 0, NULL, 0);
	roots->what = what;
	roots->size_column = size_column;
	roots->root_column = root_column;
	roots->good = check->start;
	next_root(roots, check);
}

/* The next one of at least as many leaves as were there at the start. */
static void
next_root(Roots *roots, AgentpayVerification *check)
{
	bool isnull;

	do
	{
		roots->more = agentpay_tree_reader_next(&roots->reader,
												ForwardScanDirection);
		if (!roots->more)
			return;
		roots->size = DatumGetInt64(
			slot_getattr(roots->reader.slot, roots->size_column, &isnull));
	} while (roots->size < check->start);
	if (!agentpay_tree_take_hash(roots->reader.slot, roots->root_column,
								 &roots->root))
		memset(&roots->root, 0, sizeof(roots->root));
	if (roots->root_column == AGENTPAY_CHECKPOINT_ROOT)
		check_note(roots, check);
}

/* A checkpoint's columns are what its note says. */
static void
check_note(Roots *roots, AgentpayVerification *check)
{
	bool isnull;
	char *note = TextDatumGetCString(
		slot_getattr(roots->reader.slot, AGENTPAY_CHECKPOINT_NOTE, &isnull));
	AgentpayCheckpoint checkpoint;

	if (agentpay_note_read(note, strlen(note), &checkpoint) != NULL ||
		checkpoint.size != (uint64) roots->size ||
		!agentpay_merkle_equal(&checkpoint.root, &roots->root))
		agentpay_verify_problem(
			check, NULL, -1, NULL,
			psprintf("the checkpoint of " INT64_FORMAT
					 " leaves does not say what its note says",
					 roots->size));
	pfree(note);
}

/* Whether the leaves have numbers without a gap. */
static bool
walk_leaves(Walk *walk)
{
	AgentpayVerification *check = walk->check;
	AgentpayTreeReader reader;
	ScanKeyData key;
	bool whole = true;

	check_root(&walk->seals, walk);
	check_root(&walk->checkpoints, walk);
	agentpay_tree_reader_open(&reader, "_leaves", AGENTPAY_LEAF_INDEX, 1,
							  check->snapshot);
	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(check->start));
	index_rescan(reader.scan, &key, 1, NULL, 0);
	while (whole && agentpay_tree_reader_next(&reader, ForwardScanDirection))
	{
		AgentpayLeaf leaf;

		CHECK_FOR_INTERRUPTS();
		whole = agentpay_tree_take_leaf(reader.slot, &leaf) &&
				leaf.index == (int64) walk->frontier.size;
		if (!whole)
			break;
		agentpay_merkle_append(&walk->frontier, &leaf.hash, check_node, walk);
		check_root(&walk->seals, walk);
		check_root(&walk->checkpoints, walk);
	}
	if (!whole)
		agentpay_verify_problem(check, NULL, (int64) walk->frontier.size, NULL,
								"the leaf is missing or damaged in "
								"agentpay._leaves");
	agentpay_tree_reader_close(&reader);
	return whole;
}

/* Those on record for as many leaves as have been walked. */
static void
check_root(Roots *roots, Walk *walk)
{
	AgentpayHash root;

	while (roots->more && roots->size == (int64) walk->frontier.size)
	{
		agentpay_merkle_frontier_root(&walk->frontier, &root);
		if (agentpay_merkle_equal(&root, &roots->root))
			roots->good = roots->size;
		else if (!roots->reported)
		{
			agentpay_verify_problem(
				walk->check, NULL, roots->good, NULL,
				psprintf("the root of the %s of " INT64_FORMAT
						 " leaves is another: leaves from " INT64_FORMAT
						 " on are not those that were sealed",
						 roots->what, roots->size, roots->good));
			roots->reported = true;
		}
		next_root(roots, walk->check);
	}
}

/* The sink: what is above the leaves against what is kept of it. */
static void
check_node(void *arg, int level, uint64_t index, const AgentpayHash *hash)
{
	Walk *walk = arg;
	const AgentpayMerkleSource *source = agentpay_tree_source(
		walk->check->tree);
	AgentpayHash kept;

	if (level == 0 || level % AGENTPAY_TILE_LEVELS != 0)
		return;
	if (source->node(source->arg, level, index, &kept) &&
		agentpay_merkle_equal(&kept, hash))
		return;
	/* what is above such a node differs because of it */
	if (level > AGENTPAY_TILE_LEVELS && walk->node_reported)
		return;
	walk->node_reported = true;
	agentpay_verify_problem(
		walk->check, NULL, (int64) (index << level), NULL,
		psprintf("leaves " UINT64_FORMAT " to " UINT64_FORMAT
				 " are not those that were sealed: the node above them differs",
				 index << level, ((index + 1) << level) - 1));
}

/* Nothing may be on record about more leaves than there are. */
static void
check_end(Walk *walk)
{
	AgentpayVerification *check = walk->check;
	int64 leaves = (int64) walk->frontier.size;
	int64 size;
	char *note;

	if (leaves != check->seal.tree_size)
		agentpay_verify_problem(
			check, NULL, Min(leaves, check->seal.tree_size), NULL,
			psprintf("the last seal has " INT64_FORMAT
					 " leaves, agentpay._leaves " INT64_FORMAT,
					 check->seal.tree_size, leaves));
	note = agentpay_checkpoint_last(check->snapshot, &size);
	if (size > leaves)
		agentpay_verify_problem(
			check, NULL, leaves, NULL,
			psprintf("the log was cut off: a checkpoint has " INT64_FORMAT
					 " leaves, the log " INT64_FORMAT,
					 size, leaves));
	if (note != NULL && !agentpay_checkpoint_known(note, strlen(note)))
		agentpay_verify_problem(
			check, NULL, -1, NULL,
			psprintf("the checkpoint of " INT64_FORMAT
					 " leaves has no signature of a key of this log",
					 size));
}

char *
agentpay_verify_snapshot_of(AgentpayVerification *check, int64 tree_size)
{
	AgentpayTreeReader reader;
	char *snapshot = NULL;
	int64 size = tree_size + 1;
	bool isnull;

	agentpay_tree_reader_open(&reader, "_seals", AGENTPAY_SEAL_ID, 0,
							  check->snapshot);
	index_rescan(reader.scan, NULL, 0, NULL, 0);
	while (size > tree_size &&
		   agentpay_tree_reader_next(&reader, BackwardScanDirection))
		size = DatumGetInt64(
			slot_getattr(reader.slot, AGENTPAY_SEAL_TREE_SIZE, &isnull));
	/* snapshots of another cluster do not say which rows came later */
	if (size == tree_size &&
		DatumGetTimestampTz(slot_getattr(reader.slot, AGENTPAY_SEAL_ADOPTED_AT,
										 &isnull)) == check->seal.adopted_at)
		snapshot = OidOutputFunctionCall(F_PG_SNAPSHOT_OUT,
										 slot_getattr(reader.slot,
													  AGENTPAY_SEAL_SNAPSHOT,
													  &isnull));
	agentpay_tree_reader_close(&reader);
	return snapshot;
}
