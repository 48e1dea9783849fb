/*-------------------------------------------------------------------------
 * backtest.c
 *		What a version of the rules would have said of payments that were
 *		decided.
 *
 * The version is compiled and evaluated by the code of an INSERT, over the
 * rows of the table as they are now.  Of what stands beside the row:
 *
 *		lists	as they were when the row was decided
 *		windows	of the rows up to the row's own time that are there now, with
 *				the row itself once, past the shared memory of live rows
 *		lookups and models	as they are now
 *
 * Nothing is written.
 *
 * Locks: AccessShareLock on the point's table, and whatever features read;
 * kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/config_load.h"
#include "review/dry_run.h"
#include "scoring/evaluate.h"
#include "scoring/lists.h"
#include "scoring/velocity.h"
#include "scoring/velocity_stream.h"

/* Rows that are fetched at a time. */
#define BATCH 1000

/* Columns of the query. */
enum
{
	COL_RECORDED = 1, /* the next three are passed on, too */
	COL_LABEL,
	COL_AMOUNT,
	COL_CURRENCY,
	COL_ROW_ID,
	COL_DECIDED_AT,
	COL_LEAF, /* NULL, as the next two: the row is gone */
	COL_TID,
	COL_ROW
};

/* Columns of the result. */
enum
{
	OUT_RECORDED,
	OUT_BACKTEST,
	OUT_LABEL,
	OUT_AMOUNT,
	OUT_CURRENCY,
	OUT_COLUMNS
};

typedef struct Backtest
{
	ReturnSetInfo *result;
	Relation relation;
	AgentpayTable *table;
	AgentpayPoint *point;
	TupleTableSlot *slot;
	MemoryContext row_context; /* reset after each row */
} Backtest;

static void run(Backtest *backtest, const char *query);
static void try_row(Backtest *backtest, HeapTuple tuple, TupleDesc desc);
static int verdict_of(Backtest *backtest, HeapTuple tuple, TupleDesc desc);
static void evaluate(Backtest *backtest, AgentpayEvaluation *evaluation,
					 HeapTupleHeader header);

PG_FUNCTION_INFO_V1(agentpay_sql_backtest);

/* agentpay._backtest(point, version, table, query): see COL_RECORDED. */
Datum
agentpay_sql_backtest(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	AgentpayConfig *config = agentpay_config_load_version(name,
														  PG_GETARG_INT32(1));
	char *query = text_to_cstring(PG_GETARG_TEXT_PP(3));
	Backtest backtest = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	agentpay_config_pin(config);
	backtest.relation = table_open(PG_GETARG_OID(2), AccessShareLock);
	InitMaterializedSRF(fcinfo, 0);
	backtest.table = agentpay_table_get(backtest.relation, config);
	agentpay_table_pin(backtest.table);
	PG_TRY();
	{
		backtest.point = agentpay_review_point(backtest.table, name);
		run(&backtest, query);
	}
	PG_FINALLY();
	{
		agentpay_velocity_leave_out(InvalidOid, NULL);
		agentpay_lists_look_back(NULL);
		agentpay_table_unpin(backtest.table);
		agentpay_config_unpin(config);
	}
	PG_END_TRY();
	table_close(backtest.relation, NoLock);
	return (Datum) 0;
}

/* Puts a row of the result for each of the query. */
static void
run(Backtest *backtest, const char *query)
{
	Portal portal;

	backtest->slot =
		MakeSingleTupleTableSlot(RelationGetDescr(backtest->relation),
								 &TTSOpsHeapTuple);
	backtest->row_context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay backtest row",
												  ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true,
									   0);
	for (;;)
	{
		SPITupleTable *rows;
		uint64 count;

		SPI_cursor_fetch(portal, true, BATCH);
		rows = SPI_tuptable;
		count = SPI_processed;
		for (uint64 i = 0; i < count; i++)
			try_row(backtest, rows->vals[i], rows->tupdesc);
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	SPI_cursor_close(portal);
	SPI_finish();
	ExecDropSingleTupleTableSlot(backtest->slot);
	MemoryContextDelete(backtest->row_context);
}

static void
try_row(Backtest *backtest, HeapTuple tuple, TupleDesc desc)
{
	static const int passed_on[OUT_COLUMNS] = {
		[OUT_RECORDED] = COL_RECORDED,
		[OUT_LABEL] = COL_LABEL,
		[OUT_AMOUNT] = COL_AMOUNT,
		[OUT_CURRENCY] = COL_CURRENCY,
	};
	MemoryContext old = MemoryContextSwitchTo(backtest->row_context);
	Datum values[OUT_COLUMNS];
	bool nulls[OUT_COLUMNS];
	int verdict;

	CHECK_FOR_INTERRUPTS();
	verdict = verdict_of(backtest, tuple, desc);
	for (int i = 0; i < OUT_COLUMNS; i++)
		if (i != OUT_BACKTEST)
			values[i] = SPI_getbinval(tuple, desc, passed_on[i], &nulls[i]);
	nulls[OUT_BACKTEST] = verdict < 0;
	if (verdict >= 0)
		values[OUT_BACKTEST] = backtest->point->verdict_texts[verdict];
	tuplestore_putvalues(backtest->result->setResult, backtest->result->setDesc,
						 values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(backtest->row_context);
}

/* The version's, or -1: the row is gone. */
static int
verdict_of(Backtest *backtest, HeapTuple tuple, TupleDesc desc)
{
	AgentpayEvaluation evaluation = {.table = backtest->table,
									 .point = backtest->point};
	bool isnull;
	Datum leaf = SPI_getbinval(tuple, desc, COL_LEAF, &isnull);

	if (isnull)
		return -1;
	agentpay_velocity_leave_out(DatumGetObjectId(leaf),
								(ItemPointer) DatumGetPointer(
									SPI_getbinval(tuple, desc, COL_TID,
												  &isnull)));
	evaluation.row_id = SPI_getvalue(tuple, desc, COL_ROW_ID);
	evaluation.decided_at = DatumGetTimestampTz(
		SPI_getbinval(tuple, desc, COL_DECIDED_AT, &isnull));
	agentpay_lists_look_back(&evaluation.decided_at);
	evaluate(backtest, &evaluation,
			 DatumGetHeapTupleHeader(
				 SPI_getbinval(tuple, desc, COL_ROW, &isnull)));
	return evaluation.verdict;
}

static void
evaluate(Backtest *backtest, AgentpayEvaluation *evaluation,
		 HeapTupleHeader header)
{
	HeapTupleData row = {.t_len = HeapTupleHeaderGetDatumLength(header),
						 .t_tableOid = RelationGetRelid(backtest->relation),
						 .t_data = header};

	if (HeapTupleHeaderGetTypeId(header) != backtest->relation->rd_rel->reltype)
		elog(ERROR, "row of type %u for table \"%s\"",
			 HeapTupleHeaderGetTypeId(header),
			 RelationGetRelationName(backtest->relation));
	ItemPointerSetInvalid(&row.t_self);
	ExecStoreHeapTuple(&row, backtest->slot, false);
	evaluation->row = backtest->slot;
	agentpay_streams_stop(backtest->table->streams);
	agentpay_evaluate(evaluation);
	ExecClearTuple(backtest->slot);
}
