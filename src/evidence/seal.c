/*-------------------------------------------------------------------------
 * seal.c
 *		Gives committed rows of the logs their place in the Merkle tree.
 *
 * There is one tree over all four logs.  A row is sealed once it is visible,
 * whatever else is still open: the last seal's pg_snapshot is stored with its
 * leaves, and what that did not see is what was in progress in it, and all
 * from its xmax on.  Each row says its top-level xid, so an index finds them.
 *
 * A row whose id has a leaf is passed over, so each is sealed once, whatever
 * the snapshots say.  Snapshots of another cluster say nothing: after adopt(),
 * and when logical replication brought rows, all rows are looked at.
 *
 * Leaves, nodes and snapshot commit together.  Locking: the lock of the tree
 * (one sealer at a time), then its tables.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/errors.h"
#include "base/identity.h"
#include "base/json_writer.h"
#include "evidence/log_row.h"
#include "evidence/log_scan.h"
#include "evidence/seal.h"
#include "evidence/tree.h"
#include "evidence/tree_write.h"

/* Rows of other nodes are looked for at most so often: it reads all rows. */
#define FOREIGN_EVERY_MS 60000

/* As many leaves as a writer buffers: they are in no index yet. */
#define CHUNK 1000
#define CHUNK_SLOTS 4096

typedef struct Sealing
{
	AgentpayTree *tree; /* as it was, and what is flushed */
	AgentpayTreeWriter *leaves;
	AgentpayTreeWriter *nodes;
	AgentpayMerkleFrontier frontier;
	AgentpayJsonWriter *json;
	int64 sealed;
	int buffered;
	pg_uuid_t keys[CHUNK];
	uint16 places[CHUNK_SLOTS]; /* hashed: number of the key, plus 1 */
	MemoryContext scratch;
} Sealing;

/* Its memory is kept: a row may be megabytes. */
static AgentpayJsonWriter json = {0};

static TimestampTz adopted_at(void);
static ArrayType *foreign_rows(void);
static bool foreign_due(void);
static bool seal_row(void *arg, AgentpayLogForm *form, TupleTableSlot *slot);
static uint16 *buffered_place(Sealing *sealing, const pg_uuid_t *key);
static void
keep_node(void *arg, int level, uint64_t index, const AgentpayHash *hash);
static void note_seal(const AgentpaySeal *last, Sealing *sealing,
					  Datum snapshot, TimestampTz adopted);
static void forget_foreign(ArrayType *xids);

PG_FUNCTION_INFO_V1(agentpay_sql_seal);

int64
agentpay_seal(void)
{
	Snapshot snapshot;
	Datum horizon;
	AgentpaySeal last = {0};
	AgentpayLogWindow window = {0};
	Sealing *sealing = palloc0(sizeof(Sealing));
	TimestampTz adopted;
	ArrayType *foreign;
	int64 sealed;

	agentpay_tree_lock();
	/* what is signed must not be lost in a crash */
	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		(void) set_config_option("synchronous_commit", "local", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
	/* after the lock: what an earlier seal did is seen */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(snapshot);
	horizon = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);
	adopted = adopted_at();
	foreign = foreign_rows();
	if (foreign != NULL && !foreign_due())
		foreign = NULL;
	if (agentpay_tree_last_seal(snapshot, &last) && foreign == NULL &&
		last.adopted_at == adopted)
		window.since = last.snapshot;
	window.until = OidOutputFunctionCall(F_PG_SNAPSHOT_OUT, horizon);
	window.snapshot = snapshot;

	sealing->scratch = AllocSetContextCreate(CurrentMemoryContext,
											 "agentpay seal",
											 ALLOCSET_DEFAULT_SIZES);
	sealing->json = &json;
	/* rows of this transaction are found as soon as they are flushed */
	sealing->tree = agentpay_tree_open(SnapshotSelf);
	if (!agentpay_merkle_load(agentpay_tree_source(sealing->tree),
							  last.tree_size, &sealing->frontier))
		agentpay_tree_broken(last.tree_size);
	sealing->leaves = agentpay_tree_writer_open("_leaves");
	sealing->nodes = agentpay_tree_writer_open("_nodes");
	for (int log = 0; log < AGENTPAY_SEALED_LOGS; log++)
		agentpay_log_scan(log, &window, seal_row, sealing);
	agentpay_tree_writer_close(sealing->leaves);
	agentpay_tree_writer_close(sealing->nodes);
	agentpay_tree_close(sealing->tree);

	sealed = sealing->sealed;
	if (sealed > 0 || window.since == NULL)
		note_seal(&last, sealing, horizon, adopted);
	if (foreign != NULL)
		forget_foreign(foreign);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(sealing->scratch);
	pfree(sealing);
	return sealed;
}

/* agentpay._seal() */
Datum
agentpay_sql_seal(PG_FUNCTION_ARGS)
{
	int64 sealed;

	if (agentpay_identity_held())
		ereport(ERROR,
				(errcode(ERRCODE_AGENTPAY_HELD),
				 errmsg("nothing is sealed in a database that is not the "
						"ledger"),
				 errhint("SELECT agentpay.adopt(); makes it the ledger.")));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	sealed = agentpay_seal();
	SPI_finish();
	PG_RETURN_INT64(sealed);
}

/* When this database became the ledger: snapshots from before say nothing. */
static TimestampTz
adopted_at(void)
{
	bool isnull;

	if (SPI_execute("SELECT adopted_at FROM agentpay._identity", true, 1) !=
			SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read agentpay._identity");
	return DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1,
											 &isnull));
}

/* Transactions that brought rows of another node; NULL: none. */
static ArrayType *
foreign_rows(void)
{
	bool isnull;
	Datum value;

	if (SPI_execute("SELECT array_agg(xid) FROM agentpay._foreign_rows", true,
					1) != SPI_OK_SELECT)
		elog(ERROR, "could not read agentpay._foreign_rows");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &isnull);
	return isnull ? NULL : DatumGetArrayTypeP(value);
}

static bool
foreign_due(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (last != 0 && !TimestampDifferenceExceeds(last, now, FOREIGN_EVERY_MS))
		return false;
	last = now;
	return true;
}

/* The callback for each row that may be new. */
static bool
seal_row(void *arg, AgentpayLogForm *form, TupleTableSlot *slot)
{
	Sealing *sealing = arg;
	MemoryContext old;
	AgentpayLeaf known;
	AgentpayHash hash;
	Datum values[4];
	bool isnull;
	Datum key = slot_getattr(slot, form->key, &isnull);

	uint16 *place = buffered_place(sealing, DatumGetUUIDP(key));

	CHECK_FOR_INTERRUPTS();
	if (*place != 0 ||
		agentpay_tree_find(sealing->tree, DatumGetUUIDP(key), &known))
		return true;
	sealing->keys[sealing->buffered] = *DatumGetUUIDP(key);
	*place = ++sealing->buffered;
	agentpay_log_row_write(form, slot, sealing->json);
	agentpay_merkle_leaf(sealing->json->data, sealing->json->len, &hash);

	old = MemoryContextSwitchTo(sealing->scratch);
	values[0] = Int64GetDatum((int64) sealing->frontier.size);
	values[1] = key;
	values[2] = CharGetDatum(agentpay_tree_letter(form->log));
	values[3] = agentpay_tree_hash_datum(&hash);
	agentpay_tree_writer_put(sealing->leaves, values);
	agentpay_merkle_append(&sealing->frontier, &hash, keep_node, sealing);
	MemoryContextSwitchTo(old);
	MemoryContextReset(sealing->scratch);
	sealing->sealed++;
	if (sealing->buffered == CHUNK)
	{
		agentpay_tree_writer_flush(sealing->leaves);
		memset(sealing->places, 0, sizeof(sealing->places));
		sealing->buffered = 0;
	}
	return true;
}

/*
 * Where the number of that id stands, or would stand, among those of the
 * leaves that no index has yet; 0 there: it is none of them.
 */
static uint16 *
buffered_place(Sealing *sealing, const pg_uuid_t *key)
{
	uint32 hash;

	/* the end of an id of version 7 is random */
	memcpy(&hash, key->data + UUID_LEN - sizeof(hash), sizeof(hash));
	for (;; hash++)
	{
		uint16 *place = &sealing->places[hash % CHUNK_SLOTS];

		if (*place == 0 ||
			memcmp(sealing->keys[*place - 1].data, key->data, UUID_LEN) == 0)
			return place;
	}
}

/* Of the nodes above the leaves, those of every eighth level are kept. */
static void
keep_node(void *arg, int level, uint64_t index, const AgentpayHash *hash)
{
	Sealing *sealing = arg;
	Datum values[3];

	if (level == 0 || level % AGENTPAY_TILE_LEVELS != 0)
		return;
	values[0] = Int16GetDatum(level);
	values[1] = Int64GetDatum((int64) index);
	values[2] = agentpay_tree_hash_datum(hash);
	agentpay_tree_writer_put(sealing->nodes, values);
}

static void
note_seal(const AgentpaySeal *last, Sealing *sealing, Datum snapshot,
		  TimestampTz adopted)
{
	AgentpayTreeWriter *seals = agentpay_tree_writer_open("_seals");
	AgentpayHash root;
	Datum values[6];

	agentpay_merkle_frontier_root(&sealing->frontier, &root);
	values[0] = Int64GetDatum(last->seal_id + 1);
	values[1] = Int64GetDatum((int64) sealing->frontier.size);
	values[2] = agentpay_tree_hash_datum(&root);
	values[3] = snapshot;
	values[4] = TimestampTzGetDatum(adopted);
	values[5] = TimestampTzGetDatum(agentpay_clock_now());
	agentpay_tree_writer_put(seals, values);
	agentpay_tree_writer_close(seals);
}

static void
forget_foreign(ArrayType *xids)
{
	Oid types[1] = {XID8ARRAYOID};
	Datum values[1] = {PointerGetDatum(xids)};

	if (SPI_execute_with_args("DELETE FROM agentpay._foreign_rows"
							  " WHERE xid = ANY ($1)",
							  1, types, values, NULL, false,
							  0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from agentpay._foreign_rows");
}
