/*-------------------------------------------------------------------------
 * expression_parse.c
 *		From the text of an expression to PostgreSQL's tree of it.
 *
 * PostgreSQL's own grammar and parse analysis do the work.  Names are columns
 * of the row, the point's features, and in invoke_when score and verdict; what
 * they turned out to mean is for agentpay_expression_allow() to judge.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "scoring/expression.h"
#include "scoring/expression_internal.h"

/* Looking for what a name with typos may mean. */
typedef struct NameSearch
{
	const char *wanted;
	const char *closest;
	int distance; /* less than this, and at most half of the name */
} NameSearch;

/* In the order of the parameters. */
static const char *const label_names[AGENTPAY_LABEL_PARAMS] = {"label",
															   "label_source",
															   "amount_lost"};

static void set_up_names(AgentpayExpressionParse *parse, Relation relation);
static Node *resolve_first(ParseState *pstate, ColumnRef *ref);
static Node *resolve_last(ParseState *pstate, ColumnRef *ref, Node *found);
static const char *lone_name(const ColumnRef *ref);
static int label_index(const AgentpayExpressionParse *parse, const char *name);
static int
qualified_label(const AgentpayExpressionParse *parse, const ColumnRef *ref);
static Node *
make_label(AgentpayExpressionParse *parse, int label, int location);
static int feature_index(const AgentpayScope *scope, const char *name);
static void
refuse_name(AgentpayExpressionParse *parse, const char *name, int location);
static void
consider_name(NameSearch *search, const char *name, StringInfo known);
static void check_column(AgentpayExpressionParse *parse, Var *column);
static bool is_generated(Relation relation, AttrNumber attribute);
static Node *
make_feature(AgentpayExpressionParse *parse, int feature, int location);
static Node *make_param(int index, Oid type, int location);
static Node *finish_names(Node *node, void *context);
static Node *domain_column(AgentpayExpressionParse *parse, Var *column);
static Node *coerce_result(AgentpayExpressionParse *parse, Node *node);

/* The tree that text means on rows of relation, of the type wanted. */
Node *
agentpay_expression_parse(AgentpayExpressionParse *parse, Relation relation)
{
	Node *node;

	parse->relation = relation;
	parse->pstate = make_parsestate(NULL);
	parse->pstate->p_sourcetext = parse->text;
	node = agentpay_expression_raw(parse);
	set_up_names(parse, relation);
	node = transformExpr(parse->pstate, node, EXPR_KIND_OTHER);
	node = finish_names(node, parse);
	node = coerce_result(parse, node);
	assign_expr_collations(parse->pstate, node);
	return node;
}

/* The n-th argument of a call, by its name or its place; NULL: left out. */
Node *
agentpay_expression_argument(List *args, int n)
{
	ListCell *cell;

	foreach(cell, args)
	{
		Node *arg = lfirst(cell);

		if (!IsA(arg, NamedArgExpr))
		{
			if (foreach_current_index(cell) == n)
				return arg;
		}
		else if (((NamedArgExpr *) arg)->argnumber == n)
			return (Node *) ((NamedArgExpr *) arg)->arg;
	}
	return NULL;
}

/* Index of a model in the scope, or -1. */
static int
model_index(const AgentpayScope *scope, const char *name)
{
	for (int i = 0; i < scope->n_models; i++)
	{
		if (strcmp(scope->models[i], name) == 0)
			return i;
	}
	return -1;
}

/*
 * A domain is read as its base type from the start, so that no literal ever
 * becomes a value of the domain, which would run its checks, as the owner of
 * the extension.  Columns may be qualified by the table's name; in a partition
 * it is that of the table on top, which the writer knows.
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
	for (int i = 0; i < RelationGetNumberOfAttributes(relation); i++)
	{
		ParseNamespaceColumn *column = &item->p_nscolumns[i];

		if (OidIsValid(column->p_vartype)) /* not dropped */
			column->p_vartype = getBaseTypeAndTypmod(column->p_vartype,
													 &column->p_vartypmod);
	}
	addNSItemToQuery(pstate, item, false, true, true);
	pstate->p_pre_columnref_hook = resolve_first;
	pstate->p_post_columnref_hook = resolve_last;
	pstate->p_ref_hook_state = parse;
}

/*
 * In invoke_when, score and verdict are the decision's, not columns.  A column
 * that was added after a feature of that name does not change what the rules
 * mean: only who writes one now is told that the name is ambiguous.
 */
static Node *
resolve_first(ParseState *pstate, ColumnRef *ref)
{
	AgentpayExpressionParse *parse = pstate->p_ref_hook_state;
	const AgentpayScope *scope = parse->scope;
	const char *name = lone_name(ref);
	int feature = feature_index(scope, name);
	int label = qualified_label(parse, ref);

	if (label < 0 && !parse->checking)
		label = label_index(parse, name);
	if (label >= 0)
		return make_label(parse, label, ref->location);
	if (name == NULL)
		return NULL;
	if (scope->usage == AGENTPAY_USAGE_INVOKE && strcmp(name, "score") == 0)
		return make_param(AGENTPAY_PARAM_SCORE(scope), NUMERICOID,
						  ref->location);
	if (scope->usage == AGENTPAY_USAGE_INVOKE && strcmp(name, "verdict") == 0)
		return make_param(AGENTPAY_PARAM_VERDICT(scope), TEXTOID,
						  ref->location);
	if (scope->usage != AGENTPAY_USAGE_FEATURE && !parse->checking &&
		feature >= 0)
		return make_feature(parse, feature, ref->location);
	return NULL;
}

/* Features, and what is wrong with a column before anything is made of it. */
static Node *
resolve_last(ParseState *pstate, ColumnRef *ref, Node *found)
{
	AgentpayExpressionParse *parse = pstate->p_ref_hook_state;
	const AgentpayScope *scope = parse->scope;
	const char *name = lone_name(ref);
	int feature = feature_index(scope, name);
	int label = label_index(parse, name);

	if (label >= 0 && found == NULL)
		return make_label(parse, label, ref->location);
	if (label >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("\"%s\" is the row's label and a column", name),
				 errdetail("With from_table agentpay.outcomes it stands for "
						   "what turned out."),
				 errhint("Write outcomes.%s for that, %s.%s for the column.",
						 name, quote_identifier(get_rel_name(scope->relation)),
						 name),
				 parser_errposition(pstate, ref->location)));
	if (feature >= 0 && scope->usage != AGENTPAY_USAGE_FEATURE)
	{
		if (found == NULL)
			return make_feature(parse, feature, ref->location);
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("\"%s\" is a feature and a column", name),
				 errdetail("The column came later; rules written before it go "
						   "on to read the feature."),
				 errhint("Write %s.%s for the column, or rename it.",
						 quote_identifier(get_rel_name(scope->relation)),
						 quote_identifier(name)),
				 parser_errposition(pstate, ref->location)));
	}
	if (found != NULL && IsA(found, Var))
		check_column(parse, (Var *) found);
	else if (found == NULL && feature >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("\"%s\" is a feature, not a column", name),
				 errdetail("Value and filter of a feature see columns only."),
				 errhint("Use a column of %s.", get_rel_name(scope->relation)),
				 parser_errposition(pstate, ref->location)));
	else if (found == NULL && name != NULL)
		refuse_name(parse, name, ref->location);
	return NULL;
}

/* A name without qualification, or NULL. */
static const char *
lone_name(const ColumnRef *ref)
{
	return list_length(ref->fields) == 1 ? strVal(linitial(ref->fields)) : NULL;
}

/* What a name says of the row's label, or -1. */
static int
label_index(const AgentpayExpressionParse *parse, const char *name)
{
	for (int i = 0; i < AGENTPAY_LABEL_PARAMS; i++)
		if (parse->scope->labels && name != NULL &&
			strcmp(name, label_names[i]) == 0)
			return i;
	return -1;
}

/* The same, as outcomes.label, unless that is a column of the row; or -1. */
static int
qualified_label(const AgentpayExpressionParse *parse, const ColumnRef *ref)
{
	ParseNamespaceItem *row = linitial(parse->pstate->p_namespace);

	if (list_length(ref->fields) != 2 || !IsA(lsecond(ref->fields), String) ||
		strcmp(strVal(linitial(ref->fields)), "outcomes") != 0 ||
		strcmp(row->p_names->aliasname, "outcomes") == 0)
		return -1;
	return label_index(parse, strVal(lsecond(ref->fields)));
}

static Node *
make_label(AgentpayExpressionParse *parse, int label, int location)
{
	return make_param(AGENTPAY_PARAM_LABEL(parse->scope) + label,
					  agentpay_scope_label_type(label), location);
}

/* Index of a feature in the scope, or -1. */
static int
feature_index(const AgentpayScope *scope, const char *name)
{
	for (int i = 0; i < scope->n_features && name != NULL; i++)
	{
		if (strcmp(scope->features[i], name) == 0)
			return i;
	}
	return -1;
}

/* A name that is nothing: offers what is meant, or what there is. */
static void
refuse_name(AgentpayExpressionParse *parse, const char *name, int location)
{
	const AgentpayScope *scope = parse->scope;
	TupleDesc columns = RelationGetDescr(parse->relation);
	NameSearch search = {name, NULL, 3};
	StringInfoData known;
	bool of_decision = scope->usage == AGENTPAY_USAGE_RULE &&
					   (strcmp(name, "score") == 0 ||
						strcmp(name, "verdict") == 0);

	initStringInfo(&known);
	appendStringInfoString(&known, "Columns are ");
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		if (!column->attisdropped && column->attgenerated == '\0')
			consider_name(&search, NameStr(column->attname), &known);
	}
	if (scope->usage != AGENTPAY_USAGE_FEATURE && scope->n_features > 0)
	{
		appendStringInfoString(&known, "; features are ");
		for (int i = 0; i < scope->n_features; i++)
			consider_name(&search, scope->features[i], &known);
	}
	if (scope->labels)
	{
		appendStringInfoString(&known, "; of the label there are ");
		for (int i = 0; i < AGENTPAY_LABEL_PARAMS; i++)
			consider_name(&search, label_names[i], &known);
	}
	if (scope->usage == AGENTPAY_USAGE_INVOKE)
	{
		appendStringInfoString(&known, "; of the decision there are ");
		consider_name(&search, "score", &known);
		consider_name(&search, "verdict", &known);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("there is no column%s \"%s\"",
					scope->usage == AGENTPAY_USAGE_FEATURE ? "" : " or feature",
					name),
			 errdetail("%s.", known.data),
			 of_decision
				 ? errhint("The decision's score and verdict are known after "
						   "the rules: use them in an agent's invoke_when.")
			 : search.closest
				 ? errhint("Perhaps you mean \"%s\".", search.closest)
				 : errhint("Use one of these, or write a text constant in "
						   "single quotes."),
			 parser_errposition(parse->pstate, location)));
}

/* Adds a name to what there is; keeps the one with the fewest typos. */
static void
consider_name(NameSearch *search, const char *name, StringInfo known)
{
	int distance = strlen(search->wanted);

	appendStringInfo(known, "%s%s",
					 known->data[known->len - 1] == ' ' ? "" : ", ", name);
	if (distance > NAMEDATALEN || strlen(name) > NAMEDATALEN)
		return;
	distance = varstr_levenshtein_less_equal(search->wanted, distance, name,
											 strlen(name), 1, 1, 1,
											 search->distance, true);
	if (distance < search->distance &&
		distance <= Max(1, (int) strlen(search->wanted) / 2))
	{
		search->distance = distance;
		search->closest = name;
	}
}

/* Refuses what BEFORE cannot see of a row, or no expression may read. */
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
		else if (is_generated(parse->relation, column->varattno))
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

/* In the relation itself, or in one that it is a partition of. */
static bool
is_generated(Relation relation, AttrNumber attribute)
{
	List *relations = list_make1_oid(RelationGetRelid(relation));
	const char *name = get_attname(linitial_oid(relations), attribute, false);
	ListCell *cell;

	if (relation->rd_rel->relispartition)
		relations = list_concat(relations, get_partition_ancestors(
											   linitial_oid(relations)));
	foreach(cell, relations)
	{
		AttrNumber number = get_attnum(lfirst_oid(cell), name);

		if (number != InvalidAttrNumber &&
			get_attgenerated(lfirst_oid(cell), number) != '\0')
			return true;
	}
	return false;
}

static Node *
make_feature(AgentpayExpressionParse *parse, int feature, int location)
{
	Oid type = agentpay_scope_feature_type(parse->scope, feature);

	if (!OidIsValid(type))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("feature \"%s\" has no type now",
					parse->scope->features[feature]),
			 errdetail("Its value does not compile any more: a table, "
					   "column or function is gone or has changed."),
			 errhint("UPDATE agentpay.features SET value = ... WHERE name = "
					 "%s;",
					 quote_literal_cstr(parse->scope->features[feature])),
			 parser_errposition(parse->pstate, location)));
	return make_param(feature, type, location);
}

static Node *
make_param(int index, Oid type, int location)
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

/*
 * Columns get the type that they have, under a cast to the one they had so
 * far; model('name') becomes the parameter of that model.
 */
static Node *
finish_names(Node *node, void *context)
{
	AgentpayExpressionParse *parse = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return domain_column(parse, (Var *) node);
	if (IsA(node, FuncExpr) &&
		get_func_namespace(((FuncExpr *) node)->funcid) ==
			get_namespace_oid("agentpay", false) &&
		strcmp(get_func_name(((FuncExpr *) node)->funcid), "model") == 0)
	{
		FuncExpr *call = (FuncExpr *) node;
		Const *name = (Const *) agentpay_expression_argument(call->args, 0);
		char *model;
		int index;

		if (!IsA(name, Const) || name->constisnull)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("model() needs the name of a model"),
					 errdetail("Which model answers cannot depend on the row."),
					 errhint("Write the name, for example model('fraud')."),
					 parser_errposition(parse->pstate, call->location)));
		if (parse->scope->usage == AGENTPAY_USAGE_FEATURE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("model() cannot be used in a feature"),
					 errdetail("Models read features, not the other way."),
					 errhint("Use model() in a rule."),
					 parser_errposition(parse->pstate, call->location)));
		model = TextDatumGetCString(name->constvalue);
		index = model_index(parse->scope, model);
		if (index < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("there is no active model \"%s\"", model),
					 errhint("SELECT * FROM agentpay.train_logistic(%s, ...); "
							 "makes one.",
							 quote_literal_cstr(model)),
					 parser_errposition(parse->pstate, call->location)));
		return make_param(AGENTPAY_PARAM_MODEL(parse->scope, index), FLOAT8OID,
						  call->location);
	}
	return expression_tree_mutator(node, finish_names, context);
}

static Node *
domain_column(AgentpayExpressionParse *parse, Var *column)
{
	Form_pg_attribute attribute;
	Var *real = copyObject(column);
	RelabelType *relabel;

	if (column->varattno <= 0)
		return (Node *) column;
	attribute = TupleDescAttr(RelationGetDescr(parse->relation),
							  column->varattno - 1);
	if (attribute->atttypid == column->vartype)
		return (Node *) column;
	real->vartype = attribute->atttypid;
	real->vartypmod = attribute->atttypmod;
	relabel = makeRelabelType((Expr *) real, column->vartype, column->vartypmod,
							  column->varcollid, COERCE_IMPLICIT_CAST);
	relabel->location = column->location;
	return (Node *) relabel;
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
					 : errhint("Cast it, for example (...)::%s.",
							   format_type_be(wanted)),
				 parser_errposition(parse->pstate, exprLocation(node))));
	return result;
}
