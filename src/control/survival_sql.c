/*-------------------------------------------------------------------------
 * survival_sql.c
 *		How long something lasts, as an aggregate.
 *
 * Its state is a WaitList in the aggregate's memory, which goes with it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "control/survival.h"

#define ROOM_AT_FIRST 16
#define FIGURES 3

typedef struct WaitList
{
	AgentpayWait *waits;
	Size n;
	Size room;
} WaitList;

PG_FUNCTION_INFO_V1(agentpay_sql_add_wait);
PG_FUNCTION_INFO_V1(agentpay_sql_survival);

/*
 * agentpay._add_wait(state internal, waited float8, ended boolean): the state.
 * A wait that is NULL, or no number, is none.
 */
Datum
agentpay_sql_add_wait(PG_FUNCTION_ARGS)
{
	WaitList *list = PG_ARGISNULL(0) ? NULL : (WaitList *) PG_GETARG_POINTER(0);
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "_add_wait() is called outside an aggregate");
	if (list == NULL)
	{
		list = MemoryContextAlloc(context, sizeof(WaitList));
		list->n = 0;
		list->room = ROOM_AT_FIRST;
		list->waits = MemoryContextAlloc(context,
										 list->room * sizeof(AgentpayWait));
	}
	if (PG_ARGISNULL(1) || isnan(PG_GETARG_FLOAT8(1)))
		PG_RETURN_POINTER(list);
	if (list->n == list->room)
	{
		list->room *= 2;
		list->waits = repalloc_huge(list->waits,
									list->room * sizeof(AgentpayWait));
	}
	list->waits[list->n].waited = PG_GETARG_FLOAT8(1);
	list->waits[list->n].ended = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	list->n++;
	PG_RETURN_POINTER(list);
}

/* agentpay._survival_of(state internal): {median, mean, p95}, or NULL. */
Datum
agentpay_sql_survival(PG_FUNCTION_ARGS)
{
	WaitList *list = PG_ARGISNULL(0) ? NULL : (WaitList *) PG_GETARG_POINTER(0);
	AgentpaySurvival found;
	Datum figures[FIGURES];
	bool nulls[FIGURES];
	int dims[1] = {FIGURES};
	int lower[1] = {1};

	if (list == NULL || list->n == 0)
		PG_RETURN_NULL();
	found = agentpay_survival_of(list->waits, list->n);
	figures[0] = Float8GetDatum(found.median);
	figures[1] = Float8GetDatum(found.mean);
	figures[2] = Float8GetDatum(found.p95);
	nulls[0] = isnan(found.median);
	nulls[1] = isnan(found.mean);
	nulls[2] = isnan(found.p95);
	PG_RETURN_ARRAYTYPE_P(construct_md_array(figures, nulls, 1, dims, lower,
											 FLOAT8OID, sizeof(float8),
											 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
