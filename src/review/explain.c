/*-------------------------------------------------------------------------
 * explain.c
 *		explain(point, row_id) and preview_call(agent, row_id), for a row id
 *		of any type.
 *
 * SQL functions cannot take "any", so the key becomes text here, and the SQL
 * behind it does the rest.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"

#include "base/arguments.h"
#include "review/query.h"

static void run(FunctionCallInfo fcinfo, const char *query);

PG_FUNCTION_INFO_V1(agentpay_sql_explain);
PG_FUNCTION_INFO_V1(agentpay_sql_preview_call);

/* agentpay.explain(point text, row_id "any") */
Datum
agentpay_sql_explain(PG_FUNCTION_ARGS)
{
	run(fcinfo, "SELECT * FROM agentpay._explain($1, $2)");
	return (Datum) 0;
}

/* agentpay.preview_call(agent text, row_id "any") */
Datum
agentpay_sql_preview_call(PG_FUNCTION_ARGS)
{
	run(fcinfo, "SELECT * FROM agentpay._preview_call($1, $2)");
	return (Datum) 0;
}

/* Gives the rows of the query, with both arguments as text. */
static void
run(FunctionCallInfo fcinfo, const char *query)
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
	agentpay_review_query(fcinfo, query, 2, types, values, nulls);
}
