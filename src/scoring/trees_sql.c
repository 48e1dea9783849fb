/*-------------------------------------------------------------------------
 * trees_sql.c
 *		Trees in a server: memory contexts and errors around the pure loader.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "scoring/trees_sql.h"

static void *allocate(void *arg, size_t size);
static bool is_idle(const JsonbValue *key);
static void print_token(StringInfo text, JsonbIteratorToken token,
						const JsonbValue *value, bool *comma);
static void print_scalar(StringInfo text, const JsonbValue *value);
static void refuse_trees(const char *name, const AgentpayTreesProblem *problem)
	pg_attribute_noreturn();

PG_FUNCTION_INFO_V1(agentpay_inspect_trees);

AgentpayTrees *
agentpay_trees_of(const char *name, const char *definition)
{
	AgentpayTreesProblem problem;
	AgentpayTrees *trees = agentpay_trees_load(definition, strlen(definition),
											   allocate, CurrentMemoryContext,
											   &problem);

	if (trees == NULL)
		refuse_trees(name, &problem);
	return trees;
}

/*
 * Without spaces, and without the arrays that only training reads, which are
 * half of a file.  No number keeps the memory that it was printed in: a model
 * has millions, and JsonbToCString() would leave some 32 bytes for each.
 */
char *
agentpay_trees_text(const char *name, Jsonb *definition)
{
	StringInfoData text;
	JsonbIterator *at = JsonbIteratorInit(&definition->root);
	JsonbIteratorToken token;
	JsonbValue value;
	bool comma = false;
	bool idle = false;

	initStringInfo(&text);
	while ((token = JsonbIteratorNext(&at, &value, idle)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		idle = token == WJB_KEY && is_idle(&value);
		print_token(&text, token, &value, &comma);
		if (text.len > AGENTPAY_TREES_MAX_TEXT)
		{
			AgentpayTreesProblem problem = {AGENTPAY_TREES_TOO_LARGE, ""};

			snprintf(problem.what, sizeof(problem.what),
					 "It has more than %zu MB.", AGENTPAY_TREES_MAX_TEXT >> 20);
			refuse_trees(name, &problem);
		}
	}
	return text.data;
}

/* Whether only training reads what stands under the key. */
static bool
is_idle(const JsonbValue *key)
{
	static const char *const keys[] = {"base_weights", "loss_changes",
									   "parents", "sum_hessian"};

	for (int i = 0; i < lengthof(keys); i++)
		if (key->val.string.len == strlen(keys[i]) &&
			memcmp(key->val.string.val, keys[i], strlen(keys[i])) == 0)
			return true;
	return false;
}

/* Appends what a token stands for; *comma: a value stands before it. */
static void
print_token(StringInfo text, JsonbIteratorToken token, const JsonbValue *value,
			bool *comma)
{
	bool ends = token == WJB_END_ARRAY || token == WJB_END_OBJECT;

	if (*comma && !ends && token != WJB_VALUE)
		appendStringInfoChar(text, ',');
	*comma = token == WJB_ELEM || token == WJB_VALUE || ends;
	if (token == WJB_BEGIN_ARRAY)
		appendStringInfoChar(text, '[');
	else if (token == WJB_BEGIN_OBJECT)
		appendStringInfoChar(text, '{');
	else if (token == WJB_END_ARRAY)
		appendStringInfoChar(text, ']');
	else if (token == WJB_END_OBJECT)
		appendStringInfoChar(text, '}');
	else
		print_scalar(text, value);
	if (token == WJB_KEY)
		appendStringInfoChar(text, ':');
}

static void
print_scalar(StringInfo text, const JsonbValue *value)
{
	char *printed;

	switch (value->type)
	{
		case jbvString:
			printed = pnstrdup(value->val.string.val, value->val.string.len);
			escape_json(text, printed);
			break;
		case jbvNumeric:
			printed = DatumGetCString(
				DirectFunctionCall1(numeric_out,
									NumericGetDatum(value->val.numeric)));
			appendStringInfoString(text, printed);
			break;
		case jbvBool:
			appendStringInfoString(text, value->val.boolean ? "true" : "false");
			return;
		default: /* null, and what is left out */
			appendStringInfoString(text, "null");
			return;
	}
	pfree(printed);
}

/* NULL instead of an error: the loader has malloc'd memory of its own. */
static void *
allocate(void *arg, size_t size)
{
	return MemoryContextAllocExtended(arg, size,
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

/* The loader's refusal as an error, with what mends it. */
static void
refuse_trees(const char *name, const AgentpayTreesProblem *problem)
{
	switch (problem->refusal)
	{
		case AGENTPAY_TREES_BROKEN:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the definition of model \"%s\" is not a whole "
							"model of XGBoost",
							name),
					 errdetail("%s", problem->what),
					 errhint("Save it anew, as JSON: "
							 "booster.save_model('model.json')")));
			break;
		case AGENTPAY_TREES_UNSUPPORTED:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the definition of model \"%s\" has what agentpay "
							"does not evaluate",
							name),
					 errdetail("%s", problem->what),
					 errhint("Train with booster gbtree, numbers as features "
							 "and objective binary:logistic, for example.")));
			break;
		case AGENTPAY_TREES_NO_CLASS:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("model \"%s\" has no such class", name),
					 errdetail("%s", problem->what),
					 errhint("A class is chosen by the definition "
							 "{\"xgboost\": ..., \"class\": 0}, of objective "
							 "multi:softprob.")));
			break;
		case AGENTPAY_TREES_TOO_LARGE:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the definition of model \"%s\" is too large",
							name),
					 errdetail("%s", problem->what),
					 errhint("Train with fewer or smaller trees: lower "
							 "n_estimators or max_depth.")));
			break;
		case AGENTPAY_TREES_NO_MEMORY:
			break;
	}
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
					errdetail("The trees of model \"%s\" did not fit.", name)));
}

/*
 * _inspect_trees(name text, definition jsonb): what is in a model, as jsonb;
 * an error when it cannot be evaluated.
 */
Datum
agentpay_inspect_trees(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb *definition = PG_GETARG_JSONB_P(1);
	char *text = agentpay_trees_text(name, definition);
	AgentpayTrees *trees = agentpay_trees_of(name, text);
	StringInfoData report;

	initStringInfo(&report);
	appendStringInfo(&report,
					 "{\"objective\": \"%s\", \"xgboost\": \"%d.%d.%d\", "
					 "\"features\": %u, \"classes\": %u, \"trees\": %u, "
					 "\"trees_used\": %u, \"nodes\": %u, \"depth\": %u",
					 trees->objective, trees->version[0], trees->version[1],
					 trees->version[2], trees->n_inputs, trees->n_classes,
					 trees->n_trees_in_file, trees->n_trees, trees->n_nodes,
					 trees->depth);
	if (trees->answer == AGENTPAY_TREES_SOFTMAX)
		appendStringInfo(&report, ", \"class\": %u", trees->class);
	appendStringInfoChar(&report, '}');
	PG_RETURN_DATUM(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(report.data)));
}
