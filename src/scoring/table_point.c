/*-------------------------------------------------------------------------
 * table_point.c
 *		Compiles one point: its columns, rules, features, models, agents.
 *
 * Each expression is compiled in a subtransaction of its own: a rule that was
 * right when it was written can fail to compile later (a function that was
 * dropped, a constant that overflows when it is folded), and then only that
 * rule is in error.
 *
 * No locks beyond those of the catalog caches.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/contain.h"
#include "scoring/inputs.h"
#include "scoring/table_point.h"

/* One thing to compile, for agentpay_contain(). */
typedef struct Attempt
{
	AgentpayPoint *point;
	const char *text;
	Relation leaf;
	const AgentpayFeatureConfig *feature;
	AgentpayExpression *expression;
	AgentpayFeature *reader;
	AgentpayLookup *lookup;
	Oid type; /* of the lookup */
	AgentpayModelSlot *model;
} Attempt;

static void compile_columns(AgentpayPoint *point, Relation leaf);
static bool lost(const char *name, const AgentpayColumn *column);
static void compile_key_index(AgentpayPoint *point);
static void
compile_target(AgentpayTarget *target, Relation leaf, const char *name);
static void compile_outcomes(AgentpayPoint *point);
static void outcomes_body(void *arg);
static void compile_scope(AgentpayPoint *point, AgentpayConfig *whole);
static void compile_feature_types(AgentpayPoint *point);
static void lookup_type_body(void *arg);
static void compile_rulesets(AgentpayPoint *point);
static void compile_rules(AgentpayPoint *point, AgentpayRuleset *ruleset);
static bool whole_number(Numeric number, int64 *value);
static void compile_agents(AgentpayPoint *point);
static AgentpayExpression *
compile_expression(AgentpayPoint *point, const char *text, AgentpayUsage usage,
				   ErrorData **broken);
static void expression_body(void *arg);
static void
mark_needed(AgentpayPoint *point, const Bitmapset *params, Bitmapset **reads);
static void compile_models(AgentpayPoint *point, Relation leaf);
static void
need_model_input(AgentpayPoint *point, int model, int feature, bool asked);
static void model_body(void *arg);
static void compile_features(AgentpayPoint *point, Relation leaf);
static void feature_body(void *arg);
static ErrorData *missing_column(const char *name);
static void prepare_detail(AgentpayPoint *point, AgentpayConfig *whole);
static void push_model_versions(AgentpayPoint *point, JsonbParseState **state);

void
agentpay_point_compile(AgentpayPoint *point, Relation leaf,
					   const AgentpayPointConfig *config, AgentpayConfig *whole)
{
	AgentpayExpressionState saved;

	point->config = config;
	point->name = CStringGetTextDatum(config->name);
	point->features = palloc0(sizeof(AgentpayFeatureSlot) *
							  Max(config->n_features, 1));
	compile_columns(point, leaf);
	compile_scope(point, whole);
	point->scope.relation = RelationGetRelid(leaf);
	point->scope.owner = leaf->rd_rel->relowner;

	agentpay_expression_enter(&point->scope, false, &saved);
	PG_TRY();
	{
		compile_outcomes(point);
		compile_feature_types(point);
		point->params = agentpay_expression_params(&point->scope);
		compile_rulesets(point);
		compile_agents(point);
		compile_models(point, leaf);
		compile_features(point, leaf);
		agentpay_inputs_compile(point, leaf);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
	prepare_detail(point, whole);
}

void
agentpay_point_free(AgentpayPoint *point)
{
	for (int s = 0; s < point->n_rulesets; s++)
		for (int i = 0; i < point->rulesets[s].n_rules; i++)
			if (point->rulesets[s].rules[i].condition != NULL)
				agentpay_expression_free(point->rulesets[s].rules[i].condition);
	for (int i = 0; i < point->n_agents; i++)
		if (point->agents[i].invoke_when != NULL)
			agentpay_expression_free(point->agents[i].invoke_when);
	for (int i = 0; i < point->config->n_features; i++)
	{
		if (point->features[i].reader != NULL)
			agentpay_feature_free(point->features[i].reader);
		if (point->features[i].lookup != NULL)
			agentpay_lookup_free(point->features[i].lookup);
	}
}

bool
agentpay_point_only_shadows(const AgentpayPoint *point, int param)
{
	return !bms_is_member(param, point->rulesets[0].reads) &&
		   !bms_is_member(param, point->agents_read);
}

Bitmapset *
agentpay_point_columns(const AgentpayPoint *point)
{
	Bitmapset *columns = NULL;

	columns = bms_add_member(columns, point->id.attno);
	columns = bms_add_member(columns, point->occurred_at.attno);
	columns = bms_add_member(columns, point->amount.attno);
	columns = bms_add_member(columns, point->currency.attno);
	columns = bms_add_member(columns, point->idempotency.attno);
	if (point->n_agents > 0)
		columns = bms_add_member(columns, point->subject.attno);
	for (int i = 0; i < point->n_inputs; i++)
		if (!point->inputs[i].shadow)
			columns = bms_add_member(columns, point->inputs[i].column.attno);
	for (int i = 0; i < point->config->n_features; i++)
	{
		const AgentpayFeatureSlot *slot = &point->features[i];

		if (agentpay_point_only_shadows(point, i))
			continue;
		if (slot->reader != NULL)
			columns = bms_add_members(columns,
									  agentpay_feature_columns(slot->reader));
		if (slot->lookup != NULL)
			columns = bms_add_members(columns,
									  agentpay_lookup_columns(slot->lookup));
	}
	return columns;
}

void
agentpay_column_of(Relation leaf, AttrNumber attno, AgentpayColumn *column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(leaf),
												attno - 1);

	column->attno = attno;
	column->type = getBaseType(attribute->atttypid);
	column->length = attribute->attlen;
	column->by_value = attribute->attbyval;
	column->name = pstrdup(NameStr(attribute->attname));
}

void
agentpay_column_named(Relation leaf, const char *name, AgentpayColumn *column)
{
	AttrNumber attno = name == NULL ? InvalidAttrNumber
									: get_attnum(RelationGetRelid(leaf), name);

	memset(column, 0, sizeof(*column));
	if (attno > 0)
		agentpay_column_of(leaf, attno, column);
}

/* The columns that the point names. */
static void
compile_columns(AgentpayPoint *point, Relation leaf)
{
	const AgentpayPointConfig *config = point->config;
	Oid output;
	bool varlena;

	agentpay_column_named(leaf, config->id_column, &point->id);
	if (point->id.attno == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("point \"%s\" has lost its id column \"%s\"",
						config->name, config->id_column),
				 errdetail("Table \"%s\" has no such column any more, so its "
						   "decisions could not be told apart.",
						   RelationGetRelationName(leaf)),
				 errhint("SELECT agentpay.detach('%s'); then attach() with the "
						 "new name.",
						 config->name)));
	getTypeOutputInfo(point->id.type, &output, &varlena);
	fmgr_info(output, &point->id_output);
	agentpay_column_named(leaf, config->occurred_at_column,
						  &point->occurred_at);
	agentpay_column_named(leaf, config->amount_column, &point->amount);
	agentpay_column_named(leaf, config->currency_column, &point->currency);
	agentpay_column_named(leaf, config->subject_column, &point->subject);
	if (point->subject.attno != 0)
	{
		getTypeOutputInfo(point->subject.type, &output, &varlena);
		fmgr_info(output, &point->subject_output);
	}
	agentpay_column_named(leaf, config->idempotency_column,
						  &point->idempotency);
	if (point->idempotency.attno != 0)
	{
		getTypeOutputInfo(point->idempotency.type, &output, &varlena);
		fmgr_info(output, &point->key_output);
		compile_key_index(point);
	}
	if (strcmp(config->role, "dispute") == 0)
		agentpay_column_named(leaf, "respond_by", &point->respond_by);
	if (point->respond_by.type != TIMESTAMPTZOID)
		point->respond_by.attno = 0;
	compile_target(&point->outcome, leaf, config->outcome_column);
	compile_target(&point->score, leaf, config->score_column);
	compile_target(&point->reasons, leaf, config->reasons_column);
	point->lost_columns =
		lost(config->occurred_at_column, &point->occurred_at) ||
		lost(config->amount_column, &point->amount) ||
		lost(config->currency_column, &point->currency) ||
		lost(config->idempotency_column, &point->idempotency) ||
		lost(config->score_column, &point->score.column) ||
		lost(config->reasons_column, &point->reasons.column);
}

static bool
lost(const char *name, const AgentpayColumn *column)
{
	return name != NULL && column->attno == 0;
}

/* Whether the database itself keeps the point's keys apart. */
static void
compile_key_index(AgentpayPoint *point)
{
	Relation root = RelationIdGetRelation(point->config->table);
	AttrNumber attno;
	ListCell *lc;

	if (!RelationIsValid(root))
		return;
	attno = get_attnum(RelationGetRelid(root),
					   point->config->idempotency_column);
	foreach(lc, RelationGetIndexList(root))
	{
		Relation index = RelationIdGetRelation(lfirst_oid(lc));

		if (!RelationIsValid(index))
			continue;
		if (index->rd_index->indisunique && index->rd_index->indisvalid &&
			index->rd_index->indnkeyatts == 1 &&
			index->rd_index->indkey.values[0] == attno &&
			RelationGetIndexPredicate(index) == NIL)
			point->unique_keys = true;
		RelationClose(index);
	}
	RelationClose(root);
}

static void
compile_target(AgentpayTarget *target, Relation leaf, const char *name)
{
	Form_pg_attribute attribute;

	agentpay_column_named(leaf, name, &target->column);
	if (target->column.attno == 0)
		return;
	attribute = TupleDescAttr(RelationGetDescr(leaf), target->column.attno - 1);
	target->declared_type = attribute->atttypid;
	target->typmod = attribute->atttypmod;
}

/* What each verdict writes into the outcome, and whether it stops the row. */
static void
compile_outcomes(AgentpayPoint *point)
{
	const AgentpayPointConfig *config = point->config;
	Attempt attempt = {.point = point};

	point->verdict_texts = palloc0(sizeof(Datum) * config->n_verdicts);
	point->outcomes = palloc0(sizeof(Datum) * config->n_verdicts);
	point->stops = palloc0(sizeof(bool) * config->n_verdicts);
	for (int i = 0; i < config->n_verdicts; i++)
	{
		point->verdict_texts[i] = CStringGetTextDatum(config->verdicts[i].name);
		/* a payment that was stopped cannot turn out to be fraud */
		point->stops[i] = strcmp(config->role, "fraud") == 0 &&
						  config->verdicts[i].positive;
	}
	if (point->outcome.column.attno != 0)
		(void) agentpay_contain(outcomes_body, &attempt,
								&point->outcome_broken);
	else if (config->outcome_column != NULL)
		point->outcome_broken = missing_column(config->outcome_column);
}

static void
outcomes_body(void *arg)
{
	Attempt *attempt = arg;
	AgentpayPoint *point = attempt->point;
	Oid input;
	Oid io_param;

	getTypeInputInfo(point->outcome.declared_type, &input, &io_param);
	for (int i = 0; i < point->config->n_verdicts; i++)
		point->outcomes[i] =
			OidInputFunctionCall(input, point->config->verdicts[i].name,
								 io_param, point->outcome.typmod);
}

/* What expressions may name. */
static void
compile_scope(AgentpayPoint *point, AgentpayConfig *whole)
{
	AgentpayScope *scope = &point->scope;

	scope->n_features = point->config->n_features;
	scope->features = palloc(sizeof(char *) * Max(scope->n_features, 1));
	for (int i = 0; i < scope->n_features; i++)
		scope->features[i] = point->config->features[i].name;
	agentpay_models_forget(whole);
	point->n_models = whole->n_models;
	point->models = palloc0(sizeof(AgentpayModelSlot) *
							Max(point->n_models, 1));
	scope->n_models = whole->n_models;
	scope->models = palloc(sizeof(char *) * Max(scope->n_models, 1));
	for (int i = 0; i < scope->n_models; i++)
	{
		scope->models[i] = whole->models[i].name;
		point->models[i].config = &whole->models[i];
	}
	scope->time_zone = point->config->time_zone;
	scope->zone = pg_tzset(scope->time_zone);
	if (scope->zone == NULL)
	{
		/* a dump from a machine with other zones: see on_error */
		point->zone_broken = palloc0(sizeof(ErrorData));
		point->zone_broken->sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
		point->zone_broken->message = psprintf("unknown time zone: %s",
											   scope->time_zone);
		scope->time_zone = "UTC";
	}
}

/* Of what rules may read; a lookup whose value does not compile has none. */
static void
compile_feature_types(AgentpayPoint *point)
{
	const AgentpayPointConfig *config = point->config;
	Oid *types = palloc(sizeof(Oid) * Max(config->n_features, 1));

	for (int i = 0; i < config->n_features; i++)
	{
		Attempt attempt = {.point = point, .feature = &config->features[i]};

		types[i] = FLOAT8OID;
		if (config->features[i].kind == AGENTPAY_FEATURE_LOOKUP)
			types[i] = agentpay_contain(lookup_type_body, &attempt,
										&point->features[i].broken)
						   ? attempt.type
						   : InvalidOid;
	}
	point->scope.feature_types = types;
}

static void
lookup_type_body(void *arg)
{
	Attempt *attempt = arg;
	AgentpayScope scope =
		agentpay_feature_scope(attempt->point->config, attempt->feature,
							   attempt->point->scope.relation);

	attempt->type = agentpay_lookup_type(&scope, attempt->feature->value, NULL);
}

/* The active version, or none, and those in shadow. */
static void
compile_rulesets(AgentpayPoint *point)
{
	const AgentpayPointConfig *config = point->config;

	point->rulesets = palloc0(sizeof(AgentpayRuleset) *
							  (config->n_shadows + 1));
	point->n_rulesets = config->n_shadows + 1;
	point->rulesets[0].config = config->ruleset;
	for (int i = 0; i < config->n_shadows; i++)
		point->rulesets[i + 1].config = &config->shadows[i];
	for (int i = 0; i < point->n_rulesets; i++)
		if (point->rulesets[i].config != NULL)
			compile_rules(point, &point->rulesets[i]);
}

static void
compile_rules(AgentpayPoint *point, AgentpayRuleset *ruleset)
{
	const AgentpayRulesetConfig *config = ruleset->config;

	ruleset->rules = palloc0(sizeof(AgentpayRule) * Max(config->n_rules, 1));
	for (int i = 0; i < config->n_rules; i++)
	{
		AgentpayRule *rule = &ruleset->rules[ruleset->n_rules++];

		rule->config = &config->rules[i];
		rule->code = CStringGetTextDatum(rule->config->code);
		rule->is_whole = whole_number(rule->config->score, &rule->points);
		rule->condition = compile_expression(point, rule->config->condition,
											 AGENTPAY_USAGE_RULE,
											 &rule->broken);
		if (rule->condition != NULL)
			mark_needed(point, rule->condition->params, &ruleset->reads);
	}
}

/*
 * Whether the number is written without decimal places and in few digits, so
 * that no sum of such scores overflows.
 */
static bool
whole_number(Numeric number, int64 *value)
{
	char *text = DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	Size digits = strspn(text, "-0123456789");

	if (text[digits] != '\0' || digits > 12)
		return false;
	*value = strtoll(text, NULL, 10);
	return true;
}

static void
compile_agents(AgentpayPoint *point)
{
	const AgentpayPointConfig *config = point->config;

	point->agents = palloc0(sizeof(AgentpayInvoke) * Max(config->n_agents, 1));
	for (int i = 0; i < config->n_agents; i++)
	{
		AgentpayInvoke *agent = &point->agents[point->n_agents++];
		const char *name = config->agents[i].name;

		agent->config = &config->agents[i];
		agent->seed = hash_bytes_extended((const unsigned char *) name,
										  strlen(name), 0);
		agent->draw_below = (uint32) (agent->config->sample_percent * 10000 +
									  0.5);
		agent->invoke_when = compile_expression(point,
												agent->config->invoke_when,
												AGENTPAY_USAGE_INVOKE,
												&agent->broken);
		if (agent->invoke_when != NULL)
			mark_needed(point, agent->invoke_when->params, &point->agents_read);
		agent->escalate_to = -1;
		for (int to = 0; agent->config->escalate_to && to < config->n_agents;
			 to++)
			if (strcmp(config->agents[to].name, agent->config->escalate_to) ==
				0)
				agent->escalate_to = to;
	}
}

/* NULL, and why in *broken, when it does not compile. */
static AgentpayExpression *
compile_expression(AgentpayPoint *point, const char *text, AgentpayUsage usage,
				   ErrorData **broken)
{
	Attempt attempt = {.point = point, .text = text};

	point->scope.usage = usage;
	if (!agentpay_contain(expression_body, &attempt, broken))
		return NULL;
	point->foreign_functions |= attempt.expression->foreign_functions;
	return attempt.expression;
}

static void
expression_body(void *arg)
{
	Attempt *attempt = arg;

	attempt->expression = agentpay_expression_compile(&attempt->point->scope,
													  attempt->text, BOOLOID,
													  attempt->point->params);
}

/* Marks and collects the features and models among those parameters. */
static void
mark_needed(AgentpayPoint *point, const Bitmapset *params, Bitmapset **reads)
{
	int param = -1;

	while ((param = bms_next_member(params, param)) >= 0)
	{
		int model = param - AGENTPAY_PARAM_MODEL(&point->scope, 0);

		if (param < point->scope.n_features)
			point->features[param].needed = true;
		else if (model >= 0)
			point->models[model].needed = true;
		else
			continue;
		*reads = bms_add_member(*reads, param);
	}
}

/*
 * Where the models' inputs come from.  A model that only a built-in agent
 * uses is not needed before that agent is asked.
 */
static void
compile_models(AgentpayPoint *point, Relation leaf)
{
	for (int m = 0; m < point->n_models; m++)
	{
		AgentpayModelSlot *model = &point->models[m];
		bool asked = false;

		for (int i = 0; i < point->n_agents; i++)
			asked |= point->agents[i].config->builtin &&
					 strcmp(point->agents[i].config->model,
							model->config->name) == 0;
		if (!model->needed && !asked)
			continue;
		model->inputs = palloc0(sizeof(AgentpayModelInput) *
								Max(model->config->n_inputs, 1));
		model->values = palloc0(sizeof(double) *
								Max(model->config->n_inputs, 1));
		for (int i = 0; i < model->config->n_inputs; i++)
		{
			AgentpayModelInput *input = &model->inputs[i];
			const char *name = model->config->inputs[i];

			agentpay_column_named(leaf, name, &input->column);
			if (input->column.attno != 0)
				continue;
			input->feature = agentpay_config_feature(point->config, name);
			if (input->feature < 0)
			{
				model->broken = missing_column(name);
				continue;
			}
			need_model_input(point, m, input->feature, asked);
		}
		if (model->broken == NULL)
		{
			Attempt attempt = {.point = point, .model = model};

			(void) agentpay_contain(model_body, &attempt, &model->broken);
		}
	}
}

/* Whoever needs the model needs that feature; asked: so does an agent. */
static void
need_model_input(AgentpayPoint *point, int model, int feature, bool asked)
{
	int param = AGENTPAY_PARAM_MODEL(&point->scope, model);

	point->features[feature].needed = true;
	for (int i = 0; i < point->n_rulesets; i++)
		if (bms_is_member(param, point->rulesets[i].reads))
			point->rulesets[i].reads = bms_add_member(point->rulesets[i].reads,
													  feature);
	if (asked || bms_is_member(param, point->agents_read))
		point->agents_read = bms_add_member(point->agents_read, feature);
}

static void
model_body(void *arg)
{
	Attempt *attempt = arg;

	attempt->model->model = agentpay_model_prepare(attempt->model->config);
}

static void
compile_features(AgentpayPoint *point, Relation leaf)
{
	const AgentpayPointConfig *config = point->config;

	for (int i = 0; i < point->n_agents; i++)
		for (int f = 0; f < point->agents[i].config->n_fields; f++)
		{
			int feature =
				agentpay_config_feature(config,
										point->agents[i].config->fields[f]);

			if (feature < 0)
				continue;
			point->features[feature].needed = true;
			point->agents_read = bms_add_member(point->agents_read, feature);
		}
	for (int i = 0; i < config->n_features; i++)
	{
		AgentpayFeatureSlot *slot = &point->features[i];
		Attempt attempt = {.point = point,
						   .leaf = leaf,
						   .feature = &config->features[i],
						   .type = point->scope.feature_types[i]};

		if (slot->needed && slot->broken == NULL &&
			agentpay_contain(feature_body, &attempt, &slot->broken))
		{
			slot->reader = attempt.reader;
			slot->lookup = attempt.lookup;
		}
	}
}

static void
feature_body(void *arg)
{
	Attempt *attempt = arg;
	const AgentpayPointConfig *config = attempt->point->config;
	Oid leaf = RelationGetRelid(attempt->leaf);

	if (attempt->feature->kind == AGENTPAY_FEATURE_LOOKUP)
		attempt->lookup = agentpay_lookup_compile(config, attempt->feature,
												  leaf, attempt->type);
	else
		attempt->reader = agentpay_feature_compile(config, attempt->feature,
												   leaf);
}

/* As if reading the column had failed. */
static ErrorData *
missing_column(const char *name)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->sqlerrcode = ERRCODE_UNDEFINED_COLUMN;
	error->message = psprintf("column \"%s\" does not exist", name);
	return error;
}

/* {"held": true, "models": {...}}, or nothing. */
static void
prepare_detail(AgentpayPoint *point, AgentpayConfig *whole)
{
	JsonbParseState *state = NULL;
	JsonbValue value;
	bool models = false;

	for (int i = 0; i < point->n_models; i++)
		models |= point->models[i].inputs != NULL;
	if (!models && !whole->held)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (whole->held)
	{
		value.type = jbvString;
		value.val.string.val = "held";
		value.val.string.len = strlen("held");
		pushJsonbValue(&state, WJB_KEY, &value);
		value.type = jbvBool;
		value.val.boolean = true;
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	if (models)
		push_model_versions(point, &state);
	point->detail = JsonbValueToJsonb(
		pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* "models": {"<name>": version, ...} */
static void
push_model_versions(AgentpayPoint *point, JsonbParseState **state)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = "models";
	value.val.string.len = strlen("models");
	pushJsonbValue(state, WJB_KEY, &value);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < point->n_models; i++)
	{
		if (point->models[i].inputs == NULL)
			continue;
		value.type = jbvString;
		value.val.string.val = point->models[i].config->name;
		value.val.string.len = strlen(point->models[i].config->name);
		pushJsonbValue(state, WJB_KEY, &value);
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(point->models[i].config->version);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}
