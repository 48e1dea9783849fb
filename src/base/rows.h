/*-------------------------------------------------------------------------
 * rows.h
 *		Arrays of row types, as functions take and return them.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ROWS_H
#define AGENTPAY_ROWS_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "utils/array.h"

/* One row taken apart; whose memory it is, the caller knows. */
typedef struct AgentpayRow
{
	Datum *values;
	bool *nulls;
} AgentpayRow;

/* Rows of a type of the schema agentpay that are being gathered. */
typedef struct AgentpayRows
{
	TupleDesc columns;
	Datum *rows;
	int n;
	int max;
} AgentpayRows;

/* In the current memory context. */
extern void agentpay_rows_start(AgentpayRows *rows, const char *type);
extern void agentpay_rows_add(AgentpayRows *rows, Datum *values, bool *nulls);
extern void agentpay_rows_add_row(AgentpayRows *rows, Datum row);
/* The array; *isnull where there is no row. */
extern Datum agentpay_rows_finish(AgentpayRows *rows, bool *isnull);

/* An array of rows that is being read. */
typedef struct AgentpayRowsReader
{
	TupleDesc columns;
	Datum *rows;
	bool *missing;
	int n;
	Datum *values; /* of the row that was read last */
	bool *nulls;
} AgentpayRowsReader;

/* An error unless the rows have so many columns. */
extern void
agentpay_rows_open(AgentpayRowsReader *reader, ArrayType *array, int columns);
/* Reads a row; false for one that is NULL. */
extern bool agentpay_rows_read(AgentpayRowsReader *reader, int i);
extern void agentpay_rows_close(AgentpayRowsReader *reader);

/* A row of that type. */
extern Datum agentpay_row(TupleDesc columns, Datum *values, bool *nulls);

/* Whether a text is this one; whether two are the same bytes. */
extern bool agentpay_text_is(Datum value, const char *text);
extern bool agentpay_text_same(Datum left, Datum right);

#endif /* AGENTPAY_ROWS_H */
