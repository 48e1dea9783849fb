/*-------------------------------------------------------------------------
 * parallel_worker.c
 *		A process that helps with a task: the leader's user, settings,
 *		snapshot and rights, a read-only transaction of its own.
 *
 * PostgreSQL's own parallel workers cannot do it, since until 17 they have no
 * subtransactions, and a rule that fails needs one.  What they get is got here
 * in the same way: the leader's lock group, so that the leader's locks do not
 * keep its workers waiting and a deadlock through them is found; its settings;
 * its snapshot, which is that of the whole transaction here.
 *
 * Errors and notices go to the leader's queue, as to a client.  What happens
 * before the worker takes blocks only keeps it from helping: it is in the
 * server's log alone.
 *
 * Locks: those of the task, released before the sum is reported as whole.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/shm_toc.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/owner.h"
#include "review/parallel_internal.h"

PGDLLEXPORT void agentpay_parallel_main(Datum main_arg);

static void become_leaders(const AgentpayShared *shared, shm_toc *toc);
static void begin(const AgentpayShared *shared, shm_toc *toc);
static void help(AgentpayShared *shared, shm_toc *toc);
static NullableDatum *read_args(const AgentpayShared *shared, shm_toc *toc);

/* main_arg: the segment; bgw_extra: the worker's number. */
void
agentpay_parallel_main(Datum main_arg)
{
	dsm_segment *segment;
	shm_toc *toc;
	AgentpayShared *shared;
	shm_mq *queue;
	shm_mq_handle *handle;
	int number;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext,
												 "agentpay parallel worker",
												 ALLOCSET_DEFAULT_SIZES);
	memcpy(&number, MyBgworkerEntry->bgw_extra, sizeof(number));
	/* without a resource owner it stays attached until the process ends */
	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment == NULL)
		proc_exit(0); /* the leader is gone */
	toc = shm_toc_attach(AGENTPAY_PARALLEL_MAGIC, dsm_segment_address(segment));
	if (toc == NULL)
		elog(ERROR, "segment %u is not of agentpay", DatumGetUInt32(main_arg));
	shared = shm_toc_lookup(toc, AGENTPAY_PARALLEL_SHARED, false);
	queue = (shm_mq *) ((char *) shm_toc_lookup(toc, AGENTPAY_PARALLEL_QUEUES,
												false) +
						(Size) number * AGENTPAY_PARALLEL_QUEUE_SIZE);
	shm_mq_set_sender(queue, MyProc);
	handle = shm_mq_attach(queue, segment, NULL);
	if (!BecomeLockGroupMember(shared->leader, shared->leader_pid))
		proc_exit(0);

	become_leaders(shared, toc);
	begin(shared, toc);
	pq_redirect_to_shm_mq(segment, handle);
	shared->began[number] = true;
	help(shared, toc);
	pq_putemptymessage(AGENTPAY_PARALLEL_DONE);
	proc_exit(0);
}

/* The session: database, user and settings. */
static void
become_leaders(const AgentpayShared *shared, shm_toc *toc)
{
	debug_query_string = shm_toc_lookup(toc, AGENTPAY_PARALLEL_STATEMENT,
										false);
	BackgroundWorkerInitializeConnectionByOid(shared->database,
											  shared->authenticated_user,
											  AGENTPAY_BYPASS_LOGIN_CHECKS);
	StartTransactionCommand();
	RestoreGUCState(shm_toc_lookup(toc, AGENTPAY_PARALLEL_SETTINGS, false));
	CommitTransactionCommand();
	/* the leader passes messages on, and converts them */
	SetClientEncoding(GetDatabaseEncoding());
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
}

/* The transaction, with the leader's snapshot for all of it. */
static void
begin(const AgentpayShared *shared, shm_toc *toc)
{
	Snapshot snapshot;

	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	XactReadOnly = true;
	snapshot = RestoreSnapshot(
		shm_toc_lookup(toc, AGENTPAY_PARALLEL_SNAPSHOT, false));
	RestoreTransactionSnapshot(snapshot, shared->leader);
	PushActiveSnapshot(snapshot);
	SetCurrentRoleId(shared->role, shared->role_is_superuser);
	SetUserIdAndSecContext(shared->user, shared->security_context);
}

/* Does its part, and sends what it came to. */
static void
help(AgentpayShared *shared, shm_toc *toc)
{
	const AgentpayTask *task = agentpay_parallel_task(shared->kind);
	Snapshot config_seen = RegisterSnapshot(RestoreSnapshot(
		shm_toc_lookup(toc, AGENTPAY_PARALLEL_CONFIG_SEEN, false)));
	StringInfoData bytes;
	void *sum;

	/* what it finds outlives the transaction */
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext,
												"agentpay parallel sum",
												ALLOCSET_DEFAULT_SIZES));
	sum = task->open();
	agentpay_owner_read_under(config_seen);
	agentpay_parallel_take_from(shared, NULL);
	task->work(read_args(shared, toc), true, sum);
	agentpay_parallel_take_from(NULL, NULL);
	agentpay_owner_read_under(NULL);
	pq_beginmessage(&bytes, AGENTPAY_PARALLEL_SUM);
	task->write(sum, &bytes);

	UnregisterSnapshot(config_seen);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pq_endmessage(&bytes);
}

static NullableDatum *
read_args(const AgentpayShared *shared, shm_toc *toc)
{
	char *from = shm_toc_lookup(toc, AGENTPAY_PARALLEL_ARGS, false);
	NullableDatum *args = palloc0(sizeof(NullableDatum) *
								  Max(shared->n_args, 1));

	for (int i = 0; i < shared->n_args; i++)
		args[i].value = datumRestore(&from, &args[i].isnull);
	return args;
}
