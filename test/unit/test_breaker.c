/*-------------------------------------------------------------------------
 * test_breaker.c
 *		A circuit breaker at its edges: what opens it, who probes, how long it
 *		waits.  The numbers are worked out by hand from breaker.h.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "tap.h"
#include "workers/breaker.h"

#define MS INT64_C(1000)

/* Opens after 3 in a row or more than half of 20; waits 1 s, at most 5. */
static const AgentpayBreakerSettings settings = {3, 50, 1000, 5000};

static AgentpayBreakerChange
note(AgentpayBreaker *breaker, bool probe, AgentpayBreakerOutcome outcome,
	 int64_t now)
{
	/* a draw of 0: half of the wait */
	return agentpay_breaker_note(breaker, &settings, 0, probe, outcome, -1, 0,
								 now);
}

static AgentpayBreakerPermit
ask(AgentpayBreaker *breaker, int caller, int64_t now)
{
	return agentpay_breaker_ask(breaker, &settings, caller, now);
}

static void
check_run(void)
{
	AgentpayBreaker breaker = {0};

	note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0);
	note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0);
	note(&breaker, false, AGENTPAY_BREAKER_ANSWERED, 0);
	note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0);
	note(&breaker, false, AGENTPAY_BREAKER_UNKNOWN, 0);
	check(note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0) ==
			  AGENTPAY_BREAKER_SAME,
		  "an answer ends a run, an abort does not count");
	check(note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0) ==
			  AGENTPAY_BREAKER_OPENED,
		  "three in a row open it");
	check(breaker.open_until == 500 * MS, "for half a second by this draw");
	check(note(&breaker, false, AGENTPAY_BREAKER_ANSWERED, 0) ==
				  AGENTPAY_BREAKER_SAME &&
			  breaker.state == AGENTPAY_BREAKER_OPEN,
		  "a call that began before does not close it");
}

/* 10 of 20 is not more than half, 11 of 21 is. */
static void
check_share(void)
{
	AgentpayBreaker breaker = {0};
	AgentpayBreakerChange change = AGENTPAY_BREAKER_SAME;
	int calls;

	for (calls = 1; calls <= 20; calls++)
		change = note(&breaker, false,
					  calls % 2 ? AGENTPAY_BREAKER_ANSWERED
								: AGENTPAY_BREAKER_FAILED,
					  0);
	check(change == AGENTPAY_BREAKER_SAME, "half of twenty does not open it");
	check(note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0) ==
			  AGENTPAY_BREAKER_OPENED,
		  "one more does, though it is only the second in a row");
}

static void
check_probes(void)
{
	AgentpayBreaker breaker = {0};

	for (int i = 0; i < 3; i++)
		note(&breaker, false, AGENTPAY_BREAKER_FAILED, 0);
	check(ask(&breaker, 0, 499 * MS) == AGENTPAY_BREAKER_REFUSED,
		  "an open breaker lets nobody through");
	check(ask(&breaker, 1, 500 * MS) == AGENTPAY_BREAKER_PROBE,
		  "then one probe");
	check(ask(&breaker, 0, 600 * MS) == AGENTPAY_BREAKER_REFUSED,
		  "and nobody beside it");
	check(note(&breaker, true, AGENTPAY_BREAKER_ANSWERED, 600 * MS) ==
			  AGENTPAY_BREAKER_SAME,
		  "the probe is its caller's");
	check(agentpay_breaker_note(&breaker, &settings, 1, true,
								AGENTPAY_BREAKER_FAILED, -1, 0.9999999,
								1000 * MS) == AGENTPAY_BREAKER_REOPENED &&
			  breaker.open_until == 3000 * MS,
		  "a failed one doubles the wait: 2 s by the largest draw");
	/* 4 s, then 5: the longest; a draw of 0 makes it half */
	(void) ask(&breaker, 0, 3000 * MS);
	note(&breaker, true, AGENTPAY_BREAKER_FAILED, 3000 * MS);
	check(breaker.open_until == 5000 * MS, "doubled again");
	(void) ask(&breaker, 0, 5000 * MS);
	note(&breaker, true, AGENTPAY_BREAKER_FAILED, 5000 * MS);
	check(breaker.open_until == 7500 * MS, "up to the longest wait");
	(void) ask(&breaker, 0, 7500 * MS);
	agentpay_breaker_forget(&breaker, 0, 8000 * MS);
	check(ask(&breaker, 1, 8000 * MS) == AGENTPAY_BREAKER_PROBE,
		  "a prober that is gone leaves the probe to the next");
	check(agentpay_breaker_note(&breaker, &settings, 1, true,
								AGENTPAY_BREAKER_ANSWERED, -1, 0,
								8100 * MS) == AGENTPAY_BREAKER_CLOSED_AGAIN &&
			  ask(&breaker, 0, 8100 * MS) == AGENTPAY_BREAKER_CALL &&
			  breaker.openings == 0,
		  "an answer closes it, and the waits begin anew");
}

static void
check_retry_after(void)
{
	AgentpayBreaker breaker = {0};
	AgentpayBreakerSettings off = settings;

	for (int i = 0; i < 3; i++)
		agentpay_breaker_note(&breaker, &settings, 0, false,
							  AGENTPAY_BREAKER_FAILED, 30000, 0, 0);
	check(breaker.open_until == 30000 * MS,
		  "what the provider asks for holds the probe");
	off.run = 0;
	check(agentpay_breaker_ask(&breaker, &off, 0, 0) == AGENTPAY_BREAKER_CALL,
		  "switched off, an open one closes");
	for (int i = 0; i < 100; i++)
		agentpay_breaker_note(&breaker, &off, 0, false, AGENTPAY_BREAKER_FAILED,
							  -1, 0, 0);
	check(breaker.state == AGENTPAY_BREAKER_CLOSED, "and never opens");
}

int
main(void)
{
	check_run();
	check_share();
	check_probes();
	check_retry_after();
	return tap_done();
}
