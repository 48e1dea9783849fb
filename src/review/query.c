/*-------------------------------------------------------------------------
 * query.c
 *		A set-returning C function whose rows come from a query.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/tuplestore.h"

#include "review/query.h"

void
agentpay_review_query(FunctionCallInfo fcinfo, const char *query, int nargs,
					  Oid *types, Datum *values, const char *nulls)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (SPI_execute_with_args(query, nargs, types, values, nulls, true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];

		tuplestore_puttuple(result->setResult, row);
	}
	SPI_finish();
}
