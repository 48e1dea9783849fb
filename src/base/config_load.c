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

#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/config_load.h"
#include "base/config_rows.h"
#include "base/identity.h"

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

static AgentpayConfig *load(AgentpayRows *rows);
static void load_changed(AgentpayRows *rows);
static void load_points(AgentpayRows *rows);
static void
load_draws(AgentpayRows *rows, AgentpayPointConfig *point, int column);
static void load_verdicts(AgentpayRows *rows);
static void load_features(AgentpayRows *rows);
static AgentpayFeatureKind feature_kind(const char *kind);
static void load_rulesets(AgentpayRows *rows);
static AgentpayRulesetConfig *ruleset_of_row(AgentpayRows *rows, int column);
static void load_thresholds(AgentpayRows *rows);
static void load_rules(AgentpayRows *rows);
static void load_agents(AgentpayRows *rows);
static void load_policies(AgentpayRows *rows);
static void load_feature_policies(AgentpayRows *rows);
static void load_models(AgentpayRows *rows);
static bool has_scales(const AgentpayModelConfig *model);

AgentpayConfig *
agentpay_config_load(void)
{
	AgentpayRows rows = {.point = ""};

	return load(&rows);
}

AgentpayConfig *
agentpay_config_load_version(const char *point, int version)
{
	AgentpayRows rows = {.point = point, .version = version};

	return load(&rows);
}

AgentpayConfig *
agentpay_config_load_at(const char *point, int version, TimestampTz at,
						Datum models)
{
	AgentpayRows rows = {.point = point,
						 .version = version,
						 .at = &at,
						 .models = models};

	return load(&rows);
}

static AgentpayConfig *
load(AgentpayRows *rows)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay configuration",
												  ALLOCSET_DEFAULT_SIZES);
	AgentpayConfig *config = MemoryContextAllocZero(context,
													sizeof(AgentpayConfig));

	rows->config = config;
	config->context = context;
	agentpay_owner_read_begin(&rows->reading);
	if (rows->at != NULL)
		load_changed(rows);
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

/* What did not change since is read as it is, which is ten times as fast. */
static void
load_changed(AgentpayRows *rows)
{
	agentpay_rows_query(rows, "SELECT agentpay._config_changes($3"
							  " + interval '1 microsecond') <> '{}'");
	rows->changed = agentpay_rows_bool(rows, 1);
}

/* A point without verdicts, as a restore has it for a while, cannot decide. */
static void
load_points(AgentpayRows *rows)
{
	AgentpayConfig *config = rows->config;

	agentpay_rows_query(
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

		point->name = agentpay_rows_text(rows, column++);
		point->table = (Oid) agentpay_rows_int(rows, column++);
		point->role = agentpay_rows_text(rows, column++);
		point->id_column = agentpay_rows_text(rows, column++);
		point->occurred_at_column = agentpay_rows_text(rows, column++);
		point->amount_column = agentpay_rows_text(rows, column++);
		point->currency_column = agentpay_rows_text(rows, column++);
		point->currency = agentpay_rows_text(rows, column++);
		point->subject_column = agentpay_rows_text(rows, column++);
		point->outcome_column = agentpay_rows_text(rows, column++);
		point->score_column = agentpay_rows_text(rows, column++);
		point->reasons_column = agentpay_rows_text(rows, column++);
		point->idempotency_column = agentpay_rows_text(rows, column++);
		point->time_zone = agentpay_rows_text(rows, column++);
		point->base_currency = agentpay_rows_text(rows, column++);
		point->labels_complete = agentpay_rows_bool(rows, column++);
		point->decide_within_ms = (int) agentpay_rows_int(rows, column++);
		point->case_due = agentpay_rows_interval(rows, column++);
		load_draws(rows, point, column);
	}
}

/* Without a salt, as a restore has it for a while, nothing is drawn. */
static void
load_draws(AgentpayRows *rows, AgentpayPointConfig *point, int column)
{
	bool unlimited;

	point->salt = agentpay_rows_bytes(rows, column + 3);
	if (point->salt == NULL)
		return;
	point->explore_percent = agentpay_rows_float(rows, column);
	(void) agentpay_rows_value(rows, column + 1, &unlimited);
	if (!unlimited)
		point->explore_max_amount = agentpay_rows_numeric(rows, column + 1);
	point->audit_percent = agentpay_rows_float(rows, column + 2);
}

static void
load_verdicts(AgentpayRows *rows)
{
	agentpay_rows_query(
		rows, "SELECT point, verdict, coalesce(rank, -1)::int8, positive,"
			  " is_default, agentpay._needs_person(v)"
			  "  FROM agentpay.verdicts v"
			  " ORDER BY point, rank, verdict COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = agentpay_rows_point(rows);
		AgentpayVerdict *verdict;

		if (point == NULL)
			continue;
		point->verdicts = agentpay_rows_grow(rows, point->verdicts,
											 point->n_verdicts,
											 sizeof(AgentpayVerdict));
		verdict = &point->verdicts[point->n_verdicts];
		verdict->name = agentpay_rows_text(rows, 2);
		verdict->rank = (int) agentpay_rows_int(rows, 3);
		verdict->positive = agentpay_rows_bool(rows, 4);
		verdict->is_default = agentpay_rows_bool(rows, 5);
		verdict->needs_person = agentpay_rows_bool(rows, 6);
		if (verdict->is_default)
			point->default_verdict = point->n_verdicts;
		point->n_verdicts++;
	}
}

static void
load_features(AgentpayRows *rows)
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

	agentpay_rows_query(
		rows,
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
		AgentpayPointConfig *point = agentpay_rows_point(rows);
		AgentpayFeatureConfig *feature;
		char *aggregate;

		if (point == NULL)
			continue;
		point->features = agentpay_rows_grow(rows, point->features,
											 point->n_features,
											 sizeof(AgentpayFeatureConfig));
		feature = &point->features[point->n_features++];
		feature->name = agentpay_rows_text(rows, 2);
		feature->kind = feature_kind(agentpay_rows_text(rows, 3));
		aggregate = agentpay_rows_text(rows, 4);
		for (int i = 0; aggregate != NULL && i < lengthof(aggregates); i++)
			if (strcmp(aggregate, aggregates[i]) == 0)
				feature->aggregate = i;
		feature->value = agentpay_rows_text(rows, 5);
		feature->over_us = agentpay_rows_int(rows, 6);
		feature->delay_us = agentpay_rows_int(rows, 7);
		feature->filter = agentpay_rows_text(rows, 8);
		feature->include_current = agentpay_rows_bool(rows, 9);
		feature->has_default = agentpay_rows_bool(rows, 10);
		feature->default_value = agentpay_rows_float(rows, 11);
		feature->keys = agentpay_rows_texts(rows, 12, &feature->n_keys);
		feature->from_table = (Oid) agentpay_rows_int(rows, 13);
		feature->from_keys = agentpay_rows_texts(rows, 14, &feature->n_keys);
		feature->from_time = agentpay_rows_text(rows, 15);
		feature->elsewhere = agentpay_rows_bool(rows, 16);
		feature->default_text = agentpay_rows_text(rows, 17);
		feature->labelled = agentpay_rows_bool(rows, 18);
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
load_rulesets(AgentpayRows *rows)
{
	agentpay_rows_query(
		rows, "SELECT point, version::int8, mode = 'first_match', on_error,"
			  " state = 'shadow' AND $1 = ''"
			  "  FROM agentpay.rulesets s WHERE " CHOSEN(
				  "s") " ORDER BY point, version");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = agentpay_rows_point(rows);
		AgentpayRulesetConfig *ruleset;

		if (point == NULL)
			continue;
		if (agentpay_rows_bool(rows, 5))
		{
			point->shadows = agentpay_rows_grow(rows, point->shadows,
												point->n_shadows,
												sizeof(AgentpayRulesetConfig));
			ruleset = &point->shadows[point->n_shadows++];
		}
		else
			ruleset = point->ruleset =
				agentpay_rows_grow(rows, NULL, 0,
								   sizeof(AgentpayRulesetConfig));
		ruleset->version = (int) agentpay_rows_int(rows, 2);
		ruleset->mode = agentpay_rows_bool(rows, 3) ? AGENTPAY_MODE_FIRST_MATCH
													: AGENTPAY_MODE_SCORE;
		ruleset->on_error = agentpay_rows_verdict(rows, 4, point);
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
ruleset_of_row(AgentpayRows *rows, int column)
{
	AgentpayPointConfig *point = agentpay_rows_point(rows);
	int version = (int) agentpay_rows_int(rows, column);

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
load_thresholds(AgentpayRows *rows)
{
	agentpay_rows_query(
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
		ruleset->thresholds = agentpay_rows_grow(rows, ruleset->thresholds,
												 ruleset->n_thresholds,
												 sizeof(AgentpayThreshold));
		threshold = &ruleset->thresholds[ruleset->n_thresholds++];
		threshold->verdict = agentpay_rows_verdict(rows, 2,
												   agentpay_rows_point(rows));
		threshold->score = agentpay_rows_numeric(rows, 3);
	}
}

static void
load_rules(AgentpayRows *rows)
{
	agentpay_rows_query(
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
		ruleset->rules = agentpay_rows_grow(rows, ruleset->rules,
											ruleset->n_rules,
											sizeof(AgentpayRuleConfig));
		rule = &ruleset->rules[ruleset->n_rules++];
		rule->code = agentpay_rows_text(rows, 2);
		rule->condition = agentpay_rows_text(rows, 3);
		rule->score = agentpay_rows_numeric(rows, 4);
		rule->verdict = agentpay_rows_verdict(rows, 5,
											  agentpay_rows_point(rows));
		rule->priority = (int) agentpay_rows_int(rows, 6);
		snoozed = agentpay_rows_value(rows, 7, &isnull);
		rule->snoozed_until = isnull ? DT_NOBEGIN
									 : DatumGetTimestampTz(snoozed);
	}
}

static void
load_agents(AgentpayRows *rows)
{
	agentpay_rows_query(
		rows, "SELECT a.point, a.name, v.version::int8,"
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
		AgentpayPointConfig *point = agentpay_rows_point(rows);
		AgentpayAgentConfig *agent;

		if (point == NULL)
			continue;
		point->agents = agentpay_rows_grow(rows, point->agents, point->n_agents,
										   sizeof(AgentpayAgentConfig));
		agent = &point->agents[point->n_agents++];
		agent->name = agentpay_rows_text(rows, 2);
		agent->version = (int) agentpay_rows_int(rows, 3);
		agent->builtin = agentpay_rows_bool(rows, 4);
		agent->model = agentpay_rows_text(rows, 5);
		agent->invoke_when = agentpay_rows_text(rows, 6);
		agent->sample_percent = agentpay_rows_double(
			NumericGetDatum(agentpay_rows_numeric(rows, 7)));
		agent->fields = agentpay_rows_texts(rows, 8, &agent->n_fields);
		agent->repeat_percent = agentpay_rows_float(rows, 9);
		agent->repeats = (int) agentpay_rows_int(rows, 10);
		agent->reviews = agentpay_rows_bool(rows, 11);
		agent->is_tier = agentpay_rows_bool(rows, 12);
		agent->escalate_to = agentpay_rows_text(rows, 13);
		agent->pre_auth = agentpay_rows_bool(rows, 14);
		agent->salt = agentpay_rows_bytes(rows, 15);
		agent->stage = (int) agentpay_rows_int(rows, 16);
		agent->holdout = (int) agentpay_rows_int(rows, 17);
		agent->lowered = agentpay_rows_int(rows, 18);
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
	" coalesce(d.options ->> 'width', '')," \
	" coalesce(d.options ->> 'format', '')"
/* clang-format on */

/* The policy whose column is in that column of the row. */
static void
read_policy(AgentpayRows *rows, int column, AgentpayPolicyConfig *policy)
{
	policy->column = agentpay_rows_text(rows, column);
	policy->treatment = agentpay_rows_text(rows, column + 1);
	policy->keep_last = (int) agentpay_rows_int(rows, column + 2);
	policy->bounds = agentpay_rows_texts(rows, column + 3, &policy->n_bounds);
	policy->width = agentpay_rows_text(rows, column + 4);
	policy->format = agentpay_rows_text(rows, column + 5);
}

static void
load_policies(AgentpayRows *rows)
{
	agentpay_rows_query(
		rows, "SELECT p.point, d.column_name::text, d.treatment," POLICY_OPTIONS
			  "  FROM agentpay.data_policies d"
			  "  JOIN agentpay.decision_points p USING (table_name)"
			  " ORDER BY p.point, d.column_name COLLATE \"C\"");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = agentpay_rows_point(rows);
		AgentpayPolicyConfig *policy;

		if (point == NULL)
			continue;
		point->policies = agentpay_rows_grow(rows, point->policies,
											 point->n_policies,
											 sizeof(AgentpayPolicyConfig));
		policy = &point->policies[point->n_policies++];
		read_policy(rows, 2, policy);
	}
}

/* Those of other tables that features read. */
static void
load_feature_policies(AgentpayRows *rows)
{
	agentpay_rows_query(
		rows,
		"SELECT p.point, f.name, d.column_name::text, d.treatment," POLICY_OPTIONS
		"  FROM agentpay.data_policies d"
		"  JOIN agentpay.features f ON f.from_table = d.table_name"
		"  JOIN agentpay.decision_points p ON p.point = f.point"
		"   AND p.table_name <> f.from_table"
		" ORDER BY p.point, f.name");
	for (rows->row = 0; rows->row < rows->count; rows->row++)
	{
		AgentpayPointConfig *point = agentpay_rows_point(rows);
		int index = point == NULL
						? -1
						: agentpay_config_feature(point,
												  agentpay_rows_text(rows, 2));
		AgentpayFeatureConfig *feature;
		AgentpayPolicyConfig *policy;

		if (index < 0)
			continue;
		feature = &point->features[index];
		feature->policies = agentpay_rows_grow(rows, feature->policies,
											   feature->n_policies,
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
load_models(AgentpayRows *rows)
{
	AgentpayConfig *config = rows->config;

	/* clang-format off */
	agentpay_rows_query(rows,
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

		model->name = agentpay_rows_text(rows, 1);
		model->version = (int) agentpay_rows_int(rows, 2);
		model->inputs = agentpay_rows_texts(rows, 3, &model->n_inputs);
		model->row = agentpay_rows_text(rows, 5);
		if (agentpay_rows_bool(rows, 4))
		{
			model->kind = AGENTPAY_MODEL_XGBOOST;
			config->n_models++;
			continue;
		}
		intercept = agentpay_rows_numbers(rows, 6, &counts[0]);
		model->coefficients = agentpay_rows_numbers(rows, 7, &counts[1]);
		model->mean = agentpay_rows_numbers(rows, 8, &counts[2]);
		model->scale = agentpay_rows_numbers(rows, 9, &counts[3]);
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
