/*-------------------------------------------------------------------------
 * cases.c
 *		open_case() and payment_timeline(), for a row id of any type.
 *
 * SQL functions cannot take "any", so the key becomes text here, and the SQL
 * behind them does the rest.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"

#include "base/arguments.h"
#include "review/query.h"

#define OPEN_ARGUMENTS 3

PG_FUNCTION_INFO_V1(agentpay_sql_open_case);
PG_FUNCTION_INFO_V1(agentpay_sql_payment_timeline);

/* agentpay.open_case(point, row_id "any", reason), as the same user. */
Datum
agentpay_sql_open_case(PG_FUNCTION_ARGS)
{
	Oid types[OPEN_ARGUMENTS] = {TEXTOID, TEXTOID, TEXTOID};
	Datum values[OPEN_ARGUMENTS];
	char nulls[OPEN_ARGUMENTS];
	bool isnull;
	int64 case_id;

	for (int i = 0; i < OPEN_ARGUMENTS; i++)
	{
		isnull = PG_ARGISNULL(i);
		values[i] = i == 1 ? agentpay_arguments_text(fcinfo, i, &isnull)
						   : PG_GETARG_DATUM(i);
		nulls[i] = isnull ? 'n' : ' ';
	}
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("SELECT agentpay._open_case_by_hand($1, $2, $3)",
							  OPEN_ARGUMENTS, types, values, nulls, false,
							  1) != SPI_OK_SELECT)
		elog(ERROR, "could not open a case");
	case_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PG_RETURN_INT64(case_id);
}

/* agentpay.payment_timeline(point text, row_id "any") */
Datum
agentpay_sql_payment_timeline(PG_FUNCTION_ARGS)
{
	Oid types[2] = {TEXTOID, TEXTOID};
	Datum values[2];
	bool is_null[2];
	char nulls[2];

	is_null[0] = PG_ARGISNULL(0);
	values[0] = is_null[0] ? (Datum) 0 : PG_GETARG_DATUM(0);
	values[1] = agentpay_arguments_text(fcinfo, 1, &is_null[1]);
	for (int i = 0; i < 2; i++)
		nulls[i] = is_null[i] ? 'n' : ' ';
	agentpay_review_query(fcinfo,
						  "SELECT * FROM agentpay._payment_timeline($1, $2)", 2,
						  types, values, nulls);
	return (Datum) 0;
}
