/*-------------------------------------------------------------------------
 * dispatcher.c
 *		Asks agents about payments: one process or a few per database, any
 *		number of calls in flight.
 *
 * Each turn of the loop: claim tasks, hold their bounds, hand them over to
 * libcurl, let libcurl work, record what came back; each a short transaction,
 * and none of them open while it waits.  It waits for its latch (a commit
 * with new tasks, a kill), for libcurl's descriptor, and for the next timer.
 *
 * How several share a database is in dispatcher_group.c.  The kill lock is only ever tried, so
 * that an open kill holds up starts and records, never the loop.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/locks.h"
#include "base/settings.h"
#include "control/kill_switch.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* While the kill lock is taken, or after an error. */
#define KILL_RETRY_MS 10
#define RECORD_RETRY_MS 20
/* While somebody has a row locked that is to receive a verdict. */
#define APPLY_RETRY_MS 20
#define ERROR_RETRY_MS 500
/* How often to look whether the extension is still there, and at switches. */
#define CHECK_MS 1000
/* File descriptors; agentpay.max_in_flight goes no higher than MAX_CALLS. */
#define MAX_CALLS 10000
#define FILES_PER_CALL 2
#define FILES_IN_RESERVE 64

PGDLLEXPORT void agentpay_dispatcher_main(Datum arg);

static void create_dispatcher(Dispatcher *d);
static void raise_file_limit(Dispatcher *d);
static void leave(int code, Datum arg);
static bool check_presence(Dispatcher *d);
static bool take_part(Dispatcher *d, bool ready);
static bool
work(Dispatcher *d, bool starts, bool claim_due, bool *again, long *retry_ms);
static void heed_kill(void *arg);
static bool is_due(TimestampTz last, TimestampTz now, int interval_ms);
static bool take_wake(Dispatcher *d);
static void wait(Dispatcher *d, long timeout_ms);
static long timeout_until(TimestampTz now, TimestampTz then, long at_most);
static void show(Dispatcher *d);

/* Entry point: runs until the extension is dropped or the server stops. */
void
agentpay_dispatcher_main(Datum arg)
{
	Dispatcher d = {0};
	TimestampTz checked_at = 0;
	TimestampTz claimed_at = 0;
	bool claim_due = true;
	bool ready = false;

	agentpay_worker_start("agentpay dispatcher", arg);
	/* what it runs costs less than to plan it again */
	SetConfigOption("plan_cache_mode", "force_generic_plan", PGC_SUSET,
					PGC_S_SESSION);
	create_dispatcher(&d);
	agentpay_worker_lock_lease(d.lease);
	agentpay_worker_after_each(heed_kill, &d);
	for (;;)
	{
		TimestampTz now;
		long retry_ms = agentpay_idle_interval_ms;
		bool again = false;
		bool starts;

		MemoryContextSwitchTo(d.turn);
		MemoryContextReset(d.turn);
		ResetLatch(MyLatch);
		if (take_wake(&d))
			claim_due = true;
		CHECK_FOR_INTERRUPTS();
		agentpay_worker_reload();
		now = GetCurrentTimestamp();
		d.checks = is_due(checked_at, now, CHECK_MS);
		dispatcher_follow_settings(&d, d.checks);
		if (d.checks)
		{
			ready = check_presence(&d);
			checked_at = now;
		}
		starts = take_part(&d, ready);
		if (!starts && d.n_busy == 0 && d.n_done == 0)
		{
			wait(&d, CHECK_MS);
			continue;
		}
		if (is_due(claimed_at, now, agentpay_idle_interval_ms))
			claim_due = true;
		if (!work(&d, starts, claim_due, &again, &retry_ms))
			claim_due = true;
		else if (claim_due)
		{
			claimed_at = now;
			claim_due = again;
		}
		show(&d);
		wait(&d, again ? 0 : retry_ms);
	}
}

static void
create_dispatcher(Dispatcher *d)
{
	raise_file_limit(d);
	d->applies_wait = true; /* as an earlier one may have left them */
	d->number = agentpay_worker_slot()->number;
	agentpay_limits_forget(MyDatabaseId, d->number);
	before_shmem_exit(leave, (Datum) 0);
	d->claim_behind = true; /* the cursor may have been left on its way */
	d->context = AllocSetContextCreate(TopMemoryContext, "agentpay dispatcher",
									   ALLOCSET_DEFAULT_SIZES);
	d->turn = AllocSetContextCreate(TopMemoryContext,
									"agentpay dispatcher turn",
									ALLOCSET_DEFAULT_SIZES);
	dlist_init(&d->agents);
	dlist_init(&d->later);
	dlist_init(&d->ready);
	dlist_init(&d->in_flight);
	dlist_init(&d->done);
	dlist_init(&d->news);
	if (!pg_strong_random(&d->lease, sizeof(d->lease)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	dispatcher_create_client(d);
}

/*
 * A call needs a socket, and a pair of them while its host's name is looked
 * up; PostgreSQL keeps max_files_per_process for itself.
 */
static void
raise_file_limit(Dispatcher *d)
{
	rlim_t wanted = max_files_per_process + FILES_IN_RESERVE +
					FILES_PER_CALL * (rlim_t) MAX_CALLS;
	struct rlimit limit;

	d->max_in_flight = MAX_CALLS;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_cur < wanted)
	{
		limit.rlim_cur = Min(wanted, limit.rlim_max);
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0 ||
			getrlimit(RLIMIT_NOFILE, &limit) != 0)
			return;
	}
	wanted = max_files_per_process + FILES_IN_RESERVE;
	if (limit.rlim_cur < wanted + FILES_PER_CALL * (rlim_t) MAX_CALLS)
		d->max_in_flight = limit.rlim_cur > wanted
							   ? Max(1,
									 (limit.rlim_cur - wanted) / FILES_PER_CALL)
							   : 1;
	if (d->max_in_flight < agentpay_max_in_flight)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("agentpay.max_in_flight (%d) is limited to %d by the "
						"number of open files",
						agentpay_max_in_flight, d->max_in_flight),
				 errhint("Raise the hard limit of open files (ulimit -Hn, or "
						 "LimitNOFILE of the service) and restart the "
						 "server.")));
}

int
dispatcher_max_in_flight(const Dispatcher *d)
{
	return Min(agentpay_max_in_flight, d->max_in_flight);
}

/* What is under way ends with the process. */
static void
leave(int code, Datum arg)
{
	AgentpayWorkerSlot *slot = agentpay_worker_slot();

	agentpay_limits_forget(slot->database, slot->number);
}

/* Whether calls may be made here. */
static bool
check_presence(Dispatcher *d)
{
	AgentpayPresence presence = agentpay_worker_presence();

	if (presence == AGENTPAY_ABSENT)
	{
		agentpay_worker_report("absent", NULL);
		proc_exit(0);
	}
	if (presence == AGENTPAY_READY)
		return true;
	/* what is in flight is brought home all the same */
	agentpay_worker_report(agentpay_worker_presence_name(presence), NULL);
	return false;
}

/*
 * Joins the others, or leaves them when there are to be fewer.  Whether this
 * one takes new tasks.
 */
static bool
take_part(Dispatcher *d, bool ready)
{
	AgentpayWorkerSlot *slot = agentpay_worker_slot();
	bool surplus = d->number >= agentpay_dispatchers;

	if (surplus && d->n_busy == 0 && d->n_done == 0)
		proc_exit(0);
	if (!ready || !agentpay_workers_enabled || !dispatcher_enlist(d))
		return false;
	agentpay_shmem_join(slot, !surplus);
	if (!surplus)
		dispatcher_regroup(d);
	return !surplus && d->n > 0;
}

/*
 * One turn.  starts: new calls may be made.  Sets *again when there is more to
 * do at once, and lowers *retry_ms to the time after which something is to be
 * tried again.
 */
static bool
work(Dispatcher *d, bool starts, bool claim_due, bool *again, long *retry_ms)
{
	TimestampTz now = GetCurrentTimestamp();
	long hand_over_ms;
	bool claimed = true;

	/* COMMIT PREPARED of a kill tells nobody */
	if (d->kill_seen != agentpay_kill_switch_generation() || d->checks)
		dispatcher_abort_killed(d);
	agentpay_http_client_perform(d->client);
	dispatcher_collect(d);
	if (!dispatcher_record(d))
		*retry_ms = Min(*retry_ms, RECORD_RETRY_MS);
	if (!dispatcher_apply(d))
		*retry_ms = Min(*retry_ms, APPLY_RETRY_MS);
	if (starts && claim_due)
	{
		int seen = dispatcher_claim(d);

		claimed = seen >= 0;
		if (seen < 0)
			*retry_ms = Min(*retry_ms, seen == DISPATCHER_LOCKED
										   ? KILL_RETRY_MS
										   : ERROR_RETRY_MS);
		/* what woke us may be newer than what a full batch goes on with */
		*again = seen == DISPATCHER_CLAIM_BATCH ||
				 (seen >= 0 && d->claim_behind);
		if (seen >= 0)
			d->claim_behind = seen == DISPATCHER_CLAIM_BATCH;
	}
	dispatcher_move_due(d, now);
	if (starts)
	{
		if (dispatcher_take_arrivals(d))
			(void) dispatcher_learn(d);
		if (!dispatcher_refill(d))
			*retry_ms = Min(*retry_ms, ERROR_RETRY_MS);
		if (dlist_is_empty(&d->ready) && dispatcher_prepare(d))
			*retry_ms = 0;
		dispatcher_skip_broken(d);
	}
	hand_over_ms = dispatcher_hand_over(d);
	if (hand_over_ms > 0)
		*retry_ms = Min(*retry_ms, hand_over_ms);
	/* a kill that committed just now: before the first byte goes out */
	heed_kill(d);
	agentpay_http_client_perform(d->client);
	dispatcher_collect(d);
	if (d->n_done > 0 && *retry_ms > RECORD_RETRY_MS)
		*retry_ms = 0;
	if (starts)
		*retry_ms = timeout_until(now, dispatcher_next_due(d), *retry_ms);
	return claimed;
}

/*
 * After each transaction, so that calls under way are aborted however much
 * else there is to do in this turn.
 */
static void
heed_kill(void *arg)
{
	Dispatcher *d = arg;

	if (d->kill_seen != agentpay_kill_switch_generation())
		dispatcher_abort_killed(d);
}

/* Also the first time, and when the clock was set back. */
static bool
is_due(TimestampTz last, TimestampTz now, int interval_ms)
{
	return last == 0 || now < last ||
		   TimestampDifferenceExceeds(last, now, interval_ms);
}

/* Whether somebody woke this dispatcher since it last asked. */
static bool
take_wake(Dispatcher *d)
{
	uint32 wakes = pg_atomic_read_u32(&agentpay_worker_slot()->wakes);
	bool woken = wakes != d->wakes_seen;

	d->wakes_seen = wakes;
	return woken;
}

static void
wait(Dispatcher *d, long timeout_ms)
{
	long curl_ms = agentpay_http_client_timeout_ms(d->client);
	int events = WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT |
				 WL_EXIT_ON_PM_DEATH;

	if (curl_ms >= 0)
		timeout_ms = Min(timeout_ms, curl_ms);
	timeout_ms = Min(timeout_ms, CHECK_MS);
	/* a wait for a lock in between may have reset the latch */
	if (d->wakes_seen != pg_atomic_read_u32(&agentpay_worker_slot()->wakes))
		timeout_ms = 0;
	(void) WaitLatchOrSocket(MyLatch, events,
							 agentpay_http_client_fd(d->client), timeout_ms,
							 PG_WAIT_EXTENSION);
}

static long
timeout_until(TimestampTz now, TimestampTz then, long at_most)
{
	if (then == 0)
		return at_most;
	return Min(at_most, TimestampDifferenceMilliseconds(now, then));
}

/* In stat_workers and pg_stat_activity. */
static void
show(Dispatcher *d)
{
	AgentpayWorkerSlot *slot = agentpay_worker_slot();
	int in_flight = agentpay_http_client_in_flight(d->client);
	char text[64];

	pg_atomic_write_u32(&slot->in_flight, in_flight);
	if (in_flight == 0)
	{
		agentpay_worker_report("idle", NULL);
		return;
	}
	snprintf(text, sizeof(text), "calling agents: %d in flight", in_flight);
	agentpay_worker_report("calling", text);
}
