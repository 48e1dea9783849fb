/*-------------------------------------------------------------------------
 * dispatcher.h
 *		What the parts of the dispatcher share; private to workers/.
 *
 * All of it lives in one process and one thread.  What is in memory can be
 * lost at any moment: the tables say what is true (sql/parts/55_tasks.sql).
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DISPATCHER_H
#define AGENTPAY_DISPATCHER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "utils/array.h"

#include "agents/answer.h"
#include "agents/http_client.h"
#include "agents/protocol.h"
#include "workers/agent_limits.h"

/* Tasks handled by one transaction. */
#define DISPATCHER_CLAIM_BATCH 500
#define DISPATCHER_START_BATCH 256
#define DISPATCHER_RECORD_BATCH 256

/* Instead of a number of tasks: the kill lock is taken, or an error. */
#define DISPATCHER_LOCKED (-1)
#define DISPATCHER_FAILED (-2)

/* An agent that has tasks; never freed, there are few. */
typedef struct DispatcherAgent
{
	dlist_node node; /* in Dispatcher.agents */
	char *name;
	dlist_head waiting;		/* tasks whose turn has come, oldest first */
	int n_waiting;			/* with those in Dispatcher.later */
	bool spilled;			/* more of them wait in _task_work */
	int64 beyond;			/* the last place in _task_work that was loaded */
	TimestampTz reload_at;	/* when to look for what was left out; 0: nothing */
	int busy;				/* prepared or in flight */
	int in_flight;			/* handed over to libcurl, not yet collected */
	AgentpayAgentRow row;	/* what limits it, over all dispatchers */
	int limits_place;		/* in agent_limits.c */
	bool broken;			/* its breaker is open */
	TimestampTz not_before; /* of its next call, for its rate; 0: now */
	/* its tasks are shared by so many dispatchers; which part is ours, -1: none */
	int parts;
	int part;
	/* how it is called, as of the last reading */
	bool known;
	bool killed;
	const AgentpayProtocol *protocol; /* NULL only before the first start */
	MemoryContext settings;			  /* of what talk points to */
	AgentpayProtocolAgent talk;		  /* how its answers are read */
	char *url;
	char *secret_from;	 /* where its secret is; NULL: it has none */
	const char *unfit;	 /* why it cannot be called; NULL: it can */
	char *secret;		 /* while calls are started */
	const char *problem; /* why it cannot be called just now */
	int timeout_ms;
	int max_attempts;
	/* how often its server refused the shape that was asked for */
	int plainer;
	int plainest;		 /* a body cannot be made plainer than so often */
	int plainer_version; /* of the agent that plainer is about */
} DispatcherAgent;

/* What became of a call; dispatcher_result.c. */
typedef struct DispatcherResult DispatcherResult;

typedef struct DispatcherTask
{
	dlist_node node; /* in one of the lists below, or an agent's */
	DispatcherAgent *agent;
	int64 task_id;
	TimestampTz created_at; /* by agentpay's clock */
	TimestampTz run_after;	/* by the system's clock; 0: now */
	int attempt;
	char *body;	 /* from prepare to start */
	int plainer; /* steps that its body was made plainer */
	char idempotency_key[37];
	char sha256[65];
	TimestampTz called_at; /* by agentpay's clock; 0: not handed over */
	int in_flight_at_start;
	AgentpayHttpTransfer *transfer;
	DispatcherResult *result; /* its end, when in done */
	bool retry;
	int delay_ms;
	bool permitted; /* agent_limits.c counts it */
	bool probe;
} DispatcherTask;

/* What a result means; strings are constants or live as long as the result. */
typedef struct DispatcherReading
{
	const char *status;	 /* of the call */
	const char *failure; /* of the answer, NULL: none */
	const char *charge;
	const char *error;
	bool retryable;
	AgentpayBreakerOutcome outcome;
	int retry_after_ms; /* -1: none */
	char buffer[128];
} DispatcherReading;

/* A breaker that has opened or closed, to be recorded. */
typedef struct DispatcherNews
{
	dlist_node node; /* in Dispatcher.news */
	char agent[AGENTPAY_LIMITS_NAME_LEN];
	AgentpayBreakerNews breaker;
	char reason[AGENTPAY_LIMITS_ERROR_LEN];
} DispatcherNews;

typedef struct Dispatcher
{
	MemoryContext context; /* agents, tasks, results */
	MemoryContext turn;	   /* current; emptied at each turn of the loop */
	AgentpayHttpClient *client;
	char *egress_proxy; /* as the client has them */
	char *ca_file;
	int max_idle;
	char *proxy_secret; /* while calls are started; NULL: none */
	int64 lease;
	int number; /* among those of this database */
	int rank;	/* among those that take part, */
	int n;		/* and how many these are; 0: not known yet */
	bool enlisted;
	dlist_head agents;
	dlist_head later; /* tasks with run_after, in no order */
	dlist_head ready; /* sent in the table, not yet handed over */
	dlist_head in_flight;
	dlist_head done; /* with a result to record */
	int n_busy;		 /* ready and in_flight */
	int n_done;
	TimestampTz record_after; /* recording failed: not before */
	int start_failures;		  /* in a row */
	TimestampTz start_after;  /* starting failed: not before */
	uint64 connections_read; /* the configuration's generation then; 0: never */
	uint64 kill_seen;
	bool checks;	   /* this turn looks at what may have changed unheard */
	bool claim_behind; /* the next claim goes on with an older snapshot */
	uint32 wakes_seen;
	bool applies_wait; /* verdicts wait for their row */
	uint32 arrivals_seen;
	dlist_head news;
	int max_in_flight; /* as many as there are file descriptors for */
} Dispatcher;

/* dispatcher.c: calls that may be under way at once. */
extern int dispatcher_max_in_flight(const Dispatcher *d);

/* dispatcher_group.c: this dispatcher among others. */
extern bool dispatcher_enlist(Dispatcher *d);
extern void dispatcher_regroup(Dispatcher *d);
extern void dispatcher_set_part(Dispatcher *d, DispatcherAgent *agent);
extern bool dispatcher_take_arrivals(Dispatcher *d);

/* dispatcher_queue.c: claims, and who is next. */
extern int dispatcher_claim(Dispatcher *d); /* tasks seen, or < 0 */
extern bool dispatcher_learn(Dispatcher *d);
extern void dispatcher_left_out(DispatcherAgent *agent);
extern bool dispatcher_refill(Dispatcher *d);
extern void dispatcher_unload(Dispatcher *d, DispatcherAgent *agent);
extern void dispatcher_move_due(Dispatcher *d, TimestampTz now);
extern TimestampTz dispatcher_next_due(Dispatcher *d);
extern int dispatcher_pick(Dispatcher *d, DispatcherTask **picked, int max);
extern void dispatcher_permit_ends(Dispatcher *d, DispatcherTask *task);
extern void
dispatcher_wait(Dispatcher *d, DispatcherTask *task, TimestampTz run_after);
extern DispatcherAgent *dispatcher_agent(Dispatcher *d, const char *name);
extern void dispatcher_free_task(DispatcherTask *task);

/* dispatcher_egress.c: the way out, as the settings have it. */
extern void dispatcher_create_client(Dispatcher *d);
extern void dispatcher_follow_settings(Dispatcher *d, bool look_at_files);
extern char *
dispatcher_read_secret(const char *reference, const char **problem);
extern void dispatcher_read_proxy_secret(Dispatcher *d);
extern void dispatcher_wipe_proxy_secret(Dispatcher *d);

/* dispatcher_prepare.c: from waiting to ready, or to an end without a call. */
extern bool dispatcher_prepare(Dispatcher *d); /* something was picked */
extern void dispatcher_skip_broken(Dispatcher *d);

/* dispatcher_start.c: from ready to in flight, and off again. */
extern long dispatcher_hand_over(Dispatcher *d); /* again in so many ms */
extern void dispatcher_abort_killed(Dispatcher *d);

/* dispatcher_record.c: from in flight to the tables. */
extern void dispatcher_collect(Dispatcher *d);
extern void dispatcher_end_unsent(Dispatcher *d, DispatcherTask *task,
								  const char *failure, const char *error);
extern bool dispatcher_record(Dispatcher *d); /* false: not now */

/* dispatcher_result.c: what became of a call, until it is recorded. */
extern void dispatcher_set_result(Dispatcher *d, DispatcherTask *task,
								  const DispatcherReading *reading,
								  const AgentpayHttpResult *result,
								  const AgentpayAnswer *answer);
extern void dispatcher_free_result(DispatcherTask *task);
extern ArrayType *dispatcher_results(DispatcherTask **tasks, int n, Oid *type);

/* dispatcher_apply.c: verdicts that wait for their row; false: some still do. */
extern bool dispatcher_apply(Dispatcher *d);
/* What a claim decided goes to the disk, and takes effect. */
extern void dispatcher_end_claimed(Dispatcher *d);

#endif /* AGENTPAY_DISPATCHER_H */
