/*-------------------------------------------------------------------------
 * verify.c
 *		verify_log(): whether the logs are what was sealed, and which row is
 *		not.
 *
 * First the tree by itself: leaves in their order, the nodes above them, the
 * root of every seal and of every checkpoint.  Then each row of the logs: its
 * leaf, and whether the row still has that hash.  A bit for each leaf says
 * whether its row was there; where it was not, governance_log must say that
 * retention dropped it.
 *
 * Everything is read under the statement's snapshot, without SQL.
 *
 * Locking: AccessShareLock on what is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "base/identity.h"
#include "base/owner.h"
#include "evidence/checkpoint.h"
#include "evidence/log_row.h"
#include "evidence/log_scan.h"
#include "evidence/note.h"
#include "evidence/tree.h"
#include "evidence/verify.h"

/* More would tell nobody more; the summary has their number. */
#define MAX_PROBLEMS 1000

#define RESULT_COLUMNS 7

static void check_since(AgentpayVerification *check, text *since);
static void
start_at(AgentpayVerification *check, const AgentpayCheckpoint *checkpoint);
static void check_rows(AgentpayVerification *check);
static bool check_row(void *arg, AgentpayLogForm *form, TupleTableSlot *slot);
static void check_unsealed(AgentpayVerification *check, AgentpayLogForm *form,
						   TupleTableSlot *slot, const pg_uuid_t *key);
static void check_dropped(AgentpayVerification *check, AgentpayLogForm *form,
						  TupleTableSlot *slot, int64 index);
static void check_missing(AgentpayVerification *check);
static bool is_seen(const AgentpayVerification *check, int64 place);
static void check_leaf(AgentpayVerification *check, const AgentpayLeaf *leaf);
static char *dropped_text(const AgentpayVerification *check);
static bool same_database(const AgentpaySeal *seal);
static void put_summary(AgentpayVerification *check);

PG_FUNCTION_INFO_V1(agentpay_sql_verify_log);

/* agentpay.verify_log(since_checkpoint text) */
Datum
agentpay_sql_verify_log(PG_FUNCTION_ARGS)
{
	AgentpayVerification *check = palloc0(sizeof(AgentpayVerification));

	AgentpayOwnerState owner;

	InitMaterializedSRF(fcinfo, 0);
	/* whoever may call it need not be able to read the logs */
	agentpay_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	check->result = (ReturnSetInfo *) fcinfo->resultinfo;
	check->snapshot = GetActiveSnapshot();
	check->context = AllocSetContextCreate(CurrentMemoryContext,
										   "agentpay verify_log",
										   ALLOCSET_DEFAULT_SIZES);
	check->tree = agentpay_tree_open(check->snapshot);
	check->sealed = agentpay_tree_last_seal(check->snapshot, &check->seal);
	check->retained = agentpay_retained_read(check->tree);
	if (!PG_ARGISNULL(0))
		check_since(check, PG_GETARG_TEXT_PP(0));
	agentpay_verify_tree(check);
	check_rows(check);
	check_missing(check);
	agentpay_tree_close(check->tree);
	put_summary(check);
	SPI_finish();
	agentpay_owner_leave(&owner);
	return (Datum) 0;
}

void
agentpay_verify_problem(AgentpayVerification *check, const char *log,
						int64 leaf_index, const pg_uuid_t *key,
						const char *problem)
{
	Datum values[RESULT_COLUMNS] = {0};
	bool nulls[RESULT_COLUMNS] = {0};
	MemoryContext old;

	if (check->problems++ >= MAX_PROBLEMS)
		return;
	old = MemoryContextSwitchTo(check->context);
	values[0] = BoolGetDatum(false);
	nulls[1] = true;
	nulls[2] = true;
	nulls[3] = log == NULL;
	if (log != NULL)
		values[3] = CStringGetTextDatum(log);
	nulls[4] = leaf_index < 0;
	values[4] = Int64GetDatum(leaf_index);
	nulls[5] = key == NULL;
	values[5] = UUIDPGetDatum(key);
	values[6] = CStringGetTextDatum(problem);
	tuplestore_putvalues(check->result->setResult, check->result->setDesc,
						 values, nulls);
	MemoryContextSwitchTo(old);
}

/* The last row: whether all is well, how many rows, how large the tree is. */
static void
put_summary(AgentpayVerification *check)
{
	Datum values[RESULT_COLUMNS] = {0};
	bool nulls[RESULT_COLUMNS] = {false, false, false, true, true, true, true};

	values[0] = BoolGetDatum(check->problems == 0);
	values[1] = Int64GetDatum(check->rows);
	values[2] = Int64GetDatum(check->seal.tree_size);
	if (check->problems > 0 || check->dropped > 0)
	{
		nulls[6] = false;
		values[6] = CStringGetTextDatum(
			check->problems > 0
				? psprintf(INT64_FORMAT " problems", check->problems)
				: dropped_text(check));
	}
	tuplestore_putvalues(check->result->setResult, check->result->setDesc,
						 values, nulls);
}

/* No problem, but to be known: what is not there, and who says so. */
static char *
dropped_text(const AgentpayVerification *check)
{
	AgentpayDrop *drop;
	int64 first = -1;
	int64 last = -1;
	int records = 0;

	for (int i = 0; (drop = agentpay_retained_drop(check->retained, i)) != NULL;
		 i++)
	{
		if (!drop->counted)
			continue;
		records++;
		first = first < 0 ? drop->leaf : Min(first, drop->leaf);
		last = Max(last, drop->leaf);
	}
	if (first < 0)
		return psprintf(INT64_FORMAT " rows were removed by retention, on "
									 "record in governance_log, not sealed yet",
						check->dropped);
	if (records == 1)
		return psprintf(INT64_FORMAT
						" rows were removed by retention, on "
						"record in governance_log leaf " INT64_FORMAT,
						check->dropped, last);
	return psprintf(INT64_FORMAT
					" rows were removed by retention, on record in "
					"%d rows of governance_log, leaves " INT64_FORMAT
					" to " INT64_FORMAT,
					check->dropped, records, first, last);
}

/*
 * The log must begin with what a checkpoint from outside says; what is behind
 * it is then checked row by row.
 */
static void
check_since(AgentpayVerification *check, text *since)
{
	const char *note = VARDATA_ANY(since);
	size_t len = VARSIZE_ANY_EXHDR(since);
	AgentpayCheckpoint checkpoint;
	AgentpayHash root;
	const char *problem = agentpay_note_read(note, len, &checkpoint);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since_checkpoint is no checkpoint: %s", problem),
				 errhint("Give the exported file as it is, with its last "
						 "newline; SELECT agentpay.checkpoint(); shows one.")));
	if (!agentpay_checkpoint_known(note, len))
		agentpay_verify_problem(check, NULL, -1, NULL,
								"no key that this log has signed with signed "
								"the given checkpoint");
	if (checkpoint.size > (uint64) check->seal.tree_size)
		agentpay_verify_problem(
			check, NULL, check->seal.tree_size, NULL,
			psprintf(
				"the log was cut off: the given checkpoint has " UINT64_FORMAT
				" leaves, the log " INT64_FORMAT,
				checkpoint.size, check->seal.tree_size));
	else if (!agentpay_merkle_root(agentpay_tree_source(check->tree),
								   checkpoint.size, &root) ||
			 !agentpay_merkle_equal(&root, &checkpoint.root))
		agentpay_verify_problem(
			check, NULL, -1, NULL,
			psprintf("the first " UINT64_FORMAT
					 " leaves are not those of the given checkpoint",
					 checkpoint.size));
	else if (check->problems == 0)
		start_at(check, &checkpoint);
}

/* Where the seal of that size is known, its rows need not be read again. */
static void
start_at(AgentpayVerification *check, const AgentpayCheckpoint *checkpoint)
{
	check->start = checkpoint->size;
	check->since = agentpay_verify_snapshot_of(check, check->start);
	if (check->since == NULL)
		check->start = 0;
}

static void
check_rows(AgentpayVerification *check)
{
	AgentpayLogWindow window = {.since = check->since,
								.snapshot = check->snapshot};
	int64 leaves = check->seal.tree_size - check->start;

	window.until =
		OidOutputFunctionCall(F_PG_SNAPSHOT_OUT,
							  OidFunctionCall0(F_PG_CURRENT_SNAPSHOT));
	agentpay_horizon_read(window.until, &check->now);
	check->judges_unsealed = check->sealed && same_database(&check->seal);
	if (check->judges_unsealed)
		agentpay_horizon_read(check->seal.snapshot, &check->horizon);
	check->seen = MemoryContextAllocExtended(check->context, leaves / 8 + 1,
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int log = 0; log < AGENTPAY_SEALED_LOGS; log++)
		agentpay_log_scan(log, &window, check_row, check);
	free(check->json.data);
	check->json.data = NULL;
}

/* A row against its leaf. */
static bool
check_row(void *arg, AgentpayLogForm *form, TupleTableSlot *slot)
{
	AgentpayVerification *check = arg;
	const char *log = agentpay_log_row_log_name(form->log);
	AgentpayLeaf leaf;
	AgentpayHash hash;
	int64 place;
	bool isnull;
	pg_uuid_t *key = DatumGetUUIDP(slot_getattr(slot, form->key, &isnull));

	CHECK_FOR_INTERRUPTS();
	if (!agentpay_tree_find(check->tree, key, &leaf))
	{
		check_unsealed(check, form, slot, key);
		return true;
	}
	if (leaf.index < check->start || leaf.index >= check->seal.tree_size)
		return true;
	check->rows++;
	check_dropped(check, form, slot, leaf.index);
	place = leaf.index - check->start;
	if (is_seen(check, place))
		agentpay_verify_problem(check, log, leaf.index, key,
								"the row is there twice");
	check->seen[place / 8] |= 1 << (place % 8);
	agentpay_log_row_write(form, slot, &check->json);
	agentpay_merkle_leaf(check->json.data, check->json.len, &hash);
	if (leaf.log != form->log || !agentpay_merkle_equal(&hash, &leaf.hash))
		agentpay_verify_problem(check, log, leaf.index, key,
								"the row was changed: it is not what was "
								"sealed");
	return true;
}

/*
 * A row without a leaf is one that the next seal takes, or one that somebody
 * put there: its transaction is one that a seal has passed, or none yet.
 */
static void
check_unsealed(AgentpayVerification *check, AgentpayLogForm *form,
			   TupleTableSlot *slot, const pg_uuid_t *key)
{
	bool isnull;
	uint64 xid = U64FromFullTransactionId(
		DatumGetFullTransactionId(slot_getattr(slot, form->xid, &isnull)));

	if (!check->judges_unsealed)
		return;
	/* one's own transaction's rows are ahead of the snapshot */
	if (agentpay_horizon_sees(&check->horizon, xid) ||
		(xid >= check->now.xmax &&
		 xid != U64FromFullTransactionId(GetTopFullTransactionIdIfAny())))
		agentpay_verify_problem(check, agentpay_log_row_log_name(form->log), -1,
								key,
								"the row was inserted past the log: it was "
								"never sealed");
}

/* A row that is there, though its partition is on record as dropped. */
static void
check_dropped(AgentpayVerification *check, AgentpayLogForm *form,
			  TupleTableSlot *slot, int64 index)
{
	bool isnull;
	AgentpayDrop *drop;

	if (agentpay_retained_drop(check->retained, 0) == NULL)
		return;
	drop = agentpay_retained_row(check->retained, form->log, index,
								 DatumGetTimestampTz(
									 slot_getattr(slot, form->time, &isnull)));
	if (drop == NULL || drop->contradicted)
		return;
	drop->contradicted = true;
	agentpay_verify_problem(
		check, agentpay_log_row_log_name(AGENTPAY_LOG_GOVERNANCE), drop->leaf,
		&drop->event,
		psprintf("it says that retention dropped a partition of %s, but a row "
				 "of it is there, leaf " INT64_FORMAT,
				 agentpay_log_row_log_name(form->log), index));
}

/* Leaves whose row was not there. */
static void
check_missing(AgentpayVerification *check)
{
	int64 first = 0;
	int64 end = check->seal.tree_size - check->start;
	AgentpayTreeReader reader;
	ScanKeyData keys[2];

	while (first < end && is_seen(check, first))
		first++;
	while (end > first && is_seen(check, end - 1))
		end--;
	if (first == end)
		return;
	agentpay_tree_reader_open(&reader, "_leaves", AGENTPAY_LEAF_INDEX, 2,
							  check->snapshot);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(check->start + first));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(check->start + end));
	index_rescan(reader.scan, keys, 2, NULL, 0);
	while (agentpay_tree_reader_next(&reader, ForwardScanDirection))
	{
		AgentpayLeaf leaf;

		CHECK_FOR_INTERRUPTS();
		/* one that cannot be read is a problem of the tree */
		if (agentpay_tree_take_leaf(reader.slot, &leaf) &&
			!is_seen(check, leaf.index - check->start))
			check_leaf(check, &leaf);
	}
	agentpay_tree_reader_close(&reader);
}

static bool
is_seen(const AgentpayVerification *check, int64 place)
{
	return check->seen[place / 8] & (1 << (place % 8));
}

/* A leaf without its row. */
static void
check_leaf(AgentpayVerification *check, const AgentpayLeaf *leaf)
{
	AgentpayDrop *drop = agentpay_retained_leaf(check->retained, leaf->log,
												leaf->index);

	if (drop != NULL)
	{
		drop->counted = true;
		check->dropped++;
		return;
	}
	agentpay_verify_problem(check, agentpay_log_row_log_name(leaf->log),
							leaf->index, &leaf->key, "the row is missing");
}

/* Whether xids mean now what they meant at the seal. */
static bool
same_database(const AgentpaySeal *seal)
{
	bool isnull;

	if (agentpay_identity_held())
		return false;
	if (SPI_execute("SELECT adopted_at FROM agentpay._identity WHERE NOT EXISTS"
					" (SELECT FROM agentpay._foreign_rows)",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read agentpay._identity");
	return SPI_processed == 1 &&
		   DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1,
											 &isnull)) == seal->adopted_at;
}
