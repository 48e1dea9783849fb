/*-------------------------------------------------------------------------
 * identity.c
 *		Whether this database is the ledger, or a copy that must keep quiet.
 *
 * agentpay._identity holds the cluster's system identifier and the database's
 * oid; it is not dumped.  A database that was restored, copied or upgraded
 * differs in one of them, and is held until adopt().
 *
 * In C because triggers ask for every row that a restore brings.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "base/appender.h"
#include "base/identity.h"

/* Columns of agentpay._identity. */
#define SYSTEM_IDENTIFIER 2
#define DATABASE_OID 3

static bool has_leaves(void);

PG_FUNCTION_INFO_V1(agentpay_sql_held);
PG_FUNCTION_INFO_V1(agentpay_sql_has_leaves);
PG_FUNCTION_INFO_V1(agentpay_sql_restoring);
PG_FUNCTION_INFO_V1(agentpay_sql_is_apply_worker);

bool
agentpay_identity_held(void)
{
	Oid relid = agentpay_relation("_identity");
	Relation identity;
	SysScanDesc scan;
	HeapTuple tuple;
	bool held = true;

	if (!OidIsValid(relid))
		return true;
	identity = table_open(relid, AccessShareLock);
	/* as for a catalog: what is committed now, whatever the snapshot is */
	scan = systable_beginscan(identity, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum cluster = heap_getattr(tuple, SYSTEM_IDENTIFIER,
									 RelationGetDescr(identity), &isnull);
		Datum database = heap_getattr(tuple, DATABASE_OID,
									  RelationGetDescr(identity), &isnull);

		if ((uint64) DatumGetInt64(cluster) == GetSystemIdentifier() &&
			DatumGetObjectId(database) == MyDatabaseId)
			held = false;
	}
	systable_endscan(scan);
	table_close(identity, AccessShareLock);
	return held;
}

/* Whether any log has a partition. */
static bool
has_leaves(void)
{
	for (int log = 0; log < AGENTPAY_LOG_COUNT; log++)
		if (has_subclass(agentpay_log_relation(log)))
			return true;
	return false;
}

/* agentpay._held() */
Datum
agentpay_sql_held(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(agentpay_identity_held());
}

/* agentpay._has_leaves() */
Datum
agentpay_sql_has_leaves(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_leaves());
}

/* agentpay._is_apply_worker() */
Datum
agentpay_sql_is_apply_worker(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(IsLogicalWorker());
}

/*
 * agentpay._restoring(): from the first restored log until adopt().
 *
 * Leaves first: the first attach() of another session commits them with the
 * identity, so that whoever sees leaves sees that as well.
 */
Datum
agentpay_sql_restoring(PG_FUNCTION_ARGS)
{
	AcceptInvalidationMessages();
	PG_RETURN_BOOL(has_leaves() && agentpay_identity_held());
}
