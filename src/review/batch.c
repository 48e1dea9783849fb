/*-------------------------------------------------------------------------
 * batch.c
 *		The rows of a query, visited in as few subtransactions as can be.
 *
 * A subtransaction for each row would cost more than the rules of one.
 *
 * Locks: those of the query, kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/contain.h"
#include "review/batch.h"

static void check_columns(const AgentpayBatch *batch);
static void visit_body(void *arg);
static bool visit_one(AgentpayBatch *batch);

void
agentpay_batch_query(AgentpayBatch *batch, const char *query)
{
	Portal portal;

	batch->row_context = AllocSetContextCreate(CurrentMemoryContext,
											   "agentpay review row",
											   ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true,
									   CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPITupleTable *rows;

		SPI_cursor_fetch(portal, true, AGENTPAY_BATCH_MAX);
		rows = SPI_tuptable;
		if (SPI_processed == 0)
			break;
		batch->rows = rows;
		batch->n_rows = SPI_processed;
		agentpay_batch_visit(batch);
		if (batch->done != NULL)
			batch->done(batch);
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	MemoryContextDelete(batch->row_context);
}

void
agentpay_batch_visit(AgentpayBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->row_context);
	ErrorData *error;

	check_columns(batch);
	batch->at = 0;
	while (batch->at < batch->n_rows)
	{
		batch->contained = true;
		(void) agentpay_contain(visit_body, batch, &error);
		batch->contained = false;
		MemoryContextReset(batch->row_context);
		if (batch->at >= batch->n_rows)
			break;
		(void) visit_one(batch);
		batch->at++;
	}
	MemoryContextSwitchTo(old);
}

/* Whoever calls an internal function with a query of his own gets an error. */
static void
check_columns(const AgentpayBatch *batch)
{
	TupleDesc desc = batch->rows->tupdesc;
	bool fits = desc->natts == batch->n_columns;

	for (int i = 0; fits && i < batch->n_columns; i++)
		fits = batch->types[i] == InvalidOid ||
			   TupleDescAttr(desc, i)->atttypid == batch->types[i];
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a query has other columns than are read of it"),
				 errhint("backtest(), simulate() and replay() have the query "
						 "made.")));
}

static void
visit_body(void *arg)
{
	AgentpayBatch *batch = arg;

	for (; batch->at < batch->n_rows; batch->at++)
		if (!visit_one(batch))
			return;
}

static bool
visit_one(AgentpayBatch *batch)
{
	bool visited;

	CHECK_FOR_INTERRUPTS();
	visited = batch->visit(batch, batch->rows->vals[batch->at],
						   batch->rows->tupdesc);
	MemoryContextReset(batch->row_context);
	return visited;
}
