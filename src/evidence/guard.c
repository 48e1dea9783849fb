/*-------------------------------------------------------------------------
 * guard.c
 *		Refuses DDL that would change or remove the logs.
 *
 * Triggers cannot refuse DROP, DETACH or DISABLE TRIGGER, so two hooks do:
 * ProcessUtility knows what a statement says, and object_access sees every
 * drop, also one that comes by DROP SCHEMA ... CASCADE or DROP OWNED, and
 * every function that takes the place of one of ours.  They bind superusers
 * too; what a superuser can still do (edit the catalogs, or load no library)
 * is for the Merkle log to show.
 *
 * Guarded are the logs, the identity, which says whether the guards hold, and
 * the triggers of agentpay's other tables, which check and record changes:
 * nobody drops them, or comes between.
 *
 * The guards are lifted for DROP EXTENSION agentpay, in agentpay's own scripts,
 * for the partition maker, and before the database was started or adopted
 * (agentpay_identity_held()): a restore creates and attaches leaves.
 *
 * No locks: a name is resolved without one, as the statement does it again.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/errors.h"
#include "base/identity.h"
#include "base/owner.h"
#include "evidence/drop.h"
#include "evidence/guard.h"

/* Above zero while our own code, or DROP EXTENSION, works on the logs. */
static int lifted = 0;

static const char *const guarded_tables[] = {"decisions", "agent_calls",
											 "outcomes",  "governance_log",
											 "_tasks",	  "agent_versions",
											 "_identity", "_list_history",
											 "_leaves",	  "_nodes",
											 "_seals",	  "checkpoints",
											 "_log_keys"};

static bool check_utility(Node *parsetree);
static void lift(void);
static void restore(void);
static void check_access(ObjectAccessType access, Oid class_id, Oid object_id,
						 int sub_id, void *arg);
static bool is_log(Oid relid);
static bool is_guarded_parent(Oid relid);
static Oid named_log(RangeVar *name);
static Oid named_ours(RangeVar *name);
static Oid trigger_target(CreateTrigStmt *stmt);
static Oid inherited_log(CreateStmt *stmt);
static void refuse(Oid relid, const char *what);
static void refuse_part(const char *what);
static void check_rename(RenameStmt *stmt);
static void check_index(IndexStmt *stmt);
static void check_alter_table(AlterTableStmt *stmt);
static Oid joined_log(AlterTableCmd *cmd);
static const char *refused_command(AlterTableCmd *cmd);
static bool is_trigger_command(AlterTableCmd *cmd);
static void check_function(Oid function_id);
static bool drops_agentpay(DropStmt *stmt);
static Oid trigger_relation(Oid trigger_id);
static HeapTuple
fetch_by_oid(Oid catalog, Oid index, AttrNumber column, Oid object_id);
static bool is_ours(Oid relid);
static bool is_open(void);

PG_FUNCTION_INFO_V1(agentpay_sql_make_partition);

const AgentpayGuard agentpay_guard = {
	.check_utility = check_utility,
	.lift = lift,
	.prepare = agentpay_drop_lock,
	.restore = restore,
	.check_access = check_access,
};

/*
 * Raises an error for a statement that may not touch a log.  Returns true
 * when the guards must be lifted while it runs: DROP EXTENSION agentpay.
 */
static bool
check_utility(Node *parsetree)
{
	Oid log = InvalidOid;
	const char *what = NULL;

	if (lifted > 0)
		return false;

	switch (nodeTag(parsetree))
	{
		case T_DropStmt:
			return drops_agentpay((DropStmt *) parsetree);
		case T_AlterTableStmt:
			check_alter_table((AlterTableStmt *) parsetree);
			return false;
		case T_RenameStmt:
			check_rename((RenameStmt *) parsetree);
			return false;
		case T_IndexStmt:
			check_index((IndexStmt *) parsetree);
			return false;
		case T_AlterExtensionContentsStmt:
			if (strcmp(((AlterExtensionContentsStmt *) parsetree)->extname,
					   "agentpay") == 0 &&
				!is_open())
				refuse_part("ALTER EXTENSION ... ADD or DROP");
			return false;
		case T_AlterObjectSchemaStmt:
			log = named_log(((AlterObjectSchemaStmt *) parsetree)->relation);
			what = "SET SCHEMA";
			break;
		case T_RuleStmt:
			log = named_ours(((RuleStmt *) parsetree)->relation);
			what = "CREATE RULE";
			break;
		case T_CreateTrigStmt:
			log = trigger_target((CreateTrigStmt *) parsetree);
			what = "CREATE TRIGGER";
			break;
		case T_CreatePolicyStmt:
			log = named_log(((CreatePolicyStmt *) parsetree)->table);
			what = "CREATE POLICY";
			break;
		case T_CreateStmt:
			log = inherited_log((CreateStmt *) parsetree);
			what = "CREATE TABLE ... PARTITION OF";
			break;
		case T_CreateForeignTableStmt:
			log = inherited_log(&((CreateForeignTableStmt *) parsetree)->base);
			what = "CREATE FOREIGN TABLE ... PARTITION OF";
			break;
		default:
			return false;
	}

	if (OidIsValid(log) && !is_open())
		refuse(log, what);
	return false;
}

static void
lift(void)
{
	lifted++;
}

static void
restore(void)
{
	Assert(lifted > 0);
	lifted--;
}

/*
 * Raises an error for a log that is dropped, for a trigger of any of our
 * tables, and for a function that is made or changed among ours.
 */
static void
check_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
			 void *arg)
{
	Oid relid;

	if (lifted > 0)
		return;
	if (class_id == ProcedureRelationId &&
		(access == OAT_POST_CREATE || access == OAT_POST_ALTER))
		check_function(object_id);
	if (access != OAT_DROP)
		return;
	if (class_id == RelationRelationId && is_log(object_id) && !is_open())
		refuse(object_id, sub_id != 0 ? "DROP COLUMN" : "DROP");
	if (class_id == TriggerRelationId)
	{
		relid = trigger_relation(object_id);
		if (is_ours(relid) && !is_open())
			refuse(relid, is_log(relid) ? "DROP" : "DROP TRIGGER");
	}
}

/*
 * A function of ours changes only by the extension's scripts: one that returns
 * true could take the place of the guard.  Another owner, a superuser, is
 * welcome.
 */
static void
check_function(Oid function_id)
{
	HeapTuple after = fetch_by_oid(ProcedureRelationId, ProcedureOidIndexId,
								   Anum_pg_proc_oid, function_id);
	HeapTuple before;
	Oid ours = get_namespace_oid("agentpay", true);
	bool guarded = false;

	if (!HeapTupleIsValid(after))
		return;
	/* the cache has it as it was before this command */
	before = SearchSysCache1(PROCOID, ObjectIdGetDatum(function_id));
	guarded = ((Form_pg_proc) GETSTRUCT(after))->pronamespace == ours;
	if (HeapTupleIsValid(before))
	{
		Form_pg_proc old = (Form_pg_proc) GETSTRUCT(before);
		Oid owner = ((Form_pg_proc) GETSTRUCT(after))->proowner;

		if (old->proowner != owner && superuser_arg(owner))
			guarded = false;
		else if (old->pronamespace == ours)
			guarded = true;
		ReleaseSysCache(before);
	}
	heap_freetuple(after);
	if (guarded && OidIsValid(ours) && !is_open())
		refuse_part("a change of its functions");
}

/*
 * agentpay._make_partition(log text, at timestamptz): makes the leaf
 * of a log for that moment, if it is missing.  Runs as the extension's owner,
 * with the guards lifted.  The caller has no reference to the parent's
 * relation open.
 */
Datum
agentpay_sql_make_partition(PG_FUNCTION_ARGS)
{
	Oid types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum args[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	AgentpayOwnerState saved;

	agentpay_owner_enter(&saved);
	lift();
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT ||
			SPI_execute_with_args("SELECT agentpay._build_partition($1, $2)", 2,
								  types, args, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not make a partition of agentpay.%s",
				 text_to_cstring(PG_GETARG_TEXT_PP(0)));
		SPI_finish();
	}
	PG_FINALLY();
	{
		restore();
	}
	PG_END_TRY();
	agentpay_owner_leave(&saved);
	PG_RETURN_VOID();
}

/*
 * Whether that is a log, or a leaf of one.  A partition that is just being
 * detached has no parent any more, when its triggers are dropped.
 */
static bool
is_log(Oid relid)
{
	List *ancestors;

	if (is_guarded_parent(relid))
		return true;
	if (!get_rel_relispartition(relid))
		return false;
	ancestors = get_partition_ancestors(relid);
	return ancestors != NIL && is_guarded_parent(linitial_oid(ancestors));
}

static bool
is_guarded_parent(Oid relid)
{
	char kind = get_rel_relkind(relid);
	char *name;

	if (kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_RELATION)
		return false;
	if (get_rel_namespace(relid) != get_namespace_oid("agentpay", true) ||
		!OidIsValid(get_extension_oid("agentpay", true)))
		return false;
	name = get_rel_name(relid);
	for (int i = 0; i < lengthof(guarded_tables); i++)
		if (strcmp(name, guarded_tables[i]) == 0)
			return true;
	return false;
}

/* Whether that is a table of ours: a log, a leaf, or configuration. */
static bool
is_ours(Oid relid)
{
	return OidIsValid(relid) &&
		   get_rel_namespace(relid) == get_namespace_oid("agentpay", true) &&
		   OidIsValid(get_extension_oid("agentpay", true));
}

/* The log that a statement names; InvalidOid for any other relation. */
static Oid
named_log(RangeVar *name)
{
	Oid relid;

	if (name == NULL)
		return InvalidOid;
	relid = RangeVarGetRelid(name, NoLock, true);
	return OidIsValid(relid) && is_log(relid) ? relid : InvalidOid;
}

/* The same of all of our tables. */
static Oid
named_ours(RangeVar *name)
{
	Oid relid = name == NULL ? InvalidOid
							 : RangeVarGetRelid(name, NoLock, true);

	return is_ours(relid) ? relid : InvalidOid;
}

/*
 * Where a trigger may not be: on a log; before a change of any other table of
 * ours, where it could change the row again that was checked, or drop it.
 */
static Oid
trigger_target(CreateTrigStmt *stmt)
{
	return TRIGGER_FOR_AFTER(stmt->timing) ? named_log(stmt->relation)
										   : named_ours(stmt->relation);
}

/* The log that a new table would be a partition or child of. */
static Oid
inherited_log(CreateStmt *stmt)
{
	ListCell *lc;

	foreach(lc, stmt->inhRelations)
	{
		Oid log = named_log(lfirst_node(RangeVar, lc));

		if (OidIsValid(log))
			return log;
	}
	return InvalidOid;
}

static void
refuse(Oid relid, const char *what)
{
	if (!is_log(relid))
		ereport(ERROR,
				(errcode(ERRCODE_AGENTPAY_APPEND_ONLY),
				 errmsg("triggers of agentpay.%s are guarded: %s refused",
						get_rel_name(relid), what),
				 errdetail("They check and record every change of its rows."),
				 errhint("ALTER EXTENSION agentpay UPDATE changes them.")));
	ereport(
		ERROR,
		(errcode(ERRCODE_AGENTPAY_APPEND_ONLY),
		 errmsg("agentpay.%s is append-only: %s refused", get_rel_name(relid),
				what),
		 errdetail(
			 "What was recorded is evidence: nobody changes it, and only agentpay adds to it."),
		 errhint(
			 "DROP EXTENSION agentpay removes everything, evidence included.")));
}

/* As refuse(), for what is no table. */
static void
refuse_part(const char *what)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_AGENTPAY_APPEND_ONLY),
		 errmsg("schema agentpay is guarded: %s refused", what),
		 errdetail(
			 "Its functions and its name are what keeps the logs append-only."),
		 errhint("ALTER EXTENSION agentpay UPDATE changes them.")));
}

static void
check_rename(RenameStmt *stmt)
{
	Oid log = named_log(stmt->relation);

	if (OidIsValid(log) && !is_open())
		refuse(log, "RENAME");
	if (stmt->renameType == OBJECT_SCHEMA &&
		strcmp(stmt->subname, "agentpay") == 0 &&
		OidIsValid(get_extension_oid("agentpay", true)) && !is_open())
		refuse_part("ALTER SCHEMA ... RENAME");
	if (stmt->renameType == OBJECT_TRIGGER && stmt->relation != NULL)
	{
		Oid relid = RangeVarGetRelid(stmt->relation, NoLock, true);

		if (is_ours(relid) && !is_open())
			refuse(relid, "ALTER TRIGGER");
	}
}

/*
 * A parent's index would not restore (INTERNALS: partitions), and a unique one
 * could stop a log: payments that cannot be recorded are not taken.
 */
static void
check_index(IndexStmt *stmt)
{
	Oid log = named_log(stmt->relation);

	if (OidIsValid(log) &&
		(stmt->unique || get_rel_relkind(log) == RELKIND_PARTITIONED_TABLE) &&
		!is_open())
		refuse(log, stmt->unique ? "CREATE UNIQUE INDEX" : "CREATE INDEX");
}

static void
check_alter_table(AlterTableStmt *stmt)
{
	Oid relid = stmt->relation == NULL
					? InvalidOid
					: RangeVarGetRelid(stmt->relation, NoLock, true);
	bool log = OidIsValid(relid) && is_log(relid);
	ListCell *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		const char *what = refused_command(cmd);
		Oid joined = joined_log(cmd);

		if (OidIsValid(joined) && !is_open())
			refuse(joined, what);
		if (what != NULL &&
			(log || (is_trigger_command(cmd) && is_ours(relid))) && !is_open())
			refuse(relid, what);
	}
}

/* The log that another table would have as its parent, or as its part. */
static Oid
joined_log(AlterTableCmd *cmd)
{
	if (cmd->subtype == AT_AddInherit)
		return named_log((RangeVar *) cmd->def);
	if (cmd->subtype == AT_AttachPartition)
		return named_log(((PartitionCmd *) cmd->def)->name);
	return InvalidOid;
}

static bool
is_trigger_command(AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_DisableTrig:
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return true;
		default:
			return false;
	}
}

/* NULL for what changes no row and no guard: storage, statistics, owner. */
static const char *
refused_command(AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_SetTableSpace:
		case AT_SetStatistics:
		case AT_SetOptions:
		case AT_ResetOptions:
		case AT_SetStorage:
		case AT_SetCompression:
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_ReplicaIdentity:
		case AT_ChangeOwner:
		case AT_DisableRowSecurity:
		case AT_NoForceRowSecurity:
			return NULL;
		case AT_EnableRowSecurity: /* hides rows, and says nothing of it */
		case AT_ForceRowSecurity:
			return "ROW LEVEL SECURITY";
		case AT_AttachPartition:
			return "ATTACH PARTITION";
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			return "DETACH PARTITION";
		case AT_DisableTrig:
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			return "DISABLE TRIGGER";
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return "ENABLE TRIGGER";
		default:
			return "ALTER TABLE";
	}
}

static bool
drops_agentpay(DropStmt *stmt)
{
	ListCell *lc;

	if (stmt->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, stmt->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "agentpay") == 0)
			return OidIsValid(get_extension_oid("agentpay", true));
	}
	return false;
}

/*
 * The table of a trigger that is about to go; InvalidOid if whoever put it on
 * a table of ours may take it off again.
 */
static Oid
trigger_relation(Oid trigger_id)
{
	HeapTuple tuple = fetch_by_oid(TriggerRelationId, TriggerOidIndexId,
								   Anum_pg_trigger_oid, trigger_id);
	Oid relid = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger->tgisinternal || is_log(trigger->tgrelid) ||
			strncmp(NameStr(trigger->tgname), "agentpay_", 9) == 0)
			relid = trigger->tgrelid;
		heap_freetuple(tuple);
	}
	return relid;
}

/*
 * A catalog's row as the present command left it; NULL when there is none.
 * The caller frees it.
 */
static HeapTuple
fetch_by_oid(Oid catalog, Oid index, AttrNumber column, Oid object_id)
{
	Relation rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object_id));
	scan = systable_beginscan(rel, index, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

/*
 * Whether the guards are open: agentpay's own script runs (CREATE or ALTER
 * EXTENSION agentpay), or the database was not started or adopted.
 */
static bool
is_open(void)
{
	return (creating_extension &&
			CurrentExtensionObject == get_extension_oid("agentpay", true)) ||
		   agentpay_identity_held();
}
