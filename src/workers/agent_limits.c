/*-------------------------------------------------------------------------
 * agent_limits.c
 *		Calls at once, calls per second, circuit breaker; agent_limits.h
 *		says for whom.
 *
 * An agent has a place as long as calls of it are under way or its breaker
 * remembers something; others give theirs up when room is wanted.
 *
 * Calls at once are counted for each dispatcher, so that those of one that
 * died can be taken off.  Calls per second come out of a bucket that fills
 * at that rate and holds a tenth of a second's, or one.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/settings.h"
#include "base/shmem.h"
#include "workers/agent_limits.h"

#define PLACES 1024
#define BUCKET_SECONDS 0.1

typedef struct Place
{
	Oid database; /* invalid: free */
	char agent[AGENTPAY_LIMITS_NAME_LEN];
	int version;
	int busy[AGENTPAY_MAX_DISPATCHERS];
	double calls_per_second; /* as of the last call */
	double tokens;
	int64 filled_at; /* 0: never */
	AgentpayBreaker breaker;
} Place;

typedef struct Limits
{
	LWLock *lock;
	Place places[PLACES];
} Limits;

static Limits *limits = NULL;

static void request_memory(void);
static void start_memory(void);
static int64 now_us(void);
static Place *find_place(Oid database, const char *agent, int *at);
static bool is_of(const Place *place, Oid database, const char *agent);
static int all_busy(const Place *place);
static bool is_idle(const Place *place);
static bool
take_token(Place *place, const AgentpayAgentRow *row, int64 now, int *wait_ms);
static AgentpayBreakerSettings breaker_settings(void);

void
agentpay_limits_install(void)
{
	static const AgentpayShmemPart part = {request_memory, start_memory};

	agentpay_shmem_add_part(&part);
}

static void
request_memory(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Limits)));
	RequestNamedLWLockTranche("agentpay agents", 1);
}

static void
start_memory(void)
{
	bool found;

	limits = ShmemInitStruct("agentpay agents", sizeof(Limits), &found);
	if (found)
		return;
	memset(limits, 0, sizeof(Limits));
	limits->lock = &GetNamedLWLockTranche("agentpay agents")->lock;
}

/* Never goes back, and is the same for all processes. */
static int64
now_us(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/*
 * The agent's place, made when it has none; NULL: there is no room.  *at is
 * where it was the last time.  Needs the lock.
 */
static Place *
find_place(Oid database, const char *agent, int *at)
{
	Place *place = NULL;

	if (*at >= 0 && is_of(&limits->places[*at], database, agent))
		return &limits->places[*at];
	for (int i = 0; i < PLACES; i++)
	{
		Place *other = &limits->places[i];

		if (is_of(other, database, agent))
		{
			*at = i;
			return other;
		}
		if (!OidIsValid(other->database))
		{
			place = other;
			break;
		}
		if (place == NULL && is_idle(other))
			place = other;
	}
	if (place == NULL)
		return NULL;
	memset(place, 0, sizeof(*place));
	place->database = database;
	strlcpy(place->agent, agent, sizeof(place->agent));
	*at = (int) (place - limits->places);
	return place;
}

static bool
is_of(const Place *place, Oid database, const char *agent)
{
	return place->database == database && strcmp(place->agent, agent) == 0;
}

static int
all_busy(const Place *place)
{
	int busy = 0;

	for (int i = 0; i < AGENTPAY_MAX_DISPATCHERS; i++)
		busy += place->busy[i];
	return busy;
}

/* Whether nothing is lost when it is forgotten. */
static bool
is_idle(const Place *place)
{
	return all_busy(place) == 0 && place->breaker.run == 0 &&
		   place->breaker.state == AGENTPAY_BREAKER_CLOSED &&
		   (place->filled_at == 0 ||
			now_us() - place->filled_at > USECS_PER_SEC);
}

AgentpayLimitsAnswer
agentpay_limits_take(const char *agent, int *at, int dispatcher,
					 const AgentpayAgentRow *row, int *wait_ms)
{
	AgentpayBreakerSettings settings = breaker_settings();
	AgentpayLimitsAnswer answer = AGENTPAY_LIMITS_CALL;
	int64 now = now_us();
	Place *place;

	LWLockAcquire(limits->lock, LW_EXCLUSIVE);
	place = find_place(MyDatabaseId, agent, at);
	if (place == NULL)
	{
		LWLockRelease(limits->lock);
		return AGENTPAY_LIMITS_FULL;
	}
	if (row->version > place->version)
	{
		/* another endpoint, perhaps, or another model */
		memset(&place->breaker, 0, sizeof(place->breaker));
		place->version = row->version;
	}
	/* a probe is asked for last: who has it makes a call */
	if (place->breaker.state != AGENTPAY_BREAKER_CLOSED && settings.run > 0 &&
		(place->breaker.state == AGENTPAY_BREAKER_PROBING ||
		 now < place->breaker.open_until))
		answer = AGENTPAY_LIMITS_BROKEN;
	else if (all_busy(place) >= row->max_in_flight)
		answer = AGENTPAY_LIMITS_FULL;
	else if (!take_token(place, row, now, wait_ms))
		answer = AGENTPAY_LIMITS_LATER;
	else
	{
		place->busy[dispatcher]++;
		if (agentpay_breaker_ask(&place->breaker, &settings, dispatcher, now) ==
			AGENTPAY_BREAKER_PROBE)
			answer = AGENTPAY_LIMITS_PROBE;
	}
	LWLockRelease(limits->lock);
	return answer;
}

/* Needs the lock. */
static bool
take_token(Place *place, const AgentpayAgentRow *row, int64 now, int *wait_ms)
{
	double rate = row->calls_per_second;
	double most = Max(1.0, rate * BUCKET_SECONDS);

	place->calls_per_second = rate;
	if (rate <= 0)
		return true;
	if (place->filled_at == 0)
		place->tokens = most;
	else
		place->tokens += rate * (now - place->filled_at) / USECS_PER_SEC;
	place->tokens = Min(place->tokens, most);
	place->filled_at = now;
	if (place->tokens >= 1)
	{
		place->tokens -= 1;
		return true;
	}
	*wait_ms = (int) Min(60000.0, ceil(1000 * (1 - place->tokens) / rate));
	return false;
}

void
agentpay_limits_give_back(int at, int dispatcher, bool probe)
{
	Place *place = &limits->places[at];

	LWLockAcquire(limits->lock, LW_EXCLUSIVE);
	place->busy[dispatcher] = Max(0, place->busy[dispatcher] - 1);
	if (place->calls_per_second > 0)
		place->tokens += 1; /* capped when it is filled next */
	if (probe)
		agentpay_breaker_forget(&place->breaker, dispatcher, now_us());
	LWLockRelease(limits->lock);
}

void
agentpay_limits_done(int at, int dispatcher, bool probe,
					 AgentpayBreakerOutcome outcome, int retry_after_ms,
					 AgentpayBreakerNews *news)
{
	AgentpayBreakerSettings settings = breaker_settings();
	Place *place = &limits->places[at];
	AgentpayBreaker *breaker = &place->breaker;
	double draw = pg_prng_double(&pg_global_prng_state);
	int64 now = now_us();

	LWLockAcquire(limits->lock, LW_EXCLUSIVE);
	place->busy[dispatcher] = Max(0, place->busy[dispatcher] - 1);
	news->change = agentpay_breaker_note(breaker, &settings, dispatcher, probe,
										 outcome, retry_after_ms, draw, now);
	news->run = breaker->run;
	news->calls = breaker->calls;
	news->failures = breaker->failures;
	news->openings = breaker->openings;
	news->wait_ms = (int) ((breaker->open_until - now) / 1000);
	LWLockRelease(limits->lock);
}

void
agentpay_limits_forget(Oid database, int dispatcher)
{
	LWLockAcquire(limits->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PLACES; i++)
	{
		Place *place = &limits->places[i];

		if (place->database != database)
			continue;
		place->busy[dispatcher] = 0;
		agentpay_breaker_forget(&place->breaker, dispatcher, now_us());
	}
	LWLockRelease(limits->lock);
}

int
agentpay_limits_broken(Oid database, char (*names)[AGENTPAY_LIMITS_NAME_LEN],
					   int max)
{
	int n = 0;

	LWLockAcquire(limits->lock, LW_SHARED);
	for (int i = 0; i < PLACES; i++)
	{
		Place *place = &limits->places[i];

		if (place->database != database ||
			place->breaker.state == AGENTPAY_BREAKER_CLOSED)
			continue;
		if (n < max)
			strlcpy(names[n], place->agent, AGENTPAY_LIMITS_NAME_LEN);
		n++;
	}
	LWLockRelease(limits->lock);
	return n;
}

static AgentpayBreakerSettings
breaker_settings(void)
{
	AgentpayBreakerSettings settings = {
		.run = agentpay_breaker_failures,
		.percent = agentpay_breaker_error_percent,
		.first_wait_ms = agentpay_breaker_wait_ms,
		.max_wait_ms = Max(agentpay_breaker_wait_ms,
						   agentpay_breaker_max_wait_ms)};

	return settings;
}
