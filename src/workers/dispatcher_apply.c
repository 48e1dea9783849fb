/*-------------------------------------------------------------------------
 * dispatcher_apply.c
 *		Verdicts whose row was locked when they came: once more.
 *
 * They wait in agentpay._applies, so that a crash loses none, and are tried
 * until their decide_by.  The transaction holds the kill lock shared to its
 * commit.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"

#include "control/apply.h"
#include "control/kill_switch.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* Verdicts in one transaction. */
#define APPLY_BATCH 20

static void apply_again(void *arg);

bool
dispatcher_apply(Dispatcher *d)
{
	bool left = true;

	if (agentpay_apply_take_busy())
		d->applies_wait = true;
	if (!d->applies_wait)
		return true;
	agentpay_worker_report("working", "applying verdicts");
	if (!agentpay_worker_run(apply_again, &left))
		return false;
	d->applies_wait = left;
	return !left;
}

/* Sets *arg to whether some are left. */
static void
apply_again(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT agentpay._apply_again(" CppAsString2(APPLY_BATCH) ")"};
	bool isnull;

	if (!agentpay_kill_switch_try_share())
		return;
	agentpay_worker_execute(&statement, 0, NULL, NULL);
	*(bool *) arg = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
												SPI_tuptable->tupdesc, 1,
												&isnull)) > 0;
}
