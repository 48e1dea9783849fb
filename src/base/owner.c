/*-------------------------------------------------------------------------
 * owner.c
 *		Running agentpay's own SQL as the extension's owner.
 *
 * Triggers run as whoever inserts a payment, who has no right to read rules
 * or to make partitions.  What agentpay does for itself runs as the owner of
 * the schema, with search_path pinned; what it does to a user's table, as the
 * owner of that table.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/owner.h"

/* What is read instead of the latest; NULL: nothing. */
static Snapshot read_under = NULL;

static Oid extension_owner(void);
static Oid table_owner(Oid relation);
static void become(Oid user, int restrictions, AgentpayOwnerState *saved);

void
agentpay_owner_enter(AgentpayOwnerState *saved)
{
	Oid owner = extension_owner();

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"agentpay\" does not exist"),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	become(owner, SECURITY_LOCAL_USERID_CHANGE, saved);
}

void
agentpay_owner_enter_table(Oid relation, AgentpayOwnerState *saved)
{
	Oid owner = table_owner(relation);

	if (!OidIsValid(owner))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("the point's table does not exist")));
	become(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION,
		   saved);
}

static void
become(Oid user, int restrictions, AgentpayOwnerState *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security_context);
	saved->guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(user, saved->security_context | restrictions);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
agentpay_owner_leave(const AgentpayOwnerState *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->security_context);
}

void
agentpay_owner_read_under(Snapshot snapshot)
{
	read_under = snapshot;
}

void
agentpay_owner_read_begin(AgentpayOwnerReading *reading)
{
	agentpay_owner_enter(&reading->owner);
	reading->snapshot = RegisterSnapshot(
		read_under != NULL ? read_under : GetLatestSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
agentpay_owner_read_end(AgentpayOwnerReading *reading)
{
	SPI_finish();
	UnregisterSnapshot(reading->snapshot);
	agentpay_owner_leave(&reading->owner);
}

void
agentpay_owner_select(const AgentpayOwnerReading *reading, const char *query,
					  int n_args, Oid *types, Datum *values, long limit)
{
	SPIPlanPtr plan = SPI_prepare(query, n_args, types);

	if (plan == NULL ||
		SPI_execute_snapshot(plan, values, NULL, reading->snapshot,
							 InvalidSnapshot, true, false,
							 limit) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query);
	SPI_freeplan(plan);
}

/* The schema's owner; InvalidOid when there is no schema. */
static Oid
extension_owner(void)
{
	HeapTuple tuple = SearchSysCache1(NAMESPACENAME,
									  CStringGetDatum("agentpay"));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* InvalidOid when there is no such table. */
static Oid
table_owner(Oid relation)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}
