/*-------------------------------------------------------------------------
 * replay.c
 *		Decisions of the rules, evaluated again: the version that they name,
 *		the point, the vocabulary and the models as they were, on the inputs
 *		that are stored.
 *
 * A point is compiled once for each version, each set of models, and each
 * stretch of time in which no configuration changed.  Lists are asked for
 * what was on them when the row was decided.  Nothing is written.
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
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/config_load.h"
#include "base/contain.h"
#include "review/replay.h"
#include "scoring/lists.h"

/* Rows that are fetched at a time, and compilations that are kept. */
#define BATCH 1000
#define KEPT 64

/* Columns of the query (sql/parts/74_replay.sql). */
enum
{
	COL_ID = 1,
	COL_DECIDED_AT,
	COL_OCCURRED_AT,
	COL_POINT,
	COL_ROW_ID,
	COL_AMOUNT,
	COL_CURRENCY,
	COL_BASE_AMOUNT,
	COL_SCORE,
	COL_VERDICT,
	COL_ANSWER,
	COL_ASSIGNMENT,
	COL_PROPENSITY,
	COL_REASONS,
	COL_VERSION,
	COL_INPUTS,
	COL_DETAIL,
	COL_IN_SHADOW,
	COL_SEALED,
	COL_FIRST_VERDICT,
	COL_FIRST_ANSWER,
	COL_FIRST_ASSIGNMENT,
	COL_FIRST_PROPENSITY
};

/* Columns of the result. */
enum
{
	OUT_ID,
	OUT_STATE,
	OUT_RECORDED,
	OUT_REPLAYED,
	OUT_DIFFERENCE,
	OUT_COLUMNS
};

typedef struct Replay
{
	ReturnSetInfo *result;
	int n_changes;
	TimestampTz *changes; /* of the configuration, ascending */
	int n_kept;
	AgentpayThen kept[KEPT];
	int next;				   /* the one that makes room */
	MemoryContext context;	   /* of what is kept */
	MemoryContext row_context; /* reset after each row */
} Replay;

/* What of a point is loaded in a subtransaction. */
typedef struct Loading
{
	const AgentpayRecorded *recorded;
	Jsonb *models;
	AgentpayConfig *config;
} Loading;

static void run(Replay *replay, const char *query);
static void read_changes(Replay *replay);
static void replay_tuple(Replay *replay, HeapTuple tuple, TupleDesc desc);
static void
read_recorded(AgentpayRecorded *recorded, HeapTuple tuple, TupleDesc desc);
static Datum column(HeapTuple tuple, TupleDesc desc, int number);
static AgentpayThen *
find_then(Replay *replay, const AgentpayRecorded *recorded);
static int epoch_of(const Replay *replay, TimestampTz at);
static Jsonb *models_of(const AgentpayRecorded *recorded);
static bool same_models(const Jsonb *a, const Jsonb *b);
static void compile(Replay *replay, AgentpayThen *then,
					const AgentpayRecorded *recorded, Jsonb *models);
static void load_body(void *arg);
static void prepare_reads(AgentpayThen *then);
static void forget(AgentpayThen *then);
static void replay_one(Replay *replay, AgentpayThen *then,
					   const AgentpayRecorded *recorded);
static Datum erased_object(List *names);
static Datum problem_object(const char *problem);
static void put(Replay *replay, const AgentpayRecorded *recorded,
				const char *state, Datum verdict, Datum difference);

PG_FUNCTION_INFO_V1(agentpay_sql_replay_rules);

/* agentpay._replay_rules(query): see COL_ID. */
Datum
agentpay_sql_replay_rules(PG_FUNCTION_ARGS)
{
	char *query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Replay *replay = palloc0(sizeof(Replay));

	replay->result = (ReturnSetInfo *) fcinfo->resultinfo;
	InitMaterializedSRF(fcinfo, 0);
	replay->context = AllocSetContextCreate(CurrentMemoryContext,
											"agentpay replay",
											ALLOCSET_DEFAULT_SIZES);
	replay->row_context = AllocSetContextCreate(CurrentMemoryContext,
												"agentpay replay row",
												ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		run(replay, query);
	}
	PG_FINALLY();
	{
		agentpay_lists_look_back(NULL);
		for (int i = 0; i < replay->n_kept; i++)
			forget(&replay->kept[i]);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* Puts a row of the result for each of the query. */
static void
run(Replay *replay, const char *query)
{
	Portal portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	read_changes(replay);
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true,
									   CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPITupleTable *rows;
		uint64 count;

		SPI_cursor_fetch(portal, true, BATCH);
		rows = SPI_tuptable;
		count = SPI_processed;
		for (uint64 i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			replay_tuple(replay, rows->vals[i], rows->tupdesc);
		}
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

static void
read_changes(Replay *replay)
{
	Datum *moments;
	bool isnull;

	if (SPI_execute("SELECT agentpay._config_changes('-infinity')", true, 1) !=
			SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read when the configuration changed");
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[0],
													   SPI_tuptable->tupdesc, 1,
													   &isnull)),
					  TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &moments, NULL, &replay->n_changes);
	replay->changes = MemoryContextAllocHuge(replay->context,
											 sizeof(TimestampTz) *
												 (replay->n_changes + 1));
	for (int i = 0; i < replay->n_changes; i++)
		replay->changes[i] = DatumGetTimestampTz(moments[i]);
}

static void
replay_tuple(Replay *replay, HeapTuple tuple, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(replay->row_context);
	AgentpayRecorded recorded = {0};
	AgentpayThen *then;

	read_recorded(&recorded, tuple, desc);
	if (recorded.inputs == NULL && recorded.sealed)
		put(replay, &recorded, "erased", (Datum) 0,
			problem_object("the key of its inputs is destroyed"));
	else if (recorded.inputs == NULL)
		put(replay, &recorded, "different", (Datum) 0,
			problem_object("its inputs are gone"));
	else
	{
		then = find_then(replay, &recorded);
		if (then->problem != NULL)
			put(replay, &recorded, "different", (Datum) 0,
				problem_object(then->problem));
		else
			replay_one(replay, then, &recorded);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(replay->row_context);
}

static void
read_recorded(AgentpayRecorded *recorded, HeapTuple tuple, TupleDesc desc)
{
	Datum reasons = column(tuple, desc, COL_REASONS);
	Datum inputs = column(tuple, desc, COL_INPUTS);
	Datum detail = column(tuple, desc, COL_DETAIL);

	recorded->id = *DatumGetUUIDP(column(tuple, desc, COL_ID));
	recorded->decided_at = DatumGetTimestampTz(
		column(tuple, desc, COL_DECIDED_AT));
	recorded->occurred_at = DatumGetTimestampTz(
		column(tuple, desc, COL_OCCURRED_AT));
	recorded->point = TextDatumGetCString(column(tuple, desc, COL_POINT));
	recorded->row_id = TextDatumGetCString(column(tuple, desc, COL_ROW_ID));
	recorded->amount = column(tuple, desc, COL_AMOUNT);
	recorded->currency = column(tuple, desc, COL_CURRENCY);
	recorded->base_amount = column(tuple, desc, COL_BASE_AMOUNT);
	recorded->score = column(tuple, desc, COL_SCORE);
	recorded->verdict = column(tuple, desc, COL_VERDICT);
	recorded->answer = column(tuple, desc, COL_ANSWER);
	recorded->assignment = column(tuple, desc, COL_ASSIGNMENT);
	recorded->propensity = DatumGetFloat4(column(tuple, desc, COL_PROPENSITY));
	deconstruct_array(DatumGetArrayTypeP(reasons), TEXTOID, -1, false,
					  TYPALIGN_INT, &recorded->reasons, NULL,
					  &recorded->n_reasons);
	recorded->version = DatumGetInt32(column(tuple, desc, COL_VERSION));
	if (inputs != (Datum) 0)
		recorded->inputs = DatumGetJsonbP(inputs);
	if (detail != (Datum) 0)
		recorded->detail = DatumGetJsonbP(detail);
	recorded->in_shadow = DatumGetBool(column(tuple, desc, COL_IN_SHADOW));
	recorded->sealed = DatumGetBool(column(tuple, desc, COL_SEALED));
	recorded->first_verdict = column(tuple, desc, COL_FIRST_VERDICT);
	recorded->first_answer = column(tuple, desc, COL_FIRST_ANSWER);
	recorded->first_assignment = column(tuple, desc, COL_FIRST_ASSIGNMENT);
	recorded->first_propensity = DatumGetFloat4(
		column(tuple, desc, COL_FIRST_PROPENSITY));
	recorded->repeats = recorded->first_verdict != (Datum) 0;
}

/* 0 for NULL. */
static Datum
column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* The compiled point of the decision's time; kept until 64 others came. */
static AgentpayThen *
find_then(Replay *replay, const AgentpayRecorded *recorded)
{
	int epoch = epoch_of(replay, recorded->decided_at);
	Jsonb *models = models_of(recorded);
	AgentpayThen *then;

	for (int i = 0; i < replay->n_kept; i++)
	{
		then = &replay->kept[i];
		if (then->epoch == epoch && then->version == recorded->version &&
			strcmp(then->name, recorded->point) == 0 &&
			same_models(then->models, models))
			return then;
	}
	if (replay->n_kept < KEPT)
		then = &replay->kept[replay->n_kept++];
	else
	{
		then = &replay->kept[replay->next];
		replay->next = (replay->next + 1) % KEPT;
		forget(then);
	}
	then->epoch = epoch;
	compile(replay, then, recorded, models);
	return then;
}

/* How many changes had been made at that moment. */
static int
epoch_of(const Replay *replay, TimestampTz at)
{
	int low = 0;
	int high = replay->n_changes;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (replay->changes[middle] <= at)
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

	if (!agentpay_replay_member(recorded->detail, "models", &models) ||
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
compile(Replay *replay, AgentpayThen *then, const AgentpayRecorded *recorded,
		Jsonb *models)
{
	MemoryContext old = MemoryContextSwitchTo(replay->context);
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
	then->reads = palloc0(sizeof(AgentpayRead) * Max(point->n_inputs, 1));
	then->features = palloc0(sizeof(NullableDatum) *
							 Max(point->config->n_features, 1));
	for (int i = 0; i < point->n_inputs; i++)
	{
		Oid input;

		getTypeInputInfo(point->inputs[i].column.type, &input,
						 &then->reads[i].ioparam);
		fmgr_info(input, &then->reads[i].input);
	}
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
replay_one(Replay *replay, AgentpayThen *then, const AgentpayRecorded *recorded)
{
	AgentpayReplayed replayed = {0};
	AgentpayEvaluation *evaluation = &replayed.evaluation;
	const char *key = then->point->config->idempotency_column;
	JsonbValue errors;
	JsonbValue error;
	bool may_explore;
	Datum difference;

	agentpay_lists_look_back(&recorded->decided_at);
	agentpay_replay_row(then, recorded, &replayed);
	if (replayed.erased != NIL)
	{
		put(replay, recorded, "erased", (Datum) 0,
			erased_object(replayed.erased));
		return;
	}
	if (replayed.problem != NULL)
	{
		put(replay, recorded, "different", (Datum) 0,
			problem_object(replayed.problem));
		return;
	}
	/* who cannot tell whether a row repeats another lets none through */
	may_explore = key == NULL ||
				  !agentpay_replay_member(recorded->detail, "errors",
										  &errors) ||
				  errors.type != jbvBinary ||
				  getKeyJsonValueFromContainer(errors.val.binary.data, key,
											   strlen(key), &error) == NULL;
	replayed.assigned.verdict = evaluation->verdict;
	replayed.assigned.answer = -1;
	if (!recorded->in_shadow && !recorded->repeats)
		replayed.assigned = agentpay_assignment_draw(evaluation, may_explore);
	difference = agentpay_replay_compare(then, recorded, &replayed);
	put(replay, recorded, difference == (Datum) 0 ? "identical" : "different",
		recorded->repeats
			? recorded->first_verdict
			: then->point->verdict_texts[replayed.assigned.verdict],
		difference);
}

/* {"erased": [names]} */
static Datum
erased_object(List *names)
{
	StringInfoData json;
	ListCell *lc;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"erased\":");
	foreach(lc, names)
	{
		appendStringInfoChar(&json, foreach_current_index(lc) == 0 ? '[' : ',');
		escape_json(&json, lfirst(lc));
	}
	appendStringInfoString(&json, "]}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* {"problem": text} */
static Datum
problem_object(const char *problem)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"problem\":");
	escape_json(&json, problem);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
put(Replay *replay, const AgentpayRecorded *recorded, const char *state,
	Datum verdict, Datum difference)
{
	Datum values[OUT_COLUMNS] = {0};
	bool nulls[OUT_COLUMNS];

	values[OUT_ID] = UUIDPGetDatum(&recorded->id);
	values[OUT_STATE] = CStringGetTextDatum(state);
	values[OUT_RECORDED] = recorded->verdict;
	values[OUT_REPLAYED] = verdict;
	values[OUT_DIFFERENCE] = difference;
	for (int i = 0; i < OUT_COLUMNS; i++)
		nulls[i] = values[i] == (Datum) 0;
	tuplestore_putvalues(replay->result->setResult, replay->result->setDesc,
						 values, nulls);
}
