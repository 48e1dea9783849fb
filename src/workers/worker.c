/*-------------------------------------------------------------------------
 * worker.c
 *		What every background worker of agentpay does alike.
 *
 * SIGTERM is `die`: a worker ends at its next CHECK_FOR_INTERRUPTS, wherever
 * it is, and what it had in hand is healed by the next one.  Between
 * transactions a worker holds no snapshot, no lock and no xmin.
 *
 * Locking: the fields of a slot under agentpay_shared->lock; only this
 * process writes those of its own slot.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/syncrep.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/identity.h"
#include "base/locks.h"
#include "base/settings.h"
#include "base/version.h"
#include "workers/worker.h"

/* Until then plans are those of a worker that has just begun. */
#define STEPS_OF_FIRST_PLANS 256

static int my_slot = -1;
static uint32 my_generation = 0;
/* What is called after each step, and whether it is being called. */
static void (*after_each)(void *arg) = NULL;
static void *after_each_arg = NULL;
static bool in_after_each = false;
static int last_sqlstate = 0;
static char last_message[AGENTPAY_ERROR_LEN];

static void attach(int place, uint32 generation, bool database);
static void detach(int code, Datum arg);
static void set_settings(const char *name);
static void renew_plans(void);
static bool extension_version(char *version, size_t size);

void
agentpay_worker_start(const char *name, Datum main_arg)
{
	uint32 generation;
	Oid database;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGPIPE, SIG_IGN);
	BackgroundWorkerUnblockSignals();

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	attach(DatumGetInt32(main_arg), generation, true);
	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	database = agentpay_shared->slots[my_slot].database;
	LWLockRelease(agentpay_shared->lock);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	set_settings(name);
}

void
agentpay_worker_take_launcher_slot(void)
{
	int place;

	/* one that was terminated has left its slot; never two live launchers */
	place = agentpay_shmem_take_slot(AGENTPAY_WORKER_LAUNCHER, 0, InvalidOid,
									 0);
	if (place < 0)
		ereport(FATAL, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("agentpay's launcher found no free slot")));
	attach(place, agentpay_shared->slots[place].generation, false);
}

AgentpayWorkerSlot *
agentpay_worker_slot(void)
{
	return &agentpay_shared->slots[my_slot];
}

/* Takes the slot that the launcher meant for this process, or exits. */
static void
attach(int place, uint32 generation, bool database)
{
	AgentpayWorkerSlot *slot = &agentpay_shared->slots[place];
	bool ours;

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	ours = slot->in_use && slot->generation == generation && slot->pid == 0;
	if (ours && database && agentpay_shmem_is_held(slot->database))
	{
		slot->in_use = false;
		ours = false;
	}
	if (ours)
	{
		slot->proc = MyProc;
		slot->pid = MyProcPid;
		slot->started_at = GetCurrentTimestamp();
	}
	LWLockRelease(agentpay_shared->lock);
	if (!ours)
		proc_exit(0);
	my_slot = place;
	my_generation = generation;
	before_shmem_exit(detach, (Datum) 0);
}

static void
detach(int code, Datum arg)
{
	Oid database = agentpay_worker_slot()->database;

	/* its locks are released by now: what it had sent can be ended */
	agentpay_shmem_free_slot(my_slot, my_generation);
	agentpay_shmem_wake_now(InvalidOid, AGENTPAY_WORKER_LAUNCHER);
	if (OidIsValid(database))
		agentpay_shmem_wake_now(database, AGENTPAY_WORKER_DISPATCHER);
}

/*
 * ALTER DATABASE SET reaches background workers; what their correctness rests
 * on is set here, above it.
 */
static void
set_settings(const char *name)
{
	static const char *const settings[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"deadlock_timeout", "100ms"},
		{"row_security", "off"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"TimeZone", "UTC"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"jit", "off"},
		{"plan_cache_mode", "auto"},
		/* tables grow while plans are kept: no plan for an empty one */
		{"enable_seqscan", "off"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_SESSION);
	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		SetConfigOption("synchronous_commit", "local", PGC_SUSET,
						PGC_S_SESSION);
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_SESSION);
}

void
agentpay_worker_reload(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		SetConfigOption("synchronous_commit", "local", PGC_SUSET,
						PGC_S_SESSION);
}

void
agentpay_worker_report(const char *state, const char *detail)
{
	AgentpayWorkerSlot *slot = agentpay_worker_slot();

	if (strcmp(slot->state, state) != 0)
	{
		LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
		strlcpy(slot->state, state, sizeof(slot->state));
		LWLockRelease(agentpay_shared->lock);
	}
	pgstat_report_activity(detail ? STATE_RUNNING : STATE_IDLE,
						   detail ? detail : state);
}

void
agentpay_worker_report_error(const char *message)
{
	AgentpayWorkerSlot *slot = agentpay_worker_slot();

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	strlcpy(slot->last_error, message, sizeof(slot->last_error));
	slot->last_error[pg_mbcliplen(slot->last_error, strlen(slot->last_error),
								  sizeof(slot->last_error) - 1)] = '\0';
	slot->last_error_at = GetCurrentTimestamp();
	LWLockRelease(agentpay_shared->lock);
}

bool
agentpay_worker_run(void (*step)(void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "could not connect to SPI");
		/* SPI asks for an outer one; each statement takes its own beside it */
		PushActiveSnapshot(GetTransactionSnapshot());
		step(arg);
		PopActiveSnapshot();
		SPI_finish();
		CommitTransactionCommand();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		HOLD_INTERRUPTS();
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		agentpay_worker_report_error(error->message);
		last_sqlstate = error->sqlerrcode;
		strlcpy(last_message, error->message, sizeof(last_message));
		FreeErrorData(error);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	/* at most once a second */
	pgstat_report_stat(false);
	renew_plans();
	if (after_each != NULL && !in_after_each)
	{
		in_after_each = true;
		after_each(after_each_arg);
		in_after_each = false;
	}
	return done;
}

/*
 * A plan that was made for empty tables may walk over a whole index that has
 * nothing to do with what it looks for, and is kept until the table's
 * statistics are made.  So they are made anew each time that a worker has four
 * times as many steps behind it.
 */
static void
renew_plans(void)
{
	static uint64 steps = 0;
	static uint64 renew_at = STEPS_OF_FIRST_PLANS;

	if (++steps < renew_at)
		return;
	renew_at *= 4;
	ResetPlanCache();
}

void
agentpay_worker_flush(void)
{
	if (XLogRecPtrIsInvalid(XactLastCommitEnd))
		return;
	XLogFlush(XactLastCommitEnd);
	/* as a commit does; told to end meanwhile, this process goes no further */
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(XactLastCommitEnd, true);
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
}

void
agentpay_worker_after_each(void (*heed)(void *arg), void *arg)
{
	after_each = heed;
	after_each_arg = arg;
}

void
agentpay_worker_execute(AgentpayWorkerStatement *statement, int n, Oid *types,
						Datum *args)
{
	int result;

	if (statement->plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(statement->sql, n, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare a statement: %s",
				 SPI_result_code_string(SPI_result));
		statement->plan = made;
	}
	result = SPI_execute_plan(statement->plan, args, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "could not execute a statement: %s",
			 SPI_result_code_string(result));
}

int
agentpay_worker_sqlstate(void)
{
	return last_sqlstate;
}

const char *
agentpay_worker_message(void)
{
	return last_message;
}

static void
lock_lease(void *arg)
{
	LOCKTAG tag;

	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_DISPATCHER, *(uint64 *) arg);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
}

void
agentpay_worker_lock_lease(int64 lease)
{
	while (!agentpay_worker_run(lock_lease, &lease))
		CHECK_FOR_INTERRUPTS();
}

bool
agentpay_worker_try_lock_cursor(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_CURSOR, (uint64) 0);
	return LockAcquire(&tag, ExclusiveLock, false, true) !=
		   LOCKACQUIRE_NOT_AVAIL;
}

/* Ends what those dispatchers had sent that are gone; arg: a living one's. */
static void
heal(void *arg)
{
	int64 ours = *(int64 *) arg;
	Oid types[1] = {INT8OID};
	int64 *leases;
	int n;

	if (SPI_execute("SELECT lease FROM agentpay._dispatchers", true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not look for dispatchers");
	n = (int) SPI_processed;
	leases = palloc(sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool isnull;

		leases[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
												SPI_tuptable->tupdesc, 1,
												&isnull));
	}
	for (int i = 0; i < n; i++)
	{
		Datum args[1] = {Int64GetDatum(leases[i])};
		LOCKTAG tag;

		SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_DISPATCHER, (uint64) leases[i]);
		if (leases[i] == ours || LockAcquire(&tag, ExclusiveLock, false,
											 true) == LOCKACQUIRE_NOT_AVAIL)
			continue;
		SPI_execute_with_args("SELECT agentpay._heal_lease($1)", 1, types, args,
							  NULL, false, 0);
	}
}

bool
agentpay_worker_heal(int64 ours)
{
	return agentpay_worker_run(heal, &ours);
}

/* Notes what there is, in a transaction. */
static void
look(void *arg)
{
	AgentpayPresence *presence = arg;
	char version[32];

	if (!extension_version(version, sizeof(version)))
		*presence = AGENTPAY_ABSENT;
	else if (strcmp(version, AGENTPAY_VERSION) != 0)
		*presence = AGENTPAY_WRONG_VERSION;
	else if (!agentpay_workers_enabled)
		*presence = AGENTPAY_DISABLED;
	else
		*presence = agentpay_identity_held() ? AGENTPAY_HELD : AGENTPAY_READY;
}

AgentpayPresence
agentpay_worker_presence(void)
{
	AgentpayPresence presence = AGENTPAY_HELD;

	if (!agentpay_worker_run(look, &presence))
		return AGENTPAY_HELD;
	return presence;
}

const char *
agentpay_worker_presence_name(AgentpayPresence presence)
{
	switch (presence)
	{
		case AGENTPAY_ABSENT:
			return "absent";
		case AGENTPAY_WRONG_VERSION:
			return "version mismatch";
		case AGENTPAY_HELD:
			return "held";
		case AGENTPAY_DISABLED:
			return "disabled";
		case AGENTPAY_READY:
			return "idle";
	}
	pg_unreachable();
}

/* The installed version of the extension; false when there is none. */
static bool
extension_version(char *version, size_t size)
{
	Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("agentpay"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1,
							  &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		bool isnull;
		Datum value = heap_getattr(tuple, Anum_pg_extension_extversion,
								   RelationGetDescr(extensions), &isnull);

		strlcpy(version, isnull ? "" : TextDatumGetCString(value), size);
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return found;
}
