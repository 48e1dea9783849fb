/*-------------------------------------------------------------------------
 * replay.h
 *		What replay.c, replay_row.c and replay_compare.c share: the rules of a
 *		decision, evaluated again on what was stored.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_REPLAY_H
#define AGENTPAY_REPLAY_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

#include "review/recorded.h"
#include "scoring/assignment.h"
#include "scoring/evaluate.h"

/* A decision of the rules, or of a version in shadow, as it is recorded. */
typedef struct AgentpayRecorded
{
	pg_uuid_t id;
	TimestampTz decided_at;
	TimestampTz occurred_at;
	char *point;
	char *row_id;
	Datum amount; /* 0: NULL, as the next six */
	Datum currency;
	Datum base_amount;
	Datum score;
	Datum verdict;
	Datum answer;
	Datum assignment;
	float4 propensity;
	int n_reasons;
	Datum *reasons;
	int version;	/* 0: no rules were active */
	Jsonb *inputs;	/* NULL: their key is destroyed, or they are gone */
	Jsonb *detail;	/* or NULL */
	bool in_shadow; /* what is drawn is not its own */
	bool sealed;
	bool repeats; /* an idempotency key: the next four are the first row's */
	Datum first_verdict;
	Datum first_answer;
	Datum first_assignment;
	float4 first_propensity;
} AgentpayRecorded;

/* A point as it was, compiled. */
typedef struct AgentpayThen
{
	char *name;
	int version;
	int epoch;	   /* how many changes there had been */
	Jsonb *models; /* the version of each, or NULL */
	AgentpayConfig *config;
	Relation relation;
	AgentpayTable *table;
	AgentpayPoint *point;
	TupleTableSlot *slot;
	AgentpayRead *reads;	 /* by input */
	NullableDatum *features; /* by number */
	const char *problem;	 /* why it cannot be; the rest is NULL */
} AgentpayThen;

/* The points of one replay. */
typedef struct AgentpayThens AgentpayThens;

/* What evaluating again came to. */
typedef struct AgentpayReplayed
{
	AgentpayEvaluation evaluation;
	AgentpayAssigned assigned;
	List *erased;		 /* names of inputs that are not as they were read */
	List *missing;		 /* names of inputs that are not there */
	List *models;		 /* names of models that say something else */
	const char *problem; /* an input that cannot be read back */
} AgentpayReplayed;

/*
 * Nothing is compiled yet; and lets go of what is, also after an error.
 * Memory: the current context.
 */
extern AgentpayThens *agentpay_thens_open(void);
extern void agentpay_thens_close(AgentpayThens *thens);

/*
 * The point of the decision as it was, kept until 64 others came; NULL: it is
 * not compiled, and may not be, since a subtransaction would take it along.
 */
extern AgentpayThen *
agentpay_thens_find(AgentpayThens *thens, const AgentpayRecorded *recorded,
					bool may_compile);

/* Evaluates the recorded row again; sets what evaluation came to. */
extern void
agentpay_replay_row(AgentpayThen *then, const AgentpayRecorded *recorded,
					AgentpayReplayed *replayed);

/* What differs, as a JSON object; NULL: nothing. */
extern Datum agentpay_replay_compare(const AgentpayThen *then,
									 const AgentpayRecorded *recorded,
									 const AgentpayReplayed *replayed);

#endif /* AGENTPAY_REPLAY_H */
