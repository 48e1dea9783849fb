/*-------------------------------------------------------------------------
 * breaker.c
 *		A circuit breaker; breaker.h says what it does.
 *
 * Pure, so that its moments can be tested one by one.
 *-------------------------------------------------------------------------
 */
#include "workers/breaker.h"

#include <string.h>

static void count(AgentpayBreaker *breaker, bool failed);
static bool should_open(const AgentpayBreaker *breaker,
						const AgentpayBreakerSettings *settings, bool failed);
static void open_for_a_while(AgentpayBreaker *breaker,
							 const AgentpayBreakerSettings *settings,
							 int retry_after_ms, double draw, int64_t now);

AgentpayBreakerPermit
agentpay_breaker_ask(AgentpayBreaker *breaker,
					 const AgentpayBreakerSettings *settings, int caller,
					 int64_t now)
{
	/* switched off while it was open */
	if (settings->run == 0 && breaker->state != AGENTPAY_BREAKER_CLOSED)
		memset(breaker, 0, sizeof(*breaker));
	if (breaker->state == AGENTPAY_BREAKER_CLOSED)
		return AGENTPAY_BREAKER_CALL;
	if (breaker->state == AGENTPAY_BREAKER_PROBING || now < breaker->open_until)
		return AGENTPAY_BREAKER_REFUSED;
	breaker->state = AGENTPAY_BREAKER_PROBING;
	breaker->prober = caller;
	return AGENTPAY_BREAKER_PROBE;
}

AgentpayBreakerChange
agentpay_breaker_note(AgentpayBreaker *breaker,
					  const AgentpayBreakerSettings *settings, int caller,
					  bool probe, AgentpayBreakerOutcome outcome,
					  int retry_after_ms, double draw, int64_t now)
{
	bool failed = outcome == AGENTPAY_BREAKER_FAILED;
	bool ours = probe && breaker->state == AGENTPAY_BREAKER_PROBING &&
				breaker->prober == caller;

	/* calls that began before it opened say nothing new */
	if (breaker->state != AGENTPAY_BREAKER_CLOSED && !ours)
		return AGENTPAY_BREAKER_SAME;
	if (outcome == AGENTPAY_BREAKER_UNKNOWN)
	{
		if (ours)
			agentpay_breaker_forget(breaker, caller, now);
		return AGENTPAY_BREAKER_SAME;
	}
	if (ours && !failed)
	{
		memset(breaker, 0, sizeof(*breaker));
		return AGENTPAY_BREAKER_CLOSED_AGAIN;
	}
	if (!ours)
		count(breaker, failed);
	if (!ours && !should_open(breaker, settings, failed))
		return AGENTPAY_BREAKER_SAME;
	open_for_a_while(breaker, settings, retry_after_ms, draw, now);
	return ours ? AGENTPAY_BREAKER_REOPENED : AGENTPAY_BREAKER_OPENED;
}

void
agentpay_breaker_forget(AgentpayBreaker *breaker, int caller, int64_t now)
{
	if (breaker->state != AGENTPAY_BREAKER_PROBING || breaker->prober != caller)
		return;
	/* the next one may probe at once */
	breaker->state = AGENTPAY_BREAKER_OPEN;
	breaker->open_until = now;
}

static void
count(AgentpayBreaker *breaker, bool failed)
{
	breaker->run = failed ? breaker->run + 1 : 0;
	breaker->calls++;
	breaker->failures += failed;
	if (breaker->calls >= 2 * AGENTPAY_BREAKER_MIN_CALLS)
	{
		breaker->calls /= 2;
		breaker->failures /= 2;
	}
}

/* A success never opens it. */
static bool
should_open(const AgentpayBreaker *breaker,
			const AgentpayBreakerSettings *settings, bool failed)
{
	if (!failed || settings->run == 0)
		return false;
	return breaker->run >= settings->run ||
		   (settings->percent < 100 &&
			breaker->calls >= AGENTPAY_BREAKER_MIN_CALLS &&
			breaker->failures * 100 > breaker->calls * settings->percent);
}

/*
 * The first wait, doubled with each opening, up to the longest; of that at
 * least half, the rest by chance.  What the provider asked for is the least.
 */
static void
open_for_a_while(AgentpayBreaker *breaker,
				 const AgentpayBreakerSettings *settings, int retry_after_ms,
				 double draw, int64_t now)
{
	int64_t wait_ms = settings->first_wait_ms;

	for (int i = 0; i < breaker->openings && wait_ms < settings->max_wait_ms;
		 i++)
		wait_ms *= 2;
	if (wait_ms > settings->max_wait_ms)
		wait_ms = settings->max_wait_ms;
	wait_ms = wait_ms / 2 + (int64_t) (draw * (wait_ms - wait_ms / 2 + 1));
	if (wait_ms < retry_after_ms)
		wait_ms = retry_after_ms;
	breaker->state = AGENTPAY_BREAKER_OPEN;
	breaker->openings++;
	breaker->open_until = now + wait_ms * 1000;
}
