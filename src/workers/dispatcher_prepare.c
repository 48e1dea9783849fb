/*-------------------------------------------------------------------------
 * dispatcher_prepare.c
 *		From waiting to ready: bodies made, bounds held, marked as sent; or to
 *		an end without a call.
 *
 * Once its transaction is committed, a crash cannot forget what may have been
 * spent.  It takes the budgets' locks, after those of its tasks, which it does
 * not wait for.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "workers/dispatcher.h"
#include "workers/worker.h"

/* A task whose budget has no room now, or that an error put back. */
#define WAIT_MS 1000

typedef struct Batch
{
	Dispatcher *d;
	DispatcherTask **tasks;
	int n;
	char *action; /* of each task, the first letter of _prepare's */
	List *engage; /* budgets whose switch is to be engaged */
	const char *problem;
} Batch;

static void prepare(void *arg);
static ArrayType *task_ids(const Batch *batch);
static void read_prepared(Batch *batch, HeapTuple row, TupleDesc desc);
static void apply_prepared(Batch *batch);
static void prepare_each(Batch *batch);
static void put_back(Batch *batch);
static void skip(void *arg);
static void engage(void *arg);
static void gather_later(Dispatcher *d);

/* Picks tasks and makes them ready; false when there was nothing to pick. */
bool
dispatcher_prepare(Dispatcher *d)
{
	DispatcherTask *picked[DISPATCHER_START_BATCH];
	char action[DISPATCHER_START_BATCH];
	Batch batch = {.d = d, .tasks = picked, .action = action};

	batch.n = dispatcher_pick(d, picked, DISPATCHER_START_BATCH);
	if (batch.n == 0)
		return false;
	agentpay_worker_report("working", "reserving budgets");
	memset(action, 0, batch.n);
	if (agentpay_worker_run(prepare, &batch))
		apply_prepared(&batch);
	else
		prepare_each(&batch);
	return true;
}

static void
prepare(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT * FROM agentpay._prepare($1, $2)"};
	Batch *batch = arg;
	Oid types[2] = {INT8OID, INT8ARRAYOID};
	Datum args[2] = {Int64GetDatum(batch->d->lease),
					 PointerGetDatum(task_ids(batch))};

	agentpay_worker_execute(&statement, 2, types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
		read_prepared(batch, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
}

static ArrayType *
task_ids(const Batch *batch)
{
	Datum *ids = palloc(sizeof(Datum) * batch->n);

	for (int i = 0; i < batch->n; i++)
		ids[i] = Int64GetDatum(batch->tasks[i]->task_id);
	return construct_array(ids, batch->n, INT8OID, sizeof(int64),
						   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/* Notes a row of _prepare() with its task; it counts once committed. */
static void
read_prepared(Batch *batch, HeapTuple row, TupleDesc desc)
{
	bool isnull;
	int64 task_id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	char *budget = SPI_getvalue(row, desc, 3);
	MemoryContext old;
	int i = 0;

	while (i < batch->n && batch->tasks[i]->task_id != task_id)
		i++;
	if (i == batch->n)
		return;
	batch->action[i] = SPI_getvalue(row, desc, 2)[0];
	if (budget != NULL)
	{
		old = MemoryContextSwitchTo(batch->d->turn);
		batch->engage = list_append_unique(batch->engage,
										   makeString(pstrdup(budget)));
		MemoryContextSwitchTo(old);
	}
	if (batch->action[i] == 's')
	{
		DispatcherTask *task = batch->tasks[i];

		task->attempt = DatumGetInt32(SPI_getbinval(row, desc, 4, &isnull));
		task->body = MemoryContextStrdup(batch->d->context,
										 SPI_getvalue(row, desc, 5));
		strlcpy(task->idempotency_key, SPI_getvalue(row, desc, 6),
				sizeof(task->idempotency_key));
	}
}

/* The transaction has committed: each task goes where it belongs. */
static void
apply_prepared(Batch *batch)
{
	Dispatcher *d = batch->d;
	ListCell *lc;

	for (int i = 0; i < batch->n; i++)
	{
		DispatcherTask *task = batch->tasks[i];

		if (task->body != NULL)
		{
			dlist_push_tail(&d->ready, &task->node);
			continue;
		}
		dispatcher_permit_ends(d, task);
		if (batch->action[i] == 'w')
		{
			dispatcher_wait(d, task,
							TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														WAIT_MS));
			continue;
		}
		if (batch->action[i] == 0)
			dispatcher_left_out(task->agent);
		dispatcher_free_task(task);
	}
	foreach(lc, batch->engage)
		(void) agentpay_worker_run(engage, strVal(lfirst(lc)));
}

/*
 * The batch failed.  One by one, then; a task that fails for what it is, not
 * for the state of the world, is given up.
 */
static void
prepare_each(Batch *all)
{
	for (int i = 0; i < all->n; i++)
	{
		char action = 0;
		Batch one = {.d = all->d, .tasks = &all->tasks[i], .n = 1};

		one.action = &action;
		if (all->tasks[i]->body != NULL)
			pfree(all->tasks[i]->body);
		all->tasks[i]->body = NULL;
		if (agentpay_worker_run(prepare, &one))
		{
			apply_prepared(&one);
			continue;
		}
		if (all->tasks[i]->body != NULL)
			pfree(all->tasks[i]->body);
		all->tasks[i]->body = NULL;
		one.problem = agentpay_worker_message();
		switch (ERRCODE_TO_CATEGORY(agentpay_worker_sqlstate()))
		{
			case MAKE_SQLSTATE('2', '2', '0', '0', '0'):
			case MAKE_SQLSTATE('2', '3', '0', '0', '0'):
			case MAKE_SQLSTATE('0', 'A', '0', '0', '0'):
			case MAKE_SQLSTATE('5', '4', '0', '0', '0'):
				if (agentpay_worker_run(skip, &one))
				{
					action = 'e';
					apply_prepared(&one);
					continue;
				}
				break;
			default:
				break;
		}
		put_back(&one);
	}
}

static void
put_back(Batch *batch)
{
	DispatcherTask *task = batch->tasks[0];

	dispatcher_permit_ends(batch->d, task);
	dispatcher_wait(batch->d, task,
					TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												WAIT_MS));
}

/* Ends the batch's tasks, whose action is set by the caller. */
static void
skip(void *arg)
{
	Batch *batch = arg;
	Oid types[2] = {INT8ARRAYOID, TEXTOID};
	Datum args[2] = {PointerGetDatum(task_ids(batch)),
					 CStringGetTextDatum(batch->problem)};

	SPI_execute_with_args("SELECT agentpay._skip($1, $2)", 2, types, args, NULL,
						  false, 0);
}

static void
engage(void *arg)
{
	Oid types[1] = {TEXTOID};
	Datum args[1] = {CStringGetTextDatum((char *) arg)};

	SPI_execute_with_args("SELECT agentpay._engage_for($1)", 1, types, args,
						  NULL, false, 0);
}

/*
 * Ends all tasks that wait for an agent whose breaker is open.  Nothing was
 * held for them.
 */
void
dispatcher_skip_broken(Dispatcher *d)
{
	dlist_iter iter;

	gather_later(d);
	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);
		DispatcherTask *tasks[DISPATCHER_START_BATCH];
		Batch batch = {.d = d,
					   .tasks = tasks,
					   .problem = "the circuit breaker of the agent is open"};
		dlist_iter waiting;

		if (!agent->broken)
			continue;
		dlist_foreach(waiting, &agent->waiting)
		{
			if (batch.n == DISPATCHER_START_BATCH)
				break;
			tasks[batch.n++] = dlist_container(DispatcherTask, node,
											   waiting.cur);
		}
		agentpay_worker_report("working", "skipping tasks");
		if (batch.n > 0 && !agentpay_worker_run(skip, &batch))
			return;
		if (batch.n > 0)
			dispatcher_left_out(agent); /* perhaps one */
		for (int i = 0; i < batch.n; i++)
		{
			dlist_delete(&tasks[i]->node);
			agent->n_waiting--;
			dispatcher_free_task(tasks[i]);
		}
		/* asked again with the next task */
		agent->broken = !dlist_is_empty(&agent->waiting);
	}
}

/* Another attempt would not be made either. */
static void
gather_later(Dispatcher *d)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &d->later)
	{
		DispatcherTask *task = dlist_container(DispatcherTask, node, iter.cur);

		if (!task->agent->broken)
			continue;
		dlist_delete(&task->node);
		dlist_push_tail(&task->agent->waiting, &task->node);
	}
}
