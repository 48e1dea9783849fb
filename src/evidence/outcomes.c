/*-------------------------------------------------------------------------
 * outcomes.c
 *		record_outcome(): a row id of any type becomes text.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/uuid.h"

#include "base/arguments.h"

#define ARGUMENTS 6
#define ROW_ID 1

PG_FUNCTION_INFO_V1(agentpay_sql_record_outcome);

/*
 * agentpay.record_outcome(point, row_id "any", label, source, amount_lost,
 * effective_at): calls agentpay._record_outcome() as the same user.
 */
Datum
agentpay_sql_record_outcome(PG_FUNCTION_ARGS)
{
	Oid types[ARGUMENTS] = {TEXTOID, TEXTOID,	 TEXTOID,
							TEXTOID, NUMERICOID, TIMESTAMPTZOID};
	Datum values[ARGUMENTS];
	char nulls[ARGUMENTS + 1];
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	bool isnull;

	for (int i = 0; i < ARGUMENTS; i++)
	{
		isnull = PG_ARGISNULL(i);
		values[i] = i == ROW_ID ? agentpay_arguments_text(fcinfo, i, &isnull)
								: PG_GETARG_DATUM(i);
		nulls[i] = isnull ? 'n' : ' ';
	}
	nulls[ARGUMENTS] = '\0';

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("SELECT agentpay._record_outcome"
							  "($1, $2, $3, $4, $5, $6)",
							  ARGUMENTS, types, values, nulls, false,
							  1) != SPI_OK_SELECT)
		elog(ERROR, "could not record an outcome");
	memcpy(id,
		   DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull)),
		   sizeof(pg_uuid_t));
	SPI_finish();
	PG_RETURN_UUID_P(id);
}
