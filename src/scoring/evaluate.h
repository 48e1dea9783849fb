/*-------------------------------------------------------------------------
 * evaluate.h
 *		One row, one point: features, models, rules, agents to ask, and what
 *		was read.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EVALUATE_H
#define AGENTPAY_EVALUATE_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

#include "scoring/table.h"

/* Something that failed and was contained. */
typedef struct AgentpayFault
{
	const char *name; /* of the rule, feature, model, agent or column */
	int sqlstate;
	char *message; /* without values of the row */
	int param;	   /* the feature's or model's parameter; -1: something else */
} AgentpayFault;

/* What a version of the rules says. */
typedef struct AgentpayRuling
{
	int verdict;
	Numeric score;	/* NULL: mode first_match, or no rules */
	int n_reasons;	/* codes of the rules that matched */
	Datum *reasons; /* text; room for every rule */
	List *faults;
	bool failed; /* one that decides: on_error holds */
} AgentpayRuling;

/* What is taken as recorded, and not read again: by replay(), backtest(). */
typedef struct AgentpayGiven
{
	TimestampTz occurred_at;
	Datum amount; /* 0: none, as the next */
	Datum currency;
	Datum base_amount;
	const NullableDatum *features; /* by number */
	const Bitmapset *unknown;	   /* those that are read all the same */
	List *faults; /* of features (param), and of what is not read again */
	bool failed;  /* one of these decides */
} AgentpayGiven;

/* Memory: the context that was current when evaluation began. */
typedef struct AgentpayEvaluation
{
	/* given */
	AgentpayTable *table;
	AgentpayPoint *point;
	TupleTableSlot *row;
	const char *row_id;
	TimestampTz decided_at;
	const AgentpayGiven *given; /* NULL: everything is read */
	bool contained;				/* by the caller: what fails is raised */
	bool seals;					/* what a policy treats; it is on record then */

	/* found */
	TimestampTz occurred_at;
	Datum amount;	/* numeric; 0: none, as the next */
	Datum currency; /* text */
	Datum base_amount;
	int verdict;
	Numeric score;	/* NULL: mode first_match, or no rules */
	Datum received; /* the score in its column's type, if it fits */
	bool has_received;
	int n_reasons;	  /* codes of the rules that matched */
	Datum *reasons;	  /* text; room for every rule */
	Bitmapset *asked; /* indexes of the agents to ask */
	Bitmapset *later; /* those that may be asked: tiers, and of a case */
	struct AgentpayAsk *asks; /* by agent; NULL: none is */
	Jsonb *inputs;
	struct AgentpaySealed *sealed; /* of inputs; NULL: nothing is */
	List *faults;				   /* of AgentpayFault */
	bool failed;				   /* one that decides: on_error holds */
	Bitmapset *lost; /* parameters whose feature or model failed */
	int n_shadows;	 /* versions in shadow: rulesets 1 and above */
	AgentpayRuling *shadows;

	bool careful; /* each step in a subtransaction of its own */
} AgentpayEvaluation;

/*
 * Fills what is to be found.  Raises only what nobody may contain (a cancel,
 * a shutdown, out of memory); of a row that the caller contains, and evaluates
 * again without saying so, whatever fails.
 */
extern void agentpay_evaluate(AgentpayEvaluation *evaluation);

/*
 * Calls body(arg); when careful, a failure is noted under that name, and
 * false returned.
 */
extern bool
agentpay_evaluate_step(AgentpayEvaluation *evaluation, const char *name,
					   void (*body)(void *), void *arg);

/*
 * Whether sample_percent takes the row for the agent: the same row is drawn, or
 * not, whenever it is asked.
 */
extern bool
agentpay_evaluate_drawn(const AgentpayInvoke *agent, const char *row_id);

/* Notes a failure. */
extern void agentpay_evaluate_fault(AgentpayEvaluation *evaluation,
									const char *name, const ErrorData *error);

/* What the active rules say, and each version in shadow (rules.c). */
extern void agentpay_rules_evaluate(AgentpayEvaluation *evaluation);

/* What was read, after the policies; a value that fails is null. */
extern void agentpay_evaluate_inputs(AgentpayEvaluation *evaluation);

#endif /* AGENTPAY_EVALUATE_H */
