/*-------------------------------------------------------------------------
 * outcomes.c
 *		record_outcome(): a row id of any type becomes text; and what
 *		record_dispute() reads from a row of a table that it does not know.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/arguments.h"

#define ARGUMENTS 6
#define ROW_ID 1

PG_FUNCTION_INFO_V1(agentpay_sql_record_outcome);
PG_FUNCTION_INFO_V1(agentpay_sql_row_text);

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

/*
 * agentpay._row_text(record, column, needed): the column's text form.  Only
 * output functions run, which are a superuser's; a cast, as that of to_jsonb(),
 * may be anybody's, and the caller is a trigger with its owner's rights.
 */
Datum
agentpay_sql_row_text(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	TupleDesc description =
		lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row),
							   HeapTupleHeaderGetTypMod(row));
	int column = SPI_fnumber(description, name);
	Oid type = column > 0 ? SPI_gettypeid(description, column) : InvalidOid;
	Oid output;
	bool is_varlena;
	bool isnull;
	Datum value;

	ReleaseTupleDesc(description);
	if (column <= 0)
	{
		if (PG_GETARG_BOOL(2))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the table has no column \"%s\"", name),
					 errhint("Name its columns in the trigger's arguments.")));
		PG_RETURN_NULL();
	}
	value = GetAttributeByNum(row, column, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	getTypeOutputInfo(type, &output, &is_varlena);
	PG_RETURN_TEXT_P(cstring_to_text(
		agentpay_text_form(type, OidOutputFunctionCall(output, value))));
}
