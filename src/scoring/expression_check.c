/*-------------------------------------------------------------------------
 * expression_check.c
 *		agentpay._check_expression(), _lookup_type(): compile an expression
 *		when somebody writes it, with the names that its point has then.
 *
 * Reads the configuration through SPI, as the extension's owner, since this
 * is not on the way of a payment; the session's cached configuration holds
 * enabled points only.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/contain.h"
#include "base/owner.h"
#include "scoring/expression.h"
#include "scoring/expression_internal.h"
#include "scoring/lookup.h"

/* A lookup of the point, for agentpay_contain(). */
typedef struct Lookup
{
	AgentpayScope scope;
	const char *value;
	const char *default_value;
	Oid type;
} Lookup;

PG_FUNCTION_INFO_V1(agentpay_check_expression);
PG_FUNCTION_INFO_V1(agentpay_sql_lookup_type);

static void read_owner(AgentpayScope *scope);
static void read_scope(AgentpayScope *scope, const char *point);
static void read_feature_types(AgentpayScope *scope, const char *point);
static void lookup_body(void *arg);
static void find_lookup_type(Lookup *lookup);
static const char **
read_names(const char *query, const char *argument, int *n_names);
static Oid type_named(const char *name);
static AgentpayUsage usage_named(const char *name, bool *labels);
static ArrayType *names_read(const AgentpayScope *scope, const char *point,
							 const AgentpayExpression *expression);
static List *amount_column(const char *point);
static int compare_cells(const ListCell *a, const ListCell *b);
static void
refuse_input(const AgentpayScope *scope, int feature, const char *model);
static List *
inputs_of(const AgentpayScope *scope, const char *point, const char *model);

/*
 * agentpay._check_expression(table_name, point, expression, expression_type,
 * usage): the columns and features that it reads, sorted; an error when it
 * does not compile.
 */
Datum
agentpay_check_expression(PG_FUNCTION_ARGS)
{
	char *point = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *source = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Oid wanted = type_named(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	ErrorContextCallback *context = error_context_stack;
	AgentpayScope scope = {0};
	AgentpayExpressionState saved;
	AgentpayExpression *expression;
	ArrayType *result = NULL;

	scope.relation = PG_GETARG_OID(0);
	scope.usage = usage_named(text_to_cstring(PG_GETARG_TEXT_PP(4)),
							  &scope.labels);
	read_scope(&scope, point);
	agentpay_expression_enter(&scope, false, &saved);
	PG_TRY();
	{
		/* Without the text of the statements that led here. */
		error_context_stack = NULL;
		expression = agentpay_expression_compile(&scope, source, wanted, NULL);
		result = names_read(&scope, point, expression);
		agentpay_expression_free(expression);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
	error_context_stack = context;
	PG_RETURN_ARRAYTYPE_P(result);
}

/* What an expression of that point may name. */
static void
read_scope(AgentpayScope *scope, const char *point)
{
	AgentpayOwnerState owner;
	const char **zones;
	int n_zones;

	read_owner(scope);
	agentpay_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	zones = read_names("SELECT time_zone FROM agentpay.decision_points"
					   " WHERE point = $1",
					   point, &n_zones);
	scope->time_zone = n_zones == 1 ? zones[0] : "UTC";
	scope->features = read_names("SELECT name FROM agentpay.features"
								 " WHERE point = $1 ORDER BY name",
								 point, &scope->n_features);
	scope->models = read_names("SELECT name FROM agentpay.models"
							   " WHERE active ORDER BY name",
							   NULL, &scope->n_models);
	scope->lists = read_names("SELECT name FROM agentpay.lists", NULL,
							  &scope->n_lists);
	SPI_finish();
	agentpay_owner_leave(&owner);
	if (scope->usage != AGENTPAY_USAGE_FEATURE)
		read_feature_types(scope, point);
}

static void
read_owner(AgentpayScope *scope)
{
	Relation relation = relation_open(scope->relation, AccessShareLock);

	scope->owner = relation->rd_rel->relowner;
	relation_close(relation, NoLock);
}

/* Windows are float8; a lookup is of its value's type, if that compiles. */
static void
read_feature_types(AgentpayScope *scope, const char *point)
{
	Oid *types = palloc(sizeof(Oid) * Max(scope->n_features, 1));
	AgentpayOwnerState owner;
	const char **lookups; /* '<table> <value>', or '' */
	int n;

	agentpay_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	lookups = read_names("SELECT CASE kind WHEN 'lookup' THEN"
						 " pg_catalog.concat(from_table::oid, ' ', value)"
						 " ELSE '' END FROM agentpay.features"
						 " WHERE point = $1 ORDER BY name",
						 point, &n);
	SPI_finish();
	agentpay_owner_leave(&owner);
	for (int i = 0; i < scope->n_features; i++)
	{
		Lookup lookup = {.scope = {.usage = AGENTPAY_USAGE_FEATURE,
								   .time_zone = scope->time_zone}};
		ErrorData *error;

		types[i] = FLOAT8OID;
		if (lookups[i][0] == '\0')
			continue;
		lookup.scope.relation = atooid(lookups[i]);
		lookup.value = strchr(lookups[i], ' ') + 1;
		types[i] = agentpay_contain(lookup_body, &lookup, &error) ? lookup.type
																  : InvalidOid;
	}
	scope->feature_types = types;
}

static void
lookup_body(void *arg)
{
	Lookup *lookup = arg;

	read_owner(&lookup->scope);
	find_lookup_type(lookup);
}

/* With the settings that expressions see. */
static void
find_lookup_type(Lookup *lookup)
{
	ErrorContextCallback *context = error_context_stack;
	AgentpayExpressionState saved;

	agentpay_expression_enter(&lookup->scope, false, &saved);
	PG_TRY();
	{
		/* Without the text of the statements that led here. */
		error_context_stack = NULL;
		lookup->type = agentpay_lookup_type(&lookup->scope, lookup->value,
											lookup->default_value);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
	error_context_stack = context;
}

/*
 * agentpay._lookup_type(table_name, point, value, default_value): the type of
 * a lookup's value; an error when that or default_value does not compile.
 */
Datum
agentpay_sql_lookup_type(PG_FUNCTION_ARGS)
{
	Lookup lookup = {.scope = {.usage = AGENTPAY_USAGE_FEATURE}};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	lookup.scope.relation = PG_GETARG_OID(0);
	lookup.value = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
		lookup.default_value = text_to_cstring(PG_GETARG_TEXT_PP(3));
	read_scope(&lookup.scope, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	find_lookup_type(&lookup);
	PG_RETURN_OID(lookup.type);
}

/* The query's first column, as strings in the memory of SPI's caller. */
static const char **
read_names(const char *query, const char *argument, int *n_names)
{
	Oid type = TEXTOID;
	Datum value = argument ? CStringGetTextDatum(argument) : (Datum) 0;
	int result = SPI_execute_with_args(query, argument ? 1 : 0, &type, &value,
									   NULL, true, 0);
	const char **names;

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read the configuration: %s",
			 SPI_result_code_string(result));
	*n_names = (int) SPI_processed;
	names = SPI_palloc(sizeof(char *) * (*n_names + 1));
	for (int i = 0; i < *n_names; i++)
	{
		char *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
								  1);
		char *copy = SPI_palloc(strlen(name) + 1);

		strcpy(copy, name);
		names[i] = copy;
	}
	return names;
}

static Oid
type_named(const char *name)
{
	if (strcmp(name, "boolean") == 0)
		return BOOLOID;
	if (strcmp(name, "double precision") == 0)
		return FLOAT8OID;
	if (strcmp(name, "any") == 0)
		return InvalidOid;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unknown type of expression: \"%s\"", name),
					errhint("Use boolean, double precision or any.")));
}

/* label: a feature over rows with their labels. */
static AgentpayUsage
usage_named(const char *name, bool *labels)
{
	*labels = strcmp(name, "label") == 0;
	if (strcmp(name, "rule") == 0)
		return AGENTPAY_USAGE_RULE;
	if (strcmp(name, "feature") == 0 || *labels)
		return AGENTPAY_USAGE_FEATURE;
	if (strcmp(name, "invoke") == 0)
		return AGENTPAY_USAGE_INVOKE;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unknown use of an expression: \"%s\"", name),
					errhint("Use rule, feature, label or invoke.")));
}

/*
 * Columns and features, each once, also those that its models read; score,
 * verdict, models and labels are neither.  An amount that was lost is of the
 * column that has the amount.
 */
static ArrayType *
names_read(const AgentpayScope *scope, const char *point,
		   const AgentpayExpression *expression)
{
	List *names = NIL;
	ListCell *cell;
	int member = -1;
	int n = 0;
	Datum *values;

	while ((member = bms_next_member(expression->columns, member)) >= 0)
		names = lappend(names, get_attname(scope->relation, member, false));
	member = -1;
	while ((member = bms_next_member(expression->params, member)) >= 0)
	{
		if (member < scope->n_features)
			names = lappend(names, unconstify(char *, scope->features[member]));
		else if (member == AGENTPAY_PARAM_AMOUNT_LOST(scope))
			names = list_concat(names, amount_column(point));
		else if (member >= AGENTPAY_PARAM_MODEL(scope, 0) &&
				 member < AGENTPAY_PARAM_LABEL(scope))
			names = list_concat(
				names,
				inputs_of(
					scope, point,
					scope->models[member - AGENTPAY_PARAM_MODEL(scope, 0)]));
	}
	list_sort(names, compare_cells);
	values = palloc(sizeof(Datum) * (list_length(names) + 1));
	foreach(cell, names)
	{
		int i = foreach_current_index(cell);

		if (i == 0 || strcmp(list_nth(names, i - 1), lfirst(cell)) != 0)
			values[n++] = CStringGetTextDatum(lfirst(cell));
	}
	return construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT);
}

static List *
amount_column(const char *point)
{
	AgentpayOwnerState owner;
	const char **columns;
	int n;

	agentpay_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	columns = read_names("SELECT amount_column FROM agentpay.decision_points"
						 " WHERE point = $1 AND amount_column IS NOT NULL",
						 point, &n);
	SPI_finish();
	agentpay_owner_leave(&owner);
	return n == 0 ? NIL : list_make1(unconstify(char *, columns[0]));
}

static int
compare_cells(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* A feature that is no number and no boolean. */
static void
refuse_input(const AgentpayScope *scope, int feature, const char *model)
{
	Oid type = agentpay_scope_feature_type(scope, feature);

	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case InvalidOid: /* it fails by itself */
			return;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("model \"%s\" reads feature \"%s\", which is of "
							"type %s",
							model, scope->features[feature],
							format_type_be(type)),
					 errdetail("A model's inputs are numbers and booleans."),
					 errhint("Make the feature's value a number, for example "
							 "by comparing it with something.")));
	}
}

/* What a model reads, all of which the point must have. */
static List *
inputs_of(const AgentpayScope *scope, const char *point, const char *model)
{
	List *result = NIL;
	AgentpayOwnerState owner;
	const char **inputs;
	int n_inputs;

	agentpay_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	inputs = read_names("SELECT i FROM agentpay.models m,"
						" pg_catalog.unnest(m.features) AS i"
						" WHERE m.active AND m.name = $1",
						model, &n_inputs);
	SPI_finish();
	agentpay_owner_leave(&owner);
	for (int i = 0; i < n_inputs; i++)
	{
		AttrNumber column = get_attnum(scope->relation, inputs[i]);
		bool known = column > 0 &&
					 get_attgenerated(scope->relation, column) == '\0';

		for (int j = 0; j < scope->n_features && !known; j++)
		{
			known = strcmp(scope->features[j], inputs[i]) == 0;
			if (known)
				refuse_input(scope, j, model);
		}
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("model \"%s\" reads \"%s\", which point \"%s\" "
							"does not have",
							model, inputs[i], point),
					 errdetail("A model's inputs are columns of the row or "
							   "features of the point."),
					 errhint("SELECT * FROM agentpay.train_logistic(%s, %s, "
							 "features => ...);",
							 quote_literal_cstr(model),
							 quote_literal_cstr(point))));
		result = lappend(result, unconstify(char *, inputs[i]));
	}
	return result;
}
