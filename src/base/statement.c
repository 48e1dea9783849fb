/*-------------------------------------------------------------------------
 * statement.c
 *		SQL that functions in C ask again and again for a row.
 *
 * No locks of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#include "base/statement.h"

#define MAX_ARGS 8

static void prepare(AgentpayStatement *statement, int n, Oid *types);
static void
copy_row(MemoryContext context, int columns, Datum *values, bool *nulls);

bool
agentpay_statement_row(AgentpayStatement *statement, int n, Oid *types,
					   Datum *args, const bool *arg_nulls, int columns,
					   Datum *values, bool *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	char flags[MAX_ARGS];
	int result;
	bool found;

	Assert(n > 0 && n <= MAX_ARGS);
	for (int i = 0; i < n; i++)
		flags[i] = arg_nulls != NULL && arg_nulls[i] ? 'n' : ' ';
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	prepare(statement, n, types);
	result = SPI_execute_plan(statement->plan, args, flags, !statement->writes,
							  1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not execute a statement: %s",
			 SPI_result_code_string(result));
	found = SPI_processed == 1;
	if (found)
		copy_row(context, columns, values, nulls);
	SPI_finish();
	return found;
}

/* Row types are others once the extension was made anew. */
static void
prepare(AgentpayStatement *statement, int n, Oid *types)
{
	SPIPlanPtr made;

	if (statement->plan != NULL && statement->type == types[0])
		return;
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;
	made = SPI_prepare(statement->sql, n, types);
	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare a statement: %s",
			 SPI_result_code_string(SPI_result));
	statement->plan = made;
	statement->type = types[0];
}

static void
copy_row(MemoryContext context, int columns, Datum *values, bool *nulls)
{
	TupleDesc desc = SPI_tuptable->tupdesc;
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < columns; i++)
	{
		int16 length;
		bool by_value;

		values[i] = SPI_getbinval(SPI_tuptable->vals[0], desc, i + 1,
								  &nulls[i]);
		get_typlenbyval(SPI_gettypeid(desc, i + 1), &length, &by_value);
		if (!nulls[i])
			values[i] = datumCopy(values[i], by_value, length);
	}
	MemoryContextSwitchTo(old);
}
