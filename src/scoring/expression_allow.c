/*-------------------------------------------------------------------------
 * expression_allow.c
 *		What an expression may be made of: an explicit list.
 *
 * That a function is IMMUTABLE does not make it harmless: ts_rewrite() runs a
 * query, repeat() takes any amount of memory.  So the functions and operators
 * are listed by name in expression_names.c, and only those that PostgreSQL
 * itself brings count; the types are listed here.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "pgtime.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/settings.h"
#include "scoring/expression.h"
#include "scoring/expression_internal.h"

static bool allow_node(Node *node, void *context);
static void
refuse(AgentpayExpressionParse *parse, Node *node, const char *message,
	   const char *hint) pg_attribute_noreturn();
static void allow_type(AgentpayExpressionParse *parse, Node *node);
static void allow_const(AgentpayExpressionParse *parse, Const *value);
static void allow_var(AgentpayExpressionParse *parse, Var *var);
static void allow_operator(AgentpayExpressionParse *parse, Node *node, Oid opno,
						   List *args);
static void allow_function(AgentpayExpressionParse *parse, FuncExpr *call);
static void allow_arguments(AgentpayExpressionParse *parse, FuncExpr *call);
static void allow_own(AgentpayExpressionParse *parse, FuncExpr *call);
static void allow_foreign(AgentpayExpressionParse *parse, FuncExpr *call);
static void allow_pattern(AgentpayExpressionParse *parse, Node *node,
						  List *args, Oid collation);
static void allow_zone(AgentpayExpressionParse *parse, Node *node, Node *zone);
static void allow_io(AgentpayExpressionParse *parse, CoerceViaIO *io);

/* Refuses what is not on the list; notes what the expression reads. */
void
agentpay_expression_allow(AgentpayExpressionParse *parse, Node *node)
{
	(void) allow_node(node, parse);
}

/*
 * Built-in scalar types without side effects, enums, and arrays of these.  Not
 * domains: a literal that becomes an array of them runs their checks.
 */
bool
agentpay_expression_type_allowed(Oid type)
{
	Oid element = get_element_type(type);
	Oid base = OidIsValid(element) ? element : type;

	switch (base)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case JSONBOID:
			return true;
		default:
			return get_typtype(base) == TYPTYPE_ENUM;
	}
}

/* Whether agentpay.expression_schemas names it. */
bool
agentpay_expression_schema_allowed(Oid schema)
{
	char *names = pstrdup(
		agentpay_expression_schemas ? agentpay_expression_schemas : "");
	List *list;
	ListCell *cell;

	if (!OidIsValid(schema) || schema == PG_CATALOG_NAMESPACE ||
		isAnyTempNamespace(schema) || !SplitIdentifierString(names, ',', &list))
		return false;
	foreach(cell, list)
	{
		if (get_namespace_oid(lfirst(cell), true) == schema)
			return true;
	}
	return false;
}

/* A tree walker: raises an error at the first node that is not allowed. */
static bool
allow_node(Node *node, void *context)
{
	AgentpayExpressionParse *parse = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_NamedArgExpr:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_ArrayExpr:
		case T_ArrayCoerceExpr:
		case T_RelabelType:
		case T_SubscriptingRef:
			break;
		case T_CollateExpr:
			if (((CollateExpr *) node)->collOid >= FirstNormalObjectId)
				refuse(parse, node,
					   "only built-in collations can be used in an expression",
					   "Use COLLATE \"C\", for example.");
			break;
		case T_Const:
			allow_const(parse, (Const *) node);
			break;
		case T_Var:
			allow_var(parse, (Var *) node);
			return false;
		case T_Param:
			parse->params = bms_add_member(parse->params,
										   ((Param *) node)->paramid - 1);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			allow_operator(parse, node, ((OpExpr *) node)->opno,
						   ((OpExpr *) node)->args);
			break;
		case T_ScalarArrayOpExpr:
			allow_operator(parse, node, ((ScalarArrayOpExpr *) node)->opno,
						   ((ScalarArrayOpExpr *) node)->args);
			break;
		case T_FuncExpr:
			allow_function(parse, (FuncExpr *) node);
			break;
		case T_CoerceViaIO:
			allow_io(parse, (CoerceViaIO *) node);
			break;
		case T_RowExpr:
		case T_RowCompareExpr:
			refuse(parse, node, "rows cannot be used in an expression",
				   "Compare the columns one by one.");
			break;
		default:
			refuse(parse, node, "this cannot be used in an expression",
				   "Use columns, features, constants, operators and "
				   "functions.");
	}
	if (!IsA(node, List))
		allow_type(parse, node);
	return expression_tree_walker(node, allow_node, context);
}

static void
refuse(AgentpayExpressionParse *parse, Node *node, const char *message,
	   const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s", message),
			 errdetail("Expressions are made of what has no side effects, "
					   "costs little and can be replayed."),
			 errhint("%s", hint),
			 parser_errposition(parse->pstate, exprLocation(node))));
}

/* Values of types that are not listed come out of nothing. */
static void
allow_type(AgentpayExpressionParse *parse, Node *node)
{
	Oid type = exprType(node);

	if (type == UNKNOWNOID && IsA(node, Const))
		return;
	if (!agentpay_expression_type_allowed(type))
		refuse(parse, node,
			   psprintf("values of type %s cannot be used in an expression",
						format_type_be(type)),
			   "Use booleans, numbers, text, dates and times, uuid, inet, "
			   "jsonb, enums, or arrays of these.");
}

/* 'now' was read when the expression was compiled, not when a row came. */
static void
allow_const(AgentpayExpressionParse *parse, Const *value)
{
	Oid element = get_element_type(value->consttype);

	switch (OidIsValid(element) ? element : value->consttype)
	{
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			if (list_member_int(parse->clock_words, value->location))
				refuse(parse, (Node *) value,
					   "the current time cannot be used in an expression",
					   "Use the row's own time column.");
			break;
		default:
			break;
	}
}

/*
 * Their types were looked at when the names were resolved; those of domains
 * are inside a RelabelType.
 */
static void
allow_var(AgentpayExpressionParse *parse, Var *var)
{
	if (var->varattno <= 0 || var->varlevelsup != 0 || var->varno != 1)
		refuse(parse, (Node *) var,
			   "only the row's own columns can be used in an expression",
			   "Name the columns.");
	parse->columns = bms_add_member(parse->columns, var->varattno);
}

static void
allow_operator(AgentpayExpressionParse *parse, Node *node, Oid opno, List *args)
{
	char *name = get_opname(opno);
	Oid function = get_opcode(opno);

	if (opno >= FirstUnpinnedObjectId || !OidIsValid(function) ||
		!agentpay_expression_operator_listed(name))
		refuse(parse, node,
			   psprintf("operator %s cannot be used in an expression",
						format_operator(opno)),
			   "docs/security.md lists those that can.");
	if (function == F_NUMERIC_POWER)
		refuse(parse, node, "powers of numeric cannot be used in an expression",
			   "Cast to double precision: amount::double precision ^ 2.");
	if (strchr(name, '~') != NULL && strstr(name, "~~") == NULL &&
		list_length(args) == 2)
	{
		if (IsA(node, ScalarArrayOpExpr))
			refuse(parse, node, "regular expressions must be single constants",
				   "Put the alternatives into one pattern: 'a|b'.");
		allow_pattern(parse, node, args, ((OpExpr *) node)->inputcollid);
	}
}

static void
allow_function(AgentpayExpressionParse *parse, FuncExpr *call)
{
	char *name = get_func_name(call->funcid);
	Oid schema = get_func_namespace(call->funcid);
	Node *node = (Node *) call;

	if (schema == get_namespace_oid("agentpay", true))
	{
		allow_own(parse, call);
		return;
	}
	if (schema != PG_CATALOG_NAMESPACE)
	{
		allow_foreign(parse, call);
		return;
	}
	if (call->funcid >= FirstUnpinnedObjectId || call->funcretset ||
		!agentpay_expression_function_listed(name))
		refuse(parse, node,
			   psprintf("function %s cannot be used in an expression",
						format_procedure(call->funcid)),
			   "docs/security.md lists those that can.");
	allow_arguments(parse, call);
}

/* What depends on which of the functions of that name it is. */
static void
allow_arguments(AgentpayExpressionParse *parse, FuncExpr *call)
{
	Node *node = (Node *) call;
	List *args = call->args;

	switch (call->funcid)
	{
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
		case F_AGE_XID:
			refuse(parse, node, "age() of one argument reads the clock",
				   "Use age(a, b), or subtract the row's own time columns.");
			break;
		case F_POWER_NUMERIC_NUMERIC:
		case F_POW_NUMERIC_NUMERIC:
		case F_EXP_NUMERIC:
			refuse(parse, node,
				   "powers of numeric cannot be used in an expression",
				   "Cast to double precision first.");
			break;
		case F_SUBSTRING_TEXT_TEXT:
		case F_SUBSTRING_TEXT_TEXT_TEXT:
		case F_TO_TIMESTAMP_TEXT_TEXT:
			refuse(parse, node,
				   psprintf("function %s cannot be used in an expression",
							format_procedure(call->funcid)),
				   "Store the part that matters in a column of its own.");
			break;
		case F_REGEXP_LIKE_TEXT_TEXT:
		case F_REGEXP_LIKE_TEXT_TEXT_TEXT:
			allow_pattern(parse, node, args, call->inputcollid);
			break;
		case F_TIMEZONE_TEXT_TIMESTAMP:
		case F_TIMEZONE_TEXT_TIMESTAMPTZ:
			allow_zone(parse, node, agentpay_expression_argument(args, 0));
			break;
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
			allow_zone(parse, node, agentpay_expression_argument(args, 2));
			break;
		case F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT:
			allow_zone(parse, node, agentpay_expression_argument(args, 6));
			break;
		case F_BPCHAR_BPCHAR_INT4_BOOL:
		{
			Const *length = (Const *) agentpay_expression_argument(args, 1);

			if (!IsA(length, Const) || length->constisnull ||
				DatumGetInt32(length->constvalue) >
					AGENTPAY_EXPRESSION_MAX_CHAR)
				refuse(parse, node, "character(n) is too long",
					   "Use text instead.");
			break;
		}
		default:
			break;
	}
}

/* in_list('name', value); model() is a parameter by now. */
static void
allow_own(AgentpayExpressionParse *parse, FuncExpr *call)
{
	const AgentpayScope *scope = parse->scope;
	Const *name = (Const *) agentpay_expression_argument(call->args, 0);
	char *list;

	if (strcmp(get_func_name(call->funcid), "in_list") != 0)
		refuse(parse, (Node *) call,
			   "of agentpay's functions only in_list() and model() can be "
			   "used in an expression",
			   "Use in_list('name', column) or model('name').");
	if (scope->usage == AGENTPAY_USAGE_FEATURE)
		refuse(parse, (Node *) call, "in_list() cannot be used in a feature",
			   "A list changes, and a feature's window would keep what it "
			   "was: use in_list() in a rule.");
	if (name == NULL || !IsA(name, Const) || name->constisnull)
		refuse(parse, (Node *) call, "in_list() needs the name of a list",
			   "Write the name, for example in_list('blocked_cards', "
			   "card_id).");
	parse->reads_lists = true;
	list = TextDatumGetCString(name->constvalue);
	for (int i = 0; i < scope->n_lists; i++)
	{
		if (strcmp(scope->lists[i], list) == 0)
			return;
	}
	if (scope->lists != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no list \"%s\"", list),
				 errhint("INSERT INTO agentpay.lists (name) VALUES (%s);",
						 quote_literal_cstr(list)),
				 parser_errposition(parse->pstate, call->location)));
}

/* A function that the owner of the cluster lets rules call. */
static void
allow_foreign(AgentpayExpressionParse *parse, FuncExpr *call)
{
	Node *node = (Node *) call;
	char *signature = format_procedure(call->funcid);

	if (!agentpay_expression_schema_allowed(get_func_namespace(call->funcid)))
		refuse(parse, node,
			   psprintf("function %s cannot be used in an expression",
						signature),
			   "agentpay.expression_schemas names the schemas whose functions "
			   "can.");
	if (call->funcretset || get_func_prokind(call->funcid) != PROKIND_FUNCTION)
		refuse(parse, node,
			   psprintf("function %s does not return one value", signature),
			   "Write one that does.");
	if (func_volatile(call->funcid) == PROVOLATILE_VOLATILE)
		refuse(parse, node, psprintf("function %s is VOLATILE", signature),
			   psprintf("If its result depends on its arguments alone: ALTER "
						"FUNCTION %s IMMUTABLE;",
						signature));
	if (AGENTPAY_FUNCTION_ACLCHECK(call->funcid, parse->scope->owner) !=
		ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the table's owner may not call function %s",
						signature),
				 errhint("GRANT EXECUTE ON FUNCTION %s TO %s;", signature,
						 quote_identifier(
							 GetUserNameFromId(parse->scope->owner, false))),
				 parser_errposition(parse->pstate, call->location)));
	parse->foreign_functions = true;
}

/*
 * A regular expression is compiled when the rule is written.  Without back
 * references PostgreSQL's automaton takes time linear in the text.
 */
static void
allow_pattern(AgentpayExpressionParse *parse, Node *node, List *args,
			  Oid collation)
{
	Node *pattern = agentpay_expression_argument(args, 1);
	ParseCallbackState callback;
	bool similar =
		IsA(pattern, FuncExpr) &&
		(((FuncExpr *) pattern)->funcid == F_SIMILAR_TO_ESCAPE_TEXT ||
		 ((FuncExpr *) pattern)->funcid == F_SIMILAR_TO_ESCAPE_TEXT_TEXT);
	Const *value;
	char *source;

	if (similar)
		pattern = agentpay_expression_argument(((FuncExpr *) pattern)->args, 0);
	value = (Const *) pattern;
	if (pattern == NULL || !IsA(pattern, Const))
		refuse(parse, node, "a regular expression must be a constant",
			   "Use LIKE, strpos() or starts_with() to compare columns.");
	if (value->constisnull)
		return;
	source = TextDatumGetCString(value->constvalue);
	if (strlen(source) > AGENTPAY_EXPRESSION_MAX_PATTERN)
		refuse(parse, node, "the regular expression is too long",
			   "Use several, or in_list().");
	for (const char *p = source; *p != '\0'; p++)
	{
		if (*p != '\\' || *++p == '\0')
			continue;
		if (*p >= '1' && *p <= '9')
			refuse(parse, node,
				   "back references cannot be used in a regular expression",
				   "They can take time exponential in the text; compare the "
				   "parts otherwise.");
	}
	if (!parse->checking || similar)
		return;
	setup_parser_errposition_callback(&callback, parse->pstate,
									  value->location);
	(void) OidFunctionCall2Coll(F_TEXTREGEXEQ, collation,
								PointerGetDatum(cstring_to_text("")),
								value->constvalue);
	cancel_parser_errposition_callback(&callback);
}

/*
 * A time zone by its full name: what an abbreviation means is a setting of
 * the session.
 */
static void
allow_zone(AgentpayExpressionParse *parse, Node *node, Node *zone)
{
	Const *value = (Const *) zone;
	char *name;

	if (zone == NULL || !IsA(zone, Const) || value->constisnull)
		refuse(parse, node, "a time zone must be a constant",
			   "Write its name, for example 'Europe/Berlin'.");
	name = TextDatumGetCString(value->constvalue);
	if ((strchr(name, '/') == NULL && pg_strcasecmp(name, "UTC") != 0 &&
		 pg_strcasecmp(name, "GMT") != 0) ||
		pg_tzset(name) == NULL)
		refuse(parse, node, psprintf("unknown time zone: \"%s\"", name),
			   "Write its full name, for example 'Europe/Berlin', or UTC.");
}

/*
 * Casts through text.  Text does not become a time, since it may say 'now';
 * arrays do not become text, since that doubles backslashes each time.
 */
static void
allow_io(AgentpayExpressionParse *parse, CoerceViaIO *io)
{
	Node *node = (Node *) io;
	Oid from = getBaseType(exprType((Node *) io->arg));

	switch (getBaseType(io->resulttype))
	{
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			refuse(parse, node,
				   "text cannot be cast to a time in an expression",
				   "Give the table a column of that type.");
			break;
		default:
			break;
	}
	if (OidIsValid(get_element_type(from)) ||
		OidIsValid(get_element_type(getBaseType(io->resulttype))))
		refuse(parse, node,
			   "casts between arrays and text cannot be used in an expression",
			   "Use string_to_array(), or = ANY (...).");
}
