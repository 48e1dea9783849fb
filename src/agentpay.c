/*-------------------------------------------------------------------------
 * agentpay.c
 *		Loads agentpay: settings, shared memory, hooks, the launcher.
 *
 * In binary-upgrade mode nothing is registered, so that pg_upgrade moves the
 * catalogs without us.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/settings.h"
#include "base/shmem.h"
#include "evidence/guard.h"
#include "privacy/master_key.h"
#include "scoring/frame.h"
#include "scoring/velocity_stream.h"
#include "workers/agent_limits.h"
#include "workers/launcher.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (IsBinaryUpgrade)
		return;
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("agentpay must be loaded by shared_preload_libraries"),
				 errhint("Add agentpay to shared_preload_libraries in "
						 "postgresql.conf and restart the server.")));

	agentpay_settings_define();
	agentpay_shmem_set_guard(&agentpay_guard);
	agentpay_shmem_set_frames(&agentpay_frames);
	agentpay_streams_install();
	agentpay_limits_install();
	agentpay_master_key_install();
	agentpay_shmem_install();
	agentpay_launcher_register();
}
