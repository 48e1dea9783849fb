/*-------------------------------------------------------------------------
 * dispatcher_apply.c
 *		Verdicts whose row was locked when they came, once more; and those of
 *		agents inside the database, which are claimed with a budget's lock.
 *
 * They wait in agentpay._applies, so that a crash loses none, and are tried
 * until their decide_by.  The transaction holds the kill lock shared to its
 * commit.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "control/apply.h"
#include "control/budget.h"
#include "control/kill_switch.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* Verdicts in one transaction. */
#define APPLY_BATCH 20

typedef struct Applying
{
	int batch;
	bool left;
} Applying;

static void apply_again(void *arg);

bool
dispatcher_apply(Dispatcher *d)
{
	Applying a = {.batch = APPLY_BATCH, .left = true};

	if (agentpay_apply_take_busy())
		d->applies_wait = true;
	if (!d->applies_wait)
		return true;
	agentpay_worker_report("working", "applying verdicts");
	if (!agentpay_worker_run(apply_again, &a))
		return false;
	d->applies_wait = a.left;
	return !a.left;
}

/* After a claim. */
void
dispatcher_end_claimed(Dispatcher *d)
{
	Applying a = {.batch = DISPATCHER_CLAIM_BATCH, .left = true};
	bool applies;

	if (!agentpay_budget_take_flush(&applies))
		return;
	agentpay_worker_flush();
	if (!applies)
		return;
	(void) agentpay_worker_run(apply_again, &a);
	d->applies_wait |= a.left;
}

/* Says whether some are left. */
static void
apply_again(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT agentpay._apply_again($1)"};
	Applying *a = arg;
	Oid types[1] = {INT4OID};
	Datum args[1] = {Int32GetDatum(a->batch)};
	bool isnull;

	if (!agentpay_kill_switch_try_share())
		return;
	agentpay_worker_execute(&statement, 1, types, args);
	a->left = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull)) >
			  0;
}
