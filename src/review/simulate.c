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
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "base/config_load.h"
#include "base/contain.h"
#include "review/dry_run.h"
#include "scoring/draw.h"
#include "scoring/evaluate.h"
#include "scoring/inputs.h"
#include "scoring/lists.h"
#include "scoring/velocity.h"
#include "scoring/velocity_stream.h"

/* Rows that are fetched at a time. */
#define BATCH 1000

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
	COL_DECISION = 1,
	COL_DECIDED_AT,
	COL_ROW_ID,
	COL_INPUTS,
	COL_IN_CLEAR, /* whatever policies say */
	COL_SCORE,
	COL_VERDICT,
	COL_LEAF, /* NULL, as the next two: the row is gone */
	COL_TID,
	COL_ROW
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
	ReturnSetInfo *result;
	Relation relation;
	AgentpayTable *table;
	AgentpayPoint *point;
	const char *agent;
	bytea *salt;
	bytea *repeat_salt;
	double repeat_percent;
	TupleTableSlot *stored; /* the row as the table has it */
	TupleTableSlot *row;	/* with what was recorded instead */
	MemoryContext row_context;

	/* the current row */
	HeapTuple tuple;
	TupleDesc desc;
	const char *row_id;
	Jsonb *inputs;
	bool in_clear;
	bool is_there;
	bool evaluated;
	Jsonb *computed;
	bool holds;
} Simulation;

static void refuse_nulls(FunctionCallInfo fcinfo);
static AgentpayConfig *load_config(FunctionCallInfo fcinfo);
static void run(Simulation *simulation, const char *query);
static void try_row(Simulation *simulation);
static void ask(Simulation *simulation);
static void ask_body(void *arg);
static void load_row(Simulation *simulation);
static bool all_recorded(Simulation *simulation);
static AgentpayInput *input_of(AgentpayPoint *point, int param);
static bool
recorded(Simulation *simulation, AgentpayInput *input, JsonbValue *value);
static void evaluate(Simulation *simulation);
static void take_recorded(Simulation *simulation);
static Datum datum_of(const JsonbValue *value, Oid type, bool *isnull);
static bool evaluate_condition(Simulation *simulation);
static void put(Simulation *simulation);
static const char *key_of(Simulation *simulation);
static Datum column(Simulation *simulation, int number, bool *isnull);

PG_FUNCTION_INFO_V1(agentpay_sql_simulate_asked);

/* agentpay._simulate_asked(…): see ARG_POINT, COL_DECISION, OUT_DECISION. */
Datum
agentpay_sql_simulate_asked(PG_FUNCTION_ARGS)
{
	char *name;
	char *query;
	AgentpayConfig *config;
	Simulation simulation = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	refuse_nulls(fcinfo);
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_POINT));
	query = text_to_cstring(PG_GETARG_TEXT_PP(ARG_QUERY));
	config = load_config(fcinfo);
	simulation.agent = text_to_cstring(PG_GETARG_TEXT_PP(ARG_AGENT));
	simulation.salt = PG_GETARG_BYTEA_PP(ARG_SALT);
	simulation.repeat_salt = PG_GETARG_BYTEA_PP(ARG_REPEAT_SALT);
	simulation.repeat_percent = PG_GETARG_FLOAT8(ARG_REPEAT_PERCENT);
	agentpay_config_pin(config);
	simulation.relation = table_open(PG_GETARG_OID(ARG_RELATION),
									 AccessShareLock);
	InitMaterializedSRF(fcinfo, 0);
	simulation.table = agentpay_table_get(simulation.relation, config);
	agentpay_table_pin(simulation.table);
	PG_TRY();
	{
		simulation.point = agentpay_review_point(simulation.table, name);
		if (simulation.point->agents[TRIED].invoke_when == NULL)
			ThrowErrorData(simulation.point->agents[TRIED].broken);
		run(&simulation, query);
	}
	PG_FINALLY();
	{
		agentpay_velocity_leave_out(InvalidOid, NULL);
		agentpay_lists_look_back(NULL);
		agentpay_table_unpin(simulation.table);
		agentpay_config_unpin(config);
	}
	PG_END_TRY();
	table_close(simulation.relation, NoLock);
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

/* Puts a row of the result for each payment that is asked about. */
static void
run(Simulation *simulation, const char *query)
{
	TupleDesc desc = RelationGetDescr(simulation->relation);
	Portal portal;

	simulation->stored = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	simulation->row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	simulation->row_context = AllocSetContextCreate(CurrentMemoryContext,
													"agentpay simulate row",
													ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true,
									   0);
	for (;;)
	{
		SPITupleTable *rows;
		uint64 count;

		SPI_cursor_fetch(portal, true, BATCH);
		rows = SPI_tuptable;
		count = SPI_processed;
		for (uint64 i = 0; i < count; i++)
		{
			simulation->tuple = rows->vals[i];
			simulation->desc = rows->tupdesc;
			try_row(simulation);
		}
		SPI_freetuptable(rows);
		if (count == 0)
			break;
	}
	SPI_cursor_close(portal);
	SPI_finish();
	ExecDropSingleTupleTableSlot(simulation->stored);
	ExecDropSingleTupleTableSlot(simulation->row);
	MemoryContextDelete(simulation->row_context);
}

static void
try_row(Simulation *simulation)
{
	MemoryContext old = MemoryContextSwitchTo(simulation->row_context);

	CHECK_FOR_INTERRUPTS();
	simulation->evaluated = false;
	simulation->computed = NULL;
	simulation->holds = false;
	load_row(simulation);
	if (agentpay_evaluate_drawn(&simulation->point->agents[TRIED],
								simulation->row_id))
		ask(simulation);
	if (simulation->holds)
		put(simulation);
	ExecClearTuple(simulation->stored);
	ExecClearTuple(simulation->row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(simulation->row_context);
}

/* Sets holds: whether invoke_when does; an expression that fails does not. */
static void
ask(Simulation *simulation)
{
	const AgentpayPoint *point = simulation->point;
	AgentpayExpressionState saved;
	ErrorData *error;

	agentpay_expression_enter(&point->scope, point->foreign_functions, &saved);
	PG_TRY();
	{
		if (!agentpay_contain(ask_body, simulation, &error))
			simulation->holds = false;
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
}

/* Fills both rows and what else the query says of the payment. */
static void
load_row(Simulation *simulation)
{
	TupleTableSlot *row = simulation->row;
	int natts = row->tts_tupleDescriptor->natts;
	bool isnull;
	Datum value;

	simulation->row_id = TextDatumGetCString(
		column(simulation, COL_ROW_ID, &isnull));
	value = column(simulation, COL_INPUTS, &isnull);
	simulation->inputs = isnull ? NULL : DatumGetJsonbP(value);
	simulation->in_clear = DatumGetBool(
		column(simulation, COL_IN_CLEAR, &isnull));
	memset(row->tts_isnull, true, sizeof(bool) * natts);
	value = column(simulation, COL_ROW, &isnull);
	simulation->is_there = !isnull;
	if (!isnull)
	{
		HeapTupleHeader header = DatumGetHeapTupleHeader(value);
		HeapTuple tuple = palloc0(sizeof(HeapTupleData));

		tuple->t_len = HeapTupleHeaderGetDatumLength(header);
		tuple->t_tableOid = RelationGetRelid(simulation->relation);
		tuple->t_data = header;
		ItemPointerSetInvalid(&tuple->t_self);
		ExecStoreHeapTuple(tuple, simulation->stored, false);
		slot_getallattrs(simulation->stored);
		memcpy(row->tts_values, simulation->stored->tts_values,
			   sizeof(Datum) * natts);
		memcpy(row->tts_isnull, simulation->stored->tts_isnull,
			   sizeof(bool) * natts);
	}
	ExecStoreVirtualTuple(row);
}

/* Sets holds, and computed where something was not recorded. */
static void
ask_body(void *arg)
{
	Simulation *simulation = arg;
	AgentpayPoint *point = simulation->point;

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

		if (simulation->inputs == NULL ||
			getKeyJsonValueFromContainer(&simulation->inputs->root,
										 point->inputs[i].name,
										 point->inputs[i].name_len,
										 &value) == NULL)
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
	AgentpayPoint *point = simulation->point;
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

/* The member of inputs that holds a parameter, or NULL. */
static AgentpayInput *
input_of(AgentpayPoint *point, int param)
{
	for (int i = 0; i < point->n_inputs; i++)
		if (point->inputs[i].column.attno == 0 &&
			point->inputs[i].param == param)
			return &point->inputs[i];
	return NULL;
}

/*
 * The value that was read, if it was recorded as it was: not treated, and of
 * text, from which something may have been taken out, not while the row has
 * it.
 */
static bool
recorded(Simulation *simulation, AgentpayInput *input, JsonbValue *value)
{
	if (input == NULL || simulation->inputs == NULL)
		return false;
	if (!simulation->in_clear &&
		((input->has_policy &&
		  input->policy.treatment != AGENTPAY_TREATMENT_PASS) ||
		 (input->scanned && input->column.attno != 0 && simulation->is_there)))
		return false;
	return getKeyJsonValueFromContainer(&simulation->inputs->root, input->name,
										input->name_len, value) != NULL;
}

/* Features and models of the row as the table has it; sets computed. */
static void
evaluate(Simulation *simulation)
{
	AgentpayEvaluation evaluation = {.table = simulation->table,
									 .point = simulation->point,
									 .row = simulation->stored,
									 .row_id = simulation->row_id};
	bool isnull;

	simulation->evaluated = true;
	if (!simulation->is_there)
		return;
	agentpay_velocity_leave_out(
		DatumGetObjectId(column(simulation, COL_LEAF, &isnull)),
		(ItemPointer) DatumGetPointer(column(simulation, COL_TID, &isnull)));
	evaluation.decided_at = DatumGetTimestampTz(
		column(simulation, COL_DECIDED_AT, &isnull));
	agentpay_lists_look_back(&evaluation.decided_at);
	agentpay_streams_stop(simulation->table->streams);
	agentpay_evaluate(&evaluation);
	simulation->computed = evaluation.inputs;
}

/* What was recorded takes the place of what was computed, or is there now. */
static void
take_recorded(Simulation *simulation)
{
	AgentpayPoint *point = simulation->point;
	TupleTableSlot *row = simulation->row;
	ParamExternData *params = point->params->params;
	int score = AGENTPAY_PARAM_SCORE(&point->scope);
	int verdict = AGENTPAY_PARAM_VERDICT(&point->scope);

	for (int i = 0; i < point->n_inputs; i++)
	{
		AgentpayInput *input = &point->inputs[i];
		int at = input->column.attno - 1;
		JsonbValue value;

		if (!recorded(simulation, input, &value))
			continue;
		if (at >= 0)
			row->tts_values[at] = datum_of(&value, input->column.type,
										   &row->tts_isnull[at]);
		else
			params[input->param].value = datum_of(&value,
												  params[input->param].ptype,
												  &params[input->param].isnull);
	}
	params[score].value = column(simulation, COL_SCORE, &params[score].isnull);
	params[verdict].value = column(simulation, COL_VERDICT,
								   &params[verdict].isnull);
}

/* A member of inputs in a type, by its text form. */
static Datum
datum_of(const JsonbValue *value, Oid type, bool *isnull)
{
	Oid input;
	Oid param;
	char *text;

	*isnull = value->type == jbvNull;
	switch (value->type)
	{
		case jbvNull:
			return (Datum) 0;
		case jbvString:
			text = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			text = DatumGetCString(
				DirectFunctionCall1(numeric_out,
									NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		default:
			text = JsonbToCString(NULL, value->val.binary.data,
								  value->val.binary.len);
			break;
	}
	getTypeInputInfo(type, &input, &param);
	return OidInputFunctionCall(input, text, param, -1);
}

static bool
evaluate_condition(Simulation *simulation)
{
	ExprContext *econtext = simulation->table->econtext;
	bool isnull;
	bool holds;
	Datum value;

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = simulation->row;
	value =
		agentpay_expression_eval(simulation->point->agents[TRIED].invoke_when,
								 econtext, &isnull);
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

	values[OUT_DECISION] = column(simulation, COL_DECISION,
								  &nulls[OUT_DECISION]);
	values[OUT_DECIDED_AT] = column(simulation, COL_DECIDED_AT,
									&nulls[OUT_DECIDED_AT]);
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
	AgentpayPoint *point = simulation->point;
	bool isnull;
	Datum value;

	if (point->subject.attno == 0 || !simulation->is_there)
		return simulation->row_id;
	value = slot_getattr(simulation->stored, point->subject.attno, &isnull);
	if (isnull)
		return simulation->row_id;
	return agentpay_text_form(point->subject.type,
							  OutputFunctionCall(&point->subject_output,
												 value));
}

static Datum
column(Simulation *simulation, int number, bool *isnull)
{
	return SPI_getbinval(simulation->tuple, simulation->desc, number, isnull);
}
