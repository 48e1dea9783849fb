/*-------------------------------------------------------------------------
 * kill_switch.c
 *		The lock that orders a kill with dispatch and apply.
 *
 * Whoever flips a switch, or lowers the stage of an agent whose verdicts take
 * effect, holds the kill lock exclusively from the start of its statement to
 * its commit.  Whoever starts a call, or applies an answer, holds it shared
 * around {read the switches and stages, do it}.  So what was started or applied
 * came before the kill's commit, and nothing comes after it.  INSERTs and
 * fallbacks never take it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"

#include "base/locks.h"
#include "base/shmem.h"
#include "control/kill_switch.h"

PG_FUNCTION_INFO_V1(agentpay_sql_kill_lock);
PG_FUNCTION_INFO_V1(agentpay_sql_lock_stages);

bool
agentpay_kill_switch_try_share(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_KILL, (uint64) 0);
	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

uint64
agentpay_kill_switch_generation(void)
{
	return pg_atomic_read_u64(&agentpay_shared->kill_generation);
}

/* agentpay._lock_stages(): as a kill, but no call under way has to end. */
Datum
agentpay_sql_lock_stages(PG_FUNCTION_ARGS)
{
	LOCKTAG tag;

	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_KILL, (uint64) 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	ForceSyncCommit();
	PG_RETURN_VOID();
}

/* agentpay._kill_lock(): BEFORE STATEMENT on kill_switches. */
Datum
agentpay_sql_kill_lock(PG_FUNCTION_ARGS)
{
	LOCKTAG tag;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("agentpay._kill_lock() was not called as a trigger"),
				 errhint("CREATE EXTENSION agentpay makes its triggers.")));
	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_KILL, (uint64) 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	/* a kill that a crash undoes was none: whatever synchronous_commit says */
	ForceSyncCommit();
	agentpay_shmem_kill_at_commit();
	PG_RETURN_POINTER(NULL);
}
