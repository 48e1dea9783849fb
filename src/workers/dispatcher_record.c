/*-------------------------------------------------------------------------
 * dispatcher_record.c
 *		From in flight to the tables: what became of each call.
 *
 * A result is copied at once and freed; the copy (dispatcher_result.c) waits
 * until a transaction has recorded it.  The transaction holds the kill lock shared to
 * its commit: an answer recorded after a kill is stored, not applied.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "control/kill_switch.h"
#include "privacy/detect.h"
#include "privacy/keys.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* Waits before another attempt: at random between nothing and this, doubled
 * each time, or what the agent asked for. */
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 10000
/* Anthropic's own status: refused for want of capacity. */
#define OVERLOADED 529
/* After an error of ours. */
#define RETRY_MS 500

typedef struct Record
{
	Dispatcher *d;
	DispatcherTask **tasks;
	int n;
	bool locked;
} Record;

static void read_result(const AgentpayHttpResult *result, DispatcherTask *task,
						AgentpayAnswer *answer, DispatcherReading *reading);
static void read_body(const AgentpayHttpResult *result, DispatcherTask *task,
					  AgentpayAnswer *answer, DispatcherReading *reading);
static bool ask_plainer(const AgentpayHttpResult *result, DispatcherTask *task);
static int backoff_ms(int attempt, int retry_after_ms);
static void finish(Dispatcher *d, DispatcherTask *task);
static void call_ends(Dispatcher *d, DispatcherTask *task,
					  const DispatcherReading *reading);
static void note_breaker(void *arg);
static void forget_news(Dispatcher *d);
static bool
record_batch(Dispatcher *d, DispatcherTask **tasks, int n, bool *locked);
static void record(void *arg);

/* Takes every finished call from libcurl. */
void
dispatcher_collect(Dispatcher *d)
{
	AgentpayHttpResult result;
	AgentpayHttpTransfer *transfer;

	while ((transfer = agentpay_http_client_next_done(d->client, &result)))
	{
		DispatcherTask *task = result.user;
		AgentpayAnswer answer = {0};
		DispatcherReading reading = {0};

		dlist_delete(&task->node);
		task->agent->in_flight--;
		reading.retry_after_ms = result.retry_after_ms;
		read_result(&result, task, &answer, &reading);
		task->retry = reading.retryable &&
					  task->attempt < task->agent->max_attempts;
		if (task->retry)
			task->delay_ms = backoff_ms(task->attempt, result.retry_after_ms);
		dispatcher_set_result(d, task, &reading, &result, &answer);
		agentpay_answer_free(&answer);
		agentpay_http_transfer_free(transfer);
		task->transfer = NULL;
		call_ends(d, task, &reading);
		finish(d, task);
	}
}

/* What happened, as agent_calls and decisions say it. */
static void
read_result(const AgentpayHttpResult *result, DispatcherTask *task,
			AgentpayAnswer *answer, DispatcherReading *reading)
{
	reading->error = result->problem;
	reading->outcome = AGENTPAY_BREAKER_FAILED;
	switch (result->status)
	{
		case AGENTPAY_HTTP_OK:
			read_body(result, task, answer, reading);
			return;
		case AGENTPAY_HTTP_KILLED:
			reading->status = reading->failure = "killed";
			reading->outcome = AGENTPAY_BREAKER_UNKNOWN;
			break;
		case AGENTPAY_HTTP_TIMEOUT:
			reading->status = reading->failure = "timeout";
			reading->retryable = !result->sent;
			break;
		case AGENTPAY_HTTP_TRUNCATED:
			reading->status = reading->failure = "truncated";
			reading->outcome = AGENTPAY_BREAKER_ANSWERED;
			break;
		case AGENTPAY_HTTP_REFUSED:
			reading->status = reading->failure = "http_error";
			reading->outcome = AGENTPAY_BREAKER_UNKNOWN;
			break;
		case AGENTPAY_HTTP_ERROR:
			if (result->sent)
			{
				reading->status = reading->failure = "uncertain";
				reading->charge = "uncertain";
				return;
			}
			reading->status = reading->failure = "http_error";
			reading->retryable = true;
			break;
	}
	reading->charge = result->sent ? "bound" : "none";
}

/* A whole answer came. */
static void
read_body(const AgentpayHttpResult *result, DispatcherTask *task,
		  AgentpayAnswer *answer, DispatcherReading *reading)
{
	const AgentpayProtocol *protocol = task->agent->protocol;
	int status = result->http_status;
	char code[65];

	/* a 4xx is our fault, a bad answer the model's */
	if (status != 429 && status < 500)
		reading->outcome = AGENTPAY_BREAKER_ANSWERED;
	if (status == 200)
	{
		protocol->answer(&task->agent->talk, result->body, result->body_len,
						 answer);
		reading->status = agentpay_answer_status_name(answer->status);
		if (answer->status != AGENTPAY_ANSWER_OK)
			reading->failure = reading->status;
		reading->charge = answer->usage_valid ? "usage" : "bound";
		reading->error = answer->problem ? answer->problem : "";
		return;
	}
	protocol->error_code(result->body, result->body_len, code, sizeof(code));
	snprintf(reading->buffer, sizeof(reading->buffer), "HTTP %d%s%s", status,
			 code[0] ? ": " : "", code);
	reading->error = reading->buffer;
	reading->status = reading->failure = status == 429 ? "rate_limited"
													   : "http_error";
	reading->retryable = status == 429 || (status >= 500 && status <= 504) ||
						 status == OVERLOADED || ask_plainer(result, task);
	/* refused before any work, or perhaps not */
	reading->charge = (status >= 300 && status < 500) || status == 503 ||
							  status == OVERLOADED
						  ? "none"
						  : "bound";
}

/*
 * Whether the call may be repeated with a plainer body, because the server
 * refused the shape that was asked for.  Kept for the agent's next calls.
 */
static bool
ask_plainer(const AgentpayHttpResult *result, DispatcherTask *task)
{
	DispatcherAgent *agent = task->agent;
	const AgentpayProtocol *protocol = agent->protocol;

	if (protocol->refuses_structure == NULL ||
		task->plainer >= agent->plainest ||
		!protocol->refuses_structure(result->http_status, result->body,
									 result->body_len))
		return false;
	agent->plainer = Max(agent->plainer, task->plainer + 1);
	return true;
}

static int
backoff_ms(int attempt, int retry_after_ms)
{
	int most = BACKOFF_FIRST_MS << Min(attempt - 1, 10);
	int delay = (int) pg_prng_uint64_range(&pg_global_prng_state, 0,
										   Min(most, BACKOFF_MAX_MS));

	return Max(delay, retry_after_ms);
}

/* Ends a task that was prepared and is not going to be called. */
void
dispatcher_end_unsent(Dispatcher *d, DispatcherTask *task, const char *failure,
					  const char *error)
{
	DispatcherReading reading = {.failure = failure,
								 .charge = "released",
								 .error = error};

	task->retry = false;
	dispatcher_set_result(d, task, &reading, NULL, NULL);
	finish(d, task);
}

/* The task, in no list, has its result. */
static void
finish(Dispatcher *d, DispatcherTask *task)
{
	dlist_push_tail(&d->done, &task->node);
	d->n_done++;
	dispatcher_permit_ends(d, task);
}

/* What the call says about the agent's provider. */
static void
call_ends(Dispatcher *d, DispatcherTask *task, const DispatcherReading *reading)
{
	AgentpayBreakerNews breaker;
	DispatcherNews *news;

	if (!task->permitted)
		return;
	agentpay_limits_done(task->agent->limits_place, d->number, task->probe,
						 reading->outcome, reading->retry_after_ms, &breaker);
	task->permitted = task->probe = false;
	if (breaker.change == AGENTPAY_BREAKER_SAME)
		return;
	news = MemoryContextAllocZero(d->context, sizeof(DispatcherNews));
	strlcpy(news->agent, task->agent->name, sizeof(news->agent));
	news->breaker = breaker;
	if (breaker.change == AGENTPAY_BREAKER_CLOSED_AGAIN)
		strlcpy(news->reason, "a probe was answered", sizeof(news->reason));
	else
		snprintf(news->reason, sizeof(news->reason), "%s: %s", reading->failure,
				 reading->error ? reading->error : "");
	dlist_push_tail(&d->news, &news->node);
	if (breaker.change == AGENTPAY_BREAKER_REOPENED)
		return;
	ereport(LOG, (errmsg("agentpay: the circuit breaker of agent \"%s\" %s",
						 news->agent,
						 breaker.change == AGENTPAY_BREAKER_OPENED ? "opens"
																   : "closes"),
				  errdetail("The last call: %s.", news->reason)));
	if (breaker.change == AGENTPAY_BREAKER_OPENED)
		agentpay_worker_report_error(
			psprintf("agent %s: %s", news->agent, news->reason));
}

/* One event each in governance_log. */
static void
note_breaker(void *arg)
{
	Dispatcher *d = arg;
	Oid types[4] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	dlist_iter iter;

	dlist_foreach(iter, &d->news)
	{
		DispatcherNews *news = dlist_container(DispatcherNews, node, iter.cur);
		bool closes = news->breaker.change == AGENTPAY_BREAKER_CLOSED_AGAIN;
		char *detail = closes ? "{}"
							  : psprintf("{\"failures_in_a_row\": %d,"
										 " \"calls\": %d, \"failures\": %d,"
										 " \"openings\": %d, \"wait_ms\": %d}",
										 news->breaker.run, news->breaker.calls,
										 news->breaker.failures,
										 news->breaker.openings,
										 news->breaker.wait_ms);
		Datum args[4] = {CStringGetTextDatum(news->agent),
						 CStringGetTextDatum(closes ? "breaker_close"
													: "breaker_open"),
						 CStringGetTextDatum(news->reason),
						 CStringGetTextDatum(detail)};

		SPI_execute_with_args("SELECT agentpay._note_breaker($1, $2, $3,"
							  " $4::jsonb)",
							  4, types, args, NULL, false, 0);
	}
}

static void
forget_news(Dispatcher *d)
{
	while (!dlist_is_empty(&d->news))
		pfree(dlist_container(DispatcherNews, node,
							  dlist_pop_head_node(&d->news)));
}

/* Records what is done; false when it has to be tried again. */
bool
dispatcher_record(Dispatcher *d)
{
	if (d->n_done > 0 && GetCurrentTimestamp() < d->record_after)
		return false;
	if (!dlist_is_empty(&d->news) && agentpay_worker_run(note_breaker, d))
		forget_news(d);
	while (d->n_done > 0)
	{
		DispatcherTask *tasks[DISPATCHER_RECORD_BATCH];
		int n = 0;
		bool locked = true;
		dlist_iter iter;

		dlist_foreach(iter, &d->done)
		{
			if (n == DISPATCHER_RECORD_BATCH)
				break;
			tasks[n++] = dlist_container(DispatcherTask, node, iter.cur);
		}
		agentpay_worker_report("working", "recording answers");
		if (record_batch(d, tasks, n, &locked))
			continue;
		if (!locked)
			return false;
		d->record_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  RETRY_MS);
		if (n == 1)
			return false;
		/* one of them spoils the batch: each for itself, in the end */
		for (int i = 0; i < n; i++)
		{
			if (record_batch(d, &tasks[i], 1, &locked))
				continue;
			if (!locked)
				return false;
			dlist_delete(&tasks[i]->node);
			dlist_push_tail(&d->done, &tasks[i]->node);
		}
		return d->n_done == 0;
	}
	return true;
}

/* Records and disposes of the tasks; on false they are where they were. */
static bool
record_batch(Dispatcher *d, DispatcherTask **tasks, int n, bool *locked)
{
	Record r = {.d = d, .tasks = tasks, .n = n};
	bool done = agentpay_worker_run(record, &r);

	*locked = r.locked;
	if (!done || !r.locked)
		return false;
	for (int i = 0; i < n; i++)
	{
		DispatcherTask *task = tasks[i];

		dlist_delete(&task->node);
		d->n_done--;
		if (!task->retry)
		{
			dispatcher_free_task(task);
			continue;
		}
		dispatcher_free_result(task);
		task->called_at = 0;
		dispatcher_wait(d, task,
						TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													task->delay_ms));
	}
	return true;
}

/* One call of _record(), with the kill lock shared to its commit. */
static void
record(void *arg)
{
	static AgentpayWorkerStatement statement = {
		"SELECT * FROM agentpay._record($1, $2)"};
	Record *r = arg;
	Oid types[2] = {INT8OID, InvalidOid};
	Datum args[2];

	r->locked = agentpay_kill_switch_try_share();
	if (!r->locked)
		return;
	args[0] = Int64GetDatum(r->d->lease);
	args[1] = PointerGetDatum(dispatcher_results(r->tasks, r->n, &types[1]));
	agentpay_worker_execute(&statement, 2, types, args);
	/* which of them go on: a kill ends a task that was to be tried again */
	for (int i = 0; i < r->n; i++)
	{
		bool again = false;

		for (uint64 k = 0; k < SPI_processed && !again; k++)
		{
			bool isnull;

			again = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[k],
												SPI_tuptable->tupdesc, 1,
												&isnull)) ==
					r->tasks[i]->task_id;
		}
		r->tasks[i]->retry = again;
	}
}
