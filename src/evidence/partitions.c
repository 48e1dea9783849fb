/*-------------------------------------------------------------------------
 * partitions.c
 *		Which partitions a log has, by the relation cache.
 *
 * SQL would read the catalogs under the statement's snapshot, and a session of
 * REPEATABLE READ would make a partition where another one has made one since.
 *
 * Locking: AccessShareLock on the log, kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/appender.h"

/* leaf, lower, upper */
#define COLUMNS 3

static PartitionDesc open_log(text *name, Relation *log);
static TimestampTz bound(PartitionBoundInfo bounds, int i);

PG_FUNCTION_INFO_V1(agentpay_sql_partition_around);
PG_FUNCTION_INFO_V1(agentpay_sql_partitions);

/*
 * agentpay._partition_around(log text, at timestamptz): the partition for that
 * moment and its bounds; or no partition, and the bounds of the gap.
 */
Datum
agentpay_sql_partition_around(PG_FUNCTION_ARGS)
{
	Datum at = PG_GETARG_DATUM(1);
	Relation log;
	PartitionDesc desc = open_log(PG_GETARG_TEXT_PP(0), &log);
	Datum values[COLUMNS];
	bool nulls[COLUMNS] = {true, false, false};
	TupleDesc result;

	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = ObjectIdGetDatum(InvalidOid);
	values[1] = TimestampTzGetDatum(DT_NOBEGIN);
	values[2] = TimestampTzGetDatum(DT_NOEND);
	if (desc->nparts > 0)
	{
		PartitionKey key = RelationGetPartitionKey(log);
		PartitionBoundInfo bounds = desc->boundinfo;
		bool equal;
		int lower = partition_range_datum_bsearch(key->partsupfunc,
												  key->partcollation, bounds, 1,
												  &at, &equal);
		int part = bounds->indexes[lower + 1];

		nulls[0] = part < 0;
		if (part >= 0)
			values[0] = ObjectIdGetDatum(desc->oids[part]);
		values[1] = TimestampTzGetDatum(bound(bounds, lower));
		values[2] = TimestampTzGetDatum(bound(bounds, lower + 1));
	}
	table_close(log, NoLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(result), values, nulls)));
}

/* agentpay._partitions(log text): all of them, the oldest first. */
Datum
agentpay_sql_partitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation log;
	PartitionDesc desc = open_log(PG_GETARG_TEXT_PP(0), &log);
	PartitionBoundInfo bounds = desc->boundinfo;

	InitMaterializedSRF(fcinfo, 0);
	/* a partition is known by where it ends */
	for (int i = 0; desc->nparts > 0 && i < bounds->ndatums; i++)
	{
		Datum values[COLUMNS];
		bool nulls[COLUMNS] = {false};

		if (bounds->indexes[i] < 0)
			continue;
		values[0] = ObjectIdGetDatum(desc->oids[bounds->indexes[i]]);
		values[1] = TimestampTzGetDatum(bound(bounds, i - 1));
		values[2] = TimestampTzGetDatum(bound(bounds, i));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	table_close(log, NoLock);
	return (Datum) 0;
}

/* The partitions of a log, which stays open. */
static PartitionDesc
open_log(text *name, Relation *log)
{
	char *log_name = text_to_cstring(name);
	Oid relid = agentpay_relation(log_name);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agentpay.%s\" does not exist", log_name)));
	*log = table_open(relid, AccessShareLock);
	if ((*log)->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("agentpay.%s is not partitioned", log_name)));
	return RelationGetPartitionDesc(*log, true);
}

/* The bound of that number; infinite outside of those that there are. */
static TimestampTz
bound(PartitionBoundInfo bounds, int i)
{
	if (i < 0)
		return DT_NOBEGIN;
	if (i >= bounds->ndatums)
		return DT_NOEND;
	if (bounds->kind != NULL &&
		bounds->kind[i][0] != PARTITION_RANGE_DATUM_VALUE)
		return bounds->kind[i][0] == PARTITION_RANGE_DATUM_MINVALUE ? DT_NOBEGIN
																	: DT_NOEND;
	return DatumGetTimestampTz(bounds->datums[i][0]);
}
