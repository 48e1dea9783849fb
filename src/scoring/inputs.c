/*-------------------------------------------------------------------------
 * inputs.c
 *		What a decision saw, as JSON.
 *
 * The members are sorted once, when the point is compiled, as jsonb sorts
 * keys, so that a row's object is written without sorting.  Numbers keep
 * every digit: replay() reads them back.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/settings.h"
#include "privacy/keys.h"
#include "privacy/vault.h"
#include "scoring/inputs.h"
#include "scoring/sealing.h"
#include "scoring/table_point.h"

/* The members while they are collected. */
typedef struct Collector
{
	AgentpayPoint *point;
	Relation leaf;
	int size;
	bool shadow; /* what is added now, only a version in shadow reads */
} Collector;

static void add_rules(Collector *collector, const AgentpayRuleset *ruleset);
static void
add_expression(Collector *collector, const AgentpayExpression *expression);
static void add_model(Collector *collector, int model, int agent);
static void add_named(Collector *collector, const char *name, int agent);
static void add_column(Collector *collector, AttrNumber attno, int agent);
static void add_param(Collector *collector, int param, int agent);
static AgentpayInput *add(Collector *collector, char *name, int agent);
static void prepare_output(AgentpayInput *input);
static bool needs_scan(Oid type);
static void feature_policy(Collector *collector, AgentpayInput *input);
static void tighten(AgentpayInput *input, const AgentpayPolicyConfig *config);
static bool
same_buckets(const AgentpayPolicy *policy, const AgentpayPolicyConfig *config);
static void withhold(AgentpayInput *input);
static void forbid(AgentpayInput *input);
static char *steady_text(AgentpayInput *input, Datum datum);
static void token_value(AgentpayPoint *point, AgentpayInput *input,
						TupleTableSlot *row, Datum datum, JsonbValue *value);
static int by_jsonb_order(const void *a, const void *b);
static void plain_value(AgentpayInput *input, Datum datum, JsonbValue *value);
static void number_value(double number, JsonbValue *value);
static Numeric decimal_number(const char *text);
static void treated_value(AgentpayInput *input, Datum datum, JsonbValue *value);
static void text_value(AgentpayInput *input, const char *text, size_t len,
					   JsonbValue *value);
static void string_value(const char *text, JsonbValue *value);

void
agentpay_inputs_compile(AgentpayPoint *point, Relation leaf)
{
	Collector collector = {.point = point, .leaf = leaf};

	add_rules(&collector, &point->rulesets[0]);
	for (int i = 0; i < point->n_agents; i++)
		add_expression(&collector, point->agents[i].invoke_when);
	for (int m = 0; m < point->n_models; m++)
	{
		int param = AGENTPAY_PARAM_MODEL(&point->scope, m);

		collector.shadow = agentpay_point_only_shadows(point, param);
		if (point->models[m].needed)
			add_model(&collector, m, -1);
	}
	collector.shadow = false;
	for (int i = 0; i < point->n_agents; i++)
	{
		const AgentpayAgentConfig *agent = point->agents[i].config;

		for (int f = 0; f < agent->n_fields; f++)
			add_named(&collector, agent->fields[f], i);
		for (int m = 0; agent->builtin && m < point->n_models; m++)
			if (strcmp(point->models[m].config->name, agent->model) == 0)
				add_model(&collector, m, i);
	}
	collector.shadow = true;
	for (int i = 1; i < point->n_rulesets; i++)
		add_rules(&collector, &point->rulesets[i]);
	if (point->n_inputs > 0)
		qsort(point->inputs, point->n_inputs, sizeof(AgentpayInput),
			  by_jsonb_order);
}

bool
agentpay_inputs_wanted(const AgentpayInput *input, const Bitmapset *asked)
{
	return input->agents == NULL || bms_overlap(input->agents, asked);
}

void
agentpay_inputs_value(AgentpayPoint *point, AgentpayInput *input,
					  TupleTableSlot *row, JsonbValue *value)
{
	Datum datum;
	bool isnull;

	if (input->column.attno != 0)
		datum = slot_getattr(row, input->column.attno, &isnull);
	else
	{
		datum = point->params->params[input->param].value;
		isnull = point->params->params[input->param].isnull;
	}
	if (isnull || (input->has_policy &&
				   input->policy.treatment == AGENTPAY_TREATMENT_DROP))
		value->type = jbvNull;
	else if (input->has_policy &&
			 input->policy.treatment == AGENTPAY_TREATMENT_TOKENISE)
		token_value(point, input, row, datum, value);
	else if (input->has_policy &&
			 input->policy.treatment != AGENTPAY_TREATMENT_PASS)
		treated_value(input, datum, value);
	else
		plain_value(input, datum, value);
}

bool
agentpay_inputs_sealed(const AgentpayInput *input)
{
	return input->has_policy && !input->forbidden &&
		   input->policy.treatment != AGENTPAY_TREATMENT_PASS;
}

void
agentpay_inputs_clear(AgentpayPoint *point, AgentpayInput *input,
					  TupleTableSlot *row, JsonbValue *value)
{
	AgentpayInput clear = *input;

	clear.has_policy = false;
	clear.scanned = false;
	agentpay_inputs_value(point, &clear, row, value);
}

Jsonb *
agentpay_inputs_object(JsonbPair *pairs, int count)
{
	JsonbValue object;

	object.type = jbvObject;
	object.val.object.nPairs = count;
	object.val.object.pairs = pairs;
	return JsonbValueToJsonb(&object);
}

static void
add_rules(Collector *collector, const AgentpayRuleset *ruleset)
{
	for (int i = 0; i < ruleset->n_rules; i++)
		add_expression(collector, ruleset->rules[i].condition);
}

static void
add_expression(Collector *collector, const AgentpayExpression *expression)
{
	int member = -1;

	if (expression == NULL)
		return;
	while ((member = bms_next_member(expression->columns, member)) >= 0)
		add_column(collector, member, -1);
	member = -1;
	while ((member = bms_next_member(expression->params, member)) >= 0)
		if (member < collector->point->scope.n_features)
			add_param(collector, member, -1);
}

/* The model's answer and what it was computed from. */
static void
add_model(Collector *collector, int model, int agent)
{
	AgentpayPoint *point = collector->point;
	AgentpayModelSlot *slot = &point->models[model];

	for (int i = 0; i < slot->config->n_inputs; i++)
		add_named(collector, slot->config->inputs[i], agent);
	add_param(collector, AGENTPAY_PARAM_MODEL(&point->scope, model), agent);
}

/* A column or a feature. */
static void
add_named(Collector *collector, const char *name, int agent)
{
	AttrNumber attno = get_attnum(RelationGetRelid(collector->leaf), name);
	int feature;

	if (attno > 0)
	{
		add_column(collector, attno, agent);
		return;
	}
	feature = agentpay_config_feature(collector->point->config, name);
	if (feature >= 0)
		add_param(collector, feature, agent);
}

static void
add_column(Collector *collector, AttrNumber attno, int agent)
{
	AgentpayColumn column;
	AgentpayInput *input;
	const AgentpayPolicyConfig *policy;

	agentpay_column_of(collector->leaf, attno, &column);
	input = add(collector, column.name, agent);
	if (input->column.attno != 0)
		return;
	input->column = column;
	prepare_output(input);
	input->scanned = needs_scan(column.type);
	policy = agentpay_config_policy(collector->point->config, column.name);
	if (policy != NULL)
		tighten(input, policy);
	if (agentpay_policy_forbids(column.name))
		forbid(input);
}

/* A feature or a model, by the type of its parameter. */
static void
add_param(Collector *collector, int param, int agent)
{
	AgentpayScope *scope = &collector->point->scope;
	bool is_feature = param < scope->n_features;
	char *name =
		is_feature
			? pstrdup(scope->features[param])
			: psprintf("model(%s)",
					   scope->models[param - AGENTPAY_PARAM_MODEL(scope, 0)]);
	AgentpayInput *input = add(collector, name, agent);

	if (OidIsValid(input->column.type))
		return;
	/* one without a type is broken, and NULL */
	input->column.type = FLOAT8OID;
	if (OidIsValid(collector->point->params->params[param].ptype))
		input->column.type = collector->point->params->params[param].ptype;
	input->param = param;
	prepare_output(input);
	input->scanned = needs_scan(input->column.type);
	if (is_feature)
		feature_policy(collector, input);
}

/* The member of that name, for one agent's rows or (-1) for all. */
static AgentpayInput *
add(Collector *collector, char *name, int agent)
{
	AgentpayPoint *point = collector->point;
	AgentpayInput *input = NULL;

	for (int i = 0; i < point->n_inputs && input == NULL; i++)
		if (strcmp(point->inputs[i].name, name) == 0)
			input = &point->inputs[i];
	if (input != NULL)
	{
		if (agent < 0)
			input->agents = NULL;
		else if (input->agents != NULL)
			input->agents = bms_add_member(input->agents, agent);
		input->shadow &= collector->shadow;
		return input;
	}
	if (point->n_inputs == collector->size)
	{
		collector->size = Max(collector->size * 2, 16);
		point->inputs = point->inputs == NULL
							? palloc(sizeof(AgentpayInput) * collector->size)
							: repalloc(point->inputs,
									   sizeof(AgentpayInput) * collector->size);
	}
	input = &point->inputs[point->n_inputs++];
	memset(input, 0, sizeof(*input));
	input->name = name;
	input->name_len = strlen(name);
	input->agents = agent < 0 ? NULL : bms_make_singleton(agent);
	input->shadow = collector->shadow;
	return input;
}

static void
prepare_output(AgentpayInput *input)
{
	Oid output;
	bool varlena;

	getTypeOutputInfo(input->column.type, &output, &varlena);
	fmgr_info(output, &input->output);
}

/* Free text may hold anything; a number, a time or a uuid is what it is. */
static bool
needs_scan(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case UUIDOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case INETOID:
		case CIDROID:
			return false;
		default:
			return true;
	}
}

/*
 * Counts, rates and times since pass; what a feature makes of values is as
 * sensitive as the columns that they come from.
 */
static void
feature_policy(Collector *collector, AgentpayInput *input)
{
	AgentpayPoint *point = collector->point;
	const AgentpayFeatureConfig *feature =
		&point->config->features[input->param];
	AgentpayScope scope;
	AgentpayExpression *value;
	int attno = -1;

	if (feature->kind == AGENTPAY_FEATURE_SINCE_LAST ||
		(feature->kind == AGENTPAY_FEATURE_WINDOW &&
		 (feature->aggregate == AGENTPAY_AGGREGATE_COUNT ||
		  feature->aggregate == AGENTPAY_AGGREGATE_RATE)) ||
		point->features[input->param].broken != NULL)
		return;
	scope = agentpay_feature_scope(point->config, feature,
								   RelationGetRelid(collector->leaf));
	value = agentpay_expression_compile(&scope, feature->value, InvalidOid,
										NULL);
	while ((attno = bms_next_member(value->columns, attno)) >= 0)
	{
		const char *column = get_attname(scope.relation, attno, false);
		const AgentpayPolicyConfig *policy =
			agentpay_config_feature_policy(point->config, input->param, column);

		if (policy != NULL)
			tighten(input, policy);
		if (agentpay_policy_forbids(column))
			forbid(input);
	}
	if (bms_is_member(AGENTPAY_PARAM_AMOUNT_LOST(&scope), value->params) &&
		point->config->amount_column != NULL)
	{
		const AgentpayPolicyConfig *policy =
			agentpay_config_policy(point->config, point->config->amount_column);

		if (policy != NULL)
			tighten(input, policy);
	}
	agentpay_expression_free(value);
}

/*
 * The stricter of the member's policy and that one.  Two that differ otherwise
 * than by one being pass, or by how much mask keeps, go together in no way:
 * then the value is withheld.
 */
static void
tighten(AgentpayInput *input, const AgentpayPolicyConfig *config)
{
	AgentpayPolicy *policy = &input->policy;
	AgentpayTreatment treatment;

	/* what is not known yet is refused when written; withhold it */
	if (!agentpay_policy_parse(config->treatment, &treatment))
		treatment = AGENTPAY_TREATMENT_DROP;
	if (!input->has_policy || policy->treatment == AGENTPAY_TREATMENT_PASS)
	{
		policy->treatment = treatment;
		policy->keep_last = config->keep_last;
		policy->n_bounds = config->n_bounds;
		policy->bounds = config->bounds;
		policy->width = agentpay_policy_width(config->width);
		policy->keeps_format = config->format[0] != '\0';
	}
	else if (treatment == AGENTPAY_TREATMENT_PASS)
		return;
	else if (treatment != policy->treatment ||
			 (treatment == AGENTPAY_TREATMENT_TOKENISE &&
			  policy->keeps_format != (config->format[0] != '\0')) ||
			 (treatment == AGENTPAY_TREATMENT_BUCKET &&
			  !same_buckets(policy, config)))
		withhold(input);
	else
		policy->keep_last = Min(policy->keep_last, config->keep_last);
	input->has_policy = true;
}

static bool
same_buckets(const AgentpayPolicy *policy, const AgentpayPolicyConfig *config)
{
	if (policy->n_bounds != config->n_bounds ||
		policy->width != agentpay_policy_width(config->width))
		return false;
	for (int i = 0; i < policy->n_bounds; i++)
		if (strcmp(policy->bounds[i], config->bounds[i]) != 0)
			return false;
	return true;
}

static void
forbid(AgentpayInput *input)
{
	input->forbidden = true;
	withhold(input);
}

static void
withhold(AgentpayInput *input)
{
	input->policy.treatment = AGENTPAY_TREATMENT_DROP;
	input->has_policy = true;
}

/* As lengthCompareJsonbStringValue(): by length, then by bytes. */
static int
by_jsonb_order(const void *a, const void *b)
{
	const AgentpayInput *left = a;
	const AgentpayInput *right = b;

	if (left->name_len != right->name_len)
		return left->name_len < right->name_len ? -1 : 1;
	return memcmp(left->name, right->name, left->name_len);
}

/* The value in the JSON type that comes nearest. */
static void
plain_value(AgentpayInput *input, Datum datum, JsonbValue *value)
{
	switch (input->column.type)
	{
		case BOOLOID:
			value->type = jbvBool;
			value->val.boolean = DatumGetBool(datum);
			break;
		case INT2OID:
			value->type = jbvNumeric;
			value->val.numeric = int64_to_numeric(DatumGetInt16(datum));
			break;
		case INT4OID:
			value->type = jbvNumeric;
			value->val.numeric = int64_to_numeric(DatumGetInt32(datum));
			break;
		case INT8OID:
			value->type = jbvNumeric;
			value->val.numeric = int64_to_numeric(DatumGetInt64(datum));
			break;
		case NUMERICOID:
			value->type = jbvNumeric;
			value->val.numeric = DatumGetNumeric(datum);
			if (numeric_is_nan(value->val.numeric) ||
				numeric_is_inf(value->val.numeric))
				string_value(DatumGetCString(
								 DirectFunctionCall1(numeric_out, datum)),
							 value);
			break;
		case FLOAT4OID:
			number_value(atof(DatumGetCString(
							 DirectFunctionCall1(float4out, datum))),
						 value);
			break;
		case FLOAT8OID:
			number_value(DatumGetFloat8(datum), value);
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		{
			text *packed = DatumGetTextPP(datum);

			text_value(input, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed),
					   value);
			break;
		}
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			string_value(JsonEncodeDateTime(NULL, datum, input->column.type,
											NULL),
						 value);
			break;
		default:
			treated_value(input, datum, value);
	}
}

/* A float as the shortest number that reads back the same. */
static void
number_value(double number, JsonbValue *value)
{
	char text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(number) || isinf(number))
	{
		string_value(isnan(number) ? "NaN"
					 : number > 0  ? "Infinity"
								   : "-Infinity",
					 value);
		return;
	}
	value->type = jbvNumeric;
	if (number == rint(number) && fabs(number) < 1e15)
	{
		value->val.numeric = int64_to_numeric((int64) number);
		return;
	}
	double_to_shortest_decimal_buf(number, text);
	value->val.numeric = decimal_number(text);
}

/* As numeric_in(), which takes five times as long. */
static Numeric
decimal_number(const char *text)
{
	const char *c = text;
	int64 digits = 0; /* 17 at most */
	int places = 0;

	if (*c == '-')
		c++;
	for (; isdigit((unsigned char) *c); c++)
		digits = digits * 10 + (*c - '0');
	if (*c == '.')
		for (c++; isdigit((unsigned char) *c); c++, places++)
			digits = digits * 10 + (*c - '0');
	if (*c == 'e')
		places -= atoi(c + 1);
	if (places < 0)
		return DatumGetNumeric(DirectFunctionCall3(numeric_in,
												   CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	return int64_div_fast_to_numeric(*text == '-' ? -digits : digits, places);
}

/*
 * By its text form.  That of times and floats is the same in every session,
 * since equal values must have equal hashes.
 */
static void
treated_value(AgentpayInput *input, Datum datum, JsonbValue *value)
{
	char *text = input->has_policy &&
						 (input->policy.treatment == AGENTPAY_TREATMENT_HASH ||
						  input->policy.treatment == AGENTPAY_TREATMENT_BUCKET)
					 ? steady_text(input, datum)
					 : OutputFunctionCall(&input->output, datum);

	text_value(input, text, strlen(text), value);
}

/* A value's text whatever DateStyle, TimeZone and extra_float_digits are. */
static char *
steady_text(AgentpayInput *input, Datum datum)
{
	const int utc = 0;

	switch (input->column.type)
	{
		case DATEOID:
		case TIMESTAMPOID:
			return JsonEncodeDateTime(NULL, datum, input->column.type, NULL);
		case TIMESTAMPTZOID:
			return JsonEncodeDateTime(NULL, datum, input->column.type, &utc);
		case FLOAT4OID:
		{
			char *text = palloc(FLOAT_SHORTEST_DECIMAL_LEN);

			float_to_shortest_decimal_buf(DatumGetFloat4(datum), text);
			return text;
		}
		case FLOAT8OID:
		{
			char *text = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);

			double_to_shortest_decimal_buf(DatumGetFloat8(datum), text);
			return text;
		}
		default:
			return OutputFunctionCall(&input->output, datum);
	}
}

/* Without a key there is no token, and the value is withheld. */
static void
token_value(AgentpayPoint *point, AgentpayInput *input, TupleTableSlot *row,
			Datum datum, JsonbValue *value)
{
	char *text = steady_text(input, datum);
	char *token = palloc(AGENTPAY_TOKEN_SIZE);
	AgentpayTokenOf of = {.domain = input->name,
						  .keeps_format = input->policy.keeps_format,
						  .value = text,
						  .len = strlen(text)};
	size_t size;

	value->type = jbvNull;
	if (!agentpay_keys_wanted())
		return;
	of.subject = agentpay_sealing_subject(point, row);
	size = agentpay_vault_token(&of, token);
	if (size == 0)
		return;
	value->type = jbvString;
	value->val.string.val = token;
	value->val.string.len = (int) size;
}

/* Once in a session, since each row would say the same. */
static void
complain_about_key(void)
{
	static bool complained = false;

	if (complained)
		return;
	complained = true;
	ereport(
		LOG,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("could not read the key of treatment hash"),
		 errdetail("Values under it are withheld."),
		 errhint(
			 "Put 32 random bytes or more into the file that agentpay.hash_key names, or run: ALTER SYSTEM SET agentpay.hash_key = 'file:/etc/agentpay/hash_key';")));
}

/* Applies the policy, and takes out what the scan finds. */
static void
text_value(AgentpayInput *input, const char *text, size_t len,
		   JsonbValue *value)
{
	const AgentpayPolicy *policy = input->has_policy ? &input->policy : NULL;
	size_t out_len;
	char *out;

	value->type = jbvString;
	value->val.string.val = unconstify(char *, text);
	value->val.string.len = len;
	if ((policy == NULL || policy->treatment == AGENTPAY_TREATMENT_PASS) &&
		(!input->scanned || !agentpay_detect_suspicious(text, len)))
		return;
	input->policy.hash_key = agentpay_hash_key;
	out = palloc(AGENTPAY_POLICY_OUT_SIZE(len));
	if (!agentpay_policy_apply(policy, text, len, out, &out_len))
	{
		if (policy->treatment == AGENTPAY_TREATMENT_HASH)
			complain_about_key();
		value->type = jbvNull;
		return;
	}
	value->val.string.val = out;
	value->val.string.len = out_len;
}

static void
string_value(const char *text, JsonbValue *value)
{
	value->type = jbvString;
	value->val.string.val = unconstify(char *, text);
	value->val.string.len = strlen(text);
}
