/*-------------------------------------------------------------------------
 * launcher.c
 *		Starts dispatchers and a governor in each database with agentpay.
 *
 * The launcher sees shared catalogs only, so whether a database has the
 * extension is for the governor to find out: it is started in every database
 * that can be connected to, and where there is no extension it says so and
 * leaves.  Where there is one, agentpay.dispatchers follow; every database
 * gets its first before any gets its second.  Workers are not restarted by the
 * postmaster but from here, at a limited rate.
 *
 * Databases are looked at again when CREATE EXTENSION commits (it nudges us)
 * and every agentpay.recheck_interval, since a nudge may be lost.
 *
 * Locking: see shmem.h; what is static here belongs to this process.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "privacy/master_key.h"
#include "workers/launcher.h"
#include "workers/worker.h"

/* Restarts: at once, then slower and slower; forgotten after a good while. */
#define RESTART_FIRST_MS 500
#define RESTART_MAX_MS 60000
#define GOOD_WHILE_MS 30000
/* A worker that was registered and never came. */
#define START_TIMEOUT_MS 30000
/* Probes of databases at once: each is a connection. */
#define MAX_PROBES 4
#define TICK_MS 1000

/* A worker that a database should have. */
typedef struct Post
{
	bool seen;		 /* it has one now */
	uint32 restarts; /* since it last ran for a good while */
	uint32 total_restarts;
	TimestampTz not_before;
	TimestampTz started;
} Post;

/* What the launcher remembers about a database. */
typedef struct Database
{
	Oid oid;
	char name[NAMEDATALEN];
	bool exists;	   /* seen in the current reading of pg_database */
	bool probe_due;	   /* look whether the extension is there */
	bool has_agentpay; /* the last governor stayed */
	bool ready;		   /* it found the extension */
	Post governor;
	Post dispatchers[AGENTPAY_MAX_DISPATCHERS];
	struct Database *next;
} Database;

static Database *databases = NULL;

PGDLLEXPORT void agentpay_launcher_main(Datum arg);

static bool take_nudge(void);
static void read_databases(void);
static void note_database(Oid oid, const char *name);
static void forget_databases(void);
static void free_lost_slots(void);
static void look_at(Database *database, int *probes);
static void start_dispatchers(void);
static bool see_slots(Database *database);
static void see_post(Post *post, bool seen);
static void note_end(Post *post);
static bool may_start(const Post *post);
static void start_worker(Database *database, Post *post,
						 AgentpayWorkerKind kind, int number);
static void register_worker(Database *database, Post *post,
							AgentpayWorkerKind kind, int number, int place);

void
agentpay_launcher_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
					   BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "agentpay", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "agentpay_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "agentpay launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "agentpay launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* Entry point: runs until the server stops. */
void
agentpay_launcher_main(Datum arg)
{
	TimestampTz last_check = 0;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	agentpay_worker_take_launcher_slot();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		int probes = 0;
		bool nudged;
		const char *problem;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		agentpay_worker_reload();

		nudged = take_nudge();
		if (nudged || now < last_check ||
			TimestampDifferenceExceeds(last_check, now,
									   agentpay_recheck_interval_s * 1000))
		{
			read_databases();
			last_check = now;
		}
		problem = agentpay_master_key_tend();
		if (problem != NULL)
		{
			ereport(LOG, (errmsg("%s", problem)));
			agentpay_worker_report_error(problem);
		}
		free_lost_slots();
		for (Database *d = databases; d != NULL; d = d->next)
			look_at(d, &probes);
		start_dispatchers();
		agentpay_worker_report("watching", NULL);

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TICK_MS, PG_WAIT_EXTENSION);
	}
}

static bool
take_nudge(void)
{
	bool nudged;

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	nudged = agentpay_shared->launcher_nudged;
	agentpay_shared->launcher_nudged = false;
	LWLockRelease(agentpay_shared->lock);
	return nudged;
}

/* Every database that may be connected to is due for a look. */
static void
read_databases(void)
{
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	for (Database *d = databases; d != NULL; d = d->next)
		d->exists = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);

		if (row->datallowconn && !row->datistemplate &&
			row->datconnlimit != AGENTPAY_DATCONNLIMIT_INVALID)
			note_database(row->oid, NameStr(row->datname));
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	forget_databases();
}

static void
note_database(Oid oid, const char *name)
{
	Database *database = databases;

	while (database != NULL && database->oid != oid)
		database = database->next;
	if (database == NULL)
	{
		database = MemoryContextAllocZero(TopMemoryContext, sizeof(Database));
		database->oid = oid;
		database->next = databases;
		databases = database;
	}
	strlcpy(database->name, name, NAMEDATALEN);
	database->exists = true;
	database->probe_due = true;
}

static void
forget_databases(void)
{
	Database **link = &databases;

	while (*link != NULL)
	{
		Database *database = *link;

		if (database->exists)
		{
			link = &database->next;
			continue;
		}
		*link = database->next;
		pfree(database);
	}
}

/*
 * Frees slots of workers that were registered and never came, as when the
 * postmaster could not fork, or a launcher died in between.
 */
static void
free_lost_slots(void)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(agentpay_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[i];

		if (slot->in_use && slot->pid == 0 &&
			TimestampDifferenceExceeds(slot->started_at, now, START_TIMEOUT_MS))
			slot->in_use = false;
	}
	LWLockRelease(agentpay_shared->lock);
}

/* Starts the governor that the database lacks. */
static void
look_at(Database *database, int *probes)
{
	bool probing = see_slots(database);

	if (database->ready)
		database->has_agentpay = true;
	if (database->governor.seen)
		database->probe_due = false;
	*probes += probing;

	if (!database->governor.seen &&
		(database->probe_due || database->has_agentpay) &&
		*probes < MAX_PROBES && may_start(&database->governor))
	{
		database->probe_due = false;
		start_worker(database, &database->governor, AGENTPAY_WORKER_GOVERNOR,
					 0);
		(*probes)++;
	}
}

/* The first of each database, then the second of each, and so on. */
static void
start_dispatchers(void)
{
	for (int number = 0; number < agentpay_dispatchers; number++)
		for (Database *d = databases; d != NULL; d = d->next)
		{
			Post *post = &d->dispatchers[number];

			if (d->ready && !post->seen && may_start(post))
				start_worker(d, post, AGENTPAY_WORKER_DISPATCHER, number);
		}
}

/*
 * Notes what the database has: ready when its governor found the extension.
 * Whether a governor is still looking.
 */
static bool
see_slots(Database *database)
{
	bool governor = false;
	bool dispatchers[AGENTPAY_MAX_DISPATCHERS] = {false};
	bool absent = false;
	bool probing = false;

	database->ready = false;
	LWLockAcquire(agentpay_shared->lock, LW_SHARED);
	for (int i = 0; i < AGENTPAY_MAX_WORKERS; i++)
	{
		AgentpayWorkerSlot *slot = &agentpay_shared->slots[i];

		if (slot->database != database->oid)
			continue;
		if (!slot->in_use)
		{
			if (slot->kind == AGENTPAY_WORKER_GOVERNOR &&
				strcmp(slot->state, "absent") == 0)
				absent = true;
			continue;
		}
		if (slot->kind == AGENTPAY_WORKER_DISPATCHER)
			dispatchers[slot->number] = true;
		else
		{
			governor = true;
			probing = strcmp(slot->state, "starting") == 0;
			database->ready = !probing && strcmp(slot->state, "absent") != 0;
		}
	}
	LWLockRelease(agentpay_shared->lock);

	if (database->governor.seen && !governor && absent)
	{
		database->has_agentpay = false;
		database->governor.seen = false;
	}
	see_post(&database->governor, governor);
	for (int i = 0; i < AGENTPAY_MAX_DISPATCHERS; i++)
		see_post(&database->dispatchers[i], dispatchers[i]);
	return probing;
}

static void
see_post(Post *post, bool seen)
{
	if (post->seen && !seen)
		note_end(post);
	post->seen = seen;
}

/* A worker has gone: when may the next one start? */
static void
note_end(Post *post)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 wait_ms;

	if (TimestampDifferenceExceeds(post->started, now, GOOD_WHILE_MS))
		post->restarts = 0;
	wait_ms = (int64) RESTART_FIRST_MS << Min(post->restarts, 10);
	post->restarts++;
	post->total_restarts++;
	post->not_before = TimestampTzPlusMilliseconds(now, Min(wait_ms,
															RESTART_MAX_MS));
}

static bool
may_start(const Post *post)
{
	return GetCurrentTimestamp() >= post->not_before;
}

static void
start_worker(Database *database, Post *post, AgentpayWorkerKind kind,
			 int number)
{
	int place = agentpay_shmem_take_slot(kind, number, database->oid,
										 post->total_restarts);

	post->started = GetCurrentTimestamp();
	if (place >= 0)
		register_worker(database, post, kind, number, place);
	else
		post->not_before = TimestampTzPlusMilliseconds(post->started,
													   RESTART_FIRST_MS);
}

/* Asks the postmaster for the process; without room the slot is freed. */
static void
register_worker(Database *database, Post *post, AgentpayWorkerKind kind,
				int number, int place)
{
	uint32 generation = agentpay_shared->slots[place].generation;
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	char message[AGENTPAY_ERROR_LEN];

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
					   BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = Int32GetDatum(place);
	memcpy(worker.bgw_extra, &generation, sizeof(generation));
	strlcpy(worker.bgw_library_name, "agentpay", BGW_MAXLEN);
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "agentpay_%s_main",
			 agentpay_worker_kind_names[kind]);
	snprintf(worker.bgw_type, BGW_MAXLEN, "agentpay %s",
			 agentpay_worker_kind_names[kind]);
	snprintf(worker.bgw_name, BGW_MAXLEN, "agentpay %s %d of database %u",
			 agentpay_worker_kind_names[kind], number + 1, database->oid);
	if (RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		pfree(handle);
		MemoryContextSwitchTo(old);
		return;
	}
	MemoryContextSwitchTo(old);

	agentpay_shmem_free_slot(place, generation);
	note_end(post);
	database->probe_due = true;
	snprintf(message, sizeof(message),
			 "could not start a worker: all background worker slots are in "
			 "use; raise max_worker_processes (now %d)",
			 max_worker_processes);
	agentpay_worker_report_error(message);
	if (post->restarts == 1)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start agentpay's %s for database \"%s\"",
						agentpay_worker_kind_names[kind], database->name),
				 errdetail("All background worker slots are in use."),
				 errhint("Raise max_worker_processes and restart the server; "
						 "payments are still scored by the rules.")));
}
