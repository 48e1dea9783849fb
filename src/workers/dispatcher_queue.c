/*-------------------------------------------------------------------------
 * dispatcher_queue.c
 *		Which tasks there are, and whose turn it is.
 *
 * Each agent has its own queue in memory, of bounded length; what does not
 * fit stays in agentpay._task_work and is loaded when the queue has run low.
 * So a dead agent, however many tasks it has, neither stops the cursor nor
 * fills the memory.  Turns go round the agents.
 *
 * Whoever claims, claims for all dispatchers; each loads its own part of an
 * agent's tasks.  That is a division of labour, not a right: who may send a
 * task is settled in _task_work.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "control/kill_switch.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* An agent's queue in memory: this, and twice what it may have in flight. */
#define QUEUE_BASE 64
/* Others have all calls of an agent: only while dispatchers come and go. */
#define FULL_RETRY_MS 20
/* No attempt is put off for so long: the clock was set back. */
#define LONGEST_WAIT_MS (2 * AGENTPAY_HTTP_RETRY_AFTER_MAX_MS)
/* Before tasks that were left out are looked for again. */
#define RELOAD_MS 1000

typedef struct Claim
{
	Dispatcher *d;
	int seen;
	bool called; /* for agents that are called */
} Claim;

typedef struct Refill
{
	Dispatcher *d;
	DispatcherAgent *agent;
} Refill;

static void claim(void *arg);
static void learn(void *arg);
static void refill_low(Dispatcher *d);
static bool is_low(const DispatcherAgent *agent);
static void refill(void *arg);
static int queue_limit(const DispatcherAgent *agent);
static DispatcherTask *add_task(Dispatcher *d, DispatcherAgent *agent,
								int64 task_id, TimestampTz created_at);
static bool permit(Dispatcher *d, DispatcherAgent *agent, bool *probe);
static int fair_share(Dispatcher *d, const DispatcherAgent *agent);

DispatcherAgent *
dispatcher_agent(Dispatcher *d, const char *name)
{
	dlist_iter iter;
	DispatcherAgent *agent;

	dlist_foreach(iter, &d->agents)
	{
		agent = dlist_container(DispatcherAgent, node, iter.cur);
		if (strcmp(agent->name, name) == 0)
			return agent;
	}
	agent = MemoryContextAllocZero(d->context, sizeof(DispatcherAgent));
	agent->name = MemoryContextStrdup(d->context, name);
	agent->row.max_in_flight = 1;
	agent->limits_place = -1;
	agent->part = -1;
	dlist_init(&agent->waiting);
	dlist_push_tail(&d->agents, &agent->node);
	return agent;
}

/* Claims a batch: the number of tasks that were there. */
int
dispatcher_claim(Dispatcher *d)
{
	Claim c = {.d = d, .seen = 0};

	agentpay_worker_report("working", "claiming tasks");
	if (!agentpay_worker_run(claim, &c))
		return DISPATCHER_FAILED;
	dispatcher_end_claimed(d);
	if (c.called)
		agentpay_shmem_tell_arrivals(agentpay_worker_slot());
	return c.seen;
}

/*
 * One call of _claim(), and what it brought loaded at once.  Should that not
 * commit, tasks in memory have no row: none is prepared for them.
 */
static void
claim(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT (c).seen, (c).agents"
		"  FROM (SELECT agentpay._claim($1) AS c OFFSET 0) AS x"};
	Claim *c = arg;
	Oid types[1] = {INT4OID};
	Datum args[1] = {Int32GetDatum(DISPATCHER_CLAIM_BATCH)};
	bool isnull;
	Datum agents;

	/* builtin agents decide in here; and only one moves the cursor */
	if (!agentpay_kill_switch_try_share() || !agentpay_worker_try_lock_cursor())
	{
		c->seen = DISPATCHER_LOCKED;
		return;
	}
	agentpay_worker_execute(&statement, 1, types, args);
	c->seen = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	agents = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
						   &isnull);
	c->called = !isnull && ARR_NDIM(DatumGetArrayTypeP(agents)) > 0;
	if (!c->called)
		return;
	learn(c->d);
	refill_low(c->d);
}

/* Looks which agents have tasks now, ours or another dispatcher's claim. */
bool
dispatcher_learn(Dispatcher *d)
{
	agentpay_worker_report("working", "looking for tasks");
	return agentpay_worker_run(learn, d);
}

static void
learn(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT * FROM agentpay._work_agents($1, $2)"};
	Dispatcher *d = arg;
	Oid types[2] = {TEXTARRAYOID, INT8ARRAYOID};
	Datum args[2];
	Datum *names;
	Datum *beyond;
	int n = 0;
	dlist_iter iter;

	dlist_foreach(iter, &d->agents)
		n++;
	names = palloc(sizeof(Datum) * Max(n, 1));
	beyond = palloc(sizeof(Datum) * Max(n, 1));
	n = 0;
	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);

		names[n] = CStringGetTextDatum(agent->name);
		beyond[n++] = Int64GetDatum(agent->beyond);
	}
	args[0] = PointerGetDatum(
		construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
	args[1] = PointerGetDatum(construct_array(beyond, n, INT8OID, sizeof(int64),
											  FLOAT8PASSBYVAL,
											  TYPALIGN_DOUBLE));
	agentpay_worker_execute(&statement, 2, types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		DispatcherAgent *agent = dispatcher_agent(d,
												  SPI_getvalue(row, desc, 1));
		bool isnull;

		agent->row.version = DatumGetInt32(
			SPI_getbinval(row, desc, 2, &isnull));
		agent->row.max_in_flight = DatumGetInt32(
			SPI_getbinval(row, desc, 3, &isnull));
		agent->row.calls_per_second = DatumGetFloat8(
			SPI_getbinval(row, desc, 4, &isnull));
		dispatcher_set_part(d, agent);
		agent->spilled = agent->part >= 0;
	}
}

/*
 * A task was left out, since somebody else had its row.  Its agent's tasks are
 * loaded anew in a while: should he not end it, nobody else may know of it.
 */
void
dispatcher_left_out(DispatcherAgent *agent)
{
	if (agent->reload_at == 0)
		agent->reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   RELOAD_MS);
}

/* Loads tasks of agents whose queue is low; false: an error, try later. */
bool
dispatcher_refill(Dispatcher *d)
{
	TimestampTz now = GetCurrentTimestamp();
	dlist_iter iter;

	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);
		Refill r = {.d = d, .agent = agent};

		if (agent->reload_at != 0 && agent->reload_at <= now)
			dispatcher_unload(d, agent);
		if (!is_low(agent))
			continue;
		agentpay_worker_report("working", "loading tasks");
		if (!agentpay_worker_run(refill, &r))
			return false;
	}
	return true;
}

/* The same in a step that is under way. */
static void
refill_low(Dispatcher *d)
{
	dlist_iter iter;

	dlist_foreach(iter, &d->agents)
	{
		Refill r = {.d = d,
					.agent = dlist_container(DispatcherAgent, node, iter.cur)};

		if (is_low(r.agent))
			refill(&r);
	}
}

/* Whether more of its tasks wait, and there is room for half of them. */
static bool
is_low(const DispatcherAgent *agent)
{
	int limit = queue_limit(agent);

	return agent->spilled && limit - agent->n_waiting >= limit / 2;
}

/* Loads the agent's next tasks, in the order of their place. */
static void
refill(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT * FROM agentpay._waiting($1, $2, $3, $4, $5)"};
	Refill *r = arg;
	Dispatcher *d = r->d;
	int max = queue_limit(r->agent) - r->agent->n_waiting;
	Oid types[5] = {TEXTOID, INT8OID, INT4OID, INT4OID, INT4OID};
	Datum args[5] = {CStringGetTextDatum(r->agent->name),
					 Int64GetDatum(r->agent->beyond), Int32GetDatum(max),
					 Int32GetDatum(r->agent->parts),
					 Int32GetDatum(r->agent->part)};

	agentpay_worker_execute(&statement, 5, types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;
		int64 task_id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		TimestampTz created_at = DatumGetTimestampTz(
			SPI_getbinval(row, desc, 2, &isnull));
		TimestampTz run_after = DatumGetTimestampTz(
			SPI_getbinval(row, desc, 3, &isnull));
		DispatcherTask *task = add_task(d, r->agent, task_id, created_at);

		if (isnull)
			dispatcher_wait(d, task, 0);
		else
			dispatcher_wait(d, task,
							GetCurrentTimestamp() +
								(run_after - agentpay_clock_now()));
		r->agent->beyond = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	}
	r->agent->spilled = SPI_processed == (uint64) max;
}

static int
queue_limit(const DispatcherAgent *agent)
{
	return QUEUE_BASE + 2 * agent->row.max_in_flight;
}

static DispatcherTask *
add_task(Dispatcher *d, DispatcherAgent *agent, int64 task_id,
		 TimestampTz created_at)
{
	DispatcherTask *task = MemoryContextAllocZero(d->context,
												  sizeof(DispatcherTask));

	task->agent = agent;
	task->task_id = task_id;
	task->created_at = created_at;
	return task;
}

/* Forgets the agent's tasks that wait; they stay in _task_work. */
void
dispatcher_unload(Dispatcher *d, DispatcherAgent *agent)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &d->later)
	{
		DispatcherTask *task = dlist_container(DispatcherTask, node, iter.cur);

		if (task->agent != agent)
			continue;
		dlist_delete(&task->node);
		dispatcher_free_task(task);
	}
	while (!dlist_is_empty(&agent->waiting))
		dispatcher_free_task(
			dlist_container(DispatcherTask, node,
							dlist_pop_head_node(&agent->waiting)));
	agent->n_waiting = 0;
	agent->beyond = 0;
	agent->reload_at = 0;
	agent->spilled = agent->part >= 0;
}

/* Frees a task that is in no list. */
void
dispatcher_free_task(DispatcherTask *task)
{
	if (task->body)
		pfree(task->body);
	dispatcher_free_result(task);
	pfree(task);
}

/* Queues a task that is in no list, for now (0) or for later. */
void
dispatcher_wait(Dispatcher *d, DispatcherTask *task, TimestampTz run_after)
{
	task->run_after = run_after;
	task->agent->n_waiting++;
	if (run_after == 0)
		dlist_push_tail(&task->agent->waiting, &task->node);
	else
		dlist_push_tail(&d->later, &task->node);
}

/* Tasks whose time has come go to the head of their agent's queue. */
void
dispatcher_move_due(Dispatcher *d, TimestampTz now)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &d->later)
	{
		DispatcherTask *task = dlist_container(DispatcherTask, node, iter.cur);

		if (task->run_after > now &&
			!TimestampDifferenceExceeds(now, task->run_after, LONGEST_WAIT_MS))
			continue;
		dlist_delete(&task->node);
		dlist_push_head(&task->agent->waiting, &task->node);
	}
}

/*
 * When the next of them is due, or an agent's next call, or tasks are to be
 * looked for; 0: none waits.
 */
TimestampTz
dispatcher_next_due(Dispatcher *d)
{
	TimestampTz next = 0;
	dlist_iter iter;

	dlist_foreach(iter, &d->later)
	{
		DispatcherTask *task = dlist_container(DispatcherTask, node, iter.cur);

		if (next == 0 || task->run_after < next)
			next = task->run_after;
	}
	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);

		if (agent->not_before != 0 && !dlist_is_empty(&agent->waiting) &&
			(next == 0 || agent->not_before < next))
			next = agent->not_before;
		if (agent->reload_at != 0 && (next == 0 || agent->reload_at < next))
			next = agent->reload_at;
	}
	return next;
}

/*
 * Takes tasks out of the queues, one of each agent in turn, as far as each
 * agent and all together may be busy.  Returns their number.
 */
int
dispatcher_pick(Dispatcher *d, DispatcherTask **picked, int max)
{
	int n = 0;
	bool found = true;
	TimestampTz now = GetCurrentTimestamp();

	max = Min(max, dispatcher_max_in_flight(d) - d->n_busy);
	while (found && n < max)
	{
		dlist_iter iter;

		found = false;
		dlist_foreach(iter, &d->agents)
		{
			DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
													 iter.cur);
			DispatcherTask *task;
			bool probe;

			if (n >= max || dlist_is_empty(&agent->waiting) || agent->broken ||
				agent->not_before > now ||
				agent->busy >= fair_share(d, agent) ||
				!permit(d, agent, &probe))
				continue;
			task = dlist_container(DispatcherTask, node,
								   dlist_pop_head_node(&agent->waiting));
			task->permitted = true;
			task->probe = probe;
			agent->n_waiting--;
			agent->busy++;
			d->n_busy++;
			picked[n++] = task;
			found = true;
		}
	}
	return n;
}

/* Whether all that limits the agent, over all dispatchers, lets one through. */
static bool
permit(Dispatcher *d, DispatcherAgent *agent, bool *probe)
{
	int wait_ms = FULL_RETRY_MS;
	AgentpayLimitsAnswer answer = agentpay_limits_take(agent->name,
													   &agent->limits_place,
													   d->number, &agent->row,
													   &wait_ms);

	agent->not_before = 0;
	agent->broken = answer == AGENTPAY_LIMITS_BROKEN;
	*probe = answer == AGENTPAY_LIMITS_PROBE;
	if (answer == AGENTPAY_LIMITS_LATER ||
		(answer == AGENTPAY_LIMITS_FULL && agent->busy == 0))
		agent->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														wait_ms);
	return answer == AGENTPAY_LIMITS_CALL || answer == AGENTPAY_LIMITS_PROBE;
}

/* A picked task is not called after all. */
void
dispatcher_permit_ends(Dispatcher *d, DispatcherTask *task)
{
	if (task->permitted)
		agentpay_limits_give_back(task->agent->limits_place, d->number,
								  task->probe);
	task->permitted = task->probe = false;
	task->agent->busy--;
	d->n_busy--;
}

/*
 * How busy an agent may be here: this dispatcher's share of what it may be in
 * all, and three times what is still free here, so that any number of agents
 * that hang leave something for one that does not.
 */
static int
fair_share(Dispatcher *d, const DispatcherAgent *agent)
{
	int all = dispatcher_max_in_flight(d);
	int most = agent->row.max_in_flight;
	bool alone = d->agents.head.next == d->agents.head.prev;

	if (!alone)
		all = Max(1, Min(all, 3 * (all - d->n_busy)));
	if (agent->parts > 1)
		most = most / agent->parts + (agent->part < most % agent->parts);
	return Min(all, most);
}
