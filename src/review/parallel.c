/*-------------------------------------------------------------------------
 * parallel.c
 *		Shares a task over the decisions on record among background workers.
 *
 * Processes take ranges of blocks, the same in every partition, from an atomic
 * counter: the shared form of a task's query has agentpay._blocks() in it.
 * Which process meets which row is up to chance; sums do not depend on it.
 *
 * PostgreSQL's settings for parallel queries hold: at most
 * max_parallel_workers_per_gather workers, of max_parallel_workers in all; one
 * where the query would scan min_parallel_table_scan_size, one more for each
 * three times of it; parallel_leader_participation.  A task runs in its own
 * process alone
 *
 *		in a transaction that has an id: what it wrote is not there for others
 *		in a serializable one, whose reads have to be known
 *		while agentpay.expression_schemas lets rules call functions, which may
 *		depend on the session
 *		when no worker is to be had
 *
 * A worker that ends before it took blocks is missed by nobody.  One that ends
 * later is an error.  When the leader ends, for whatever reason, its workers
 * are terminated; an error waits for their end.
 *
 * Locks: AccessShareLock on what the query reads, kept to the end of the
 * transaction.  The leader is one of a lock group from then on.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shm_toc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/owner.h"
#include "base/settings.h"
#include "review/parallel_internal.h"

/* So many ranges for each process: the last ones end at about the same time. */
#define RANGES_EACH 16
#define RANGE_MAX 512

typedef struct Member
{
	BackgroundWorkerHandle *process;
	shm_mq_handle *queue;
	bool done;	/* its sum is here */
	bool ended; /* it sends no more */
} Member;

typedef struct Team
{
	const AgentpayTask *task;
	void *sum;
	dsm_segment *segment;
	AgentpayShared *shared;
	Snapshot config_seen;
	int n_members;
	Member members[AGENTPAY_PARALLEL_MAX_WORKERS];
} Team;

/* How much of relations a query scans. */
typedef struct Reads
{
	uint64 scanned;	 /* blocks */
	uint64 n_blocks; /* of the largest relation, scanned or not */
} Reads;

/* What this process takes blocks of, what it does between, whom it leads. */
static AgentpayShared *taken_from = NULL;
static void (*heed_between)(void) = NULL;
static Team *led = NULL;

static void lead(Team *team, const NullableDatum *args, int wanted);
static int wanted_workers(const char *query, Reads *reads);
static bool may_share(void);
static void look_at(const char *query, Reads *reads);
static void
look_at_plan(const Plan *plan, const PlannedStmt *statement, Reads *reads);
static uint64 blocks_of(Oid relation);
static Team *assemble(AgentpayTaskKind kind, FunctionCallInfo call,
					  const Reads *reads, int wanted);
static void write_segment(Team *team, FunctionCallInfo call, int wanted);
static void describe(AgentpayShared *shared, const Reads *reads, int wanted);
static void recruit(Team *team, int wanted);
static void run_team(Team *team, const NullableDatum *args);
static void hear_members(void);
static bool hear(Team *team, int number);
static void hear_message(Team *team, int number, StringInfo message);
static void await_members(Team *team);
static void disband(int code, Datum arg);

const AgentpayTask *
agentpay_parallel_task(AgentpayTaskKind kind)
{
	static const AgentpayTask *const tasks[AGENTPAY_TASKS] = {
		[AGENTPAY_TASK_BACKTEST] = &agentpay_backtest_task,
		[AGENTPAY_TASK_REPLAY] = &agentpay_replay_task,
	};

	return tasks[kind];
}

void *
agentpay_parallel_run(AgentpayTaskKind kind, FunctionCallInfo call,
					  const char *query)
{
	const AgentpayTask *task = agentpay_parallel_task(kind);
	Reads reads = {0};
	int wanted = wanted_workers(query, &reads);
	Team *team = wanted > 0 ? assemble(kind, call, &reads, wanted) : NULL;
	void *sum = task->open();

	if (team == NULL)
	{
		task->work(call->args, false, sum);
		return sum;
	}
	team->sum = sum;
	lead(team, call->args, wanted);
	UnregisterSnapshot(team->config_seen);
	return sum;
}

/* Has the work done, and the team's end seen to, whatever comes between. */
static pg_noinline void
lead(Team *team, const NullableDatum *args, int wanted)
{
	PG_ENSURE_ERROR_CLEANUP(disband, PointerGetDatum(team));
	{
		recruit(team, wanted);
		run_team(team, args);
	}
	PG_END_ENSURE_ERROR_CLEANUP(disband, PointerGetDatum(team));
	disband(0, PointerGetDatum(team));
}

/* ── whether, and how many ───────────────────────────────────────────────── */

static int
wanted_workers(const char *query, Reads *reads)
{
	uint64 threshold = Max(min_parallel_table_scan_size, 1);
	int limit = Min(max_parallel_workers_per_gather,
					AGENTPAY_PARALLEL_MAX_WORKERS);
	int workers = 1;

	if (limit <= 0 || !may_share())
		return 0;
	look_at(query, reads);
	if (reads->scanned == 0 ||
		reads->scanned < (uint64) min_parallel_table_scan_size)
		return 0;
	for (; workers < limit && reads->scanned >= threshold * 3; workers++)
		threshold *= 3;
	return workers;
}

static bool
may_share(void)
{
	return taken_from == NULL && !IsInParallelMode() &&
		   !IsolationIsSerializable() && enable_tidscan &&
		   !TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		   agentpay_expression_schemas[0] == '\0';
}

static void
look_at(const char *query, Reads *reads)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay parallel plan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List *parsed = pg_parse_query(query);
	List *queries = NIL;
	ListCell *lc;

	if (list_length(parsed) == 1)
		queries = pg_analyze_and_rewrite_fixedparams(linitial(parsed), query,
													 NULL, 0, NULL);
	if (list_length(queries) == 1 &&
		linitial_node(Query, queries)->commandType == CMD_SELECT)
	{
		PlannedStmt *statement = pg_plan_query(linitial(queries), query, 0,
											   NULL);

		look_at_plan(statement->planTree, statement, reads);
		foreach(lc, statement->subplans)
			look_at_plan(lfirst(lc), statement, reads);
		foreach(lc, statement->rtable)
		{
			const RangeTblEntry *entry = lfirst(lc);

			if (entry->rtekind == RTE_RELATION)
				reads->n_blocks = Max(reads->n_blocks, blocks_of(entry->relid));
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Scans of whole tables; what is read by index is little. */
static void
look_at_plan(const Plan *plan, const PlannedStmt *statement, Reads *reads)
{
	List *children = NIL;
	ListCell *lc;

	if (plan == NULL)
		return;
	if (IsA(plan, SeqScan))
	{
		Index index = ((const Scan *) plan)->scanrelid;

		reads->scanned += blocks_of(rt_fetch(index, statement->rtable)->relid);
	}
	else if (IsA(plan, Append))
		children = ((const Append *) plan)->appendplans;
	else if (IsA(plan, MergeAppend))
		children = ((const MergeAppend *) plan)->mergeplans;
	else if (IsA(plan, SubqueryScan))
		look_at_plan(((const SubqueryScan *) plan)->subplan, statement, reads);
	foreach(lc, children)
		look_at_plan(lfirst(lc), statement, reads);
	look_at_plan(outerPlan(plan), statement, reads);
	look_at_plan(innerPlan(plan), statement, reads);
}

/* 0 for what has no blocks of its own. */
static uint64
blocks_of(Oid oid)
{
	Relation relation = try_relation_open(oid, AccessShareLock);
	uint64 n_blocks = 0;

	if (relation == NULL)
		return 0;
	if (relation->rd_rel->relkind == RELKIND_RELATION)
		n_blocks = RelationGetNumberOfBlocks(relation);
	relation_close(relation, NoLock);
	return n_blocks;
}

/* ── the team ────────────────────────────────────────────────────────────── */

/* Everything but the workers; NULL: there is no room for it. */
static Team *
assemble(AgentpayTaskKind kind, FunctionCallInfo call, const Reads *reads,
		 int wanted)
{
	Team *team = palloc0(sizeof(Team));

	team->task = agentpay_parallel_task(kind);
	team->config_seen = RegisterSnapshot(GetLatestSnapshot());
	write_segment(team, call, wanted);
	if (team->segment == NULL)
	{
		UnregisterSnapshot(team->config_seen);
		return NULL;
	}
	team->shared->kind = kind;
	team->shared->n_args = call->nargs;
	describe(team->shared, reads, wanted);
	return team;
}

/* Sets segment and shared, unless all segments are taken. */
static void
write_segment(Team *team, FunctionCallInfo call, int wanted)
{
	const char *statement = debug_query_string != NULL ? debug_query_string
													   : "";
	Size sizes[AGENTPAY_PARALLEL_KEYS] = {
		[AGENTPAY_PARALLEL_SHARED] = sizeof(AgentpayShared),
		[AGENTPAY_PARALLEL_SETTINGS] = EstimateGUCStateSpace(),
		[AGENTPAY_PARALLEL_SNAPSHOT] = EstimateSnapshotSpace(
			GetActiveSnapshot()),
		[AGENTPAY_PARALLEL_CONFIG_SEEN] = EstimateSnapshotSpace(
			team->config_seen),
		[AGENTPAY_PARALLEL_STATEMENT] = strlen(statement) + 1,
		[AGENTPAY_PARALLEL_QUEUES] = mul_size(AGENTPAY_PARALLEL_QUEUE_SIZE,
											  wanted),
	};
	void *parts[AGENTPAY_PARALLEL_KEYS];
	int16 length[FUNC_MAX_ARGS];
	bool by_value[FUNC_MAX_ARGS];
	shm_toc_estimator estimator;
	shm_toc *toc;
	char *args;

	for (int i = 0; i < call->nargs; i++)
	{
		get_typlenbyval(get_fn_expr_argtype(call->flinfo, i), &length[i],
						&by_value[i]);
		sizes[AGENTPAY_PARALLEL_ARGS] +=
			datumEstimateSpace(call->args[i].value, call->args[i].isnull,
							   by_value[i], length[i]);
	}
	shm_toc_initialize_estimator(&estimator);
	for (int i = 0; i < AGENTPAY_PARALLEL_KEYS; i++)
		shm_toc_estimate_chunk(&estimator, sizes[i]);
	shm_toc_estimate_keys(&estimator, AGENTPAY_PARALLEL_KEYS);
	team->segment = dsm_create(shm_toc_estimate(&estimator),
							   DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (team->segment == NULL)
		return;
	toc = shm_toc_create(AGENTPAY_PARALLEL_MAGIC,
						 dsm_segment_address(team->segment),
						 shm_toc_estimate(&estimator));
	for (int i = 0; i < AGENTPAY_PARALLEL_KEYS; i++)
	{
		parts[i] = shm_toc_allocate(toc, sizes[i]);
		shm_toc_insert(toc, i, parts[i]);
	}
	team->shared = memset(parts[AGENTPAY_PARALLEL_SHARED], 0,
						  sizeof(AgentpayShared));
	SerializeGUCState(sizes[AGENTPAY_PARALLEL_SETTINGS],
					  parts[AGENTPAY_PARALLEL_SETTINGS]);
	SerializeSnapshot(GetActiveSnapshot(), parts[AGENTPAY_PARALLEL_SNAPSHOT]);
	SerializeSnapshot(team->config_seen, parts[AGENTPAY_PARALLEL_CONFIG_SEEN]);
	strcpy(parts[AGENTPAY_PARALLEL_STATEMENT], statement);
	args = parts[AGENTPAY_PARALLEL_ARGS];
	for (int i = 0; i < call->nargs; i++)
		datumSerialize(call->args[i].value, call->args[i].isnull, by_value[i],
					   length[i], &args);
	for (int i = 0; i < wanted; i++)
	{
		shm_mq *queue = shm_mq_create((char *) parts[AGENTPAY_PARALLEL_QUEUES] +
										  (Size) i *
											  AGENTPAY_PARALLEL_QUEUE_SIZE,
									  AGENTPAY_PARALLEL_QUEUE_SIZE);

		shm_mq_set_receiver(queue, MyProc);
		team->members[i].queue = shm_mq_attach(queue, team->segment, NULL);
	}
}

static void
describe(AgentpayShared *shared, const Reads *reads, int wanted)
{
	shared->database = MyDatabaseId;
	shared->authenticated_user = GetAuthenticatedUserId();
	shared->role = GetCurrentRoleId();
	shared->role_is_superuser = superuser_arg(
		OidIsValid(shared->role) ? shared->role : GetSessionUserId());
	GetUserIdAndSecContext(&shared->user, &shared->security_context);
	shared->leader = MyProc;
	shared->leader_pid = MyProcPid;
	shared->n_blocks = reads->n_blocks;
	shared->step = (uint32)
		Max(Min(reads->n_blocks / ((wanted + 1) * RANGES_EACH), RANGE_MAX), 1);
	pg_atomic_init_u64(&shared->next, 0);
}

/* Asks for workers, as long as there are some. */
static void
recruit(Team *team, int wanted)
{
	BackgroundWorker worker = {0};

	/*
	 * The class counts them among max_parallel_workers.  PostgreSQL would keep
	 * it to itself; what it asks of it is that they are never restarted.
	 */
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
					   BGWORKER_BACKEND_DATABASE_CONNECTION |
					   BGWORKER_CLASS_PARALLEL;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(team->segment));
	strlcpy(worker.bgw_library_name, "agentpay", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "agentpay_parallel_main", BGW_MAXLEN);
	strlcpy(worker.bgw_type, team->task->type, BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s worker for PID %d",
			 team->task->type, MyProcPid);
	BecomeLockGroupLeader();
	for (int i = 0; i < wanted; i++)
	{
		Member *member = &team->members[i];

		memcpy(worker.bgw_extra, &i, sizeof(i));
		if (!RegisterDynamicBackgroundWorker(&worker, &member->process))
			break;
		team->n_members++;
		shm_mq_set_handle(member->queue, member->process);
	}
}

static void
run_team(Team *team, const NullableDatum *args)
{
	AgentpayShared *shared = team->shared;

	if (team->n_members == 0)
	{
		team->task->work(args, false, team->sum);
		return;
	}
	led = team;
	agentpay_owner_read_under(team->config_seen);
	agentpay_parallel_take_from(shared, hear_members);
	if (parallel_leader_participation)
		team->task->work(args, true, team->sum);
	await_members(team);
	/* none of them came as far as to take any */
	if (pg_atomic_read_u64(&shared->next) < shared->n_blocks)
		team->task->work(args, true, team->sum);
}

/* ── blocks ──────────────────────────────────────────────────────────────── */

void
agentpay_parallel_take_from(AgentpayShared *shared, void (*heed)(void))
{
	taken_from = shared;
	heed_between = heed;
}

bool
agentpay_parallel_take(BlockNumber *first, BlockNumber *beyond)
{
	uint64 next;

	CHECK_FOR_INTERRUPTS();
	if (taken_from == NULL)
		return false;
	if (heed_between != NULL)
		heed_between();
	next = pg_atomic_fetch_add_u64(&taken_from->next, taken_from->step);
	if (next >= taken_from->n_blocks)
		return false;
	*first = (BlockNumber) next;
	*beyond = (BlockNumber) Min(next + taken_from->step, MaxBlockNumber);
	return true;
}

PG_FUNCTION_INFO_V1(agentpay_sql_blocks);

/*
 * agentpay._blocks(): ranges of blocks for this process, each the first ctid in
 * it and the first beyond it; one at a time, each when it is asked for.
 */
Datum
agentpay_sql_blocks(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	ItemPointerData ends[2];
	Datum range[2] = {PointerGetDatum(&ends[0]), PointerGetDatum(&ends[1])};
	BlockNumber first;
	BlockNumber beyond;

	if (SRF_IS_FIRSTCALL())
		(void) SRF_FIRSTCALL_INIT();
	context = SRF_PERCALL_SETUP();
	if (!agentpay_parallel_take(&first, &beyond))
		SRF_RETURN_DONE(context);
	ItemPointerSet(&ends[0], first, 0);
	ItemPointerSet(&ends[1], beyond, 0);
	SRF_RETURN_NEXT(context,
					PointerGetDatum(construct_array(range, 2, TIDOID,
													sizeof(ItemPointerData),
													false, TYPALIGN_SHORT)));
}

/* ── what workers say ────────────────────────────────────────────────────── */

/* What is there; raises an error of theirs. */
static void
hear_members(void)
{
	for (int i = 0; i < led->n_members; i++)
		while (hear(led, i))
			;
}

/* False: it says nothing now. */
static bool
hear(Team *team, int number)
{
	Member *member = &team->members[number];
	StringInfoData message = {0};
	Size length;
	void *data;

	if (member->ended)
		return false;
	switch (shm_mq_receive(member->queue, &length, &data, true))
	{
		case SHM_MQ_WOULD_BLOCK:
			return false;
		case SHM_MQ_DETACHED:
			member->ended = true;
			if (team->shared->began[number] && !member->done)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("a worker of type \"%s\" ended before its work "
								"was done",
								team->task->type),
						 errhint("The server's log says why.  SET "
								 "max_parallel_workers_per_gather = 0; does "
								 "without workers.")));
			return true;
		case SHM_MQ_SUCCESS:
			break;
	}
	message.data = data;
	message.len = (int) length;
	message.maxlen = (int) length;
	hear_message(team, number, &message);
	return true;
}

static void
hear_message(Team *team, int number, StringInfo message)
{
	ErrorData error;

	switch (pq_getmsgbyte(message))
	{
		case 'E':
		case 'N':
			pq_parse_errornotice(message, &error);
			/* its end is not ours */
			error.elevel = Min(error.elevel, ERROR);
			error.context = error.context != NULL
								? psprintf("%s\n%s", error.context,
										   team->task->type)
								: pstrdup(team->task->type);
			ThrowErrorData(&error);
			break;
		case AGENTPAY_PARALLEL_SUM:
			team->task->add(team->sum, message);
			break;
		case AGENTPAY_PARALLEL_DONE:
			team->members[number].done = true;
			break;
		default:
			break; /* for a client */
	}
}

static void
await_members(Team *team)
{
	for (;;)
	{
		bool all = true;

		hear_members();
		for (int i = 0; i < team->n_members; i++)
			all = all && team->members[i].ended;
		if (all)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Ends what workers are left, and waits for it unless this process ends. */
static void
disband(int code, Datum arg)
{
	Team *team = (Team *) DatumGetPointer(arg);

	led = NULL;
	agentpay_parallel_take_from(NULL, NULL);
	agentpay_owner_read_under(NULL);
	for (int i = 0; i < team->n_members; i++)
		TerminateBackgroundWorker(team->members[i].process);
	if (proc_exit_inprogress)
		return;
	/* whoever waits for room in a queue finds nobody there */
	dsm_detach(team->segment);
	HOLD_INTERRUPTS();
	for (int i = 0; i < team->n_members; i++)
		(void) WaitForBackgroundWorkerShutdown(team->members[i].process);
	RESUME_INTERRUPTS();
}
