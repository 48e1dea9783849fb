/*-------------------------------------------------------------------------
 * visible.c
 *		Whether a row of a user's table is one that whoever asks may see.
 *
 * agentpay reads its own tables as their owner, whom row-level security does
 * not bind.  What it shows of one payment it shows only where the policies of
 * the payment's table let the asking role see that payment.  Who asks is the
 * role of the session (SET ROLE), also inside functions that run as the
 * owner.  No locks but those of a SELECT.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

static bool is_bound(Oid relation, Oid asker);
static bool may_read(Oid relation, AttrNumber column, Oid asker);
static bool finds(Oid relation, AttrNumber column, Datum row_id, Oid asker);

PG_FUNCTION_INFO_V1(agentpay_sql_is_row_secured);
PG_FUNCTION_INFO_V1(agentpay_sql_is_row_visible);

/* agentpay._is_row_secured(relation oid) */
Datum
agentpay_sql_is_row_secured(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_bound(PG_GETARG_OID(0), GetOuterUserId()));
}

/*
 * agentpay._is_row_visible(relation oid, id_column name, row_id text)
 *
 * The row id must be the text of one that was recorded: it is cast to the
 * column's type.
 */
Datum
agentpay_sql_is_row_visible(PG_FUNCTION_ARGS)
{
	Oid relation = PG_GETARG_OID(0);
	Oid asker = GetOuterUserId();
	AttrNumber column;

	if (!is_bound(relation, asker))
		PG_RETURN_BOOL(true);
	column = get_attnum(relation, NameStr(*PG_GETARG_NAME(1)));
	PG_RETURN_BOOL(column != InvalidAttrNumber &&
				   may_read(relation, column, asker) &&
				   finds(relation, column, PG_GETARG_DATUM(2), asker));
}

/* Of a table that is gone nobody knows the policies. */
static bool
is_bound(Oid relation, Oid asker)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		return !has_bypassrls_privilege(asker);
	return check_enable_rls(relation, asker, true) == RLS_ENABLED;
}

static bool
may_read(Oid relation, AttrNumber column, Oid asker)
{
	return pg_class_aclcheck(relation, asker, ACL_SELECT) == ACLCHECK_OK ||
		   pg_attribute_aclcheck(relation, column, asker, ACL_SELECT) ==
			   ACLCHECK_OK;
}

/* Looks as the asker, by the index of the id column. */
static bool
finds(Oid relation, AttrNumber column, Datum row_id, Oid asker)
{
	Oid type;
	int32 typmod;
	Oid collation;
	Oid types[1] = {TEXTOID};
	Oid user;
	int security_context;
	int guc_level;
	char *query;
	bool found;

	get_atttypetypmodcoll(relation, column, &type, &typmod, &collation);
	/*
	 * A domain's CHECK is its owner's code; by its typmod, a longer id would
	 * be cut to one that is there.
	 */
	type = getBaseType(type);
	query = psprintf("SELECT FROM %s WHERE %s = $1::%s",
					 quote_qualified_identifier(
						 get_namespace_name(get_rel_namespace(relation)),
						 get_rel_name(relation)),
					 quote_identifier(get_attname(relation, column, false)),
					 format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN));
	GetUserIdAndSecContext(&user, &security_context);
	guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(asker,
						   security_context | SECURITY_LOCAL_USERID_CHANGE);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args(query, 1, types, &row_id, NULL, true, 1) !=
			SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query);
	found = SPI_processed > 0;
	SPI_finish();
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(user, security_context);
	return found;
}
