/*-------------------------------------------------------------------------
 * expression_parse.c
 *		From the text of an expression to PostgreSQL's tree of it.
 *
 * PostgreSQL's own grammar and parse analysis do the work.  The raw tree is
 * looked through first, since parse analysis already runs code: the input
 * functions of types that literals are cast to.  It may contain only what an
 * expression over one row needs; agentpay_expression_allow() then looks at
 * what every name turned out to mean.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "catalog/pg_proc.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "scoring/expression.h"
#include "scoring/expression_internal.h"

static void check_size(AgentpayExpressionParse *parse);
static Node *bare_expression(AgentpayExpressionParse *parse);
static bool check_raw(Node *node, void *context);
static void check_raw_call(AgentpayExpressionParse *parse, FuncCall *call);
static void check_raw_type(AgentpayExpressionParse *parse, TypeName *name);
static void check_foreign_name(AgentpayExpressionParse *parse, FuncCall *call);
static void note_literal(AgentpayExpressionParse *parse, A_Const *literal);
static void set_up_names(AgentpayExpressionParse *parse, Relation relation);
static Node *resolve_first(ParseState *pstate, ColumnRef *ref);
static Node *resolve_last(ParseState *pstate, ColumnRef *ref, Node *found);
static void check_column(AgentpayExpressionParse *parse, Var *column);
static Node *
make_param(AgentpayExpressionParse *parse, int index, Oid type, int location);
static Node *replace_models(Node *node, void *context);
static Node *coerce_result(AgentpayExpressionParse *parse, Node *node);

/* The tree that text means on rows of relation, of the type wanted. */
Node *
agentpay_expression_parse(AgentpayExpressionParse *parse, Relation relation)
{
	Node *node;

	parse->pstate = make_parsestate(NULL);
	parse->pstate->p_sourcetext = parse->text;
	check_size(parse);
	node = bare_expression(parse);
	check_raw(node, parse);
	set_up_names(parse, relation);
	node = transformExpr(parse->pstate, node, EXPR_KIND_OTHER);
	node = replace_models(node, parse);
	node = coerce_result(parse, node);
	assign_expr_collations(parse->pstate, node);
	return node;
}

/* Index of a model in the scope, or -1. */
int
agentpay_expression_model(const AgentpayScope *scope, const char *name)
{
	for (int i = 0; i < scope->n_models; i++)
	{
		if (strcmp(scope->models[i], name) == 0)
			return i;
	}
	return -1;
}

/* ── the raw tree ───────────────────────────────────────────────────────── */

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
	SelectStmt *select =
		linitial_node(SelectStmt,
					  list_make1(linitial_node(RawStmt, statements)->stmt));
	ResTarget *target;

	if (select->targetList == NIL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("the expression is empty"),
						errhint("Write a condition, for example amount > "
								"1000, or true.")));
	target = linitial_node(ResTarget, select->targetList);
	if (list_length(select->targetList) > 1 || target->name != NULL ||
		target->indirection != NIL || select->distinctClause != NIL ||
		select->intoClause != NULL || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL ||
		select->havingClause != NULL || select->windowClause != NIL ||
		select->valuesLists != NIL || select->sortClause != NIL ||
		select->limitOffset != NULL || select->limitCount != NULL ||
		select->lockingClause != NIL || select->withClause != NULL ||
		select->op != SETOP_NONE)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("an expression is expected, not a query"),
						errdetail("It is one SQL expression over the row, "
								  "without FROM, WHERE, AS and the like."),
						errhint("Write, for example, amount > 1000 AND "
								"country <> 'DE'.")));
	return target->val;
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

static bool
check_raw(Node *node, void *context)
{
	AgentpayExpressionParse *parse = context;
	const char *refused;
	bool result;

	if (node == NULL)
		return false;
	refused = refused_raw(node);
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

/* Syntax of aggregates and windows; where the function is. */
static void
check_raw_call(AgentpayExpressionParse *parse, FuncCall *call)
{
	char *schema;
	char *name;

	if (call->agg_order != NIL || call->agg_filter != NULL ||
		call->agg_within_group || call->agg_star || call->agg_distinct ||
		call->over != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("aggregates cannot be used in an expression"),
				 errdetail("An expression sees its row and nothing else."),
				 errhint("INSERT INTO agentpay.features (point, name, key, "
						 "aggregate, over) VALUES (…); and use its name."),
				 parser_errposition(parse->pstate, call->location)));
	DeconstructQualifiedName(call->funcname, &schema, &name);
	if (schema == NULL)
	{
		if (strcmp(name, "in_list") == 0 || strcmp(name, "model") == 0)
			call->funcname = lcons(makeString("agentpay"), call->funcname);
	}
	else if (strcmp(schema, "pg_catalog") != 0 &&
			 strcmp(schema, "agentpay") != 0)
		check_foreign_name(parse, call);
}

/*
 * A function of agentpay.expression_schemas: literals become values of its
 * arguments' types, so none of those of that name may have types of others.
 */
static void
check_foreign_name(AgentpayExpressionParse *parse, FuncCall *call)
{
	char *schema = strVal(linitial(call->funcname));
	Oid schema_oid = get_namespace_oid(schema, true);
	CatCList *list;

	if (!agentpay_expression_schema_allowed(schema_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("functions of schema \"%s\" cannot be used in an "
						"expression",
						schema),
				 errdetail("agentpay.expression_schemas does not name it."),
				 errhint("ALTER SYSTEM SET agentpay.expression_schemas = %s; "
						 "SELECT pg_reload_conf(); allows the IMMUTABLE and "
						 "STABLE functions there.",
						 quote_identifier(schema)),
				 parser_errposition(parse->pstate, call->location)));
	list = SearchSysCacheList1(PROCNAMEARGSNSP,
							   CStringGetDatum(strVal(llast(call->funcname))));
	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple tuple = &list->members[i]->tuple;
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
		bool allowed = agentpay_expression_type_allowed(proc->prorettype) ||
					   IsPolymorphicType(proc->prorettype);

		if (proc->pronamespace != schema_oid)
			continue;
		for (int j = 0; j < proc->pronargs; j++)
			allowed = allowed &&
					  (agentpay_expression_type_allowed(
						   proc->proargtypes.values[j]) ||
					   IsPolymorphicType(proc->proargtypes.values[j]));
		if (!allowed)
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
	if (temporary || !agentpay_expression_type_allowed(type) ||
		get_typtype(type) == TYPTYPE_DOMAIN)
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
	char *lower;

	if (literal->isnull || nodeTag(&literal->val) != T_String)
		return;
	lower = asc_tolower(strVal(&literal->val), strlen(strVal(&literal->val)));
	for (int i = 0; i < lengthof(words); i++)
	{
		if (strstr(lower, words[i]) != NULL)
			parse->clock_words = lappend_int(parse->clock_words,
											 literal->location);
	}
}

/* ── names ──────────────────────────────────────────────────────────────── */

/*
 * Columns may be qualified by the table's name; in a partition it is that of
 * the table on top, which the writer knows.
 */
static void
set_up_names(AgentpayExpressionParse *parse, Relation relation)
{
	ParseState *pstate = parse->pstate;
	ParseNamespaceItem *item;
	char *name = RelationGetRelationName(relation);

	if (relation->rd_rel->relispartition)
	{
		List *ancestors = get_partition_ancestors(RelationGetRelid(relation));

		name = get_rel_name(llast_oid(ancestors));
	}
	item = addRangeTableEntryForRelation(pstate, relation, AccessShareLock,
										 makeAlias(name, NIL), false, true);
	addNSItemToQuery(pstate, item, false, true, true);
	pstate->p_pre_columnref_hook = resolve_first;
	pstate->p_post_columnref_hook = resolve_last;
	pstate->p_ref_hook_state = parse;
}

/* In invoke_when, score and verdict are the decision's, not columns. */
static Node *
resolve_first(ParseState *pstate, ColumnRef *ref)
{
	AgentpayExpressionParse *parse = pstate->p_ref_hook_state;
	const AgentpayScope *scope = parse->scope;
	char *name;

	if (scope->usage != AGENTPAY_USAGE_INVOKE || list_length(ref->fields) != 1)
		return NULL;
	name = strVal(linitial(ref->fields));
	if (strcmp(name, "score") == 0)
		return make_param(parse, AGENTPAY_PARAM_SCORE(scope), NUMERICOID,
						  ref->location);
	if (strcmp(name, "verdict") == 0)
		return make_param(parse, AGENTPAY_PARAM_VERDICT(scope), TEXTOID,
						  ref->location);
	return NULL;
}

/* Features, and what is wrong with a column before anything is made of it. */
static Node *
resolve_last(ParseState *pstate, ColumnRef *ref, Node *found)
{
	AgentpayExpressionParse *parse = pstate->p_ref_hook_state;
	const AgentpayScope *scope = parse->scope;
	int feature = -1;

	for (int i = 0; i < scope->n_features && list_length(ref->fields) == 1; i++)
	{
		if (strcmp(scope->features[i], strVal(linitial(ref->fields))) == 0)
			feature = i;
	}
	if (feature < 0)
	{
		if (found != NULL && IsA(found, Var))
			check_column(parse, (Var *) found);
		return NULL;
	}
	if (scope->usage == AGENTPAY_USAGE_FEATURE)
	{
		if (found != NULL)
			return NULL;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("\"%s\" is a feature, not a column",
						scope->features[feature]),
				 errdetail("Value and filter of a feature see columns only."),
				 errhint("Use a column of %s.", get_rel_name(scope->relation)),
				 parser_errposition(pstate, ref->location)));
	}
	return make_param(parse, feature, FLOAT8OID, ref->location);
}

static void
check_column(AgentpayExpressionParse *parse, Var *column)
{
	const char *what = NULL;
	const char *name = "*";

	if (column->varattno == 0)
		what = "the whole row cannot be used as a value";
	else
	{
		name = get_attname(parse->scope->relation, column->varattno, false);
		if (column->varattno < 0)
			what = "system columns cannot be used in an expression";
		else if (get_attgenerated(parse->scope->relation, column->varattno) !=
				 '\0')
			what = "generated columns cannot be used in an expression";
		else if (!agentpay_expression_type_allowed(column->vartype))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of type %s cannot be used in an "
							"expression",
							name, format_type_be(column->vartype)),
					 errdetail("Types are boolean, numbers, text, uuid, dates "
							   "and times, interval, inet, cidr, macaddr, "
							   "jsonb, enums, and arrays of these."),
					 errhint("Use another column."),
					 parser_errposition(parse->pstate, column->location)));
	}
	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s", what),
				 errdetail("When a row is scored, \"%s\" has no value yet.",
						   name),
				 errhint("Use the columns that the INSERT gives."),
				 parser_errposition(parse->pstate, column->location)));
}

static Node *
make_param(AgentpayExpressionParse *parse, int index, Oid type, int location)
{
	Param *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = index + 1;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(type);
	param->location = location;
	return (Node *) param;
}

/* model('name') becomes the parameter of that model. */
static Node *
replace_models(Node *node, void *context)
{
	AgentpayExpressionParse *parse = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, FuncExpr) &&
		get_func_namespace(((FuncExpr *) node)->funcid) ==
			get_namespace_oid("agentpay", false) &&
		strcmp(get_func_name(((FuncExpr *) node)->funcid), "model") == 0)
	{
		FuncExpr *call = (FuncExpr *) node;
		Const *name = linitial(call->args);
		char *model;
		int index;

		if (!IsA(name, Const) || name->constisnull)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("model() needs the name of a model"),
					 errdetail("Which model answers cannot depend on the row."),
					 errhint("Write the name, for example model('fraud').")),
					parser_errposition(parse->pstate, call->location));
		if (parse->scope->usage == AGENTPAY_USAGE_FEATURE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("model() cannot be used in a feature"),
					 errdetail("Models read features, not the other way."),
					 errhint("Use model() in a rule."),
					 parser_errposition(parse->pstate, call->location)));
		model = TextDatumGetCString(name->constvalue);
		index = agentpay_expression_model(parse->scope, model);
		if (index < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("there is no active model \"%s\"", model),
					 errhint("SELECT * FROM agentpay.train_logistic(%s, …); "
							 "makes one.",
							 quote_literal_cstr(model)),
					 parser_errposition(parse->pstate, call->location)));
		return make_param(parse, AGENTPAY_PARAM_MODEL(parse->scope, index),
						  FLOAT8OID, call->location);
	}
	return expression_tree_mutator(node, replace_models, context);
}

/* The expression as the type wanted, as an assignment would have it. */
static Node *
coerce_result(AgentpayExpressionParse *parse, Node *node)
{
	Oid type = exprType(node);
	Oid wanted = parse->wanted;
	Node *result;

	if (!OidIsValid(wanted))
	{
		if (type != UNKNOWNOID)
			return node;
		wanted = TEXTOID;
	}
	result = coerce_to_target_type(parse->pstate, node, type, wanted, -1,
								   COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST,
								   -1);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the expression is of type %s, but %s is needed",
						format_type_be(type), format_type_be(wanted)),
				 wanted == BOOLOID
					 ? errhint("Compare it with something, for example with "
							   "> 0.")
					 : errhint("Cast it, for example (…)::%s.",
							   format_type_be(wanted)),
				 parser_errposition(parse->pstate, exprLocation(node))));
	return result;
}
