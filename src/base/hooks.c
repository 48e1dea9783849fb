/*-------------------------------------------------------------------------
 * hooks.c
 *		PostgreSQL's process-wide hooks: the only place that sets them.
 *
 * Other rooms give callbacks (shmem.h), so that there is one order: the
 * guard of the logs, the databases that are held, frames of scoring, then
 * whoever had the hook before, or PostgreSQL itself.
 *
 * No locks of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "base/compat.h"
#include "base/shmem.h"

static AgentpayGuard guard = {0};
static AgentpayFrames frames = {0};
static void (*watch)(ObjectAccessType access, Oid class_id, Oid object_id,
					 void *arg) = NULL;

static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_access = NULL;
static ExecutorRun_hook_type next_run = NULL;
static ExecutorFinish_hook_type next_finish = NULL;
static ExecutorEnd_hook_type next_end = NULL;

static void process_utility(AGENTPAY_UTILITY_ARGS);
static void run_utility(AGENTPAY_UTILITY_ARGS);
static void object_access(ObjectAccessType access, Oid class_id, Oid object_id,
						  int sub_id, void *arg);
static void executor_run(AGENTPAY_RUN_ARGS);
static void executor_finish(QueryDesc *query);
static void executor_end(QueryDesc *query);
static Oid held_database(Node *statement);
static const char *template_of(CreatedbStmt *statement);
static bool moves_tablespace(AlterDatabaseStmt *statement);
static bool may_hold(Oid database);
static bool makes_agentpay(Node *statement);

void
agentpay_shmem_set_guard(const AgentpayGuard *given)
{
	guard = *given;
}

void
agentpay_shmem_set_frames(const AgentpayFrames *given)
{
	frames = *given;
}

void
agentpay_shmem_set_watch(void (*changed)(ObjectAccessType access, Oid class_id,
										 Oid object_id, void *arg))
{
	watch = changed;
}

void
agentpay_hooks_install(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	next_access = object_access_hook;
	object_access_hook = object_access;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	next_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	next_end = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
}

/* Guards, then holds the database that the statement needs for itself. */
static void
process_utility(AGENTPAY_UTILITY_ARGS)
{
	Node *statement = pstmt->utilityStmt;
	volatile bool lifted = guard.check_utility &&
						   guard.check_utility(statement);
	bool drops = lifted && superuser();
	volatile Oid database = InvalidOid;
	volatile bool nudge = makes_agentpay(statement);
	volatile bool holding = false;

	if (drops)
		database = MyDatabaseId;
	else if (context == PROCESS_UTILITY_TOPLEVEL)
		database = held_database(statement);
	if (lifted)
		guard.lift();
	PG_TRY();
	{
		if (OidIsValid(database))
			holding = agentpay_shmem_hold_database(database);
		CHECK_FOR_INTERRUPTS();
		if (drops)
			guard.prepare();
		run_utility(AGENTPAY_UTILITY_PASS);
	}
	PG_FINALLY();
	{
		if (holding)
			agentpay_shmem_release_database(database);
		if (lifted)
			guard.restore();
	}
	PG_END_TRY();
	if (nudge)
		agentpay_shmem_nudge_at_commit();
}

/* The statement inside its frame. */
static void
run_utility(AGENTPAY_UTILITY_ARGS)
{
	Node *statement = pstmt->utilityStmt;
	volatile bool framed = frames.enter != NULL && IsA(statement, CopyStmt);

	if (framed)
		frames.enter(NULL);
	PG_TRY();
	{
		if (next_utility)
			next_utility(AGENTPAY_UTILITY_PASS);
		else
			standard_ProcessUtility(AGENTPAY_UTILITY_PASS);
	}
	PG_CATCH();
	{
		if (framed)
			frames.leave(AGENTPAY_FRAME_UTILITY, NULL, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (framed)
		frames.leave(AGENTPAY_FRAME_UTILITY, NULL, false);
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
			  void *arg)
{
	if (guard.check_access)
		guard.check_access(access, class_id, object_id, sub_id, arg);
	if (watch)
		watch(access, class_id, object_id, arg);
	if (next_access)
		next_access(access, class_id, object_id, sub_id, arg);
}

static void
executor_run(AGENTPAY_RUN_ARGS)
{
	if (frames.enter)
		frames.enter(query);
	PG_TRY();
	{
		if (next_run)
			next_run(AGENTPAY_RUN_PASS);
		else
			standard_ExecutorRun(AGENTPAY_RUN_PASS);
	}
	PG_CATCH();
	{
		if (frames.leave)
			frames.leave(AGENTPAY_FRAME_RUN, query, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (frames.leave)
		frames.leave(AGENTPAY_FRAME_RUN, query, false);
}

static void
executor_finish(QueryDesc *query)
{
	if (frames.enter)
		frames.enter(query);
	PG_TRY();
	{
		if (next_finish)
			next_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_CATCH();
	{
		if (frames.leave)
			frames.leave(AGENTPAY_FRAME_FINISH, query, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (frames.leave)
		frames.leave(AGENTPAY_FRAME_FINISH, query, false);
}

static void
executor_end(QueryDesc *query)
{
	if (frames.end)
		frames.end(query);
	if (next_end)
		next_end(query);
	else
		standard_ExecutorEnd(query);
}

/* The database that must have no other session, or InvalidOid. */
static Oid
held_database(Node *statement)
{
	const char *name = NULL;
	Oid database;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			name = castNode(DropdbStmt, statement)->dbname;
			break;
		case T_CreatedbStmt:
			name = template_of(castNode(CreatedbStmt, statement));
			break;
		case T_RenameStmt:
			if (castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
				name = castNode(RenameStmt, statement)->subname;
			break;
		case T_AlterDatabaseStmt:
			if (moves_tablespace(castNode(AlterDatabaseStmt, statement)))
				name = castNode(AlterDatabaseStmt, statement)->dbname;
			break;
		default:
			break;
	}
	if (name == NULL)
		return InvalidOid;
	database = get_database_oid(name, true);
	if (!OidIsValid(database) || database == MyDatabaseId ||
		!may_hold(database))
		return InvalidOid;
	return database;
}

/* NULL: template1, where no worker is. */
static const char *
template_of(CreatedbStmt *statement)
{
	ListCell *lc;

	foreach(lc, statement->options)
	{
		DefElem *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

static bool
moves_tablespace(AlterDatabaseStmt *statement)
{
	ListCell *lc;

	foreach(lc, statement->options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "tablespace") == 0)
			return true;
	return false;
}

/* Nobody stops workers with a statement that will be refused anyway. */
static bool
may_hold(Oid database)
{
	return superuser() || AGENTPAY_DATABASE_OWNERCHECK(database, GetUserId());
}

/* CREATE EXTENSION agentpay, by whatever way, and its update. */
static bool
makes_agentpay(Node *statement)
{
	if (IsA(statement, CreateExtensionStmt))
		return strcmp(castNode(CreateExtensionStmt, statement)->extname,
					  "agentpay") == 0;
	if (IsA(statement, AlterExtensionStmt))
		return strcmp(castNode(AlterExtensionStmt, statement)->extname,
					  "agentpay") == 0;
	return false;
}
