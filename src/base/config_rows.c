/*-------------------------------------------------------------------------
 * config_rows.c
 *		The rows of a query over the configuration, read into C structs.
 *
 * By SQL, as the extension's owner, under the latest snapshot (base/owner.h).
 *
 * Locking: AccessShareLock on the tables.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/config_rows.h"

static char *as_of(const char *sql);

void
agentpay_rows_query(AgentpayRows *rows, const char *sql)
{
	Oid types[4] = {TEXTOID, INT4OID, TIMESTAMPTZOID, JSONBOID};
	Datum values[4] = {CStringGetTextDatum(rows->point),
					   Int32GetDatum(rows->version)};

	values[2] = TimestampTzGetDatum(rows->at == NULL ? DT_NOBEGIN : *rows->at);
	values[3] = rows->models != (Datum) 0
					? rows->models
					: DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	if (rows->changed)
		sql = as_of(sql);
	agentpay_owner_select(&rows->reading, sql, 4, types, values, 0);
	rows->table = SPI_tuptable;
	rows->count = SPI_processed;
	rows->row = 0;
}

/* The same query of the tables as they were at $3 (sql/parts/73_history.sql). */
static char *
as_of(const char *sql)
{
	static const char *const tables[] = {"decision_points", "verdicts",
										 "features",		"rulesets",
										 "rules",			"data_policies"};
	StringInfoData text;

	initStringInfo(&text);
	while (*sql != '\0')
	{
		size_t len = 0;

		if (strncmp(sql, "agentpay.", 9) == 0)
			for (int i = 0; i < lengthof(tables) && len == 0; i++)
				if (strncmp(sql + 9, tables[i], strlen(tables[i])) == 0 &&
					sql[9 + strlen(tables[i])] == ' ')
				{
					len = 9 + strlen(tables[i]);
					appendStringInfo(&text, "agentpay._%s_at($3)", tables[i]);
				}
		if (len == 0)
			appendStringInfoChar(&text, *sql++);
		sql += len;
	}
	return text.data;
}

/* The enabled point that the row's first column names, or NULL. */
AgentpayPointConfig *
agentpay_rows_point(AgentpayRows *rows)
{
	char *name = SPI_getvalue(rows->table->vals[rows->row],
							  rows->table->tupdesc, 1);

	return unconstify(AgentpayPointConfig *,
					  agentpay_config_point(rows->config, name));
}

/* Room for one more; what is new is zero. */
void *
agentpay_rows_grow(AgentpayRows *rows, void *array, int count, size_t size)
{
	char *grown;

	if (array == NULL)
		grown = MemoryContextAlloc(rows->config->context, size);
	else
		grown = repalloc(array, size * (count + 1));
	memset(grown + size * count, 0, size);
	return grown;
}

Datum
agentpay_rows_value(AgentpayRows *rows, int column, bool *isnull)
{
	return SPI_getbinval(rows->table->vals[rows->row], rows->table->tupdesc,
						 column, isnull);
}

/* NULL for NULL. */
char *
agentpay_rows_text(AgentpayRows *rows, int column)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);

	if (isnull)
		return NULL;
	return MemoryContextStrdup(rows->config->context,
							   TextDatumGetCString(value));
}

/* 0 for NULL, as the next three. */
int64
agentpay_rows_int(AgentpayRows *rows, int column)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

bool
agentpay_rows_bool(AgentpayRows *rows, int column)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);

	return !isnull && DatumGetBool(value);
}

double
agentpay_rows_float(AgentpayRows *rows, int column)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

Numeric
agentpay_rows_numeric(AgentpayRows *rows, int column)
{
	MemoryContext old = MemoryContextSwitchTo(rows->config->context);
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);
	Numeric copy = isnull ? int64_to_numeric(0) : DatumGetNumericCopy(value);

	MemoryContextSwitchTo(old);
	return copy;
}

Interval
agentpay_rows_interval(AgentpayRows *rows, int column)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);
	Interval nothing = {0};

	return isnull ? nothing : *DatumGetIntervalP(value);
}

/* A bytea, or NULL. */
struct varlena *
agentpay_rows_bytes(AgentpayRows *rows, int column)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);
	MemoryContext old;
	struct varlena *copy;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(rows->config->context);
	copy = (struct varlena *) DatumGetByteaPCopy(value);
	MemoryContextSwitchTo(old);
	return copy;
}

char **
agentpay_rows_texts(AgentpayRows *rows, int column, int *count)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);
	Datum *elements;
	char **texts;

	*count = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, count);
	texts = MemoryContextAlloc(rows->config->context,
							   sizeof(char *) * (*count + 1));
	for (int i = 0; i < *count; i++)
		texts[i] = MemoryContextStrdup(rows->config->context,
									   TextDatumGetCString(elements[i]));
	return texts;
}

/* What a double cannot hold becomes 0 or infinity, and is no error. */
double
agentpay_rows_double(Datum numeric)
{
	return DatumGetFloat8(
		DirectFunctionCall1(numeric_float8_no_overflow, numeric));
}

double *
agentpay_rows_numbers(AgentpayRows *rows, int column, int *count)
{
	bool isnull;
	Datum value = agentpay_rows_value(rows, column, &isnull);
	Datum *elements;
	double *numbers;

	*count = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(value), NUMERICOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, count);
	numbers = MemoryContextAlloc(rows->config->context,
								 sizeof(double) * (*count + 1));
	for (int i = 0; i < *count; i++)
		numbers[i] = agentpay_rows_double(elements[i]);
	return numbers;
}

/* -1 for NULL, or what is no verdict of the point. */
int
agentpay_rows_verdict(AgentpayRows *rows, int column,
					  const AgentpayPointConfig *point)
{
	char *name = SPI_getvalue(rows->table->vals[rows->row],
							  rows->table->tupdesc, column);

	return name == NULL ? -1 : agentpay_config_verdict(point, name);
}
