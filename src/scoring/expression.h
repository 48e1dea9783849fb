/*-------------------------------------------------------------------------
 * expression.h
 *		SQL expressions in rules, features and invoke_when: parsed, checked
 *		against an allow-list, planned and run by PostgreSQL's own executor.
 *
 * Columns are Vars of the relation that the expression was compiled for, so
 * that each partition has its own; features, models, score and verdict are
 * Params, whose values the caller sets before it evaluates.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EXPRESSION_H
#define AGENTPAY_EXPRESSION_H

#include "postgres.h"

#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "nodes/params.h"

typedef enum AgentpayUsage
{
	AGENTPAY_USAGE_RULE,	/* columns, features, in_list(), model() */
	AGENTPAY_USAGE_FEATURE, /* columns only: value and filter of a feature */
	AGENTPAY_USAGE_INVOKE	/* as a rule, and score and verdict */
} AgentpayUsage;

/*
 * What an expression may name.  The parameters, in this order: the features,
 * score (numeric), verdict (text), the models (float8); with labels the row's
 * label (text), label_source (text) and amount_lost (numeric).
 */
typedef struct AgentpayScope
{
	Oid relation; /* the leaf whose rows it reads */
	AgentpayUsage usage;
	bool labels; /* the row's label, under the names above */
	int n_features;
	const char **features;
	const Oid *feature_types; /* NULL: float8; InvalidOid: could not be told */
	int n_models;
	const char **models;
	int n_lists;
	const char **lists;	   /* NULL: in_list() says so when it runs */
	const char *time_zone; /* the point's */
	struct pg_tz *zone;	   /* the same, when it has been looked up */
	Oid owner;			   /* of the point's table: runs foreign functions */
} AgentpayScope;

/* Indexes into the parameters' values. */
#define AGENTPAY_PARAM_SCORE(scope) ((scope)->n_features)
#define AGENTPAY_PARAM_VERDICT(scope) ((scope)->n_features + 1)
#define AGENTPAY_PARAM_MODEL(scope, model) ((scope)->n_features + 2 + (model))
#define AGENTPAY_PARAM_LABEL(scope) \
	AGENTPAY_PARAM_MODEL(scope, (scope)->n_models)
#define AGENTPAY_LABEL_PARAMS 3
#define AGENTPAY_PARAM_AMOUNT_LOST(scope) (AGENTPAY_PARAM_LABEL(scope) + 2)
#define AGENTPAY_PARAM_COUNT(scope) \
	(AGENTPAY_PARAM_LABEL(scope) +  \
	 ((scope)->labels ? AGENTPAY_LABEL_PARAMS : 0))

typedef struct AgentpayExpression
{
	ExprState *state;
	Oid type;
	bool foreign_functions; /* calls into agentpay.expression_schemas */
	bool reads_lists;		/* calls in_list() */
	Bitmapset *columns;		/* attribute numbers of the relation read */
	Bitmapset *params;		/* indexes of the parameters read */
	int first_label;		/* of these, if its scope has labels */
	struct CachedExpression *plan;
	ParamListInfo values;  /* what it was compiled with */
	MemoryContext context; /* holds all of it */
} AgentpayExpression;

/* The type of a feature's values; InvalidOid: it could not be told. */
extern Oid agentpay_scope_feature_type(const AgentpayScope *scope, int feature);

/* That of label, label_source (text) or amount_lost (numeric). */
extern Oid agentpay_scope_label_type(int label);

/* Parameters of a scope, all NULL, in the current memory context. */
extern ParamListInfo agentpay_expression_params(const AgentpayScope *scope);

/*
 * Compiles text to a value of type wanted (InvalidOid: whatever it gives), in
 * the current memory context.  params is what it will read; NULL to check
 * only.  Errors point into text (internal position) and name what is allowed.
 * Releases nothing of its own on error but memory.
 */
extern AgentpayExpression *
agentpay_expression_compile(const AgentpayScope *scope, const char *text,
							Oid wanted, ParamListInfo params);

/* Deleting the memory context that it was compiled in frees it, too. */
extern void agentpay_expression_free(AgentpayExpression *expression);

/* Whether a function or type that it uses changed: compile it again. */
extern bool agentpay_expression_stale(const AgentpayExpression *expression);

/*
 * On the row in econtext->ecxt_scantuple, with the values given to compile;
 * the result is in the per-tuple memory.  Inline: a thousand rules a row call
 * it.
 */
static inline Datum
agentpay_expression_eval(AgentpayExpression *expression, ExprContext *econtext,
						 bool *isnull)
{
	econtext->ecxt_param_list_info = expression->values;
	return ExecEvalExprSwitchContext(expression->state, econtext, isnull);
}

/*
 * The settings that expressions see: the point's time zone, ISO dates, the
 * same digits everywhere; and, with foreign, the table's owner in a security
 * restricted operation.  Around each compile and each row.  After an error the
 * caller leaves, too.
 */
typedef struct AgentpayExpressionState
{
	void *time_zone;
	int date_style;
	int date_order;
	int interval_style;
	int float_digits;
	bool standard_strings;
	bool null_equals;
	bool array_nulls;
	bool switched; /* the next three are set */
	Oid user;
	int security_context;
	int guc_level;
} AgentpayExpressionState;

extern void agentpay_expression_enter(const AgentpayScope *scope, bool foreign,
									  AgentpayExpressionState *saved);
extern void agentpay_expression_leave(const AgentpayExpressionState *saved);

#endif /* AGENTPAY_EXPRESSION_H */
