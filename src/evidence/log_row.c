/*-------------------------------------------------------------------------
 * log_row.c
 *		A row of a log in its canonical form.
 *
 * Each value is the text that COPY would write with TimeZone UTC, DateStyle
 * ISO, bytea_output hex and extra_float_digits 1; the types that logs have are
 * written here, so that no setting of a session can change a leaf.  A NULL is
 * left out, so that a column which a later version adds changes no old row.
 *
 * Nothing that a row may hold stops the seal: text of which there is no form in
 * UTF-8 is written as its bytes.
 *
 * Locking: AccessShareLock on what is read, kept to the end of the
 * transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_conversion.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "evidence/canonical.h"
#include "evidence/log_row.h"

static const char *const log_names[AGENTPAY_SEALED_LOGS] = {
	[AGENTPAY_LOG_DECISIONS] = "decisions",
	[AGENTPAY_LOG_AGENT_CALLS] = "agent_calls",
	[AGENTPAY_LOG_OUTCOMES] = "outcomes",
	[AGENTPAY_LOG_GOVERNANCE] = "governance_log",
};

static int compare_columns(const void *a, const void *b);
static void
add_column(AgentpayLogForm *form, const char *name, AttrNumber attno, Oid type);
static void
write_value(AgentpayLogColumn *column, Datum value, AgentpayJsonWriter *writer);
static void
write_text(const char *key, Datum value, AgentpayJsonWriter *writer);
static void
write_timestamp(const char *key, TimestampTz at, AgentpayJsonWriter *writer);
static void write_float(const char *key, float8 value, bool single,
						AgentpayJsonWriter *writer);
static void write_server(const char *key, const char *text, int len,
						 AgentpayJsonWriter *writer);
static char *to_utf8(const char *text, int *len);
static bool is_ascii(const char *text, int len);
static void
write_ascii(const char *key, const char *text, AgentpayJsonWriter *writer);
static bool find_in_leaf(AgentpayLog log, Oid leaf_oid, const pg_uuid_t *key,
						 Snapshot snapshot, AgentpayJsonWriter *writer);
static bool
scan_leaf(Relation leaf, AgentpayLogForm *form, const pg_uuid_t *key,
		  Snapshot snapshot, TupleTableSlot *slot);
static bool
is_row(AgentpayLogForm *form, TupleTableSlot *slot, const pg_uuid_t *key);

const char *
agentpay_log_row_log_name(AgentpayLog log)
{
	return log_names[log];
}

AgentpayLogForm *
agentpay_log_row_form(AgentpayLog log, Relation leaf)
{
	AgentpayLogForm *form = palloc0(sizeof(AgentpayLogForm));
	TupleDesc desc = RelationGetDescr(leaf);

	form->log = log;
	form->columns = palloc0((desc->natts + 1) * sizeof(AgentpayLogColumn));
	form->scratch = AllocSetContextCreate(CurrentMemoryContext, "agentpay row",
										  ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped)
			add_column(form, pstrdup(NameStr(attribute->attname)), i + 1,
					   attribute->atttypid);
	}
	/* by name, since a restored leaf may have its columns in another order */
	form->key = get_attnum(RelationGetRelid(leaf),
						   log == AGENTPAY_LOG_DECISIONS	 ? "decision_id"
						   : log == AGENTPAY_LOG_AGENT_CALLS ? "call_id"
						   : log == AGENTPAY_LOG_OUTCOMES	 ? "outcome_id"
															 : "event_id");
	form->time = get_attnum(RelationGetRelid(leaf),
							log == AGENTPAY_LOG_DECISIONS	  ? "decided_at"
							: log == AGENTPAY_LOG_AGENT_CALLS ? "called_at"
							: log == AGENTPAY_LOG_OUTCOMES	  ? "observed_at"
															  : "logged_at");
	form->xid = get_attnum(RelationGetRelid(leaf), "xid");
	if (form->key == InvalidAttrNumber || form->time == InvalidAttrNumber ||
		form->xid == InvalidAttrNumber)
		elog(ERROR, "a column is missing in %s", RelationGetRelationName(leaf));
	add_column(form, "log", 0, TEXTOID);
	qsort(form->columns, form->count, sizeof(AgentpayLogColumn),
		  compare_columns);
	return form;
}

static int
compare_columns(const void *a, const void *b)
{
	return agentpay_canonical_compare(((const AgentpayLogColumn *) a)->name,
									  ((const AgentpayLogColumn *) b)->name);
}

static void
add_column(AgentpayLogForm *form, const char *name, AttrNumber attno, Oid type)
{
	AgentpayLogColumn *column = &form->columns[form->count++];
	Oid output;
	bool is_varlena;

	column->name = name;
	column->attno = attno;
	column->type = type;
	getTypeOutputInfo(type, &output, &is_varlena);
	fmgr_info(output, &column->output);
}

void
agentpay_log_row_write(AgentpayLogForm *form, TupleTableSlot *slot,
					   AgentpayJsonWriter *writer)
{
	MemoryContext old = MemoryContextSwitchTo(form->scratch);

	slot_getallattrs(slot);
	agentpay_canonical_begin(writer);
	for (int i = 0; i < form->count; i++)
	{
		AgentpayLogColumn *column = &form->columns[i];

		if (column->attno == 0)
			write_ascii(column->name, log_names[form->log], writer);
		else if (!slot->tts_isnull[column->attno - 1])
			write_value(column, slot->tts_values[column->attno - 1], writer);
	}
	agentpay_canonical_end(writer);
	MemoryContextSwitchTo(old);
	MemoryContextReset(form->scratch);
	if (writer->failed)
	{
		free(writer->data);
		memset(writer, 0, sizeof(*writer));
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
}

static void
write_value(AgentpayLogColumn *column, Datum value, AgentpayJsonWriter *writer)
{
	char buffer[64];
	char *text;

	switch (column->type)
	{
		case TEXTOID:
			write_text(column->name, value, writer);
			return;
		case NAMEOID:
			text = NameStr(*DatumGetName(value));
			write_server(column->name, text, strlen(text), writer);
			return;
		case INT4OID:
			pg_ltoa(DatumGetInt32(value), buffer);
			break;
		case INT8OID:
			pg_lltoa(DatumGetInt64(value), buffer);
			break;
		case XID8OID:
			snprintf(buffer, sizeof(buffer), UINT64_FORMAT,
					 U64FromFullTransactionId(
						 DatumGetFullTransactionId(value)));
			break;
		case TIMESTAMPTZOID:
			write_timestamp(column->name, DatumGetTimestampTz(value), writer);
			return;
		case FLOAT4OID:
			write_float(column->name, DatumGetFloat4(value), true, writer);
			return;
		case FLOAT8OID:
			write_float(column->name, DatumGetFloat8(value), false, writer);
			return;
		case JSONBOID:
		{
			Jsonb *jsonb = DatumGetJsonbP(value);

			text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
			write_server(column->name, text, strlen(text), writer);
			return;
		}
		case BYTEAOID:
		{
			bytea *bytes = DatumGetByteaPP(value);

			text = palloc(2 * VARSIZE_ANY_EXHDR(bytes) + 3);
			strcpy(text, "\\x");
			text[2 + hex_encode(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes),
								text + 2)] = '\0';
			write_ascii(column->name, text, writer);
			return;
		}
		default: /* numeric, uuid, text[]: no setting changes them */
			text = OutputFunctionCall(&column->output, value);
			write_server(column->name, text, strlen(text), writer);
			return;
	}
	write_ascii(column->name, buffer, writer);
}

static void
write_text(const char *key, Datum value, AgentpayJsonWriter *writer)
{
	text *data = DatumGetTextPP(value);

	write_server(key, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), writer);
}

/* 2026-11-27 02:36:00.123456+00 */
static void
write_timestamp(const char *key, TimestampTz at, AgentpayJsonWriter *writer)
{
	char buffer[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t fsec;

	if (TIMESTAMP_NOT_FINITE(at))
		EncodeSpecialTimestamp(at, buffer);
	else if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) == 0)
	{
		tm.tm_isdst = 0; /* the zone is known, and written */
		EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, buffer);
	}
	else
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("timestamp out of range")));
	write_ascii(key, buffer, writer);
}

/* The shortest digits that give the same value again. */
static void
write_float(const char *key, float8 value, bool single,
			AgentpayJsonWriter *writer)
{
	char buffer[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(value))
		strcpy(buffer, "NaN");
	else if (isinf(value))
		strcpy(buffer, value < 0 ? "-Infinity" : "Infinity");
	else if (single)
		float_to_shortest_decimal_buf((float) value, buffer);
	else
		double_to_shortest_decimal_buf(value, buffer);
	write_ascii(key, buffer, writer);
}

/* Text of the database's encoding, as UTF-8; as bytes where it has no form. */
static void
write_server(const char *key, const char *text, int len,
			 AgentpayJsonWriter *writer)
{
	int utf8_len = len;
	const char *utf8 = GetDatabaseEncoding() == PG_UTF8
						   ? text
						   : to_utf8(text, &utf8_len);

	if (utf8 != NULL)
		agentpay_canonical_member(writer, key, utf8, utf8_len);
	else
		agentpay_canonical_bytes(writer, key, text, len);
}

/* By the conversion that PostgreSQL comes with; NULL: it cannot, or is none. */
static char *
to_utf8(const char *text, int *len)
{
	static Oid conversion = InvalidOid;
	int encoding = GetDatabaseEncoding();
	Size size = (Size) *len * MAX_CONVERSION_GROWTH + 1;
	char *utf8;

	/* every encoding of a database contains ASCII */
	if (is_ascii(text, *len))
		return unconstify(char *, text);
	if (encoding == PG_SQL_ASCII)
		return pg_verify_mbstr(PG_UTF8, text, *len, true)
				   ? unconstify(char *, text)
				   : NULL;
	if (!OidIsValid(conversion))
		conversion = FindDefaultConversion(PG_CATALOG_NAMESPACE, encoding,
										   PG_UTF8);
	if (!OidIsValid(conversion) || size > PG_INT32_MAX)
		return NULL;
	utf8 = MemoryContextAllocHuge(CurrentMemoryContext, size);
	if (pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
									  (unsigned char *) text, *len,
									  (unsigned char *) utf8, (int) size,
									  true) != *len)
		return NULL;
	*len = (int) strlen(utf8);
	return utf8;
}

static bool
is_ascii(const char *text, int len)
{
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	return true;
}

static void
write_ascii(const char *key, const char *text, AgentpayJsonWriter *writer)
{
	agentpay_canonical_member(writer, key, text, strlen(text));
}

bool
agentpay_log_row_find(AgentpayLog log, const pg_uuid_t *key, Snapshot snapshot,
					  AgentpayJsonWriter *writer)
{
	List *leaves = find_inheritance_children(agentpay_log_relation(log),
											 AccessShareLock);

	/* by oid, so that the newest come last */
	for (int i = list_length(leaves) - 1; i >= 0; i--)
		if (find_in_leaf(log, list_nth_oid(leaves, i), key, snapshot, writer))
			return true;
	return false;
}

static bool
find_in_leaf(AgentpayLog log, Oid leaf_oid, const pg_uuid_t *key,
			 Snapshot snapshot, AgentpayJsonWriter *writer)
{
	Relation leaf = table_open(leaf_oid, NoLock);
	AgentpayLogForm *form = agentpay_log_row_form(log, leaf);
	TupleTableSlot *slot = table_slot_create(leaf, NULL);
	Oid index_oid = agentpay_log_row_index(leaf, form->key);
	bool found = false;

	if (OidIsValid(index_oid))
	{
		Relation index = index_open(index_oid, AccessShareLock);
		IndexScanDesc scan = AGENTPAY_INDEX_BEGINSCAN(leaf, index, snapshot, 1);
		ScanKeyData scan_key;

		ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_UUID_EQ,
					UUIDPGetDatum(key));
		index_rescan(scan, &scan_key, 1, NULL, 0);
		found = index_getnext_slot(scan, ForwardScanDirection, slot);
		if (found)
			agentpay_log_row_write(form, slot, writer);
		index_endscan(scan);
		index_close(index, NoLock);
	}
	else
	{
		found = scan_leaf(leaf, form, key, snapshot, slot);
		if (found)
			agentpay_log_row_write(form, slot, writer);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(leaf, NoLock);
	return found;
}

/* agent_calls have no index on their id: nothing else asks for it. */
static bool
scan_leaf(Relation leaf, AgentpayLogForm *form, const pg_uuid_t *key,
		  Snapshot snapshot, TupleTableSlot *slot)
{
	TableScanDesc scan = table_beginscan(leaf, snapshot, 0, NULL);
	bool found = false;

	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		found = is_row(form, slot, key);
	}
	if (found)
		ExecMaterializeSlot(slot);
	table_endscan(scan);
	return found;
}

static bool
is_row(AgentpayLogForm *form, TupleTableSlot *slot, const pg_uuid_t *key)
{
	bool isnull;
	Datum value = slot_getattr(slot, form->key, &isnull);

	return !isnull &&
		   memcmp(DatumGetUUIDP(value)->data, key->data, UUID_LEN) == 0;
}

Oid
agentpay_log_row_index(Relation relation, AttrNumber column)
{
	List *indexes = RelationGetIndexList(relation);
	Oid found = InvalidOid;
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && !OidIsValid(found) &&
			index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indkey.values[0] == column &&
			RelationGetIndexPredicate(index) == NIL)
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}
