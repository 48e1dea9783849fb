/*-------------------------------------------------------------------------
 * owner.c
 *		Running agentpay's own SQL as the extension's owner.
 *
 * Triggers run as whoever inserts a payment, who has no right to read rules
 * or to make partitions.  What agentpay does for itself runs as the owner of
 * the schema, with search_path pinned.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "base/owner.h"

static Oid extension_owner(void);

void
agentpay_owner_enter(AgentpayOwnerState *saved)
{
	Oid owner = extension_owner();

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"agentpay\" does not exist"),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	GetUserIdAndSecContext(&saved->user, &saved->security_context);
	saved->guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(owner, saved->security_context |
									  SECURITY_LOCAL_USERID_CHANGE);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
agentpay_owner_leave(const AgentpayOwnerState *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->security_context);
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
