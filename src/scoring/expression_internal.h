/*-------------------------------------------------------------------------
 * expression_internal.h
 *		What the files of the expression room share; nobody else includes it.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EXPRESSION_INTERNAL_H
#define AGENTPAY_EXPRESSION_INTERNAL_H

#include "postgres.h"

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "parser/parse_node.h"
#include "utils/relcache.h"

#include "scoring/expression.h"

#define AGENTPAY_EXPRESSION_MAX_BYTES 20000
#define AGENTPAY_EXPRESSION_MAX_DEPTH 200
#define AGENTPAY_EXPRESSION_MAX_PATTERN 500 /* bytes of a regular expression */
#define AGENTPAY_EXPRESSION_MAX_CHAR 10000	/* n of a cast to character(n) */

/* One expression on its way from text to a checked tree. */
typedef struct AgentpayExpressionParse
{
	const AgentpayScope *scope;
	const char *text;
	Oid wanted;
	bool checking; /* somebody writes it now; nothing will run */
	ParseState *pstate;
	Relation relation;
	List *clock_words; /* locations of literals such as 'now' */
	int depth;
	bool entered; /* the planner runs as the table's owner */
	AgentpayExpressionState saved;

	/* what agentpay_expression_allow() finds */
	bool foreign_functions;
	bool reads_lists;
	Bitmapset *columns;
	Bitmapset *params;
} AgentpayExpressionParse;

/* expression_raw.c */
extern Node *agentpay_expression_raw(AgentpayExpressionParse *parse);

/* expression_parse.c */
extern Node *
agentpay_expression_parse(AgentpayExpressionParse *parse, Relation relation);
extern Node *agentpay_expression_argument(List *args, int n);

/* expression_allow.c */
extern void
agentpay_expression_allow(AgentpayExpressionParse *parse, Node *node);
extern bool agentpay_expression_type_allowed(Oid type);
extern bool agentpay_expression_schema_allowed(Oid schema);

/* expression_names.c */
extern bool agentpay_expression_function_listed(const char *name);
extern bool agentpay_expression_operator_listed(const char *name);

#endif /* AGENTPAY_EXPRESSION_INTERNAL_H */
