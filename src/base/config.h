/*-------------------------------------------------------------------------
 * config.h
 *		The configuration of this database as C structs, cached per session.
 *
 * One AgentpayConfig is one consistent reading of the configuration tables.
 * It never changes; a newer one takes its place.  Whoever keeps a pointer
 * into it beyond the current call pins it.
 *
 * Locking: none beyond AccessShareLock on the tables while they are read.
 * Invalidation callbacks only mark the cache stale, since they can fire in
 * the middle of an evaluation.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CONFIG_H
#define AGENTPAY_CONFIG_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

typedef struct AgentpayVerdict
{
	char *name;
	int rank; /* 0 = loosest; -1: the vocabulary is not ordered */
	bool positive;
	bool is_default;
	bool needs_person; /* given by the rules it opens a case */
} AgentpayVerdict;

typedef enum AgentpayFeatureKind
{
	AGENTPAY_FEATURE_WINDOW,
	AGENTPAY_FEATURE_SINCE_LAST,
	AGENTPAY_FEATURE_LOOKUP
} AgentpayFeatureKind;

typedef enum AgentpayAggregate
{
	AGENTPAY_AGGREGATE_COUNT,
	AGENTPAY_AGGREGATE_SUM,
	AGENTPAY_AGGREGATE_AVG,
	AGENTPAY_AGGREGATE_MIN,
	AGENTPAY_AGGREGATE_MAX,
	AGENTPAY_AGGREGATE_STDDEV,
	AGENTPAY_AGGREGATE_COUNT_DISTINCT,
	AGENTPAY_AGGREGATE_RATE
} AgentpayAggregate;

/* A row of features; but for a lookup its result is double precision. */
typedef struct AgentpayFeatureConfig
{
	char *name;
	AgentpayFeatureKind kind;
	int n_keys;
	char **keys;	  /* columns of the point's table */
	Oid from_table;	  /* whose rows count */
	bool labelled;	  /* these are the point's own, with their labels */
	char **from_keys; /* its columns that equal keys */
	char *from_time;  /* NULL: a lookup by keys that are unique */
	bool elsewhere;	  /* these are not the point's table, keys and time */
	AgentpayAggregate aggregate; /* of a window */
	char *value;				 /* expression; NULL for count */
	int64 over_us;				 /* of a window */
	int64 delay_us;
	char *filter; /* boolean expression, or NULL */
	bool include_current;
	bool has_default;
	double default_value;
	char *default_text; /* the same, as it was written */
	int n_policies;		/* of from_table, if that is not the point's table */
	struct AgentpayPolicyConfig *policies;
} AgentpayFeatureConfig;

typedef enum AgentpayRulesetMode
{
	AGENTPAY_MODE_SCORE,
	AGENTPAY_MODE_FIRST_MATCH
} AgentpayRulesetMode;

typedef struct AgentpayRuleConfig
{
	char *code;
	char *condition;
	Numeric score;
	int verdict; /* index into the point's verdicts, or -1 */
	int priority;
	TimestampTz snoozed_until; /* DT_NOBEGIN: not snoozed */
} AgentpayRuleConfig;

typedef struct AgentpayThreshold
{
	int verdict;
	Numeric score; /* the verdict holds from this sum on */
} AgentpayThreshold;

/* A version that is evaluated: its enabled rules by priority, then code. */
typedef struct AgentpayRulesetConfig
{
	int version;
	AgentpayRulesetMode mode;
	int n_thresholds; /* mode score: ascending in rank, defaults filled in */
	AgentpayThreshold *thresholds;
	int on_error; /* verdict */
	int n_rules;
	AgentpayRuleConfig *rules;
} AgentpayRulesetConfig;

/* An agent that gets tasks: enabled, and its stage is not off. */
typedef struct AgentpayAgentConfig
{
	char *name;
	int version;
	bool builtin;
	bool pre_auth; /* its verdict may replace the rules' until decide_by */
	char *model;   /* builtin: a name in models */
	char *invoke_when;
	double sample_percent;
	double repeat_percent; /* 0: nobody is asked again */
	int repeats;		   /* how often a row is asked, the first included */
	bool reviews;		   /* asked when a case opens */
	bool is_tier;	   /* another one escalates to it: asked only by that one */
	char *escalate_to; /* or NULL */
	int n_fields;	   /* columns and features that are sent */
	char **fields;
	struct varlena
		*salt;	   /* bytea, of its rollout; NULL: nothing takes effect */
	int stage;	   /* percent; 0: shadow */
	int holdout;   /* of 10000 rows, those in its control group */
	int64 lowered; /* how often its stage went down */
} AgentpayAgentConfig;

typedef struct AgentpayPolicyConfig
{
	char *column;
	char *treatment; /* as in data_policies */
	int keep_last;	 /* mask */
	int n_bounds;	 /* bucket, of numbers: */
	char **bounds;	 /* decimals that rise */
	char *width;	 /* bucket, of times; else "" */
	char *format;	 /* tokenise: "ff1"; else "" */
} AgentpayPolicyConfig;

typedef struct AgentpayPointConfig
{
	char *name;
	Oid table; /* the root, if it is partitioned */
	char *role;
	char *id_column;
	char *occurred_at_column;
	char *amount_column; /* or NULL, as those that follow */
	char *currency_column;
	char *currency;
	char *subject_column;
	char *outcome_column;
	char *score_column;
	char *reasons_column;
	char *idempotency_column;
	char *time_zone;
	char *base_currency;
	bool labels_complete;
	double explore_percent;		/* 0 to 10 */
	Numeric explore_max_amount; /* NULL: no limit */
	double audit_percent;		/* 0 to 100 */
	struct varlena *salt; /* bytea, of the draws; NULL: nothing is drawn */
	int decide_within_ms;
	Interval case_due;
	int n_verdicts; /* by rank, then name */
	AgentpayVerdict *verdicts;
	int default_verdict;
	int n_features; /* by name */
	AgentpayFeatureConfig *features;
	AgentpayRulesetConfig *ruleset; /* NULL: none is active */
	int n_shadows;					/* versions in shadow, by number */
	AgentpayRulesetConfig *shadows;
	int n_agents; /* by name */
	AgentpayAgentConfig *agents;
	int n_policies; /* of the table, by column */
	AgentpayPolicyConfig *policies;
} AgentpayPointConfig;

typedef enum AgentpayModelKind
{
	AGENTPAY_MODEL_LOGISTIC,
	AGENTPAY_MODEL_XGBOOST
} AgentpayModelKind;

/* The active version of a model. */
typedef struct AgentpayModelConfig
{
	char *name;
	int version;
	AgentpayModelKind kind;
	int n_inputs;
	char **inputs; /* columns or features */
	/* xgboost: which row of models has the trees; scoring/models.c reads them,
	 * since they can be large and change with no other row */
	char *row;
	/* logistic regression; n_inputs values each */
	double intercept;
	double *coefficients;
	double *mean;
	double *scale;
} AgentpayModelConfig;

typedef struct AgentpayConfig
{
	MemoryContext context;
	int pins;
	bool held;	  /* a copy that waits for adopt(): no tasks */
	int n_points; /* those that are enabled, by name */
	AgentpayPointConfig *points;
	int n_models; /* by name */
	AgentpayModelConfig *models;
} AgentpayConfig;

/*
 * The configuration as it is now: what is committed, whatever the
 * transaction's snapshot, and what this transaction changed itself.  Reads
 * the tables only when they changed.  The result lives until the next call;
 * pin it to keep it.
 */
extern AgentpayConfig *agentpay_config_get(void);
extern void agentpay_config_pin(AgentpayConfig *config);
extern void agentpay_config_unpin(AgentpayConfig *config);

/* Rises whenever lists or list_entries may have changed. */
extern uint64 agentpay_config_lists_generation(void);

/* Rises whenever exchange_rates may have changed. */
extern uint64 agentpay_config_rates_generation(void);

/*
 * Changes with any table of configuration, and with the shape of any relation,
 * once the messages about it were taken in.  Never 0.
 */
extern uint64 agentpay_config_generation(void);

/* NULL when there is none of that name. */
extern const AgentpayPointConfig *
agentpay_config_point(const AgentpayConfig *config, const char *name);
extern const AgentpayModelConfig *
agentpay_config_model(const AgentpayConfig *config, const char *name);

/* Index of a verdict or feature, or -1. */
extern int
agentpay_config_verdict(const AgentpayPointConfig *point, const char *name);
extern int
agentpay_config_feature(const AgentpayPointConfig *point, const char *name);

/* The policy of a column; NULL when it has none. */
extern const AgentpayPolicyConfig *
agentpay_config_policy(const AgentpayPointConfig *point, const char *column);

/* The policy of a column of the table that a feature reads, or NULL. */
extern const AgentpayPolicyConfig *
agentpay_config_feature_policy(const AgentpayPointConfig *point, int feature,
							   const char *column);

#endif /* AGENTPAY_CONFIG_H */
