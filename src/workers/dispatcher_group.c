/*-------------------------------------------------------------------------
 * dispatcher_group.c
 *		One dispatcher among those of its database.
 *
 * Each has a lease, a random number: it is in agentpay._dispatchers, its lock
 * is held to the end of the process, and what the dispatcher has sent carries
 * it.  Whoever gets the lock of another's lease knows that its dispatcher is
 * gone, and ends what it had sent.
 *
 * Those that take part rank by their number; an agent's tasks are shared by as
 * many of them as it may have calls in flight, so that each has a share of at
 * least one.  When somebody comes or goes, all divide anew.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

static void enlist(void *arg);
static void find_agents(void *arg);

/* Makes the lease known, then ends what others left; false: later. */
bool
dispatcher_enlist(Dispatcher *d)
{
	if (d->enlisted)
		return true;
	agentpay_worker_report("working", "taking over");
	d->enlisted = agentpay_worker_run(enlist, d) &&
				  agentpay_worker_heal(d->lease);
	return d->enlisted;
}

static void
enlist(void *arg)
{
	Dispatcher *d = arg;
	Oid types[2] = {INT8OID, TIMESTAMPTZOID};
	Datum args[2] = {Int64GetDatum(d->lease),
					 TimestampTzGetDatum(agentpay_clock_now())};

	if (SPI_execute_with_args("INSERT INTO agentpay._dispatchers"
							  " VALUES ($1, $2) ON CONFLICT DO NOTHING",
							  2, types, args, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not enlist a dispatcher");
}

/* Somebody came or went: ends what was left, and divides the tasks anew. */
void
dispatcher_regroup(Dispatcher *d)
{
	int rank;
	int n;
	dlist_iter iter;

	agentpay_shmem_rank(agentpay_worker_slot(), &rank, &n);
	if (rank == d->rank && n == d->n)
		return;
	agentpay_worker_report("working", "taking over");
	/* the governor tries again */
	(void) agentpay_worker_heal(d->lease);
	if (!agentpay_worker_run(find_agents, d))
		return;
	d->rank = rank;
	d->n = n;
	dlist_foreach(iter, &d->agents)
		dispatcher_set_part(d,
							dlist_container(DispatcherAgent, node, iter.cur));
	if (!dispatcher_learn(d))
		d->n = 0; /* once more */
}

/* Also of agents that were removed, whose tasks are still to be ended. */
static void
find_agents(void *arg)
{
	Dispatcher *d = arg;

	if (SPI_execute("SELECT agentpay._all_work_agents()", true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not look for tasks");
	for (uint64 i = 0; i < SPI_processed; i++)
		(void) dispatcher_agent(d, SPI_getvalue(SPI_tuptable->vals[i],
												SPI_tuptable->tupdesc, 1));
}

/* Which of an agent's tasks are ours; others that wait are forgotten. */
void
dispatcher_set_part(Dispatcher *d, DispatcherAgent *agent)
{
	int n = Max(d->n, 1);
	int parts = Max(1, Min(n, agent->row.max_in_flight));
	int first = hash_bytes((const unsigned char *) agent->name,
						   strlen(agent->name)) %
				(uint32) n;
	int part = (d->rank + n - first) % n;

	if (part >= parts)
		part = -1;
	if (part == agent->part && parts == agent->parts)
		return;
	agent->part = part;
	agent->parts = parts;
	dispatcher_unload(d, agent);
}

/* Whether another dispatcher claimed tasks since this was last asked. */
bool
dispatcher_take_arrivals(Dispatcher *d)
{
	uint32 arrivals = pg_atomic_read_u32(&agentpay_worker_slot()->arrivals);
	bool told = arrivals != d->arrivals_seen;

	d->arrivals_seen = arrivals;
	return told;
}
