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

#include "catalog/pg_type.h"
#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "review/batch.h"
#include "review/parallel.h"
#include "review/replay.h"
#include "scoring/lists.h"

/* Columns of the query (sql/parts/74_replay.sql). */
enum
{
	COL_ID,
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
	COL_FIRST_PROPENSITY,
	COLUMNS
};

static const Oid column_types[COLUMNS] = {
	[COL_ID] = UUIDOID,
	[COL_DECIDED_AT] = TIMESTAMPTZOID,
	[COL_OCCURRED_AT] = TIMESTAMPTZOID,
	[COL_POINT] = TEXTOID,
	[COL_ROW_ID] = TEXTOID,
	[COL_AMOUNT] = NUMERICOID,
	[COL_CURRENCY] = TEXTOID,
	[COL_BASE_AMOUNT] = NUMERICOID,
	[COL_SCORE] = NUMERICOID,
	[COL_VERDICT] = TEXTOID,
	[COL_ANSWER] = TEXTOID,
	[COL_ASSIGNMENT] = TEXTOID,
	[COL_PROPENSITY] = FLOAT4OID,
	[COL_REASONS] = TEXTARRAYOID,
	[COL_VERSION] = INT4OID,
	[COL_INPUTS] = JSONBOID,
	[COL_DETAIL] = JSONBOID,
	[COL_IN_SHADOW] = BOOLOID,
	[COL_SEALED] = BOOLOID,
	[COL_FIRST_VERDICT] = TEXTOID,
	[COL_FIRST_ANSWER] = TEXTOID,
	[COL_FIRST_ASSIGNMENT] = TEXTOID,
	[COL_FIRST_PROPENSITY] = FLOAT4OID,
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

typedef enum State
{
	IDENTICAL,
	DIFFERENT,
	ERASED,
	STATES
} State;

static const char *const state_names[] = {
	[IDENTICAL] = "identical",
	[DIFFERENT] = "different",
	[ERASED] = "erased",
};

/* How often a state came out, and the first decision of it. */
typedef struct Tally
{
	int64 count;
	pg_uuid_t first;
} Tally;

typedef struct Replay
{
	ReturnSetInfo *result; /* NULL: they are only counted */
	Tally *tallies;
	AgentpayThens *thens;
	bool contained; /* many in one subtransaction: what fails is raised */
} Replay;

static void *open_tallies(void);
static void count_rows(const NullableDatum *args, bool shared, void *sum);
static void write_tallies(const void *sum, StringInfo bytes);
static void add_tallies(void *sum, StringInfo bytes);
static void run(Replay *replay, const char *query);
static void body(Replay *replay, const char *query);
static bool replay_row(AgentpayBatch *batch, HeapTuple row, TupleDesc desc);
static void
read_recorded(AgentpayRecorded *recorded, HeapTuple tuple, TupleDesc desc);
static void replay_one(Replay *replay, AgentpayThen *then,
					   const AgentpayRecorded *recorded);
static Datum erased_object(List *names);
static Datum problem_object(const char *problem);
static void put(Replay *replay, const AgentpayRecorded *recorded, State state,
				Datum verdict, Datum difference);
static void count(Tally *tally, int64 n, const pg_uuid_t *first);

PG_FUNCTION_INFO_V1(agentpay_sql_replay_rules);
PG_FUNCTION_INFO_V1(agentpay_sql_replay_count);

/* agentpay._replay_rules(query): see COL_ID. */
Datum
agentpay_sql_replay_rules(PG_FUNCTION_ARGS)
{
	Replay replay = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	run(&replay, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	return (Datum) 0;
}

/* agentpay._replay_count(query, shared_query): the same, counted by state. */
Datum
agentpay_sql_replay_count(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Tally *tallies;

	InitMaterializedSRF(fcinfo, 0);
	tallies = agentpay_parallel_run(AGENTPAY_TASK_REPLAY, fcinfo,
									text_to_cstring(PG_GETARG_TEXT_PP(0)));
	for (int i = 0; i < STATES; i++)
	{
		Datum values[] = {CStringGetTextDatum(state_names[i]),
						  Int64GetDatum(tallies[i].count),
						  UUIDPGetDatum(&tallies[i].first)};
		bool nulls[lengthof(values)] = {0};

		if (tallies[i].count > 0)
			tuplestore_putvalues(result->setResult, result->setDesc, values,
								 nulls);
	}
	return (Datum) 0;
}

const AgentpayTask agentpay_replay_task = {
	.type = "agentpay replay",
	.open = open_tallies,
	.work = count_rows,
	.write = write_tallies,
	.add = add_tallies,
};

static void *
open_tallies(void)
{
	return palloc0(sizeof(Tally) * STATES);
}

static void
count_rows(const NullableDatum *args, bool shared, void *sum)
{
	Replay replay = {.tallies = sum};

	run(&replay, TextDatumGetCString(args[shared ? 1 : 0].value));
}

static void
write_tallies(const void *sum, StringInfo bytes)
{
	appendBinaryStringInfo(bytes, (const char *) sum, sizeof(Tally) * STATES);
}

static void
add_tallies(void *sum, StringInfo bytes)
{
	Tally *tallies = sum;
	Tally others[STATES];

	pq_copymsgbytes(bytes, (char *) others, sizeof(others));
	for (int i = 0; i < STATES; i++)
		if (others[i].count > 0)
			count(&tallies[i], others[i].count, &others[i].first);
}

static void
run(Replay *replay, const char *query)
{
	replay->thens = agentpay_thens_open();
	PG_TRY();
	{
		body(replay, query);
	}
	PG_FINALLY();
	{
		agentpay_lists_look_back(NULL);
		agentpay_thens_close(replay->thens);
	}
	PG_END_TRY();
}

static void
body(Replay *replay, const char *query)
{
	AgentpayBatch batch = {.visit = replay_row,
						   .arg = replay,
						   .n_columns = COLUMNS,
						   .types = column_types};

	agentpay_batch_query(&batch, query);
}

/* False: its point has to be compiled, which a subtransaction would undo. */
static bool
replay_row(AgentpayBatch *batch, HeapTuple row, TupleDesc desc)
{
	Replay *replay = batch->arg;
	AgentpayRecorded recorded = {0};
	AgentpayThen *then;

	replay->contained = batch->contained;
	read_recorded(&recorded, row, desc);
	if (recorded.inputs == NULL && recorded.sealed)
		put(replay, &recorded, ERASED, (Datum) 0,
			problem_object("the key of its inputs is destroyed"));
	else if (recorded.inputs == NULL)
		put(replay, &recorded, DIFFERENT, (Datum) 0,
			problem_object("its inputs are gone"));
	else
	{
		then = agentpay_thens_find(replay->thens, &recorded,
								   !replay->contained);
		if (then == NULL)
			return false;
		if (then->problem != NULL)
			put(replay, &recorded, DIFFERENT, (Datum) 0,
				problem_object(then->problem));
		else
			replay_one(replay, then, &recorded);
	}
	return true;
}

static void
read_recorded(AgentpayRecorded *recorded, HeapTuple tuple, TupleDesc desc)
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < COLUMNS; i++)
		if (nulls[i])
			values[i] = (Datum) 0;
	recorded->id = *DatumGetUUIDP(values[COL_ID]);
	recorded->decided_at = DatumGetTimestampTz(values[COL_DECIDED_AT]);
	recorded->occurred_at = DatumGetTimestampTz(values[COL_OCCURRED_AT]);
	recorded->point = TextDatumGetCString(values[COL_POINT]);
	recorded->row_id = TextDatumGetCString(values[COL_ROW_ID]);
	recorded->amount = values[COL_AMOUNT];
	recorded->currency = values[COL_CURRENCY];
	recorded->base_amount = values[COL_BASE_AMOUNT];
	recorded->score = values[COL_SCORE];
	recorded->verdict = values[COL_VERDICT];
	recorded->answer = values[COL_ANSWER];
	recorded->assignment = values[COL_ASSIGNMENT];
	recorded->propensity = DatumGetFloat4(values[COL_PROPENSITY]);
	deconstruct_array(DatumGetArrayTypeP(values[COL_REASONS]), TEXTOID, -1,
					  false, TYPALIGN_INT, &recorded->reasons, NULL,
					  &recorded->n_reasons);
	recorded->version = DatumGetInt32(values[COL_VERSION]);
	if (!nulls[COL_INPUTS])
		recorded->inputs = DatumGetJsonbP(values[COL_INPUTS]);
	if (!nulls[COL_DETAIL])
		recorded->detail = DatumGetJsonbP(values[COL_DETAIL]);
	recorded->in_shadow = DatumGetBool(values[COL_IN_SHADOW]);
	recorded->sealed = DatumGetBool(values[COL_SEALED]);
	recorded->first_verdict = values[COL_FIRST_VERDICT];
	recorded->first_answer = values[COL_FIRST_ANSWER];
	recorded->first_assignment = values[COL_FIRST_ASSIGNMENT];
	recorded->first_propensity = DatumGetFloat4(values[COL_FIRST_PROPENSITY]);
	recorded->repeats = !nulls[COL_FIRST_VERDICT];
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
	evaluation->contained = replay->contained;
	agentpay_replay_row(then, recorded, &replayed);
	if (replayed.erased != NIL)
	{
		put(replay, recorded, ERASED, (Datum) 0,
			erased_object(replayed.erased));
		return;
	}
	if (replayed.problem != NULL)
	{
		put(replay, recorded, DIFFERENT, (Datum) 0,
			problem_object(replayed.problem));
		return;
	}
	/* who cannot tell whether a row repeats another lets none through */
	may_explore = key == NULL ||
				  !agentpay_recorded_member(recorded->detail, "errors",
											&errors) ||
				  errors.type != jbvBinary ||
				  getKeyJsonValueFromContainer(errors.val.binary.data, key,
											   strlen(key), &error) == NULL;
	replayed.assigned.verdict = evaluation->verdict;
	replayed.assigned.answer = -1;
	if (!recorded->in_shadow && !recorded->repeats)
		replayed.assigned = agentpay_assignment_draw(evaluation, may_explore);
	difference = agentpay_replay_compare(then, recorded, &replayed);
	put(replay, recorded, difference == (Datum) 0 ? IDENTICAL : DIFFERENT,
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
put(Replay *replay, const AgentpayRecorded *recorded, State state,
	Datum verdict, Datum difference)
{
	Datum values[OUT_COLUMNS] = {0};
	bool nulls[OUT_COLUMNS];

	if (replay->tallies != NULL)
	{
		count(&replay->tallies[state], 1, &recorded->id);
		return;
	}
	values[OUT_ID] = UUIDPGetDatum(&recorded->id);
	values[OUT_STATE] = CStringGetTextDatum(state_names[state]);
	values[OUT_RECORDED] = recorded->verdict;
	values[OUT_REPLAYED] = verdict;
	values[OUT_DIFFERENCE] = difference;
	for (int i = 0; i < OUT_COLUMNS; i++)
		nulls[i] = values[i] == (Datum) 0;
	tuplestore_putvalues(replay->result->setResult, replay->result->setDesc,
						 values, nulls);
}

static void
count(Tally *tally, int64 n, const pg_uuid_t *first)
{
	if (tally->count == 0 || memcmp(first, &tally->first, UUID_LEN) < 0)
		tally->first = *first;
	tally->count += n;
}
