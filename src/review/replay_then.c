/*-------------------------------------------------------------------------
 * replay_then.c
 *		Points as they were, compiled: once for each version, each set of
 *		models, and each stretch of time in which no configuration changed.
 *
 * Locks: AccessShareLock on the tables of the points, kept to the end of the
 * transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/config_load.h"
#include "base/contain.h"
#include "review/replay.h"

/* Compilations that are kept. */
#define KEPT 64

struct AgentpayThens
{
	MemoryContext context;
	int n_changes;
	TimestampTz *changes; /* of the configuration, ascending */
	int n_kept;
	AgentpayThen kept[KEPT];
	int next; /* the one that makes room */
};

/* What of a point is loaded in a subtransaction. */
typedef struct Loading
{
	const AgentpayRecorded *recorded;
	Jsonb *models;
	AgentpayConfig *config;
} Loading;

static void read_changes(AgentpayThens *thens);
static int epoch_of(const AgentpayThens *thens, TimestampTz at);
static Jsonb *models_of(const AgentpayRecorded *recorded);
static bool same_models(const Jsonb *a, const Jsonb *b);
static void compile(AgentpayThens *thens, AgentpayThen *then,
					const AgentpayRecorded *recorded, Jsonb *models);
static void load_body(void *arg);
static void prepare_reads(AgentpayThen *then);
static void forget(AgentpayThen *then);

AgentpayThens *
agentpay_thens_open(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay replay",
												  ALLOCSET_DEFAULT_SIZES);
	AgentpayThens *thens = MemoryContextAllocZero(context,
												  sizeof(AgentpayThens));

	thens->context = context;
	read_changes(thens);
	return thens;
}

void
agentpay_thens_close(AgentpayThens *thens)
{
	for (int i = 0; i < thens->n_kept; i++)
		forget(&thens->kept[i]);
}

AgentpayThen *
agentpay_thens_find(AgentpayThens *thens, const AgentpayRecorded *recorded,
					bool may_compile)
{
	int epoch = epoch_of(thens, recorded->decided_at);
	Jsonb *models = models_of(recorded);
	AgentpayThen *then;

	for (int i = 0; i < thens->n_kept; i++)
	{
		then = &thens->kept[i];
		if (then->epoch == epoch && then->version == recorded->version &&
			strcmp(then->name, recorded->point) == 0 &&
			same_models(then->models, models))
			return then;
	}
	if (!may_compile)
		return NULL;
	if (thens->n_kept < KEPT)
		then = &thens->kept[thens->n_kept++];
	else
	{
		then = &thens->kept[thens->next];
		thens->next = (thens->next + 1) % KEPT;
		forget(then);
	}
	then->epoch = epoch;
	compile(thens, then, recorded, models);
	return then;
}

/* How many changes had been made at that moment. */
static int
epoch_of(const AgentpayThens *thens, TimestampTz at)
{
	int low = 0;
	int high = thens->n_changes;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (thens->changes[middle] <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* detail.models, or NULL. */
static Jsonb *
models_of(const AgentpayRecorded *recorded)
{
	JsonbValue models;

	if (!agentpay_recorded_member(recorded->detail, "models", &models) ||
		models.type != jbvBinary)
		return NULL;
	return JsonbValueToJsonb(&models);
}

static bool
same_models(const Jsonb *a, const Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

static void
compile(AgentpayThens *thens, AgentpayThen *then,
		const AgentpayRecorded *recorded, Jsonb *models)
{
	MemoryContext old = MemoryContextSwitchTo(thens->context);
	Loading loading = {.recorded = recorded, .models = models};
	ErrorData *error;

	then->name = pstrdup(recorded->point);
	then->version = recorded->version;
	if (models != NULL)
		then->models = memcpy(palloc(VARSIZE(models)), models, VARSIZE(models));
	if (!agentpay_contain(load_body, &loading, &error))
		then->problem = psprintf("its configuration cannot be read: %s",
								 error->message);
	else if (loading.config->n_points == 0)
		then->problem = "its point, or its table, does not exist any more";
	else if (recorded->version > 0 && loading.config->points[0].ruleset == NULL)
		then->problem = "its version of the rules does not exist any more";
	if (then->problem == NULL)
		then->relation = try_relation_open(loading.config->points[0].table,
										   AccessShareLock);
	if (then->problem == NULL && then->relation == NULL)
		then->problem = "its table does not exist any more";
	if (then->problem == NULL)
	{
		then->config = loading.config;
		agentpay_config_pin(then->config);
		then->table = agentpay_table_get(then->relation, then->config);
		agentpay_table_pin(then->table);
		then->point = &then->table->points[0];
		prepare_reads(then);
	}
	MemoryContextSwitchTo(old);
}

static void
load_body(void *arg)
{
	Loading *loading = arg;
	Datum models = loading->models == NULL ? (Datum) 0
										   : JsonbPGetDatum(loading->models);

	loading->config = agentpay_config_load_at(loading->recorded->point,
											  loading->recorded->version,
											  loading->recorded->decided_at,
											  models);
}

static void
prepare_reads(AgentpayThen *then)
{
	AgentpayPoint *point = then->point;

	then->slot = MakeSingleTupleTableSlot(RelationGetDescr(then->relation),
										  &TTSOpsVirtual);
	then->reads = agentpay_recorded_reads(point);
	then->features = palloc0(sizeof(NullableDatum) *
							 Max(point->config->n_features, 1));
}

static void
forget(AgentpayThen *then)
{
	if (then->slot != NULL)
		ExecDropSingleTupleTableSlot(then->slot);
	if (then->table != NULL)
		agentpay_table_unpin(then->table);
	if (then->config != NULL)
		agentpay_config_unpin(then->config);
	if (then->relation != NULL)
		relation_close(then->relation, NoLock);
	memset(then, 0, sizeof(*then));
}

static void
read_changes(AgentpayThens *thens)
{
	Datum *moments;
	bool isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute("SELECT agentpay._config_changes('-infinity')", true, 1) !=
			SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read when the configuration changed");
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[0],
													   SPI_tuptable->tupdesc, 1,
													   &isnull)),
					  TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &moments, NULL, &thens->n_changes);
	thens->changes = MemoryContextAllocHuge(thens->context,
											sizeof(TimestampTz) *
												(thens->n_changes + 1));
	for (int i = 0; i < thens->n_changes; i++)
		thens->changes[i] = DatumGetTimestampTz(moments[i]);
	SPI_finish();
}
