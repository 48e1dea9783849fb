/*-------------------------------------------------------------------------
 * models.c
 *		Models that run inside the database.
 *
 * In an expression, model('name') becomes a parameter (expression.c), so the
 * function itself is never called there.
 *
 * Trees can take a second to read and tens of megabytes, and any change of
 * the configuration makes it new.  So a session keeps trees by the row of
 * models that they came from (its xmin and ctid: a version that was deleted
 * can be given again), each in a memory context of its own, until neither a
 * compiled table nor the configuration needs them.
 *
 * Locking: AccessShareLock on models while trees are read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/owner.h"
#include "scoring/logistic.h"
#include "scoring/models.h"
#include "scoring/trees_sql.h"

/* Trees of one row of models. */
typedef struct KeptTrees
{
	struct KeptTrees *next;
	MemoryContext context; /* of all this */
	char *name;
	char *row;
	AgentpayTrees *trees;
	int users; /* AgentpayModels */
} KeptTrees;

struct AgentpayModel
{
	AgentpayLogistic logistic;
	KeptTrees *trees; /* NULL: logistic */
	MemoryContextCallback release;
};

static KeptTrees *kept = NULL;

static KeptTrees *find_trees(const AgentpayModelConfig *config);
static KeptTrees *read_trees(const AgentpayModelConfig *config);
static char *read_definition(const AgentpayModelConfig *config);
static void release_trees(void *arg);

PG_FUNCTION_INFO_V1(agentpay_model);

AgentpayModel *
agentpay_model_prepare(const AgentpayModelConfig *config)
{
	AgentpayModel *model = palloc0(sizeof(AgentpayModel));

	if (config->kind == AGENTPAY_MODEL_LOGISTIC)
	{
		model->logistic.n_inputs = config->n_inputs;
		model->logistic.intercept = config->intercept;
		model->logistic.coefficients = config->coefficients;
		model->logistic.mean = config->mean;
		model->logistic.scale = config->scale;
		return model;
	}
	model->trees = find_trees(config);
	if (model->trees == NULL)
		model->trees = read_trees(config);
	model->trees->users++;
	model->release.func = release_trees;
	model->release.arg = model->trees;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &model->release);
	return model;
}

double
agentpay_model_predict(const AgentpayModel *model, const double *inputs)
{
	if (model->trees != NULL)
		return agentpay_trees_predict(model->trees->trees, inputs);
	return agentpay_logistic_predict(&model->logistic, inputs);
}

void
agentpay_models_forget(const AgentpayConfig *config)
{
	KeptTrees **link = &kept;

	while (*link != NULL)
	{
		KeptTrees *trees = *link;
		const AgentpayModelConfig *model = agentpay_config_model(config,
																 trees->name);

		if (trees->users > 0 ||
			(model != NULL && strcmp(model->row, trees->row) == 0))
			link = &trees->next;
		else
		{
			*link = trees->next;
			MemoryContextDelete(trees->context);
		}
	}
}

static KeptTrees *
find_trees(const AgentpayModelConfig *config)
{
	for (KeptTrees *trees = kept; trees != NULL; trees = trees->next)
		if (strcmp(trees->name, config->name) == 0 &&
			strcmp(trees->row, config->row) == 0)
			return trees;
	return NULL;
}

/* Reads the row's trees and keeps them; nobody uses them yet. */
static KeptTrees *
read_trees(const AgentpayModelConfig *config)
{
	MemoryContext context = AllocSetContextCreate(CurTransactionContext,
												  "agentpay trees",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext scratch = AllocSetContextCreate(CurTransactionContext,
												  "agentpay trees as text",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	KeptTrees *trees = MemoryContextAllocZero(context, sizeof(KeptTrees));
	char *definition = read_definition(config);

	MemoryContextSwitchTo(context);
	trees->context = context;
	trees->name = pstrdup(config->name);
	trees->row = pstrdup(config->row);
	trees->trees = agentpay_trees_of(config->name, definition);
	if (trees->trees->n_inputs != config->n_inputs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has %u features, and its row names %d",
						config->name, trees->trees->n_inputs,
						config->n_inputs)));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	/* until here an error frees it with the subtransaction */
	MemoryContextSetParent(context, CacheMemoryContext);
	trees->next = kept;
	kept = trees;
	return trees;
}

/* The text of a definition, by SQL as the extension's owner. */
static char *
read_definition(const AgentpayModelConfig *config)
{
	MemoryContext context = CurrentMemoryContext;
	Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(config->name),
					  Int32GetDatum(config->version)};
	AgentpayOwnerReading reading;
	char *definition = NULL;
	bool isnull;

	agentpay_owner_read_begin(&reading);
	agentpay_owner_select(&reading,
						  "SELECT definition, format('%s %s', xmin, ctid)"
						  "  FROM agentpay.models WHERE name = $1"
						  "   AND version = $2",
						  2, types, values, 0);
	if (SPI_processed == 1 &&
		strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2),
			   config->row) == 0)
	{
		Jsonb *value = DatumGetJsonbP(SPI_getbinval(SPI_tuptable->vals[0],
													SPI_tuptable->tupdesc, 1,
													&isnull));
		MemoryContext spi = MemoryContextSwitchTo(context);

		definition = agentpay_trees_text(config->name, value);
		MemoryContextSwitchTo(spi);
	}
	agentpay_owner_read_end(&reading);
	if (definition == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("version %d of model \"%s\" is gone",
							   config->version, config->name),
						errdetail("It was changed while this session read it."),
						errhint("The next statement reads the models again.")));
	return definition;
}

/* The table that was compiled with them is freed. */
static void
release_trees(void *arg)
{
	KeptTrees *trees = arg;

	Assert(trees->users > 0);
	trees->users--;
}

/* agentpay.model(name) outside an expression of ours. */
Datum
agentpay_model(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("agentpay.model() works only inside rules and invoke_when"),
			 errdetail("It answers for the row that is being scored."),
			 errhint("INSERT INTO agentpay.rules (point, code, condition, "
					 "score) VALUES ('fraud', 'MODEL', 'model(''name'') > "
					 "0.9', 60);")));
}
