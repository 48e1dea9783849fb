/*-------------------------------------------------------------------------
 * rows.c
 *		Arrays of row types, as functions take and return them.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/appender.h"
#include "base/compat.h"
#include "base/rows.h"

#define FIRST_ROWS 16

void
agentpay_rows_start(AgentpayRows *rows, const char *type)
{
	rows->columns =
		lookup_rowtype_tupdesc_copy(get_rel_type_id(agentpay_relation(type)),
									-1);
	rows->n = 0;
	rows->max = FIRST_ROWS;
	rows->rows = palloc(sizeof(Datum) * rows->max);
}

void
agentpay_rows_add(AgentpayRows *rows, Datum *values, bool *nulls)
{
	agentpay_rows_add_row(rows, agentpay_row(rows->columns, values, nulls));
}

void
agentpay_rows_add_row(AgentpayRows *rows, Datum row)
{
	if (rows->n == rows->max)
	{
		rows->max *= 2;
		rows->rows = repalloc(rows->rows, sizeof(Datum) * rows->max);
	}
	rows->rows[rows->n++] = row;
}

Datum
agentpay_rows_finish(AgentpayRows *rows, bool *isnull)
{
	*isnull = rows->n == 0;
	if (*isnull)
		return (Datum) 0;
	return PointerGetDatum(construct_array(rows->rows, rows->n,
										   rows->columns->tdtypeid, -1, false,
										   TYPALIGN_DOUBLE));
}

void
agentpay_rows_open(AgentpayRowsReader *reader, ArrayType *array, int columns)
{
	Oid type = ARR_ELEMTYPE(array);

	reader->columns = lookup_rowtype_tupdesc(type, -1);
	if (reader->columns->natts != columns)
		elog(ERROR, "rows of type %u have %d columns, not %d", type,
			 reader->columns->natts, columns);
	deconstruct_array(array, type, -1, false, TYPALIGN_DOUBLE, &reader->rows,
					  &reader->missing, &reader->n);
	reader->values = palloc(sizeof(Datum) * columns);
	reader->nulls = palloc(sizeof(bool) * columns);
}

bool
agentpay_rows_read(AgentpayRowsReader *reader, int i)
{
	HeapTupleData tuple;

	if (reader->missing[i])
		return false;
	tuple.t_data = DatumGetHeapTupleHeader(reader->rows[i]);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	heap_deform_tuple(&tuple, reader->columns, reader->values, reader->nulls);
	return true;
}

void
agentpay_rows_close(AgentpayRowsReader *reader)
{
	ReleaseTupleDesc(reader->columns);
}

Datum
agentpay_row(TupleDesc columns, Datum *values, bool *nulls)
{
	return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
}

bool
agentpay_text_is(Datum value, const char *name)
{
	text *t = DatumGetTextPP(value);
	Size length = strlen(name);

	return VARSIZE_ANY_EXHDR(t) == length &&
		   memcmp(VARDATA_ANY(t), name, length) == 0;
}

bool
agentpay_text_same(Datum left, Datum right)
{
	text *a = DatumGetTextPP(left);
	text *b = DatumGetTextPP(right);

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}
