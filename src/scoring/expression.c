/*-------------------------------------------------------------------------
 * expression.c
 *		Compiling and running the SQL expressions of rules, features and
 *		invoke_when.
 *
 * The text is parsed as the extension's owner, whose search_path is pinned,
 * so that neither the session's path nor its rights change what it means;
 * expression_parse.c and expression_allow.c refuse whatever could run code of
 * others meanwhile.  The planner folds constants, which calls functions: as
 * the session's user for built-in ones, as the table's owner in a security
 * restricted operation for those of agentpay.expression_schemas.
 *
 * Locking: AccessShareLock on the relation while it is parsed, kept to the
 * end of the transaction.  Rows are evaluated without any.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/owner.h"
#include "scoring/expression.h"
#include "scoring/expression_internal.h"

static void
build(AgentpayExpression *expression, AgentpayExpressionParse *parse);
static void plan(AgentpayExpression *expression, AgentpayExpressionParse *parse,
				 Node *node);
static void pin_abbreviations(void);
static void release_plan(void *arg);
static void point_into_text(void *arg);
static void
enter_foreign(const AgentpayScope *scope, AgentpayExpressionState *saved);

Oid
agentpay_scope_feature_type(const AgentpayScope *scope, int feature)
{
	return scope->feature_types == NULL ? FLOAT8OID
										: scope->feature_types[feature];
}

Oid
agentpay_scope_label_type(int label)
{
	return label < 2 ? TEXTOID : NUMERICOID;
}

/* Parameters of a scope, all NULL. */
ParamListInfo
agentpay_expression_params(const AgentpayScope *scope)
{
	ParamListInfo params = makeParamList(AGENTPAY_PARAM_COUNT(scope));

	for (int i = 0; i < params->numParams; i++)
	{
		params->params[i].isnull = true;
		params->params[i].ptype = FLOAT8OID;
		if (i < scope->n_features)
			params->params[i].ptype = agentpay_scope_feature_type(scope, i);
	}
	params->params[AGENTPAY_PARAM_SCORE(scope)].ptype = NUMERICOID;
	params->params[AGENTPAY_PARAM_VERDICT(scope)].ptype = TEXTOID;
	for (int i = 0; scope->labels && i < AGENTPAY_LABEL_PARAMS; i++)
		params->params[AGENTPAY_PARAM_LABEL(scope) + i].ptype =
			agentpay_scope_label_type(i);
	return params;
}

/*
 * Returns the expression in a memory context of its own, a child of the
 * current one.
 */
AgentpayExpression *
agentpay_expression_compile(const AgentpayScope *scope, const char *text,
							Oid wanted, ParamListInfo params)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay expression",
												  ALLOCSET_SMALL_SIZES);
	AgentpayExpression *expression =
		MemoryContextAllocZero(context, sizeof(AgentpayExpression));
	AgentpayExpressionParse parse = {0};
	ErrorContextCallback callback;

	expression->context = context;
	expression->values = params;
	parse.scope = scope;
	parse.text = text;
	parse.wanted = wanted;
	parse.checking = params == NULL;
	callback.callback = point_into_text;
	callback.arg = unconstify(char *, text);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	PG_TRY();
	{
		build(expression, &parse);
	}
	PG_CATCH();
	{
		if (parse.entered)
			agentpay_expression_leave(&parse.saved);
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
	return expression;
}

void
agentpay_expression_free(AgentpayExpression *expression)
{
	MemoryContextDelete(expression->context);
}

bool
agentpay_expression_stale(const AgentpayExpression *expression)
{
	return !expression->plan->is_valid;
}

/*
 * For built-in functions the settings are changed behind the GUC machinery,
 * which would cost more than most expressions; nothing in between looks at
 * them but expressions.
 */
void
agentpay_expression_enter(const AgentpayScope *scope, bool foreign,
						  AgentpayExpressionState *saved)
{
	pg_tz *zone;

	saved->time_zone = session_timezone;
	saved->date_style = DateStyle;
	saved->date_order = DateOrder;
	saved->interval_style = IntervalStyle;
	saved->float_digits = extra_float_digits;
	saved->standard_strings = standard_conforming_strings;
	saved->null_equals = Transform_null_equals;
	saved->array_nulls = Array_nulls;
	saved->switched = false;
	zone = scope->zone ? scope->zone : pg_tzset(scope->time_zone);
	if (zone == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown time zone: \"%s\"", scope->time_zone),
						errdetail("Expressions see the point's time zone."),
						errhint("SELECT name FROM pg_timezone_names; lists "
								"what there is.")));
	if (foreign)
	{
		enter_foreign(scope, saved);
		return;
	}
	session_timezone = zone;
	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_YMD;
	IntervalStyle = INTSTYLE_POSTGRES;
	extra_float_digits = 1;
	standard_conforming_strings = true;
	Transform_null_equals = false;
	Array_nulls = true;
	AGENTPAY_TIME_ZONE_CHANGED();
}

/*
 * After an error this may run before or after the abort of the
 * subtransaction, which has then dropped the level of settings itself.
 */
void
agentpay_expression_leave(const AgentpayExpressionState *saved)
{
	if (saved->switched)
	{
		int level = NewGUCNestLevel();

		AtEOXact_GUC(false, Min(level, saved->guc_level));
		SetUserIdAndSecContext(saved->user, saved->security_context);
	}
	session_timezone = saved->time_zone;
	DateStyle = saved->date_style;
	DateOrder = saved->date_order;
	IntervalStyle = saved->interval_style;
	extra_float_digits = saved->float_digits;
	standard_conforming_strings = saved->standard_strings;
	Transform_null_equals = saved->null_equals;
	Array_nulls = saved->array_nulls;
	AGENTPAY_TIME_ZONE_CHANGED();
}

/*
 * Functions of others may have settings of their own, which are put back to
 * what the GUC machinery knows: here it must know.
 */
static void
enter_foreign(const AgentpayScope *scope, AgentpayExpressionState *saved)
{
	const char *const settings[][2] = {{"search_path", "pg_catalog, pg_temp"},
									   {"TimeZone", scope->time_zone},
									   {"timezone_abbreviations", "Default"},
									   {"DateStyle", "ISO, YMD"},
									   {"IntervalStyle", "postgres"},
									   {"extra_float_digits", "1"},
									   {"standard_conforming_strings", "on"},
									   {"transform_null_equals", "off"},
									   {"array_nulls", "on"}};

	GetUserIdAndSecContext(&saved->user, &saved->security_context);
	saved->guc_level = NewGUCNestLevel();
	saved->switched = true;
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	SetUserIdAndSecContext(scope->owner, saved->security_context |
											 SECURITY_LOCAL_USERID_CHANGE |
											 SECURITY_RESTRICTED_OPERATION);
}

/* Parses in memory that is gone afterwards; fills the expression. */
static void
build(AgentpayExpression *expression, AgentpayExpressionParse *parse)
{
	MemoryContext work = AllocSetContextCreate(expression->context,
											   "agentpay expression parse",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	AgentpayOwnerState owner;
	Relation relation;
	Node *node;

	agentpay_owner_enter(&owner);
	pin_abbreviations();
	relation = table_open(parse->scope->relation, AccessShareLock);
	node = agentpay_expression_parse(parse, relation);
	agentpay_expression_allow(parse, node);
	table_close(relation, NoLock);
	agentpay_owner_leave(&owner);

	MemoryContextSwitchTo(expression->context);
	expression->type = exprType(node);
	expression->foreign_functions = parse->foreign_functions;
	expression->reads_lists = parse->reads_lists;
	expression->columns = bms_copy(parse->columns);
	expression->params = bms_copy(parse->params);
	expression->first_label = AGENTPAY_PARAM_LABEL(parse->scope);
	MemoryContextSwitchTo(work);
	plan(expression, parse, node);

	/*
	 * As the owner again: the executor asks for the right to call in_list().
	 * That of foreign functions was asked for in the name of the table's
	 * owner.
	 */
	MemoryContextSwitchTo(expression->context);
	agentpay_owner_enter(&owner);
	expression->state = ExecInitExprWithParams((Expr *) expression->plan->expr,
											   expression->values);
	agentpay_owner_leave(&owner);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

/*
 * Literals may name a zone by an abbreviation, which the session can redefine.
 * Undone with the settings of agentpay_owner_enter().
 */
static void
pin_abbreviations(void)
{
	const char *current = GetConfigOption("timezone_abbreviations", true,
										  false);

	if (current == NULL || strcmp(current, "Default") != 0)
		(void) set_config_option("timezone_abbreviations", "Default",
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}

/* The plan lives outside our memory, so its release is tied to that. */
static void
plan(AgentpayExpression *expression, AgentpayExpressionParse *parse, Node *node)
{
	MemoryContextCallback *callback =
		MemoryContextAllocZero(expression->context,
							   sizeof(MemoryContextCallback));

	if (expression->foreign_functions)
	{
		agentpay_expression_enter(parse->scope, true, &parse->saved);
		parse->entered = true;
		expression->plan = GetCachedExpression(node);
		agentpay_expression_leave(&parse->saved);
		parse->entered = false;
	}
	else
		expression->plan = GetCachedExpression(node);
	callback->func = release_plan;
	callback->arg = expression->plan;
	MemoryContextRegisterResetCallback(expression->context, callback);
}

static void
release_plan(void *arg)
{
	FreeCachedExpression(arg);
}

/*
 * Makes a position in the statement one in the expression's own text.  The
 * hint of PostgreSQL about dates would be to change DateStyle, which is fixed.
 */
static void
point_into_text(void *arg)
{
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
	}
	if (strlen(arg) <= AGENTPAY_EXPRESSION_MAX_BYTES)
		internalerrquery(arg);
	if (geterrcode() == ERRCODE_DATETIME_FIELD_OVERFLOW ||
		geterrcode() == ERRCODE_INVALID_DATETIME_FORMAT)
		errhint("Write dates as 2026-12-31, times as 2026-12-31 23:59:59+00.");
}
