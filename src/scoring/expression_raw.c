/*-------------------------------------------------------------------------
 * expression_raw.c
 *		What the grammar made of an expression's text, before its names mean
 *		anything.
 *
 * Parse analysis already runs code: the input functions of types that
 * literals are cast to.  So the raw tree is looked through first, and may
 * contain only what an expression over one row needs.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_node.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/settings.h"
#include "scoring/expression.h"
#include "scoring/expression_internal.h"

static void check_size(AgentpayExpressionParse *parse);
static Node *bare_expression(AgentpayExpressionParse *parse);
static void refuse_name(AgentpayExpressionParse *parse, const char *name);
static bool check_raw(Node *node, void *context);
static void check_raw_call(AgentpayExpressionParse *parse, FuncCall *call);
static void check_raw_type(AgentpayExpressionParse *parse, TypeName *name);
static void refuse_aggregate(AgentpayExpressionParse *parse, FuncCall *call)
	pg_attribute_noreturn();
static void check_built_in_name(AgentpayExpressionParse *parse, FuncCall *call,
								const char *name);
static void check_foreign_name(AgentpayExpressionParse *parse, FuncCall *call,
							   const char *schema);
static void note_literal(AgentpayExpressionParse *parse, A_Const *literal);

/* The raw tree of the text, which is known to be one bare expression. */
Node *
agentpay_expression_raw(AgentpayExpressionParse *parse)
{
	Node *node;

	check_size(parse);
	node = bare_expression(parse);
	(void) check_raw(node, parse);
	return node;
}

/*
 * Brackets are counted before the grammar sees them: it has a stack of its
 * own, whose overflow it reports as "memory exhausted".
 */
static void
check_size(AgentpayExpressionParse *parse)
{
	char quote = '\0';
	int depth = 0;

	if (strlen(parse->text) > AGENTPAY_EXPRESSION_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("the expression is too long"),
				 errdetail("It has %zu bytes; the most is %d.",
						   strlen(parse->text), AGENTPAY_EXPRESSION_MAX_BYTES),
				 errhint("Split it into several rules, or put its values on "
						 "a list and use in_list().")));
	for (const char *p = parse->text; *p != '\0'; p++)
	{
		if (quote != '\0')
			quote = *p == quote ? '\0' : quote;
		else if (*p == '\'' || *p == '"')
			quote = *p;
		else if (*p == '(' || *p == '[')
			depth++;
		else if (*p == ')' || *p == ']')
			depth--;
		if (depth > AGENTPAY_EXPRESSION_MAX_DEPTH)
			ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
							errmsg("the expression is nested too deeply"),
							errdetail("The most is %d brackets in each other.",
									  AGENTPAY_EXPRESSION_MAX_DEPTH),
							errhint("Split it into several rules."),
							parser_errposition(parse->pstate,
											   (int) (p - parse->text))));
	}
}

/* The one expression that text consists of. */
static Node *
bare_expression(AgentpayExpressionParse *parse)
{
	List *statements = raw_parser(parse->text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt,
								  linitial_node(RawStmt, statements)->stmt);
	ResTarget *target;
	Node *rest;

	if (select->targetList == NIL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("the expression is empty"),
						errhint("Write a condition, for example amount > "
								"1000, or true.")));
	target = linitial_node(ResTarget, select->targetList);
	rest = list_length(select->targetList) > 1 ? lsecond(select->targetList)
		   : select->fromClause				   ? linitial(select->fromClause)
		   : select->whereClause			   ? select->whereClause
		   : select->groupClause			   ? linitial(select->groupClause)
		   : select->sortClause				   ? linitial(select->sortClause)
		   : select->limitCount				   ? select->limitCount
											   : NULL;
	if (rest == NULL && target->name != NULL)
		refuse_name(parse, target->name);
	if (rest != NULL || target->name != NULL || target->indirection != NIL ||
		select->distinctClause != NIL || select->intoClause != NULL ||
		select->havingClause != NULL || select->windowClause != NIL ||
		select->valuesLists != NIL || select->limitOffset != NULL ||
		select->lockingClause != NIL || select->withClause != NULL ||
		select->op != SETOP_NONE)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("an expression is expected, not a query"),
						errdetail("It is one SQL expression over the row, "
								  "without FROM, WHERE, AS and the like."),
						errhint("Write, for example, amount > 1000 AND "
								"country <> 'DE'."),
						parser_errposition(parse->pstate,
										   rest ? exprLocation(rest) : -1)));
	return target->val;
}

/*
 * What stands last was read as the result's name: a word too many, or an
 * operator that lacks its right side ("amount > 10 AND").
 */
static void
refuse_name(AgentpayExpressionParse *parse, const char *name)
{
	int position = (int) (strlen(parse->text) - strlen(name));

	while (position > 0 &&
		   pg_strncasecmp(parse->text + position, name, strlen(name)) != 0)
		position--;
	ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
					errmsg("syntax error at or near \"%.*s\"",
						   (int) strlen(name), parse->text + position),
					errdetail("The expression is complete before it, and "
							  "would only get a name by it."),
					errhint("Leave it out, or write what is to follow."),
					parser_errposition(parse->pstate, position)));
}

/* What parse analysis would refuse with less help, or would run. */
static const char *
refused_raw(Node *node)
{
	switch (nodeTag(node))
	{
		case T_SubLink:
			return "subqueries";
		case T_ParamRef:
			return "parameters such as $1";
		case T_A_Star:
			return "*";
		case T_SetToDefault:
			return "DEFAULT";
		case T_SQLValueFunction:
			return "the current time, user and schema";
		case T_XmlExpr:
		case T_XmlSerialize:
			return "XML";
		case T_GroupingFunc:
			return "GROUPING";
		case T_A_Const:
		case T_ColumnRef:
		case T_FuncCall:
		case T_NamedArgExpr:
		case T_A_Expr:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_TypeCast:
		case T_TypeName:
		case T_A_ArrayExpr:
		case T_A_Indirection:
		case T_A_Indices:
		case T_CollateClause:
		case T_RowExpr:
		case T_List:
		case T_String:
		case T_Integer:
			return NULL;
		default:
			return "this construct";
	}
}

static const char *
mend_for_raw(Node *node)
{
	if (IsA(node, SubLink))
		return "Use a feature for what other rows say, and in_list() for "
			   "values that change.";
	if (IsA(node, SQLValueFunction))
		return "Use the row's own time column.";
	return "Use columns, features, constants, operators and functions.";
}

/* A tree walker over what the grammar made, before anything is looked up. */
static bool
check_raw(Node *node, void *context)
{
	AgentpayExpressionParse *parse = context;
	const char *refused;
	bool result;

	if (node == NULL)
		return false;
	refused = IsA(node, ColumnRef) &&
					  IsA(llast(((ColumnRef *) node)->fields), A_Star)
				  ? "*"
				  : refused_raw(node);
	if (refused != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be used in an expression", refused),
				 errdetail("An expression sees its row and nothing else, so "
						   "that it can be replayed."),
				 errhint("%s", mend_for_raw(node)),
				 parser_errposition(parse->pstate, exprLocation(node))));
	if (++parse->depth > AGENTPAY_EXPRESSION_MAX_DEPTH * 3)
		ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
						errmsg("the expression is nested too deeply"),
						errdetail("The most is %d operations in each other.",
								  AGENTPAY_EXPRESSION_MAX_DEPTH * 3),
						errhint("Split it into several rules."),
						parser_errposition(parse->pstate, exprLocation(node))));
	if (IsA(node, FuncCall))
		check_raw_call(parse, (FuncCall *) node);
	else if (IsA(node, TypeName))
		check_raw_type(parse, (TypeName *) node);
	else if (IsA(node, A_Const))
		note_literal(parse, (A_Const *) node);
	else if (IsA(node, A_Expr) && list_length(((A_Expr *) node)->name) > 1 &&
			 strcmp(strVal(linitial(((A_Expr *) node)->name)), "pg_catalog") !=
				 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("only operators of pg_catalog can be used in an "
							   "expression"),
						errhint("Call the operator's function instead; "
								"agentpay.expression_schemas says from where."),
						parser_errposition(parse->pstate, exprLocation(node))));
	result = raw_expression_tree_walker(node, check_raw, context);
	parse->depth--;
	return result;
}

static void
refuse_aggregate(AgentpayExpressionParse *parse, FuncCall *call)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("aggregates cannot be used in an expression"),
					errdetail("An expression sees its row and nothing else."),
					errhint("INSERT INTO agentpay.features (point, name, key, "
							"aggregate, over) VALUES (...); and use its name."),
					parser_errposition(parse->pstate, call->location)));
}

/* Syntax of aggregates and windows; where the function is. */
static void
check_raw_call(AgentpayExpressionParse *parse, FuncCall *call)
{
	char *schema;
	char *name;

	if (call->agg_order != NIL || call->agg_filter != NULL ||
		call->agg_within_group || call->agg_star || call->agg_distinct ||
		call->over != NULL)
		refuse_aggregate(parse, call);
	DeconstructQualifiedName(call->funcname, &schema, &name);
	if (schema == NULL)
	{
		if (strcmp(name, "in_list") == 0 || strcmp(name, "model") == 0)
			call->funcname = lcons(makeString("agentpay"), call->funcname);
	}
	else if (strcmp(schema, "agentpay") == 0)
	{
		if (strcmp(name, "in_list") != 0 && strcmp(name, "model") != 0)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("of agentpay's functions only in_list() and "
								   "model() can be used in an expression"),
							errhint("Use in_list('name', column) or "
									"model('name')."),
							parser_errposition(parse->pstate, call->location)));
	}
	else if (strcmp(schema, "pg_catalog") != 0)
		check_foreign_name(parse, call, schema);
	if (schema == NULL || strcmp(schema, "pg_catalog") == 0)
		check_built_in_name(parse, call, name);
}

/*
 * A built-in function that is not on the list, whatever its arguments: said
 * now, since they might become values of any type.
 */
static void
check_built_in_name(AgentpayExpressionParse *parse, FuncCall *call,
					const char *name)
{
	CatCList *list;
	char kind = '\0';
	bool changes = false;

	if (agentpay_expression_function_listed(name))
		return;
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (proc->pronamespace != PG_CATALOG_NAMESPACE)
			continue;
		kind = proc->prokind;
		changes |= proc->provolatile != PROVOLATILE_IMMUTABLE;
	}
	ReleaseSysCacheList(list);
	if (kind == PROKIND_AGGREGATE || kind == PROKIND_WINDOW)
		refuse_aggregate(parse, call);
	if (kind != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function %s() cannot be used in an expression", name),
				 errdetail("Expressions are made of what has no side effects, "
						   "costs little and can be replayed."),
				 changes ? errhint("If it is for the time: use the row's own "
								   "time column.  docs/security.md "
								   "lists what can be used.")
						 : errhint("docs/security.md lists those that "
								   "can."),
				 parser_errposition(parse->pstate, call->location)));
}

static bool
knows_type(Oid type)
{
	return agentpay_expression_type_allowed(type) || IsPolymorphicType(type);
}

/*
 * A function of agentpay.expression_schemas: literals become values of its
 * arguments' types, so none of those of that name may have types of others.
 */
static void
check_foreign_name(AgentpayExpressionParse *parse, FuncCall *call,
				   const char *schema)
{
	const char *allowed = agentpay_expression_schemas;
	Oid schema_oid = get_namespace_oid(schema, true);
	CatCList *list;

	if (!agentpay_expression_schema_allowed(schema_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("functions of schema \"%s\" cannot be used in an "
						"expression",
						schema),
				 errdetail("agentpay.expression_schemas does not name it."),
				 errhint("ALTER SYSTEM SET agentpay.expression_schemas = "
						 "%s%s%s; SELECT pg_reload_conf(); allows the "
						 "IMMUTABLE and STABLE functions there.",
						 allowed, *allowed == '\0' ? "" : ", ",
						 quote_identifier(schema)),
				 parser_errposition(parse->pstate, call->location)));
	list = SearchSysCacheList1(PROCNAMEARGSNSP,
							   CStringGetDatum(strVal(llast(call->funcname))));
	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple tuple = &list->members[i]->tuple;
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
		bool known = knows_type(proc->prorettype);

		if (proc->pronamespace != schema_oid)
			continue;
		for (int j = 0; j < proc->pronargs; j++)
			known &= knows_type(proc->proargtypes.values[j]);
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("function %s has an argument or a result of a "
							"type that expressions do not know",
							format_procedure(proc->oid)),
					 errhint("Write one with arguments and result of the "
							 "usual types."),
					 parser_errposition(parse->pstate, call->location)));
	}
	ReleaseSysCacheList(list);
}

/* A type that is named: its input function is about to run. */
static void
check_raw_type(AgentpayExpressionParse *parse, TypeName *name)
{
	Oid type;
	HeapTuple tuple;
	bool temporary;

	if (name->setof || name->pct_type)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("SETOF and %%TYPE cannot be used in an "
							   "expression"),
						parser_errposition(parse->pstate, name->location)));
	type = typenameTypeId(parse->pstate, name);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	temporary = isAnyTempNamespace(
		((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	if (temporary || !agentpay_expression_type_allowed(type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot be used in an expression",
						format_type_be(type)),
				 errdetail(
					 "Types are boolean, numbers, text, uuid, dates and "
					 "times, interval, inet, cidr, macaddr, jsonb, enums, "
					 "and arrays of these."),
				 errhint("Cast to one of these instead."),
				 parser_errposition(parse->pstate, name->location)));
}

/* Remembers the literals that would mean the moment of the compilation. */
static void
note_literal(AgentpayExpressionParse *parse, A_Const *literal)
{
	static const char *const words[] = {"now", "today", "tomorrow",
										"yesterday"};
	char *text;
	char *lower;

	if (literal->isnull || nodeTag(&literal->val) != T_String)
		return;
	text = strVal(&literal->val);
	lower = asc_tolower(text, strlen(text));
	for (int i = 0; i < lengthof(words); i++)
	{
		if (strstr(lower, words[i]) != NULL)
			parse->clock_words = lappend_int(parse->clock_words,
											 literal->location);
	}
}
