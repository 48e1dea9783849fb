/*-------------------------------------------------------------------------
 * agent_limits.h
 *		What limits an agent over all dispatchers of its database: calls at
 *		once, calls per second, and its circuit breaker.
 *
 * In shared memory: it survives a dispatcher, not the server.
 *
 * Locking: all of it under one lock of its own, for moments only; inside it
 * nothing is allocated, and nothing can throw.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_AGENT_LIMITS_H
#define AGENTPAY_AGENT_LIMITS_H

#include "postgres.h"

#include "base/settings.h"
#include "workers/breaker.h"

/* An agent's name has at most 48 bytes. */
#define AGENTPAY_LIMITS_NAME_LEN 64
#define AGENTPAY_LIMITS_ERROR_LEN 128

/* What an agent's row says; a changed version closes the breaker. */
typedef struct AgentpayAgentRow
{
	int version;
	int max_in_flight;
	double calls_per_second; /* 0: no limit */
} AgentpayAgentRow;

typedef enum AgentpayLimitsAnswer
{
	AGENTPAY_LIMITS_CALL,
	AGENTPAY_LIMITS_PROBE,
	AGENTPAY_LIMITS_FULL, /* as many as it may have are under way */
	AGENTPAY_LIMITS_LATER,
	AGENTPAY_LIMITS_BROKEN /* its breaker is open */
} AgentpayLimitsAnswer;

/* What has happened to a breaker, for the record. */
typedef struct AgentpayBreakerNews
{
	AgentpayBreakerChange change;
	int run;
	int calls;
	int failures;
	int openings;
	int wait_ms; /* until the probe */
} AgentpayBreakerNews;

/* From _PG_init. */
extern void agentpay_limits_install(void);

/*
 * Asks for one call of this dispatcher (0 ...) to an agent of this database.
 * Granted are CALL and PROBE; each is given back by one of the next two, with
 * the *place where the agent is (-1 before the first time).  LATER sets
 * *wait_ms.
 */
extern AgentpayLimitsAnswer
agentpay_limits_take(const char *agent, int *place, int dispatcher,
					 const AgentpayAgentRow *row, int *wait_ms);

/* It is not made after all. */
extern void agentpay_limits_give_back(int place, int dispatcher, bool probe);

/* It has ended. */
extern void agentpay_limits_done(int place, int dispatcher, bool probe,
								 AgentpayBreakerOutcome outcome,
								 int retry_after_ms, AgentpayBreakerNews *news);

/* Nothing of this dispatcher's is under way (any more). */
extern void agentpay_limits_forget(Oid database, int dispatcher);

/*
 * The agents of a database whose breaker is not closed: their number, names
 * up to max of them.
 */
extern int
agentpay_limits_broken(Oid database, char (*names)[AGENTPAY_LIMITS_NAME_LEN],
					   int max);

#endif /* AGENTPAY_AGENT_LIMITS_H */
