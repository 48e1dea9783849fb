/*-------------------------------------------------------------------------
 * dispatcher_queue.c
 *		Which tasks there are, and whose turn it is.
 *
 * Each agent has its own queue in memory, of bounded length; what does not
 * fit stays in agentpay._task_work and is loaded when the queue has run low.
 * So a dead agent, however many tasks it has, neither stops the cursor nor
 * fills the memory.  Turns go round the agents.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "control/kill_switch.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* An agent's queue in memory: this, and twice what it may have in flight. */
#define QUEUE_BASE 64

typedef struct Claim
{
	Dispatcher *d;
	int seen;
} Claim;

typedef struct Refill
{
	Dispatcher *d;
	DispatcherAgent *agent;
	int max;
} Refill;

static void take_over(void *arg);
static void claim(void *arg);
static void refill(void *arg);
static int queue_limit(const DispatcherAgent *agent);
static DispatcherTask *add_task(Dispatcher *d, DispatcherAgent *agent,
								int64 task_id, TimestampTz created_at);
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
	agent->max_in_flight = 1;
	dlist_init(&agent->waiting);
	dlist_push_tail(&d->agents, &agent->node);
	return agent;
}

/* Heals what an earlier dispatcher left, and takes its waiting tasks. */
bool
dispatcher_take_over(Dispatcher *d)
{
	agentpay_worker_report("working", "taking over");
	return agentpay_worker_run(take_over, d);
}

static void
take_over(void *arg)
{
	Dispatcher *d = arg;
	Oid types[1] = {INT8OID};
	Datum args[1] = {Int64GetDatum(d->lease)};

	if (SPI_execute_with_args(
			"SELECT a FROM unnest(agentpay._take_over($1)) AS a", 1, types,
			args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not take over tasks");
	for (uint64 i = 0; i < SPI_processed; i++)
		dispatcher_agent(d, SPI_getvalue(SPI_tuptable->vals[i],
										 SPI_tuptable->tupdesc, 1))
			->spilled = true;
}

/* Claims a batch: the number of tasks that were there. */
int
dispatcher_claim(Dispatcher *d)
{
	Claim c = {.d = d, .seen = 0};

	agentpay_worker_report("working", "claiming tasks");
	if (!agentpay_worker_run(claim, &c))
		return DISPATCHER_FAILED;
	return c.seen;
}

/* One call of _claim(); no task is in memory before that commits. */
static void
claim(void *arg)
{
	Claim *c = arg;
	Dispatcher *d = c->d;
	Oid types[2] = {INT8OID, INT4OID};
	Datum args[2] = {Int64GetDatum(d->lease),
					 Int32GetDatum(DISPATCHER_CLAIM_BATCH)};

	/* builtin agents decide in here */
	if (!agentpay_kill_switch_try_share())
	{
		c->seen = DISPATCHER_LOCKED;
		return;
	}
	if (SPI_execute_with_args("SELECT * FROM agentpay._claim($1, $2)", 2, types,
							  args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not claim tasks");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		c->seen = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		(void) SPI_getbinval(row, desc, 2, &isnull);
		if (isnull)
			continue;
		/* into memory only once this has committed, by a refill */
		dispatcher_agent(d, SPI_getvalue(row, desc, 3))->spilled = true;
	}
}

/* Loads tasks of agents whose queue is low; false: an error, try later. */
bool
dispatcher_refill(Dispatcher *d)
{
	dlist_iter iter;

	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);
		Refill r = {.d = d, .agent = agent};

		r.max = queue_limit(agent) - agent->n_waiting;
		if (!agent->spilled || r.max < queue_limit(agent) / 2)
			continue;
		agentpay_worker_report("working", "loading tasks");
		if (!agentpay_worker_run(refill, &r))
			return false;
	}
	return true;
}

/* Loads the agent's next tasks, in the order of their place. */
static void
refill(void *arg)
{
	Refill *r = arg;
	Dispatcher *d = r->d;
	Oid types[4] = {INT8OID, TEXTOID, INT8OID, INT4OID};
	Datum args[4] = {Int64GetDatum(d->lease),
					 CStringGetTextDatum(r->agent->name),
					 Int64GetDatum(r->agent->beyond), Int32GetDatum(r->max)};

	if (SPI_execute_with_args("SELECT * FROM agentpay._waiting($1, $2, $3, $4)",
							  4, types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not load tasks");
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
		r->agent->max_in_flight = DatumGetInt32(
			SPI_getbinval(row, desc, 5, &isnull));
		if (isnull)
			r->agent->max_in_flight = 1; /* removed: it is ended unasked */
	}
	r->agent->spilled = SPI_processed == (uint64) r->max;
}

static int
queue_limit(const DispatcherAgent *agent)
{
	return QUEUE_BASE + 2 * agent->max_in_flight;
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

/* Frees a task that is in no list. */
void
dispatcher_free_task(DispatcherTask *task)
{
	if (task->body)
		pfree(task->body);
	if (task->result.data)
		pfree(task->result.data);
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

		if (task->run_after > now)
			continue;
		dlist_delete(&task->node);
		dlist_push_head(&task->agent->waiting, &task->node);
	}
}

/* When the next of them is due; 0: none waits. */
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

	max = Min(max, dispatcher_max_in_flight(d) - d->n_busy);
	while (found && n < max)
	{
		dlist_iter iter;

		found = false;
		dlist_foreach(iter, &d->agents)
		{
			DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
													 iter.cur);

			if (n >= max || dlist_is_empty(&agent->waiting) ||
				agent->busy >= fair_share(d, agent))
				continue;
			picked[n] = dlist_container(DispatcherTask, node,
										dlist_pop_head_node(&agent->waiting));
			agent->n_waiting--;
			agent->busy++;
			d->n_busy++;
			n++;
			found = true;
		}
	}
	return n;
}

/*
 * How busy an agent may be: three times what is still free, so that any
 * number of agents that hang leave something for one that does not.
 */
static int
fair_share(Dispatcher *d, const DispatcherAgent *agent)
{
	int all = dispatcher_max_in_flight(d);
	bool alone = d->agents.head.next == d->agents.head.prev;

	if (!alone)
		all = Max(1, Min(all, 3 * (all - d->n_busy)));
	return Min(all, agent->max_in_flight);
}
