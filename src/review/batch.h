/*-------------------------------------------------------------------------
 * batch.h
 *		The rows of a query, visited in as few subtransactions as can be.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_BATCH_H
#define AGENTPAY_BATCH_H

#include "postgres.h"

#include "access/htup.h"
#include "executor/spi.h"

/* Rows that are fetched at a time. */
#define AGENTPAY_BATCH_MAX 1000

typedef struct AgentpayBatch AgentpayBatch;

/*
 * Visits the row at batch->at, in row_context.  While batch->contained is set,
 * many rows share a subtransaction: what fails is raised, and the row visited
 * again without it; so is one for which false is returned, because something
 * has to be done that must not end with the subtransaction.
 */
typedef bool (*AgentpayBatchVisit)(AgentpayBatch *batch, HeapTuple row,
								   TupleDesc desc);

struct AgentpayBatch
{
	/* given */
	AgentpayBatchVisit visit;
	void (*done)(AgentpayBatch *batch); /* with rows; NULL: nothing to do */
	int n_columns;						/* that rows have to have */
	const Oid *types;					/* of these; InvalidOid: any */
	void *arg;

	SPITupleTable *rows; /* that were fetched */
	uint64 n_rows;
	uint64 at;
	bool contained;
	MemoryContext row_context; /* reset after each row */
};

/* Runs the query read-only, by SPI, and visits its rows. */
extern void agentpay_batch_query(AgentpayBatch *batch, const char *query);

/* Visits rows that are there. */
extern void agentpay_batch_visit(AgentpayBatch *batch);

#endif /* AGENTPAY_BATCH_H */
