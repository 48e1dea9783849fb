/*-------------------------------------------------------------------------
 * breaker.h
 *		A circuit breaker: stops asking a provider that fails, and finds out
 *		when it is back.
 *
 * Pure: no PostgreSQL, no clock, no memory of its own.  Times are microseconds
 * of any clock that never goes back.  The caller guards it by a lock.
 *
 * closed: everybody may call.  It opens after a run of failures, or when too
 * large a part of the last calls failed.  open: nobody may, until a moment;
 * the first who asks then makes the probe.  probing: nobody else may.  A probe
 * that succeeds closes it; one that fails opens it for twice as long.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_BREAKER_H
#define AGENTPAY_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

/* Calls over which the share of failures is judged; both halve at twice. */
#define AGENTPAY_BREAKER_MIN_CALLS 20

typedef enum AgentpayBreakerState
{
	AGENTPAY_BREAKER_CLOSED,
	AGENTPAY_BREAKER_OPEN,
	AGENTPAY_BREAKER_PROBING
} AgentpayBreakerState;

typedef struct AgentpayBreaker
{
	AgentpayBreakerState state;
	int run;	  /* failures since the last success */
	int calls;	  /* lately, */
	int failures; /* and of them */
	int openings; /* since it was last closed */
	int64_t open_until;
	int prober; /* who makes the probe */
} AgentpayBreaker;

typedef struct AgentpayBreakerSettings
{
	int run;	 /* failures in a row that open it; 0: never opens */
	int percent; /* of the last calls that open it; 100: only a run does */
	int first_wait_ms;
	int max_wait_ms;
} AgentpayBreakerSettings;

/* What became of a call, as far as it concerns the provider. */
typedef enum AgentpayBreakerOutcome
{
	AGENTPAY_BREAKER_ANSWERED, /* whatever it said */
	AGENTPAY_BREAKER_FAILED,   /* no answer, or that it cannot answer now */
	AGENTPAY_BREAKER_UNKNOWN   /* it was stopped, or never made */
} AgentpayBreakerOutcome;

typedef enum AgentpayBreakerPermit
{
	AGENTPAY_BREAKER_CALL,
	AGENTPAY_BREAKER_PROBE, /* a call, and the only one */
	AGENTPAY_BREAKER_REFUSED
} AgentpayBreakerPermit;

typedef enum AgentpayBreakerChange
{
	AGENTPAY_BREAKER_SAME,
	AGENTPAY_BREAKER_OPENED,
	AGENTPAY_BREAKER_REOPENED, /* a probe failed */
	AGENTPAY_BREAKER_CLOSED_AGAIN
} AgentpayBreakerChange;

/* May this caller call now?  A probe is its own from here on. */
extern AgentpayBreakerPermit
agentpay_breaker_ask(AgentpayBreaker *breaker,
					 const AgentpayBreakerSettings *settings, int caller,
					 int64_t now);

/*
 * A call of this caller has ended.  probe: it was allowed as one.  draw is a
 * random number of [0, 1), for the length of a wait; retry_after_ms is what
 * the provider asked for, or -1.
 */
extern AgentpayBreakerChange
agentpay_breaker_note(AgentpayBreaker *breaker,
					  const AgentpayBreakerSettings *settings, int caller,
					  bool probe, AgentpayBreakerOutcome outcome,
					  int retry_after_ms, double draw, int64_t now);

/* The caller is gone, and its probe with it. */
extern void
agentpay_breaker_forget(AgentpayBreaker *breaker, int caller, int64_t now);

#endif /* AGENTPAY_BREAKER_H */
