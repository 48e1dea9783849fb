/*-------------------------------------------------------------------------
 * retention.c
 *		What apply_retention() must know before it drops a partition: that each
 *		row is what was sealed, which leaves those are, and how far a checkpoint
 *		reaches that was kept.
 *
 * What is to go, and why something is to stay, is decided in SQL
 * (agentpay._retain()); it runs with the guards of guard.c lifted, and can
 * only be called through apply_retention().
 *
 * Locking: AccessShareLock on what is read; the caller has locked the partition
 * against writers.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/json_writer.h"
#include "base/owner.h"
#include "evidence/checkpoint.h"
#include "evidence/guard.h"
#include "evidence/log_row.h"
#include "evidence/log_scan.h"
#include "evidence/tree.h"
#include "evidence/tree_write.h"

/* rows, unsealed, uncovered, changed, wrong, leaves */
#define JUDGEMENT_COLUMNS 6

/* tree_size, root_hash, problem */
#define KEPT_COLUMNS 3

typedef struct Judgement
{
	AgentpayTree *tree;
	AgentpayLog log;
	Snapshot snapshot;
	int64 covered; /* leaves before it are under a checkpoint that was kept */
	uint8 *found;  /* a bit for each of them */
	int64 first;   /* of those found; -1: none */
	int64 last;
	AgentpayJsonWriter json;
	int64 rows;
	int64 unsealed;
	int64 uncovered;
	int64 changed;
	pg_uuid_t wrong; /* the first row that is one of these */
	bool has_wrong;
} Judgement;

static void refuse_isolation(void);
static AgentpayLog log_named(text *name);
static void check_partition(AgentpayLog log, Oid leaf);
static bool judge_row(void *arg, AgentpayLogForm *form, TupleTableSlot *slot);
static void
note_wrong(Judgement *judgement, int64 *count, const pg_uuid_t *key);
static Datum found_leaves(Judgement *judgement);
static void put_run(StringInfo runs, int64 first, int64 last);

PG_FUNCTION_INFO_V1(agentpay_sql_apply_retention);
PG_FUNCTION_INFO_V1(agentpay_sql_judge_partition);
PG_FUNCTION_INFO_V1(agentpay_sql_kept_checkpoint);
PG_FUNCTION_INFO_V1(agentpay_sql_lock_tree);

/*
 * agentpay.apply_retention(keep interval): agentpay._retain() as the
 * extension's owner, with the guards lifted.
 */
Datum
agentpay_sql_apply_retention(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid types[1] = {INTERVALOID};
	Datum values[1] = {PG_GETARG_DATUM(0)};
	char nulls[2] = {PG_ARGISNULL(0) ? 'n' : ' ', '\0'};
	AgentpayOwnerState owner;

	InitMaterializedSRF(fcinfo, 0);
	refuse_isolation();
	agentpay_owner_enter(&owner);
	agentpay_guard.lift();
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT ||
			SPI_execute_with_args("SELECT * FROM agentpay._retain($1)", 1,
								  types, values, nulls, false,
								  0) != SPI_OK_SELECT)
			elog(ERROR, "could not apply the retention");
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
		SPI_finish();
	}
	PG_FINALLY();
	{
		agentpay_guard.restore();
	}
	PG_END_TRY();
	agentpay_owner_leave(&owner);
	return (Datum) 0;
}

/* What is read after a lock must be what was committed before it. */
static void
refuse_isolation(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("apply_retention() needs a transaction of READ COMMITTED"),
			 errdetail("Another one would not see what was written since it "
					   "began, and drop it unseen."),
			 errhint("SET TRANSACTION ISOLATION LEVEL READ COMMITTED;")));
}

/* agentpay._lock_tree() */
Datum
agentpay_sql_lock_tree(PG_FUNCTION_ARGS)
{
	agentpay_tree_lock();
	PG_RETURN_VOID();
}

/*
 * agentpay._judge_partition(log text, leaf regclass, covered bigint): reads
 * every row of the partition.  rows; of them unsealed, uncovered (behind the
 * checkpoint) and changed; the id of one of these; leaves: [[first, last],
 * ...], runs of the log's leaves whose rows are all in the partition.
 */
Datum
agentpay_sql_judge_partition(PG_FUNCTION_ARGS)
{
	Judgement judgement = {.log = log_named(PG_GETARG_TEXT_PP(0)),
						   .first = -1,
						   .last = -1};
	AgentpaySeal seal = {0};
	Oid leaf = PG_GETARG_OID(1);
	AgentpayLogWindow window = {0};
	Datum values[JUDGEMENT_COLUMNS];
	bool nulls[JUDGEMENT_COLUMNS] = {false};
	TupleDesc result;

	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* what committed before the caller had its lock is seen */
	judgement.snapshot = RegisterSnapshot(GetLatestSnapshot());
	check_partition(judgement.log, leaf);
	(void) agentpay_tree_last_seal(judgement.snapshot, &seal);
	judgement.covered = Max(0, Min(PG_GETARG_INT64(2), seal.tree_size));
	judgement.tree = agentpay_tree_open(judgement.snapshot);
	judgement.found = MemoryContextAllocExtended(CurrentMemoryContext,
												 judgement.covered / 8 + 1,
												 MCXT_ALLOC_HUGE |
													 MCXT_ALLOC_ZERO);
	window.snapshot = judgement.snapshot;
	agentpay_log_scan_leaf(judgement.log, leaf, &window, judge_row, &judgement);
	free(judgement.json.data);
	agentpay_tree_close(judgement.tree);

	values[0] = Int64GetDatum(judgement.rows);
	values[1] = Int64GetDatum(judgement.unsealed);
	values[2] = Int64GetDatum(judgement.uncovered);
	values[3] = Int64GetDatum(judgement.changed);
	nulls[4] = !judgement.has_wrong;
	values[4] = UUIDPGetDatum(&judgement.wrong);
	values[5] = found_leaves(&judgement);
	UnregisterSnapshot(judgement.snapshot);
	pfree(judgement.found);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(result), values, nulls)));
}

static AgentpayLog
log_named(text *name)
{
	char *wanted = text_to_cstring(name);

	for (int log = 0; log < AGENTPAY_SEALED_LOGS; log++)
		if (strcmp(agentpay_log_row_log_name(log), wanted) == 0)
			return log;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("\"%s\" is not in the Merkle log", wanted)));
	pg_unreachable();
}

/* Locks the partition, if it is one of the log. */
static void
check_partition(AgentpayLog log, Oid leaf)
{
	LockRelationOid(leaf, AccessShareLock);
	if (!get_rel_relispartition(leaf) ||
		get_partition_parent(leaf, true) != agentpay_log_relation(log))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("that is no partition of agentpay.%s",
							   agentpay_log_row_log_name(log))));
}

/* The callback: a row against its leaf. */
static bool
judge_row(void *arg, AgentpayLogForm *form, TupleTableSlot *slot)
{
	Judgement *judgement = arg;
	AgentpayLeaf leaf;
	AgentpayHash hash;
	bool isnull;
	pg_uuid_t *key = DatumGetUUIDP(slot_getattr(slot, form->key, &isnull));

	CHECK_FOR_INTERRUPTS();
	judgement->rows++;
	if (!agentpay_tree_find(judgement->tree, key, &leaf))
	{
		note_wrong(judgement, &judgement->unsealed, key);
		return true;
	}
	if (leaf.index >= judgement->covered)
	{
		note_wrong(judgement, &judgement->uncovered, key);
		return true;
	}
	agentpay_log_row_write(form, slot, &judgement->json);
	agentpay_merkle_leaf(judgement->json.data, judgement->json.len, &hash);
	if (leaf.log != form->log || !agentpay_merkle_equal(&hash, &leaf.hash) ||
		(judgement->found[leaf.index / 8] & (1 << (leaf.index % 8))))
	{
		note_wrong(judgement, &judgement->changed, key);
		return true;
	}
	judgement->found[leaf.index / 8] |= 1 << (leaf.index % 8);
	if (judgement->first < 0 || leaf.index < judgement->first)
		judgement->first = leaf.index;
	judgement->last = Max(judgement->last, leaf.index);
	return true;
}

static void
note_wrong(Judgement *judgement, int64 *count, const pg_uuid_t *key)
{
	(*count)++;
	if (!judgement->has_wrong)
		judgement->wrong = *key;
	judgement->has_wrong = true;
}

/*
 * Runs of leaves as jsonb: what lies between two of them is of other logs, or
 * its row is elsewhere.
 */
static Datum
found_leaves(Judgement *judgement)
{
	StringInfoData runs;
	AgentpayTreeReader reader;
	ScanKeyData keys[2];
	int64 first = -1;
	int64 last = -1;

	initStringInfo(&runs);
	appendStringInfoChar(&runs, '[');
	agentpay_tree_reader_open(&reader, "_leaves", AGENTPAY_LEAF_INDEX, 2,
							  judgement->snapshot);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(judgement->first));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(judgement->last));
	index_rescan(reader.scan, keys, 2, NULL, 0);
	while (judgement->first >= 0 &&
		   agentpay_tree_reader_next(&reader, ForwardScanDirection))
	{
		AgentpayLeaf leaf;

		CHECK_FOR_INTERRUPTS();
		if (!agentpay_tree_take_leaf(reader.slot, &leaf) ||
			leaf.log != judgement->log)
			continue;
		if (judgement->found[leaf.index / 8] & (1 << (leaf.index % 8)))
		{
			if (first < 0)
				first = leaf.index;
			last = leaf.index;
			continue;
		}
		put_run(&runs, first, last);
		first = -1;
	}
	put_run(&runs, first, last);
	agentpay_tree_reader_close(&reader);
	appendStringInfoChar(&runs, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(runs.data));
}

static void
put_run(StringInfo runs, int64 first, int64 last)
{
	if (first < 0)
		return;
	if (runs->len > 1)
		appendStringInfoChar(runs, ',');
	appendStringInfo(runs, "[" INT64_FORMAT "," INT64_FORMAT "]", first, last);
}

/*
 * agentpay._kept_checkpoint(): tree_size and root_hash of the checkpoint that
 * retention relies on, or the problem.
 */
Datum
agentpay_sql_kept_checkpoint(PG_FUNCTION_ARGS)
{
	Snapshot snapshot;
	AgentpayCheckpoint checkpoint;
	const char *problem;
	Datum values[KEPT_COLUMNS];
	bool nulls[KEPT_COLUMNS];
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc result;

	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	problem = agentpay_checkpoint_kept(snapshot, &checkpoint);
	MemoryContextSwitchTo(caller);
	nulls[0] = problem != NULL;
	nulls[1] = problem != NULL;
	nulls[2] = problem == NULL;
	values[0] = values[1] = values[2] = (Datum) 0;
	if (problem == NULL)
	{
		values[0] = Int64GetDatum((int64) checkpoint.size);
		values[1] = agentpay_tree_hash_datum(&checkpoint.root);
	}
	else
		values[2] = CStringGetTextDatum(problem);
	SPI_finish();
	UnregisterSnapshot(snapshot);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(result), values, nulls)));
}
