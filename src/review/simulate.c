/*-------------------------------------------------------------------------
 * simulate.c
 *		About which payments of the past an agent would be asked, for
 *		simulate().
 *
 * invoke_when is compiled by the code of an INSERT, under a configuration of
 * its own, in which the point has no rules and two agents: the one that is
 * tried, and one that is always asked, so that fields and the model that the
 * record lacks are worked out.  What expressions read is what was recorded
 * with the decision; of what was not:
 *
 *		columns		as the table has them now; NULL, when the row is gone
 *		features	computed as backtest() does; NULL, when the row is gone
 *
 * Score and verdict are the decision's.  A row on which the expression fails
 * is not asked about, as when it was inserted.
 *
 * Nothing is written.
 *
 * Locks: AccessShareLock on the point's table, and whatever features read;
 * kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "base/config_load.h"
#include "base/contain.h"
#include "review/batch.h"
#include "review/recorded.h"
#include "review/trial.h"
#include "scoring/draw.h"
#include "scoring/evaluate.h"
#include "scoring/inputs.h"

/* Arguments of agentpay._simulate_asked(). */
enum
{
	ARG_POINT,
	ARG_RELATION,
	ARG_AGENT,
	ARG_INVOKE_WHEN,
	ARG_SAMPLE_PERCENT,
	ARG_REPEAT_PERCENT,
	ARG_FIELDS,
	ARG_MODEL, /* NULL: it is not built in */
	ARG_SALT,
	ARG_REPEAT_SALT,
	ARG_QUERY
};

/* Columns of the query. */
enum
{
	COL_DECISION,
	COL_DECIDED_AT,
	COL_ROW_ID,
	COL_INPUTS,
	COL_IN_CLEAR, /* whatever policies say */
	COL_SCORE,
	COL_VERDICT,
	COL_LEAF, /* NULL, as the next two: the row is gone */
	COL_TID,
	COL_ROW,
	COLUMNS
};

/* The row is checked by itself. */
static const Oid column_types[COLUMNS] = {
	[COL_DECISION] = UUIDOID, [COL_DECIDED_AT] = TIMESTAMPTZOID,
	[COL_ROW_ID] = TEXTOID,	  [COL_INPUTS] = JSONBOID,
	[COL_IN_CLEAR] = BOOLOID, [COL_SCORE] = NUMERICOID,
	[COL_VERDICT] = TEXTOID,  [COL_LEAF] = OIDOID,
	[COL_TID] = TIDOID,
};

/* Columns of the result. */
enum
{
	OUT_DECISION,
	OUT_DECIDED_AT,
	OUT_BUCKET,
	OUT_HOLDOUT_BUCKET,
	OUT_REPEATED,
	OUT_COMPUTED, /* inputs that were not recorded, if any was wanted */
	OUT_COLUMNS
};

/* The agents of the configuration. */
enum
{
	TRIED,
	ALWAYS
};

typedef struct Simulation
{
	AgentpayTrial trial;
	ReturnSetInfo *result;
	const char *agent;
	bytea *salt;
	bytea *repeat_salt;
	double repeat_percent;
	AgentpayRead *reads;

	/* the current row */
	Datum values[COLUMNS];
	bool nulls[COLUMNS];
	const char *row_id;
	TimestampTz decided_at;
	Jsonb *inputs;
	bool is_there;
	bool contained;
	bool evaluated;
	Jsonb *computed;
	bool holds;
} Simulation;

static void refuse_nulls(FunctionCallInfo fcinfo);
static AgentpayConfig *load_config(FunctionCallInfo fcinfo);
static bool try_row(AgentpayBatch *batch, HeapTuple tuple, TupleDesc desc);
static void load_row(Simulation *simulation, HeapTuple tuple, TupleDesc desc);
static void ask(Simulation *simulation);
static void ask_body(void *arg);
static bool all_recorded(Simulation *simulation);
static int input_of(const AgentpayPoint *point, int param);
static bool recorded(Simulation *simulation, int index, JsonbValue *value);
static void evaluate(Simulation *simulation);
static void take_recorded(Simulation *simulation);
static bool evaluate_condition(Simulation *simulation);
static void put(Simulation *simulation);
static const char *key_of(Simulation *simulation);

PG_FUNCTION_INFO_V1(agentpay_sql_simulate_asked);

/* agentpay._simulate_asked(…): see ARG_POINT, COL_DECISION, OUT_DECISION. */
Datum
agentpay_sql_simulate_asked(PG_FUNCTION_ARGS)
{
	char *name;
	char *query;
	AgentpayConfig *config;
	Simulation simulation = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	AgentpayBatch batch = {.visit = try_row,
						   .n_columns = COLUMNS,
						   .types = column_types,
						   .arg = &simulation};

	refuse_nulls(fcinfo);
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_POINT));
	query = text_to_cstring(PG_GETARG_TEXT_PP(ARG_QUERY));
	config = load_config(fcinfo);
	simulation.agent = text_to_cstring(PG_GETARG_TEXT_PP(ARG_AGENT));
	simulation.salt = PG_GETARG_BYTEA_PP(ARG_SALT);
	simulation.repeat_salt = PG_GETARG_BYTEA_PP(ARG_REPEAT_SALT);
	simulation.repeat_percent = PG_GETARG_FLOAT8(ARG_REPEAT_PERCENT);
	InitMaterializedSRF(fcinfo, 0);
	PG_TRY();
	{
		agentpay_trial_begin(&simulation.trial, config,
							 PG_GETARG_OID(ARG_RELATION), name);
		if (simulation.trial.point->agents[TRIED].invoke_when == NULL)
			ThrowErrorData(simulation.trial.point->agents[TRIED].broken);
		simulation.reads = agentpay_recorded_reads(simulation.trial.point);
		agentpay_batch_query(&batch, query);
	}
	PG_FINALLY();
	{
		agentpay_trial_end(&simulation.trial);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* Only a model may be NULL. */
static void
refuse_nulls(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i) && i != ARG_MODEL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d of _simulate_asked() is NULL", i + 1),
					 errdetail("Only the model may be."),
					 errhint("SELECT * FROM agentpay.simulate('fraud', "
							 "'{\"name\": \"fraud_llm\"}');")));
	if (array_contains_nulls(PG_GETARG_ARRAYTYPE_P(ARG_FIELDS)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a field is NULL"),
				 errhint("Fields are columns and features of the point.")));
}

/* The point without rules, with two agents. */
static AgentpayConfig *
load_config(FunctionCallInfo fcinfo)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_POINT));
	AgentpayConfig *config = agentpay_config_load_version(name, 0);
	MemoryContext old = MemoryContextSwitchTo(config->context);
	AgentpayAgentConfig *agents = palloc0(sizeof(AgentpayAgentConfig) * 2);
	Datum *fields;
	bool *nulls;

	agents[TRIED].name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_AGENT));
	agents[TRIED].invoke_when = text_to_cstring(
		PG_GETARG_TEXT_PP(ARG_INVOKE_WHEN));
	agents[TRIED].sample_percent = PG_GETARG_FLOAT8(ARG_SAMPLE_PERCENT);
	agents[ALWAYS].name = pstrdup("");
	agents[ALWAYS].invoke_when = pstrdup("true");
	agents[ALWAYS].sample_percent = 100;
	agents[ALWAYS].builtin = !PG_ARGISNULL(ARG_MODEL);
	if (agents[ALWAYS].builtin)
		agents[ALWAYS].model = text_to_cstring(PG_GETARG_TEXT_PP(ARG_MODEL));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_FIELDS), TEXTOID, -1, false,
					  TYPALIGN_INT, &fields, &nulls, &agents[ALWAYS].n_fields);
	agents[ALWAYS].fields = palloc0(sizeof(char *) *
									Max(agents[ALWAYS].n_fields, 1));
	for (int i = 0; i < agents[ALWAYS].n_fields; i++)
		agents[ALWAYS].fields[i] = TextDatumGetCString(fields[i]);
	for (int i = 0; i < config->n_points; i++)
		if (strcmp(config->points[i].name, name) == 0)
		{
			config->points[i].n_agents = 2;
			config->points[i].agents = agents;
		}
	MemoryContextSwitchTo(old);
	return config;
}

/* Puts a row of the result if the payment is asked about. */
static bool
try_row(AgentpayBatch *batch, HeapTuple tuple, TupleDesc desc)
{
	Simulation *simulation = batch->arg;
	AgentpayTrial *trial = &simulation->trial;

	simulation->contained = batch->contained;
	simulation->evaluated = false;
	simulation->computed = NULL;
	simulation->holds = false;
	load_row(simulation, tuple, desc);
	if (agentpay_evaluate_drawn(&trial->point->agents[TRIED],
								simulation->row_id))
		ask(simulation);
	if (simulation->holds)
		put(simulation);
	ExecClearTuple(trial->stored);
	ExecClearTuple(trial->row);
	return true;
}

/* Fills both rows and what else the query says of the payment. */
static void
load_row(Simulation *simulation, HeapTuple tuple, TupleDesc desc)
{
	AgentpayTrial *trial = &simulation->trial;
	Datum *values = simulation->values;
	bool *nulls = simulation->nulls;

	heap_deform_tuple(tuple, desc, values, nulls);
	simulation->row_id = TextDatumGetCString(values[COL_ROW_ID]);
	simulation->decided_at = DatumGetTimestampTz(values[COL_DECIDED_AT]);
	simulation->inputs = nulls[COL_INPUTS] ? NULL
										   : DatumGetJsonbP(values[COL_INPUTS]);
	simulation->is_there = !nulls[COL_ROW];
	if (simulation->is_there)
	{
		if (TupleDescAttr(desc, COL_ROW)->atttypid !=
			trial->relation->rd_rel->reltype)
			elog(ERROR, "a row is no row of table \"%s\"",
				 RelationGetRelationName(trial->relation));
		agentpay_trial_load(trial, DatumGetHeapTupleHeader(values[COL_ROW]));
	}
	agentpay_trial_fill(trial, simulation->is_there);
	ExecStoreVirtualTuple(trial->row);
}

/* Sets holds: whether invoke_when does; an expression that fails does not. */
static void
ask(Simulation *simulation)
{
	const AgentpayPoint *point = simulation->trial.point;
	AgentpayExpressionState saved;
	ErrorData *error;

	agentpay_expression_enter(&point->scope, point->foreign_functions, &saved);
	PG_TRY();
	{
		if (simulation->contained)
			ask_body(simulation);
		else if (!agentpay_contain(ask_body, simulation, &error))
			simulation->holds = false;
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
}

/* Sets holds, and computed where something was not recorded. */
static void
ask_body(void *arg)
{
	Simulation *simulation = arg;
	AgentpayPoint *point = simulation->trial.point;

	simulation->holds = false;
	for (int i = 0; i < point->params->numParams; i++)
		point->params->params[i].isnull = true;
	if (!all_recorded(simulation))
		evaluate(simulation);
	take_recorded(simulation);
	simulation->holds = evaluate_condition(simulation);
	if (!simulation->holds || simulation->evaluated)
		return;
	for (int i = 0; i < point->n_inputs; i++)
	{
		JsonbValue value;

		if (!agentpay_recorded_input(simulation->inputs, &point->inputs[i],
									 &value))
		{
			evaluate(simulation);
			break;
		}
	}
}

/* Whether every feature and model that invoke_when reads was recorded. */
static bool
all_recorded(Simulation *simulation)
{
	AgentpayPoint *point = simulation->trial.point;
	Bitmapset *params = point->agents[TRIED].invoke_when->params;
	int param = -1;

	while ((param = bms_next_member(params, param)) >= 0)
	{
		JsonbValue value;

		if (param == AGENTPAY_PARAM_SCORE(&point->scope) ||
			param == AGENTPAY_PARAM_VERDICT(&point->scope))
			continue;
		if (!recorded(simulation, input_of(point, param), &value))
			return false;
	}
	return true;
}

/* The input that a parameter is; -1: it is none. */
static int
input_of(const AgentpayPoint *point, int param)
{
	for (int i = 0; i < point->n_inputs; i++)
		if (point->inputs[i].column.attno == 0 &&
			point->inputs[i].param == param)
			return i;
	return -1;
}

/*
 * The value that was read, if it was recorded as it was: not treated, and of
 * text, from which something may have been taken out, not while the row has
 * it.
 */
static bool
recorded(Simulation *simulation, int index, JsonbValue *value)
{
	const AgentpayInput *input;

	if (index < 0)
		return false;
	input = &simulation->trial.point->inputs[index];
	if (!DatumGetBool(simulation->values[COL_IN_CLEAR]) &&
		((input->has_policy &&
		  input->policy.treatment != AGENTPAY_TREATMENT_PASS) ||
		 (input->scanned && input->column.attno != 0 && simulation->is_there)))
		return false;
	return agentpay_recorded_input(simulation->inputs, input, value);
}

/* Features and models of the row as the table has it; sets computed. */
static void
evaluate(Simulation *simulation)
{
	AgentpayTrial *trial = &simulation->trial;
	AgentpayEvaluation evaluation = {
		.table = trial->table,
		.point = trial->point,
		.row = trial->stored,
		.row_id = simulation->row_id,
		.decided_at = simulation->decided_at,
		.contained = simulation->contained,
	};

	simulation->evaluated = true;
	if (!simulation->is_there)
		return;
	agentpay_trial_look(trial, DatumGetObjectId(simulation->values[COL_LEAF]),
						(ItemPointer) DatumGetPointer(
							simulation->values[COL_TID]),
						&simulation->decided_at);
	agentpay_evaluate(&evaluation);
	simulation->computed = evaluation.inputs;
}

/* What was recorded takes the place of what was computed, or is there now. */
static void
take_recorded(Simulation *simulation)
{
	AgentpayPoint *point = simulation->trial.point;
	TupleTableSlot *row = simulation->trial.row;
	ParamExternData *params = point->params->params;
	int score = AGENTPAY_PARAM_SCORE(&point->scope);
	int verdict = AGENTPAY_PARAM_VERDICT(&point->scope);

	for (int i = 0; i < point->n_inputs; i++)
	{
		int at = point->inputs[i].column.attno - 1;
		int param = point->inputs[i].param;
		Datum *datum = at >= 0 ? &row->tts_values[at] : &params[param].value;
		bool *isnull = at >= 0 ? &row->tts_isnull[at] : &params[param].isnull;
		JsonbValue value;

		if (!recorded(simulation, i, &value))
			continue;
		*isnull = value.type == jbvNull;
		if (!*isnull)
			*datum = agentpay_recorded_datum(&simulation->reads[i],
											 point->inputs[i].column.type,
											 &value);
	}
	params[score].value = simulation->values[COL_SCORE];
	params[score].isnull = simulation->nulls[COL_SCORE];
	params[verdict].value = simulation->values[COL_VERDICT];
	params[verdict].isnull = simulation->nulls[COL_VERDICT];
}

static bool
evaluate_condition(Simulation *simulation)
{
	ExprContext *econtext = simulation->trial.table->econtext;
	bool isnull;
	bool holds;
	Datum value;

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = simulation->trial.row;
	value = agentpay_expression_eval(
		simulation->trial.point->agents[TRIED].invoke_when, econtext, &isnull);
	holds = !isnull && DatumGetBool(value);
	econtext->ecxt_scantuple = NULL;
	return holds;
}

static void
put(Simulation *simulation)
{
	Datum values[OUT_COLUMNS] = {0};
	bool nulls[OUT_COLUMNS] = {0};
	AgentpayDraw numbers;
	uint64 again;

	values[OUT_DECISION] = simulation->values[COL_DECISION];
	nulls[OUT_DECISION] = simulation->nulls[COL_DECISION];
	values[OUT_DECIDED_AT] = TimestampTzGetDatum(simulation->decided_at);
	if (!agentpay_draw(VARDATA_ANY(simulation->salt),
					   VARSIZE_ANY_EXHDR(simulation->salt), key_of(simulation),
					   &numbers) ||
		!agentpay_draw_repeat(VARDATA_ANY(simulation->repeat_salt),
							  VARSIZE_ANY_EXHDR(simulation->repeat_salt),
							  simulation->agent, simulation->row_id, &again))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("could not draw the row's bucket")));
	values[OUT_BUCKET] = Int32GetDatum(
		(int32) agentpay_draw_bucket(numbers.first, 100));
	values[OUT_HOLDOUT_BUCKET] = Int32GetDatum(
		(int32) agentpay_draw_bucket(numbers.second, 10000));
	values[OUT_REPEATED] = BoolGetDatum(
		simulation->repeat_percent > 0 &&
		agentpay_draw_below(again, simulation->repeat_percent));
	nulls[OUT_COMPUTED] = simulation->computed == NULL;
	if (simulation->computed != NULL)
		values[OUT_COMPUTED] = JsonbPGetDatum(simulation->computed);
	tuplestore_putvalues(simulation->result->setResult,
						 simulation->result->setDesc, values, nulls);
}

/* What a row's bucket goes by: its subject, else its id (scoring/ask.c). */
static const char *
key_of(Simulation *simulation)
{
	AgentpayPoint *point = simulation->trial.point;
	bool isnull;
	Datum value;

	if (point->subject.attno == 0 || !simulation->is_there)
		return simulation->row_id;
	value = slot_getattr(simulation->trial.stored, point->subject.attno,
						 &isnull);
	if (isnull)
		return simulation->row_id;
	return agentpay_text_form(point->subject.type,
							  OutputFunctionCall(&point->subject_output,
												 value));
}
