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
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "scoring/trees_sql.h"

static void *allocate(void *arg, size_t size);
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
	char *text = JsonbToCString(NULL, &definition->root, VARSIZE(definition));
	AgentpayTrees *trees = agentpay_trees_of(name, text);
	StringInfoData report;

	initStringInfo(&report);
	appendStringInfo(&report,
					 "{\"objective\": \"%s\", \"xgboost\": \"%d.%d.%d\", "
					 "\"features\": %u, \"classes\": %u, \"trees\": %u, "
					 "\"trees_used\": %u, \"nodes\": %u, \"depth\": %u}",
					 trees->objective, trees->version[0], trees->version[1],
					 trees->version[2], trees->n_inputs, trees->n_classes,
					 trees->n_trees_in_file, trees->n_trees, trees->n_nodes,
					 trees->depth);
	PG_RETURN_DATUM(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(report.data)));
}
