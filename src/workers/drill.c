/*-------------------------------------------------------------------------
 * drill.c
 *		A kill switch flipped by another process, for kill_drill().
 *
 * A function cannot commit, and a kill counts from its commit on.  So the
 * UPDATE runs in a background worker of its own, as the session's user: with
 * his privileges, and under his name in the governance log.  The caller waits
 * for its end.
 *
 * Locks: those of an UPDATE of kill_switches, held by the worker to its commit.
 * It waits for them for LOCK_TIMEOUT at most, so that a caller whose own
 * transaction has flipped a switch is told so, rather than waiting for himself.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#define LOCK_TIMEOUT "5s"

/* What the worker is to do; in its bgw_extra. */
typedef struct Flip
{
	Oid database;
	Oid user;
	bool engaged;
	char scope[8];
	char target[64];
} Flip;

StaticAssertDecl(sizeof(Flip) <= BGW_EXTRALEN, "Flip must fit bgw_extra");

static void update_switch(const Flip *flip);

PG_FUNCTION_INFO_V1(agentpay_sql_flip_apart);
extern PGDLLEXPORT void agentpay_drill_main(Datum main_arg);

/* agentpay._flip_apart(scope, target, engaged): waits for the commit. */
Datum
agentpay_sql_flip_apart(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	Flip flip = {.database = MyDatabaseId,
				 .user = GetSessionUserId(),
				 .engaged = PG_GETARG_BOOL(2)};

	strlcpy(flip.scope, text_to_cstring(PG_GETARG_TEXT_PP(0)),
			sizeof(flip.scope));
	strlcpy(flip.target, text_to_cstring(PG_GETARG_TEXT_PP(1)),
			sizeof(flip.target));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
					   BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, &flip, sizeof(flip));
	strlcpy(worker.bgw_library_name, "agentpay", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "agentpay_drill_main", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "agentpay drill", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "agentpay drill of database %u",
			 MyDatabaseId);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free to flip the switch"),
				 errdetail("The drill needs one beside agentpay's own."),
				 errhint("ALTER SYSTEM SET max_worker_processes = %d; then "
						 "restart the server.",
						 max_worker_processes + 4)));
	if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
		ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN),
						errmsg("the postmaster is gone")));
	PG_RETURN_VOID();
}

/*
 * The worker: one UPDATE, committed.  A switch that somebody engaged meanwhile
 * stays so: he changed its reason.
 */
void
agentpay_drill_main(Datum main_arg)
{
	Flip flip;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	memcpy(&flip, MyBgworkerEntry->bgw_extra, sizeof(flip));
	BackgroundWorkerInitializeConnectionByOid(flip.database, flip.user, 0);
	SetConfigOption("application_name", "agentpay drill", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET,
					PGC_S_SESSION);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "flipping a kill switch");
	update_switch(&flip);
	PopActiveSnapshot();
	CommitTransactionCommand();
	proc_exit(0);
}

static void
update_switch(const Flip *flip)
{
	Oid types[] = {BOOLOID, TEXTOID, TEXTOID};
	Datum values[] = {BoolGetDatum(flip->engaged),
					  CStringGetTextDatum(flip->scope),
					  CStringGetTextDatum(flip->target)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args(
			"UPDATE agentpay.kill_switches"
			"   SET engaged = $1, reason = 'kill drill'"
			" WHERE scope = $2 AND target = $3 AND engaged <> $1"
			/* somebody may have engaged it meanwhile, and not as a drill */
			"   AND ($1 OR reason = 'kill drill')",
			3, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not flip the switch");
	SPI_finish();
}
