/*-------------------------------------------------------------------------
 * config_load.c
 *		Reads the configuration tables into C structs.
 *
 * By SQL, as the extension's owner, under the latest snapshot (base/owner.h).
 * This is off the INSERT path: it runs when the configuration changed.
 *
 * Locking: AccessShareLock on the tables.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/config_load.h"
#include "base/identity.h"
#include "base/owner.h"

/* The numbers of a JSON array; whatever else it has is left out. */
#define NUMBERS(json)                                               \
	"ARRAY(SELECT x::numeric FROM jsonb_array_elements(CASE"        \
	" jsonb_typeof(" json ") WHEN 'array' THEN " json " END)"       \
	" WITH ORDINALITY AS e (x, i) WHERE jsonb_typeof(x) = 'number'" \
	" ORDER BY i)"

/* Which versions of rules are read: $1 and $2, or, without, all that count. */
#define CHOSEN(s)                                                      \
	"CASE $1 WHEN '' THEN " s ".state IN ('active', 'shadow') ELSE " s \
	".point = $1 AND " s ".version = $2 END"

/* The rows of one query; they are copied into context. */
typedef struct Rows
{
	AgentpayConfig *config;
	const char *point; /* whose version is tried; empty: none */
	int version;
	const TimestampTz *at; /* the tables as they were; NULL: as they are */
	Datum models;		   /* with at: jsonb, the version of each by its name */
	AgentpayOwnerReading reading;
	SPITupleTable *table;
	uint64 count;
	uint64 row; /* the current one */
} Rows;

static AgentpayConfig *load(Rows *rows);
static void load_points(Rows *rows);
static void load_draws(Rows *rows, AgentpayPointConfig *point, int column);
static void load_verdicts(Rows *rows);
static void load_features(Rows *rows);
static AgentpayFeatureKind feature_kind(const char *kind);
static void load_rulesets(Rows *rows);
static AgentpayRulesetConfig *ruleset_of_row(Rows *rows, int column);
static void load_thresholds(Rows *rows);
static void load_rules(Rows *rows);
static void load_agents(Rows *rows);
static void load_policies(Rows *rows);
static void load_feature_policies(Rows *rows);
static void load_models(Rows *rows);
static bool has_scales(const AgentpayModelConfig *model);
static void query(Rows *rows, const char *sql);
static char *as_of(const char *sql);
static AgentpayPointConfig *point_of_row(Rows *rows);
static void *grow(Rows *rows, void *array, int count, size_t size);
static Datum value_at(Rows *rows, int column, bool *isnull);
static char *text_at(Rows *rows, int column);
static int64 int_at(Rows *rows, int column);
static bool bool_at(Rows *rows, int column);
static double float_at(Rows *rows, int column);
static double double_of(Datum numeric);
static Numeric numeric_at(Rows *rows, int column);
static Interval interval_at(Rows *rows, int column);
static struct varlena *bytes_at(Rows *rows, int column);
static char **texts_at(Rows *rows, int column, int *count);
static double *numbers_at(Rows *rows, int column, int *count);
static int verdict_at(Rows *rows, int column, const AgentpayPointConfig *point);

AgentpayConfig *
agentpay_config_load(void)
{
	Rows rows = {.point = ""};

	return load(&rows);
}

AgentpayConfig *
agentpay_config_load_version(const char *point, int version)
{
	Rows rows = {.point = point, .version = version};

	return load(&rows);
}

AgentpayConfig *
agentpay_config_load_at(const char *point, int version, TimestampTz at,
						Datum models)
{
	Rows rows = {.point = point,
				 .version = version,
				 .at = &at,
				 .models = models};

	return load(&rows);
}

static AgentpayConfig *
load(Rows *rows)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay configuration",
												  ALLOCSET_DEFAULT_SIZES);
	AgentpayConfig *config = MemoryContextAllocZero(context,
													sizeof(AgentpayConfig));

	rows->config = config;
	config->context = context;
	agentpay_owner_read_begin(&rows->reading);
	load_points(rows);
	load_verdicts(rows);
	load_features(rows);
	load_rulesets(rows);
	load_thresholds(rows);
	load_rules(rows);
	if (rows->point[0] == '\0')
		load_agents(rows);
	load_policies(rows);
	load_feature_policies(rows);
	load_models(rows);
	agentpay_owner_read_end(&rows->reading);
	config->held = agentpay_identity_held();
	/* until here an error frees it with the statement */
	MemoryContextSetParent(context, CacheMemoryContext);
	return config;
}

/* A point without verdicts, as a restore has it for a while, cannot decide. */
static void
load_points(Rows *rows)
{
	AgentpayConfig *config = rows->config;

	query(
		rows,
		"SELECT p.point, p.table_name::oid::int8, p.role, p.id_column::text,"
		" p.occurred_at_column::text, p.amount_column::text,"
		" p.currency_column::text, p.currency, p.subject_column::text,"
		" p.outcome_column::text,"
		" p.score_column::text, p.reasons_column::text,"
		" p.idempotency_column::text, p.time_zone, p.base_currency,"
		" p.labels_complete, p.decide_within_ms::int8, p.case_due,"
		" p.explore_percent::float8, p.explore_max_amount,"
		" p.audit_sample_percent::float8, s.salt"
		"  FROM agentpay.decision_points p"
		"  LEFT JOIN agentpay._draw_salts s USING (point)"
		" WHERE CASE WHEN $3 = '-infinity' THEN p.enabled ELSE p.point = $1 END"
		"	AND EXISTS (SELECT FROM pg_catalog.pg_class c"
		"							     WHERE c.oid = p.table_name)"
		"	AND EXISTS (SELECT FROM agentpay.verdicts v"
		"				 WHERE v.point = p.point)"
		" ORDER BY p.point COLLATE \"C\"");
	config->points = MemoryContextAllocZero(config->context,
											sizeof(AgentpayPointConfig) *
												(rows->count + 1));
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = &config->points[config->n_points++];
		int column = 1;

		point->name = text_at(rows, column++);
		point->table = (Oid) int_at(rows, column++);
		point->role = text_at(rows, column++);
		point->id_column = text_at(rows, column++);
		point->occurred_at_column = text_at(rows, column++);
		point->amount_column = text_at(rows, column++);
		point->currency_column = text_at(rows, column++);
		point->currency = text_at(rows, column++);
		point->subject_column = text_at(rows, column++);
		point->outcome_column = text_at(rows, column++);
		point->score_column = text_at(rows, column++);
		point->reasons_column = text_at(rows, column++);
		point->idempotency_column = text_at(rows, column++);
		point->time_zone = text_at(rows, column++);
		point->base_currency = text_at(rows, column++);
		point->labels_complete = bool_at(rows, column++);
		point->decide_within_ms = (int) int_at(rows, column++);
		point->case_due = interval_at(rows, column++);
		load_draws(rows, point, column);
	}
}

/* Without a salt, as a restore has it for a while, nothing is drawn. */
static void
load_draws(Rows *rows, AgentpayPointConfig *point, int column)
{
	bool unlimited;

	point->salt = bytes_at(rows, column + 3);
	if (point->salt == NULL)
		return;
	point->explore_percent = float_at(rows, column);
	(void) value_at(rows, column + 1, &unlimited);
	if (!unlimited)
		point->explore_max_amount = numeric_at(rows, column + 1);
	point->audit_percent = float_at(rows, column + 2);
}

static void
load_verdicts(Rows *rows)
{
	query(rows, "SELECT point, verdict, coalesce(rank, -1)::int8, positive,"
				" is_default, agentpay._needs_person(v)"
				"  FROM agentpay.verdicts v"
				" ORDER BY point, rank, verdict COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = point_of_row(rows);
		AgentpayVerdict *verdict;

		if (point == NULL)
			continue;
		point->verdicts = grow(rows, point->verdicts, point->n_verdicts,
							   sizeof(AgentpayVerdict));
		verdict = &point->verdicts[point->n_verdicts];
		verdict->name = text_at(rows, 2);
		verdict->rank = (int) int_at(rows, 3);
		verdict->positive = bool_at(rows, 4);
		verdict->is_default = bool_at(rows, 5);
		verdict->needs_person = bool_at(rows, 6);
		if (verdict->is_default)
			point->default_verdict = point->n_verdicts;
		point->n_verdicts++;
	}
}

static void
load_features(Rows *rows)
{
	static const char *const aggregates[] = {
		[AGENTPAY_AGGREGATE_COUNT] = "count",
		[AGENTPAY_AGGREGATE_SUM] = "sum",
		[AGENTPAY_AGGREGATE_AVG] = "avg",
		[AGENTPAY_AGGREGATE_MIN] = "min",
		[AGENTPAY_AGGREGATE_MAX] = "max",
		[AGENTPAY_AGGREGATE_STDDEV] = "stddev",
		[AGENTPAY_AGGREGATE_COUNT_DISTINCT] = "count_distinct",
		[AGENTPAY_AGGREGATE_RATE] = "rate",
	};

	query(rows,
		  "SELECT point, f.name, f.kind, f.aggregate, f.value,"
		  " (extract(epoch FROM f.over) * 1000000)::int8,"
		  " (extract(epoch FROM f.delay) * 1000000)::int8, f.filter,"
		  " f.include_current, f.default_value IS NOT NULL,"
		  " CASE WHEN f.kind <> 'lookup' THEN f.default_value::float8 END,"
		  " f.key,"
		  " coalesce(s.source, p.table_name)::oid::int8,"
		  " coalesce(f.from_key, f.key),"
		  " coalesce(f.from_time,"
		  "  CASE WHEN f.kind <> 'lookup' THEN p.occurred_at_column END)::text,"
		  " (s.source <> p.table_name OR f.from_key <> f.key"
		  "  OR f.from_time <> p.occurred_at_column) IS TRUE,"
		  " f.default_value,  f.from_table IS NOT NULL AND s.source IS NULL"
		  "  FROM agentpay.features f"
		  "  JOIN agentpay.decision_points p USING (point)"
		  " CROSS JOIN LATERAL (SELECT nullif(f.from_table,"
		  "  'agentpay.outcomes'::regclass) AS source) AS s"
		  " ORDER BY point, f.name COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = point_of_row(rows);
		AgentpayFeatureConfig *feature;
		char *aggregate;

		if (point == NULL)
			continue;
		point->features = grow(rows, point->features, point->n_features,
							   sizeof(AgentpayFeatureConfig));
		feature = &point->features[point->n_features++];
		feature->name = text_at(rows, 2);
		feature->kind = feature_kind(text_at(rows, 3));
		aggregate = text_at(rows, 4);
		for (int i = 0; aggregate != NULL && i < lengthof(aggregates); i++)
			if (strcmp(aggregate, aggregates[i]) == 0)
				feature->aggregate = i;
		feature->value = text_at(rows, 5);
		feature->over_us = int_at(rows, 6);
		feature->delay_us = int_at(rows, 7);
		feature->filter = text_at(rows, 8);
		feature->include_current = bool_at(rows, 9);
		feature->has_default = bool_at(rows, 10);
		feature->default_value = float_at(rows, 11);
		feature->keys = texts_at(rows, 12, &feature->n_keys);
		feature->from_table = (Oid) int_at(rows, 13);
		feature->from_keys = texts_at(rows, 14, &feature->n_keys);
		feature->from_time = text_at(rows, 15);
		feature->elsewhere = bool_at(rows, 16);
		feature->default_text = text_at(rows, 17);
		feature->labelled = bool_at(rows, 18);
	}
}

static AgentpayFeatureKind
feature_kind(const char *kind)
{
	if (strcmp(kind, "since_last") == 0)
		return AGENTPAY_FEATURE_SINCE_LAST;
	if (strcmp(kind, "lookup") == 0)
		return AGENTPAY_FEATURE_LOOKUP;
	return AGENTPAY_FEATURE_WINDOW;
}

static void
load_rulesets(Rows *rows)
{
	query(rows, "SELECT point, version::int8, mode = 'first_match', on_error,"
				" state = 'shadow' AND $1 = ''"
				"  FROM agentpay.rulesets s WHERE " CHOSEN(
					"s") " ORDER BY point, version");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = point_of_row(rows);
		AgentpayRulesetConfig *ruleset;

		if (point == NULL)
			continue;
		if (bool_at(rows, 5))
		{
			point->shadows = grow(rows, point->shadows, point->n_shadows,
								  sizeof(AgentpayRulesetConfig));
			ruleset = &point->shadows[point->n_shadows++];
		}
		else
			ruleset = point->ruleset = grow(rows, NULL, 0,
											sizeof(AgentpayRulesetConfig));
		ruleset->version = (int) int_at(rows, 2);
		ruleset->mode = bool_at(rows, 3) ? AGENTPAY_MODE_FIRST_MATCH
										 : AGENTPAY_MODE_SCORE;
		ruleset->on_error = verdict_at(rows, 4, point);
		if (ruleset->on_error < 0 && strcmp(point->role, "fraud") == 0)
			ruleset->on_error = agentpay_config_verdict(point, "review");
		/* a fraud point without review: the strictest */
		if (ruleset->on_error < 0)
			ruleset->on_error = strcmp(point->role, "fraud") == 0
									? point->n_verdicts - 1
									: point->default_verdict;
	}
}

/* The version that the row's point and that column name, or NULL. */
static AgentpayRulesetConfig *
ruleset_of_row(Rows *rows, int column)
{
	AgentpayPointConfig *point = point_of_row(rows);
	int version = (int) int_at(rows, column);

	if (point == NULL)
		return NULL;
	if (point->ruleset != NULL && point->ruleset->version == version)
		return point->ruleset;
	for (int i = 0; i < point->n_shadows; i++)
		if (point->shadows[i].version == version)
			return &point->shadows[i];
	return NULL;
}

/* Without thresholds they are spread evenly up to 100. */
static void
load_thresholds(Rows *rows)
{
	query(
		rows,
		"SELECT t.point, t.verdict, t.score, t.version::int8 FROM ("
		"  SELECT s.point, s.version, v.verdict, v.rank, CASE s.thresholds"
		"		 WHEN '{}' THEN 100 * v.rank::numeric / (SELECT"
		"			nullif(max(m.rank), 0)"
		"			FROM agentpay.verdicts m WHERE m.point = s.point)"
		"		 ELSE (s.thresholds ->> v.verdict)::numeric END AS score"
		"	   FROM agentpay.rulesets s JOIN agentpay.verdicts v USING (point)"
		"	  WHERE s.mode = 'score' AND " CHOSEN(
			"s") ") AS t"
				 " WHERE t.score IS NOT NULL AND t.rank > 0 ORDER BY t.point, t.rank");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayRulesetConfig *ruleset = ruleset_of_row(rows, 4);
		AgentpayThreshold *threshold;

		if (ruleset == NULL)
			continue;
		ruleset->thresholds = grow(rows, ruleset->thresholds,
								   ruleset->n_thresholds,
								   sizeof(AgentpayThreshold));
		threshold = &ruleset->thresholds[ruleset->n_thresholds++];
		threshold->verdict = verdict_at(rows, 2, point_of_row(rows));
		threshold->score = numeric_at(rows, 3);
	}
}

static void
load_rules(Rows *rows)
{
	query(
		rows,
		"SELECT r.point, r.code, r.condition, r.score, r.verdict,"
		" r.priority::int8, CASE WHEN $1 = ''"
		"	 OR $3 > '-infinity' OR r.snoozed_until > agentpay._now() THEN r.snoozed_until"
		" END, r.version::int8"
		"  FROM agentpay.rules r"
		"  JOIN agentpay.rulesets s USING (point, version)"
		" WHERE r.enabled AND " CHOSEN(
			"s") " ORDER BY r.point, r.priority, r.code COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayRulesetConfig *ruleset = ruleset_of_row(rows, 8);
		AgentpayRuleConfig *rule;
		bool isnull;
		Datum snoozed;

		if (ruleset == NULL)
			continue;
		ruleset->rules = grow(rows, ruleset->rules, ruleset->n_rules,
							  sizeof(AgentpayRuleConfig));
		rule = &ruleset->rules[ruleset->n_rules++];
		rule->code = text_at(rows, 2);
		rule->condition = text_at(rows, 3);
		rule->score = numeric_at(rows, 4);
		rule->verdict = verdict_at(rows, 5, point_of_row(rows));
		rule->priority = (int) int_at(rows, 6);
		snoozed = value_at(rows, 7, &isnull);
		rule->snoozed_until = isnull ? DT_NOBEGIN
									 : DatumGetTimestampTz(snoozed);
	}
}

static void
load_agents(Rows *rows)
{
	query(rows, "SELECT a.point, a.name, v.version::int8,"
				" a.protocol = 'builtin', coalesce(a.model, ''), a.invoke_when,"
				" a.sample_percent, a.fields, a.repeat_percent::float8,"
				" a.repeats::int8, a.position = 'review',"
				" EXISTS (SELECT FROM agentpay.agents o"
				"	WHERE o.escalate_to = a.name), a.escalate_to,"
				" a.position = 'pre_auth', s.salt,"
				" agentpay._stage_rank(a.stage)::int8,"
				" (100 * a.holdout_percent)::int8,"
				" coalesce(l.times, 0)"
				"  FROM agentpay.agents a"
				"  LEFT JOIN agentpay._agent_salts s ON s.agent = a.name"
				"  LEFT JOIN agentpay._stage_lowerings l ON l.agent = a.name"
				" CROSS JOIN LATERAL (SELECT max(x.version) AS version"
				"	FROM agentpay.agent_versions x WHERE x.agent = a.name) AS v"
				" WHERE a.enabled AND a.stage <> 'off'"
				"	AND v.version IS NOT NULL"
				" ORDER BY a.point, a.name COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = point_of_row(rows);
		AgentpayAgentConfig *agent;

		if (point == NULL)
			continue;
		point->agents = grow(rows, point->agents, point->n_agents,
							 sizeof(AgentpayAgentConfig));
		agent = &point->agents[point->n_agents++];
		agent->name = text_at(rows, 2);
		agent->version = (int) int_at(rows, 3);
		agent->builtin = bool_at(rows, 4);
		agent->model = text_at(rows, 5);
		agent->invoke_when = text_at(rows, 6);
		agent->sample_percent = double_of(NumericGetDatum(numeric_at(rows, 7)));
		agent->fields = texts_at(rows, 8, &agent->n_fields);
		agent->repeat_percent = float_at(rows, 9);
		agent->repeats = (int) int_at(rows, 10);
		agent->reviews = bool_at(rows, 11);
		agent->is_tier = bool_at(rows, 12);
		agent->escalate_to = text_at(rows, 13);
		agent->pre_auth = bool_at(rows, 14);
		agent->salt = bytes_at(rows, 15);
		agent->stage = (int) int_at(rows, 16);
		agent->holdout = (int) int_at(rows, 17);
		agent->lowered = int_at(rows, 18);
	}
}

/* What read_policy() reads, from the treatment on. */
/* clang-format off */
#define POLICY_OPTIONS \
	" CASE jsonb_typeof(d.options -> 'keep_last') WHEN 'number'" \
	" THEN (d.options ->> 'keep_last')::int8 ELSE 0 END," \
	" ARRAY(SELECT jsonb_array_elements_text(CASE" \
	"		jsonb_typeof(d.options -> 'bounds') WHEN 'array'" \
	"		THEN d.options -> 'bounds' END))," \
	" coalesce(d.options ->> 'width', '')"
/* clang-format on */

/* The policy whose column is in that column of the row. */
static void
read_policy(Rows *rows, int column, AgentpayPolicyConfig *policy)
{
	policy->column = text_at(rows, column);
	policy->treatment = text_at(rows, column + 1);
	policy->keep_last = (int) int_at(rows, column + 2);
	policy->bounds = texts_at(rows, column + 3, &policy->n_bounds);
	policy->width = text_at(rows, column + 4);
}

static void
load_policies(Rows *rows)
{
	query(rows,
		  "SELECT p.point, d.column_name::text, d.treatment," POLICY_OPTIONS
		  "  FROM agentpay.data_policies d"
		  "  JOIN agentpay.decision_points p USING (table_name)"
		  " ORDER BY p.point, d.column_name COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = point_of_row(rows);
		AgentpayPolicyConfig *policy;

		if (point == NULL)
			continue;
		point->policies = grow(rows, point->policies, point->n_policies,
							   sizeof(AgentpayPolicyConfig));
		policy = &point->policies[point->n_policies++];
		read_policy(rows, 2, policy);
	}
}

/* Those of other tables that features read. */
static void
load_feature_policies(Rows *rows)
{
	query(
		rows,
		"SELECT p.point, f.name, d.column_name::text, d.treatment," POLICY_OPTIONS
		"  FROM agentpay.data_policies d"
		"  JOIN agentpay.features f ON f.from_table = d.table_name"
		"  JOIN agentpay.decision_points p ON p.point = f.point"
		"   AND p.table_name <> f.from_table"
		" ORDER BY p.point, f.name");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = point_of_row(rows);
		int index = point == NULL
						? -1
						: agentpay_config_feature(point, text_at(rows, 2));
		AgentpayFeatureConfig *feature;
		AgentpayPolicyConfig *policy;

		if (index < 0)
			continue;
		feature = &point->features[index];
		feature->policies = grow(rows, feature->policies, feature->n_policies,
								 sizeof(AgentpayPolicyConfig));
		policy = &feature->policies[feature->n_policies++];
		read_policy(rows, 3, policy);
	}
}

/*
 * A model whose definition does not fit its inputs is as good as missing: it
 * fails the rules that ask for it, and nothing else.
 */
static void
load_models(Rows *rows)
{
	AgentpayConfig *config = rows->config;

	/* clang-format off */
	query(rows,
		  "SELECT name, version::int8, features, kind = 'xgboost', stored, "
		  NUMBERS("jsonb_build_array(numbers -> 'intercept')") ", "
		  NUMBERS("numbers -> 'coefficients'") ", "
		  NUMBERS("numbers -> 'mean'") ", "
		  NUMBERS("numbers -> 'scale'")
		  "  FROM (SELECT name, version, features, kind,"
		  "		format('%s %s', xmin, ctid) AS stored,"
		  "		CASE kind WHEN 'logistic' THEN definition END AS numbers"
		  "		  FROM agentpay.models WHERE CASE WHEN $3 = '-infinity' THEN active"
		  "		  ELSE version = ($4 ->> name)::int END) AS m"
		  " ORDER BY name COLLATE \"C\"");
	/* clang-format on */
	config->models = MemoryContextAllocZero(config->context,
											sizeof(AgentpayModelConfig) *
												(rows->count + 1));
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayModelConfig *model = &config->models[config->n_models];
		double *intercept;
		int counts[4];

		model->name = text_at(rows, 1);
		model->version = (int) int_at(rows, 2);
		model->inputs = texts_at(rows, 3, &model->n_inputs);
		model->row = text_at(rows, 5);
		if (bool_at(rows, 4))
		{
			model->kind = AGENTPAY_MODEL_XGBOOST;
			config->n_models++;
			continue;
		}
		intercept = numbers_at(rows, 6, &counts[0]);
		model->coefficients = numbers_at(rows, 7, &counts[1]);
		model->mean = numbers_at(rows, 8, &counts[2]);
		model->scale = numbers_at(rows, 9, &counts[3]);
		if (counts[0] != 1 || counts[1] != model->n_inputs ||
			counts[2] != model->n_inputs || counts[3] != model->n_inputs)
			continue;
		model->intercept = intercept[0];
		if (has_scales(model))
			config->n_models++;
	}
}

/* Inputs are divided by them. */
static bool
has_scales(const AgentpayModelConfig *model)
{
	for (int i = 0; i < model->n_inputs; i++)
		if (model->scale[i] == 0)
			return false;
	return true;
}

/* Runs the query; its rows are the current ones. */
static void
query(Rows *rows, const char *sql)
{
	Oid types[4] = {TEXTOID, INT4OID, TIMESTAMPTZOID, JSONBOID};
	Datum values[4] = {CStringGetTextDatum(rows->point),
					   Int32GetDatum(rows->version)};

	values[2] = TimestampTzGetDatum(rows->at == NULL ? DT_NOBEGIN : *rows->at);
	values[3] = rows->models != (Datum) 0
					? rows->models
					: DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	if (rows->at != NULL)
		sql = as_of(sql);
	agentpay_owner_select(&rows->reading, sql, 4, types, values, 0);
	rows->table = SPI_tuptable;
	rows->count = SPI_processed;
	rows->row = 0;
}

/* The same query of the tables as they were at $3 (sql/parts/73_history.sql). */
static char *
as_of(const char *sql)
{
	static const char *const tables[] = {"decision_points", "verdicts",
										 "features",		"rulesets",
										 "rules",			"data_policies"};
	StringInfoData text;

	initStringInfo(&text);
	while (*sql != '\0')
	{
		size_t len = 0;

		if (strncmp(sql, "agentpay.", 9) == 0)
			for (int i = 0; i < lengthof(tables) && len == 0; i++)
				if (strncmp(sql + 9, tables[i], strlen(tables[i])) == 0 &&
					sql[9 + strlen(tables[i])] == ' ')
				{
					len = 9 + strlen(tables[i]);
					appendStringInfo(&text, "agentpay._%s_at($3)", tables[i]);
				}
		if (len == 0)
			appendStringInfoChar(&text, *sql++);
		sql += len;
	}
	return text.data;
}

/* The enabled point that the row's first column names, or NULL. */
static AgentpayPointConfig *
point_of_row(Rows *rows)
{
	char *name = SPI_getvalue(rows->table->vals[rows->row],
							  rows->table->tupdesc, 1);

	return unconstify(AgentpayPointConfig *,
					  agentpay_config_point(rows->config, name));
}

/* Room for one more; what is new is zero. */
static void *
grow(Rows *rows, void *array, int count, size_t size)
{
	char *grown;

	if (array == NULL)
		grown = MemoryContextAlloc(rows->config->context, size);
	else
		grown = repalloc(array, size * (count + 1));
	memset(grown + size * count, 0, size);
	return grown;
}

static Datum
value_at(Rows *rows, int column, bool *isnull)
{
	return SPI_getbinval(rows->table->vals[rows->row], rows->table->tupdesc,
						 column, isnull);
}

/* NULL for NULL. */
static char *
text_at(Rows *rows, int column)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);

	if (isnull)
		return NULL;
	return MemoryContextStrdup(rows->config->context,
							   TextDatumGetCString(value));
}

/* 0 for NULL, as the next three. */
static int64
int_at(Rows *rows, int column)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static bool
bool_at(Rows *rows, int column)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);

	return !isnull && DatumGetBool(value);
}

static double
float_at(Rows *rows, int column)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

static Numeric
numeric_at(Rows *rows, int column)
{
	MemoryContext old = MemoryContextSwitchTo(rows->config->context);
	bool isnull;
	Datum value = value_at(rows, column, &isnull);
	Numeric copy = isnull ? int64_to_numeric(0) : DatumGetNumericCopy(value);

	MemoryContextSwitchTo(old);
	return copy;
}

static Interval
interval_at(Rows *rows, int column)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);
	Interval nothing = {0};

	return isnull ? nothing : *DatumGetIntervalP(value);
}

/* A bytea, or NULL. */
static struct varlena *
bytes_at(Rows *rows, int column)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);
	MemoryContext old;
	struct varlena *copy;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(rows->config->context);
	copy = (struct varlena *) DatumGetByteaPCopy(value);
	MemoryContextSwitchTo(old);
	return copy;
}

static char **
texts_at(Rows *rows, int column, int *count)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);
	Datum *elements;
	char **texts;

	*count = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, count);
	texts = MemoryContextAlloc(rows->config->context,
							   sizeof(char *) * (*count + 1));
	for (int i = 0; i < *count; i++)
		texts[i] = MemoryContextStrdup(rows->config->context,
									   TextDatumGetCString(elements[i]));
	return texts;
}

/* What a double cannot hold becomes 0 or infinity, and is no error. */
static double
double_of(Datum numeric)
{
	return DatumGetFloat8(
		DirectFunctionCall1(numeric_float8_no_overflow, numeric));
}

static double *
numbers_at(Rows *rows, int column, int *count)
{
	bool isnull;
	Datum value = value_at(rows, column, &isnull);
	Datum *elements;
	double *numbers;

	*count = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(value), NUMERICOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, count);
	numbers = MemoryContextAlloc(rows->config->context,
								 sizeof(double) * (*count + 1));
	for (int i = 0; i < *count; i++)
		numbers[i] = double_of(elements[i]);
	return numbers;
}

/* -1 for NULL, or what is no verdict of the point. */
static int
verdict_at(Rows *rows, int column, const AgentpayPointConfig *point)
{
	char *name = SPI_getvalue(rows->table->vals[rows->row],
							  rows->table->tupdesc, column);

	return name == NULL ? -1 : agentpay_config_verdict(point, name);
}
