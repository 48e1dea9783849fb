/*-------------------------------------------------------------------------
 * governor.c
 *		Looks after one database: the Merkle log, partitions ahead, statistics
 *		of the logs, the counts behind rule_stats and metrics, calls whose
 *		dispatcher is gone, payments whose agent did not answer in time, actions
 *		that nobody took, cases that could not be opened with their decision.
 *
 * It is also the one who finds out whether the database has agentpay at all:
 * without it, it says "absent" and leaves.
 *
 * No locks across transactions; each job is a transaction of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/appender.h"
#include "base/settings.h"
#include "evidence/checkpoint.h"
#include "evidence/seal.h"
#include "privacy/keys.h"
#include "workers/worker.h"

#define TICK_MS 1000
#define WATCH_EVERY_MS 900 /* each tick */
#define HEAL_EVERY_MS 2000
#define PARTITIONS_EVERY_MS (60 * 60 * 1000)
#define ANALYZE_EVERY_MS (10 * 1000)
#define ROLL_EVERY_MS (10 * 1000)
#define COUNT_EVERY_MS (5 * 1000)
#define EXPIRE_EVERY_MS 1000
#define KEYS_EVERY_MS 1000
/* Tasks whose deadline has passed, in one transaction. */
#define DEADLINE_BATCH 500
/* After an error that somebody must mend; each is a line in the server's log. */
#define SIGN_AGAIN_MS (30 * 1000)

PGDLLEXPORT void agentpay_governor_main(Datum arg);

static void wait_for_work(long timeout_ms);
static bool due(TimestampTz *last, int every_ms);
static void make_partitions(void *arg);
static void tend_keys(void *arg);
static void analyze_log(void *arg);
static void roll_rules(void *arg);
static void roll_asked(void *arg);
static void count_metrics(void *arg);
static void roll_drift(void *arg);
static void look_behind(void *arg);
static void watch_guardrails(void *arg);
static void seal(void *arg);
static void open_cases(void *arg);
static void expire_actions(void *arg);
static int fall_back_all(void);
static void fall_back(void *arg);
static void sign(void *arg);
static void export_checkpoint(void *arg);

/* Entry point: runs until the extension is dropped or the server stops. */
void
agentpay_governor_main(Datum arg)
{
	TimestampTz partitions_at = 0;
	TimestampTz analyzed_at = 0;
	TimestampTz rolled_at = 0;
	TimestampTz counted_at = 0;
	TimestampTz sealed_at = 0;
	TimestampTz watched_at = 0;
	TimestampTz signed_at = 0;
	bool failed = false;
	TimestampTz healed_at = 0;
	TimestampTz expired_at = 0;
	TimestampTz tended_at = 0;
	bool behind = false; /* with counting; the other jobs have their turn */
	int wait_ms;

	agentpay_worker_start("agentpay governor", arg);
	for (;;)
	{
		AgentpayPresence presence;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		agentpay_worker_reload();

		presence = agentpay_worker_presence();
		if (presence == AGENTPAY_ABSENT)
		{
			agentpay_worker_report("absent", NULL);
			proc_exit(0);
		}
		if (presence != AGENTPAY_READY)
		{
			agentpay_worker_report(agentpay_worker_presence_name(presence),
								   NULL);
			wait_for_work(TICK_MS);
			continue;
		}
		/* first: whoever waits for a proof waits for this */
		if (due(&sealed_at, agentpay_seal_interval_ms))
		{
			agentpay_worker_report("working", "sealing the logs");
			if (agentpay_worker_run(seal, NULL) &&
				(!failed || due(&signed_at, SIGN_AGAIN_MS)))
				failed = !agentpay_worker_run(sign, NULL) ||
						 !agentpay_worker_run(export_checkpoint, NULL);
		}
		if (due(&partitions_at, PARTITIONS_EVERY_MS))
		{
			agentpay_worker_report("working", "making partitions");
			if (!agentpay_worker_run(make_partitions, NULL))
				partitions_at = 0;
		}
		if (due(&analyzed_at, ANALYZE_EVERY_MS))
		{
			bool more = true;

			agentpay_worker_report("working", "analyzing logs");
			for (int i = 0; i < AGENTPAY_LOG_COUNT && more; i++)
				if (!agentpay_worker_run(analyze_log, &more))
					break;
		}
		if (due(&rolled_at, behind ? 0 : ROLL_EVERY_MS))
		{
			agentpay_worker_report("working", "counting decisions");
			behind = agentpay_worker_run(roll_rules, NULL) &&
					 agentpay_worker_run(roll_asked, NULL) &&
					 agentpay_worker_run(roll_drift, NULL) &&
					 agentpay_worker_run(look_behind, &behind) && behind;
		}
		if (due(&counted_at, behind ? 0 : COUNT_EVERY_MS))
		{
			agentpay_worker_report("working", "counting for metrics");
			if (!agentpay_worker_run(count_metrics, NULL))
				behind = false;
		}
		if (due(&watched_at, WATCH_EVERY_MS))
		{
			agentpay_worker_report("working", "watching guardrails");
			(void) agentpay_worker_run(watch_guardrails, NULL);
			agentpay_worker_report("working", "opening cases");
			(void) agentpay_worker_run(open_cases, NULL);
		}
		if (due(&healed_at, HEAL_EVERY_MS))
		{
			agentpay_worker_report("working", "healing leases");
			(void) agentpay_worker_heal(0);
		}
		if (due(&expired_at, EXPIRE_EVERY_MS))
			(void) agentpay_worker_run(expire_actions, NULL);
		if (agentpay_keys_wanted() && due(&tended_at, KEYS_EVERY_MS))
			(void) agentpay_worker_run(tend_keys, NULL);
		wait_ms = fall_back_all();
		if (behind)
			continue;
		agentpay_worker_report("idle", NULL);
		wait_for_work(Min(wait_ms, agentpay_seal_interval_ms));
	}
}

static void
wait_for_work(long timeout_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, PG_WAIT_EXTENSION);
}

/* Whether it is time again, or the clock was set back; if so, notes it. */
static bool
due(TimestampTz *last, int every_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	if (*last != 0 && now >= *last &&
		!TimestampDifferenceExceeds(*last, now, every_ms))
		return false;
	*last = now;
	return true;
}

/* As far ahead as they are kept. */
static void
make_partitions(void *arg)
{
	SPI_execute("SELECT agentpay._make_partitions()", false, 0);
}

/* The lookup key is made; what was forgotten stays so. */
static void
tend_keys(void *arg)
{
	SPI_execute("SELECT agentpay._tend_keys()", false, 0);
}

/* A log in each transaction; sets *arg to whether there may be another. */
static void
analyze_log(void *arg)
{
	bool isnull;

	*(bool *) arg = false;
	if (SPI_execute("SELECT agentpay._analyze_log()", false, 1) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not analyze the logs");
	*(bool *) arg = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1,
											   &isnull));
}

/* What was decided since the last time; a report counts the rest itself. */
static void
roll_rules(void *arg)
{
	SPI_execute("SELECT agentpay._roll_rules()", false, 0);
}

/* The same of payments that agents were asked about. */
static void
roll_asked(void *arg)
{
	SPI_execute("SELECT agentpay._roll_asked()", false, 0);
}

/* The counters of the view metrics. */
static void
count_metrics(void *arg)
{
	SPI_execute("SELECT agentpay._count_metrics()", false, 0);
}

/* The same for the distributions that drift is told from. */
static void
roll_drift(void *arg)
{
	SPI_execute("SELECT agentpay._roll_drift()", false, 0);
}

/* Sets *arg to whether there is more than a slice left to count. */
static void
look_behind(void *arg)
{
	bool isnull;

	*(bool *) arg = false;
	if (SPI_execute("SELECT agentpay._is_behind()", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not see how much is left to count");
	*(bool *) arg = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1,
											   &isnull));
}

/* What was committed since the last time gets its place in the tree. */
static void
seal(void *arg)
{
	(void) agentpay_seal();
}

/* What agents did since the last time, and what is done about it. */
static void
watch_guardrails(void *arg)
{
	SPI_execute("SELECT agentpay._watch_guardrails()", false, 0);
}

/* After the seal's commit, so that what is signed has been flushed. */
static void
sign(void *arg)
{
	agentpay_checkpoint_sign();
}

static void
export_checkpoint(void *arg)
{
	agentpay_checkpoint_export();
}

/* Those that could not be opened with their decision. */
static void
open_cases(void *arg)
{
	SPI_execute("SELECT agentpay._open_missing_cases()", false, 0);
}

static void
expire_actions(void *arg)
{
	SPI_execute("SELECT agentpay._expire_actions()", false, 0);
}

/* Ends what nobody answered in time; in how many ms to look again. */
static int
fall_back_all(void)
{
	int wait_ms = 0;

	agentpay_worker_report("working", "falling back at deadlines");
	while (wait_ms == 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (!agentpay_worker_run(fall_back, &wait_ms))
			return TICK_MS;
	}
	return Min(wait_ms, TICK_MS);
}

/* A batch; sets *arg to when to look again. */
static void
fall_back(void *arg)
{
	bool isnull;

	*(int *) arg = TICK_MS;
	if (SPI_execute("SELECT agentpay._fall_back(" CppAsString2(
						DEADLINE_BATCH) ")",
					false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not fall back at deadlines");
	*(int *) arg = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1,
											   &isnull));
}
