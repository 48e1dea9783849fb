/*-------------------------------------------------------------------------
 * dispatcher_start.c
 *		From ready to in flight, and off again when a switch is engaged.
 *
 * A transaction that holds the kill lock shared around {read the switches,
 * hand over to libcurl}, and nothing else; nothing goes out on the wire before
 * it ends.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/clock.h"
#include "base/config.h"
#include "base/settings.h"
#include "control/kill_switch.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* A body of a byte a second is as dead as none. */
#define LOW_SPEED_BYTES 8
#define LOW_SPEED_SECONDS 30
/* So often in a row starting may fail; then what is ready ends unasked. */
#define MAX_FAILURES 3
/* While the kill lock is taken, and after an error. */
#define KILL_RETRY_MS 10
#define FAILED_RETRY_MS 250

typedef struct HandOver
{
	Dispatcher *d;
	bool locked;		  /* the kill lock was free */
	DispatcherTask *task; /* the one that is being started, in no list */
} HandOver;

static void hand_over(void *arg);
static bool know_connections(Dispatcher *d);
static void read_connections(Dispatcher *d);
static void mend(HandOver *h);
static ArrayType *busy_agents(Dispatcher *d);
static void read_connection(Dispatcher *d, HeapTuple row, TupleDesc desc);
static void
read_talk(AgentpayProtocolAgent *talk, HeapTuple row, TupleDesc desc);
static char *copy_value(HeapTuple row, TupleDesc desc, int column);
static void read_secret(DispatcherAgent *agent);
static void wipe_secret(DispatcherAgent *agent);
static void forget_connection(DispatcherAgent *agent);
static void start(Dispatcher *d, DispatcherTask *task);
static const char *start_call(Dispatcher *d, DispatcherTask *task);
static void make_plainer(Dispatcher *d, DispatcherTask *task);
static void hash_body(DispatcherTask *task, size_t len);
static void find_killed(void *arg);

/*
 * Starts what is ready: 0, or in how many milliseconds to try again, because
 * the kill lock is not free or something failed.
 */
long
dispatcher_hand_over(Dispatcher *d)
{
	HandOver h = {.d = d};
	dlist_iter agents;
	bool ran;

	if (dlist_is_empty(&d->ready))
		return 0;
	if (GetCurrentTimestamp() < d->start_after)
		return FAILED_RETRY_MS;
	agentpay_worker_report("working", "starting calls");
	/* their holds were committed without waiting for the disk */
	agentpay_worker_flush();
	ran = agentpay_worker_run(hand_over, &h);
	/* whether or not it came to its end */
	dlist_foreach(agents, &d->agents)
		wipe_secret(dlist_container(DispatcherAgent, node, agents.cur));
	dispatcher_wipe_proxy_secret(d);
	if (!ran)
	{
		mend(&h);
		d->start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 FAILED_RETRY_MS);
		return FAILED_RETRY_MS;
	}
	d->start_failures = 0;
	return h.locked ? 0 : KILL_RETRY_MS;
}

/*
 * Starting failed.  The task that was at fault ends unasked, and its hold with
 * it; so do all that are ready when it fails again and again, since what is
 * marked as sent blocks a budget and its agent.
 */
static void
mend(HandOver *h)
{
	Dispatcher *d = h->d;
	const char *problem = agentpay_worker_message();

	if (h->task != NULL && h->task->transfer != NULL)
		dlist_push_tail(&d->in_flight, &h->task->node);
	else if (h->task != NULL)
		dispatcher_end_unsent(d, h->task, "skipped", problem);
	if (++d->start_failures < MAX_FAILURES)
		return;
	d->start_failures = 0;
	while (!dlist_is_empty(&d->ready))
		dispatcher_end_unsent(d,
							  dlist_container(DispatcherTask, node,
											  dlist_pop_head_node(&d->ready)),
							  "skipped", problem);
}

/* Reads the agents and their switches, then starts; under the kill lock. */
static void
hand_over(void *arg)
{
	HandOver *h = arg;
	Dispatcher *d = h->d;
	dlist_mutable_iter iter;
	dlist_iter agents;

	h->locked = agentpay_kill_switch_try_share();
	if (!h->locked)
		return;
	if (know_connections(d))
		find_killed(d);
	else
		read_connections(d);
	dlist_foreach(agents, &d->agents)
		read_secret(dlist_container(DispatcherAgent, node, agents.cur));
	dispatcher_read_proxy_secret(d);

	dlist_foreach_modify(iter, &d->ready)
	{
		DispatcherTask *task = dlist_container(DispatcherTask, node, iter.cur);

		dlist_delete(&task->node);
		h->task = task;
		start(d, task);
		h->task = NULL;
	}
}

/* Whether nothing has changed since all agents that are busy were read. */
static bool
know_connections(Dispatcher *d)
{
	dlist_iter iter;

	AcceptInvalidationMessages();
	if (d->connections_read != agentpay_config_generation())
		return false;
	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);

		if (agent->busy > 0 && !agent->known)
			return false;
	}
	return true;
}

/* What changes from here on is told later, and is read anew then. */
static void
read_connections(Dispatcher *d)
{
	static AgentpayWorkerStatement statement = {
		"SELECT * FROM agentpay._connections($1)"};
	uint64 generation = agentpay_config_generation();
	Oid types[1] = {TEXTARRAYOID};
	Datum args[1];
	dlist_iter agents;

	d->connections_read = 0;
	dlist_foreach(agents, &d->agents)
		dlist_container(DispatcherAgent, node, agents.cur)->known = false;
	args[0] = PointerGetDatum(busy_agents(d));
	agentpay_worker_execute(&statement, 1, types, args);
	for (uint64 i = 0; i < SPI_processed; i++)
		read_connection(d, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	d->connections_read = generation;
}

static ArrayType *
busy_agents(Dispatcher *d)
{
	Datum *names;
	int n = 0;
	int size = 0;
	dlist_iter iter;

	dlist_foreach(iter, &d->agents)
		size++;
	names = palloc(sizeof(Datum) * Max(size, 1));
	dlist_foreach(iter, &d->agents)
	{
		DispatcherAgent *agent = dlist_container(DispatcherAgent, node,
												 iter.cur);

		if (agent->busy > 0)
			names[n++] = CStringGetTextDatum(agent->name);
	}
	return construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/* Keeps a row of _connections() with its agent. */
static void
read_connection(Dispatcher *d, HeapTuple row, TupleDesc desc)
{
	DispatcherAgent *agent = dispatcher_agent(d, SPI_getvalue(row, desc, 1));
	char *protocol = SPI_getvalue(row, desc, 2);
	bool isnull;
	MemoryContext old;

	forget_connection(agent);
	if (agent->settings == NULL)
		agent->settings = AllocSetContextCreate(d->context,
												"agentpay dispatcher agent",
												ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(agent->settings);
	agent->protocol = agentpay_protocol_find(protocol);
	agent->timeout_ms = DatumGetInt32(SPI_getbinval(row, desc, 5, &isnull));
	agent->max_attempts = DatumGetInt32(SPI_getbinval(row, desc, 6, &isnull));
	agent->row.max_in_flight = DatumGetInt32(
		SPI_getbinval(row, desc, 7, &isnull));
	agent->killed = DatumGetBool(SPI_getbinval(row, desc, 9, &isnull));
	agent->row.version = DatumGetInt32(SPI_getbinval(row, desc, 10, &isnull));
	agent->row.calls_per_second = DatumGetFloat8(
		SPI_getbinval(row, desc, 17, &isnull));
	read_talk(&agent->talk, row, desc);
	if (agent->protocol == NULL)
		agent->unfit = "its protocol is not supported";
	else if (agent->talk.endpoint == NULL)
		agent->unfit = "the agent has no endpoint";
	else if (!DatumGetBool(SPI_getbinval(row, desc, 16, &isnull)))
		agent->unfit = "its origin is not in agentpay.allowed_endpoints";
	else
	{
		char *url = agent->protocol->url(&agent->talk, &agent->unfit);

		agent->url = url ? pstrdup(url) : NULL;
		free(url);
	}
	agent->secret_from = copy_value(row, desc, 4);
	if (agent->plainer_version != agent->row.version)
	{
		agent->plainer = 0;
		agent->plainest = INT_MAX;
	}
	agent->plainer_version = agent->row.version;
	agent->known = true;
	MemoryContextSwitchTo(old);
	dispatcher_set_part(d, agent);
}

/* Endpoint, model, options and vocabulary; copied to the current context. */
static void
read_talk(AgentpayProtocolAgent *talk, HeapTuple row, TupleDesc desc)
{
	bool isnull;
	Datum verdicts = SPI_getbinval(row, desc, 8, &isnull);
	Datum *values;

	talk->endpoint = copy_value(row, desc, 3);
	talk->model = copy_value(row, desc, 11);
	talk->options = copy_value(row, desc, 12);
	talk->default_verdict = copy_value(row, desc, 14);
	talk->positive_verdict = copy_value(row, desc, 15);
	if (!isnull)
	{
		char **names;
		bool *positive;
		int n;

		deconstruct_array(DatumGetArrayTypeP(verdicts), TEXTOID, -1, false,
						  TYPALIGN_INT, &values, NULL, &talk->n_verdicts);
		names = palloc(sizeof(char *) * Max(talk->n_verdicts, 1));
		for (int i = 0; i < talk->n_verdicts; i++)
			names[i] = TextDatumGetCString(values[i]);
		talk->verdicts = (const char *const *) names;
		positive = palloc0(sizeof(bool) * Max(talk->n_verdicts, 1));
		deconstruct_array(DatumGetArrayTypeP(
							  SPI_getbinval(row, desc, 13, &isnull)),
						  BOOLOID, 1, true, TYPALIGN_CHAR, &values, NULL, &n);
		for (int i = 0; i < Min(n, talk->n_verdicts); i++)
			positive[i] = DatumGetBool(values[i]);
		talk->positive = positive;
	}
}

/* A column's text, NULL for NULL, in the current context. */
static char *
copy_value(HeapTuple row, TupleDesc desc, int column)
{
	char *value = SPI_getvalue(row, desc, column);

	return value ? pstrdup(value) : NULL;
}

/* Each time anew: it may have changed where it is. */
static void
read_secret(DispatcherAgent *agent)
{
	MemoryContext old;

	wipe_secret(agent);
	agent->problem = agent->unfit;
	if (agent->busy == 0 || !agent->known || agent->secret_from == NULL)
		return;
	old = MemoryContextSwitchTo(agent->settings);
	agent->secret = dispatcher_read_secret(agent->secret_from, &agent->problem);
	MemoryContextSwitchTo(old);
}

/* It is read again for the next batch. */
static void
wipe_secret(DispatcherAgent *agent)
{
	if (agent->secret == NULL)
		return;
	explicit_bzero(agent->secret, strlen(agent->secret));
	pfree(agent->secret);
	agent->secret = NULL;
}

static void
forget_connection(DispatcherAgent *agent)
{
	wipe_secret(agent);
	if (agent->settings)
		MemoryContextReset(agent->settings);
	memset(&agent->talk, 0, sizeof(agent->talk));
	agent->url = NULL;
	agent->secret_from = NULL;
	agent->unfit = NULL;
	agent->problem = NULL;
}

/* Hands a task over, or ends it without a call.  It is in no list. */
static void
start(Dispatcher *d, DispatcherTask *task)
{
	DispatcherAgent *agent = task->agent;
	const char *problem;

	if (!agent->known)
		problem = "the agent was removed";
	else if (agent->killed)
	{
		dispatcher_end_unsent(d, task, "killed", "a switch is engaged");
		return;
	}
	else
		problem = agent->problem ? agent->problem : start_call(d, task);
	if (problem != NULL)
	{
		agentpay_worker_report_error(problem);
		dispatcher_end_unsent(d, task, "skipped", problem);
		return;
	}
	dlist_push_tail(&d->in_flight, &task->node);
	pg_atomic_fetch_add_u64(&agentpay_worker_slot()->calls, 1);
}

/* NULL when libcurl has it; otherwise why not. */
static const char *
start_call(Dispatcher *d, DispatcherTask *task)
{
	DispatcherAgent *agent = task->agent;
	AgentpayProtocolHeaders headers;
	const char *problem = NULL;
	AgentpayProtocolCall call = {
		.url = agent->url,
		.options = agent->talk.options,
		.secret = agent->secret,
		.idempotency_key = task->idempotency_key,
		.now = time(NULL),
	};
	AgentpayHttpRequest request = {
		.url = agent->url,
		.headers = headers.headers,
		.timeout_ms = agent->timeout_ms,
		.connect_timeout_ms = Min(agentpay_connect_timeout_ms,
								  agent->timeout_ms),
		.low_speed_bytes = LOW_SPEED_BYTES,
		.low_speed_seconds = LOW_SPEED_SECONDS,
		.response_limit_bytes = (size_t) agentpay_response_limit_kb * 1024,
		.secret = agent->secret,
		.proxy_secret = d->proxy_secret,
		.request_id_header = agent->protocol->request_id_header,
		.user = task,
	};

	make_plainer(d, task);
	call.body = request.body = task->body;
	call.body_len = request.body_len = strlen(task->body);
	hash_body(task, request.body_len);
	if (agent->protocol->headers(&call, &headers, &problem))
	{
		request.n_headers = headers.n;
		task->transfer = agentpay_http_client_start(d->client, &request,
													&problem);
	}
	explicit_bzero(&headers, sizeof(headers));
	pfree(task->body);
	task->body = NULL;
	if (task->transfer == NULL)
		return problem ? problem : "the call could not be started";
	task->called_at = agentpay_clock_now();
	task->in_flight_at_start = ++task->agent->in_flight;
	return NULL;
}

/*
 * Asks for the shape of the answer in the way that the agent's server is
 * known to take.  The body gets no longer, so that its bound still holds.
 */
static void
make_plainer(Dispatcher *d, DispatcherTask *task)
{
	DispatcherAgent *agent = task->agent;

	task->plainer = 0;
	while (task->plainer < agent->plainer)
	{
		size_t len = strlen(task->body);
		char *body = agent->protocol->plainer_body(task->body, &len);

		if (body == NULL)
		{
			agent->plainer = agent->plainest = task->plainer;
			break;
		}
		pfree(task->body);
		task->body = MemoryContextStrdup(d->context, body);
		free(body);
		task->plainer++;
	}
}

/* Keeps the SHA-256 of the exact bytes that are sent, in hexadecimal. */
static void
hash_body(DispatcherTask *task, size_t len)
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (uint8 *) task->body, len) < 0 ||
		pg_cryptohash_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA-256");
	pg_cryptohash_free(context);
	hex_encode((char *) digest, sizeof(digest), task->sha256);
	task->sha256[64] = '\0';
}

/*
 * Aborts the calls that a switch stops.  A kill wakes the dispatcher at its
 * commit, so this comes at once.
 */
void
dispatcher_abort_killed(Dispatcher *d)
{
	uint64 generation = agentpay_kill_switch_generation();
	dlist_iter iter;

	if (!dlist_is_empty(&d->in_flight))
	{
		agentpay_worker_report("working", "looking at the kill switches");
		if (!agentpay_worker_run(find_killed, d))
			return;
		dlist_foreach(iter, &d->in_flight)
		{
			DispatcherTask *task = dlist_container(DispatcherTask, node,
												   iter.cur);

			if (task->agent->killed)
				agentpay_http_client_abort(d->client, task->transfer);
		}
	}
	d->kill_seen = generation;
}

static void
find_killed(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT a FROM unnest(agentpay._killed_agents()) AS a"};
	Dispatcher *d = arg;
	dlist_iter iter;

	dlist_foreach(iter, &d->agents)
		dlist_container(DispatcherAgent, node, iter.cur)->killed = false;
	agentpay_worker_execute(&statement, 0, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		dispatcher_agent(d, SPI_getvalue(SPI_tuptable->vals[i],
										 SPI_tuptable->tupdesc, 1))
			->killed = true;
}
