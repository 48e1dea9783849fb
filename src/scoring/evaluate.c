/*-------------------------------------------------------------------------
 * evaluate.c
 *		One row, one point, from its features to the agents to ask.
 *
 * All of it runs in one subtransaction.  Only when something in it fails is
 * the row evaluated again, each step in a subtransaction of its own, so that
 * one rule's error costs that rule alone; what failed is noted, and on_error
 * holds.
 *
 * Locks: whatever features read; kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/contain.h"
#include "scoring/ask.h"
#include "scoring/evaluate.h"
#include "scoring/inputs.h"
#include "scoring/models.h"
#include "scoring/rates.h"

/* Sampling draws from a million buckets: sample_percent has four digits. */
#define BUCKETS 1000000

/*
 * What another row of the table is being evaluated with, when a function that
 * a rule or feature calls inserts this one.
 */
typedef struct Around
{
	bool nested;
	TupleTableSlot *row;
	ParamExternData *params;
} Around;

/* One step's subject, whatever it is. */
typedef struct Step
{
	AgentpayEvaluation *evaluation;
	int index;
	bool holds;
} Step;

static void enter(AgentpayEvaluation *evaluation, Around *around);
static void leave(AgentpayEvaluation *evaluation, Around *around);
static TupleTableSlot *unpacked(AgentpayTable *table, TupleTableSlot *row);
static void whole_body(void *arg);
static void begin(AgentpayEvaluation *evaluation);
static void
set_param(AgentpayPoint *point, int param, Datum value, bool isnull);
static void occurred_body(void *arg);
static void amount_body(void *arg);
static void currency_body(void *arg);
static void base_amount_body(void *arg);
static void received_body(void *arg);
static void note_lost_columns(AgentpayEvaluation *evaluation);
static void begin_given(AgentpayEvaluation *evaluation);
static void read_features(AgentpayEvaluation *evaluation);
static void take_features(AgentpayEvaluation *evaluation);
static void feature_body(void *arg);
static void note_lost(AgentpayEvaluation *evaluation, int param);
static void predict(AgentpayEvaluation *evaluation, int model);
static void model_body(void *arg);
static double number_in(const AgentpayColumn *column, TupleTableSlot *row);
static double number_of(Datum value, Oid type, const char *name);
static void choose_agents(AgentpayEvaluation *evaluation);
static bool invokes(AgentpayEvaluation *evaluation, int index);
static void add_tiers(AgentpayEvaluation *evaluation, int index);
static void predict_for(AgentpayEvaluation *evaluation, Bitmapset *agents);
static void invoke_body(void *arg);
static char *without_values(const ErrorData *error);

void
agentpay_evaluate(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	AgentpayExpressionState saved;
	Around around;
	ErrorData *error;

	evaluation->careful = false;
	enter(evaluation, &around);
	agentpay_expression_enter(&point->scope, point->foreign_functions, &saved);
	PG_TRY();
	{
		if (!agentpay_contain(whole_body, evaluation, &error))
		{
			evaluation->careful = true;
			whole_body(evaluation);
		}
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
		leave(evaluation, &around);
	}
	PG_END_TRY();
}

/* Makes room for the row in what its table keeps. */
static void
enter(AgentpayEvaluation *evaluation, Around *around)
{
	AgentpayTable *table = evaluation->table;
	ParamListInfo params = evaluation->point->params;
	Size size = sizeof(ParamExternData) * params->numParams;

	around->nested = table->evaluating;
	if (around->nested)
	{
		around->row = table->econtext->ecxt_scantuple;
		around->params = memcpy(palloc(size), params->params, size);
	}
	else
	{
		ResetExprContext(table->econtext);
		if (table->unpacked != NULL)
			evaluation->row = unpacked(table, evaluation->row);
		table->evaluating = true;
	}
}

/* Leaves it as it was. */
static void
leave(AgentpayEvaluation *evaluation, Around *around)
{
	AgentpayTable *table = evaluation->table;
	ParamListInfo params = evaluation->point->params;

	table->evaluating = around->nested;
	if (!around->nested)
		return;
	table->econtext->ecxt_scantuple = around->row;
	memcpy(params->params, around->params,
		   sizeof(ParamExternData) * params->numParams);
}

/*
 * The row with its numbers as they are computed with.  In a tuple they are
 * packed, and each expression that reads one would unpack it again.
 */
static TupleTableSlot *
unpacked(AgentpayTable *table, TupleTableSlot *row)
{
	TupleTableSlot *slot = table->unpacked;

	slot_getallattrs(row);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, row->tts_values,
		   sizeof(Datum) * slot->tts_tupleDescriptor->natts);
	memcpy(slot->tts_isnull, row->tts_isnull,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < table->n_used; i++)
	{
		int at = table->used[i].attno - 1;

		if (table->used[i].type == NUMERICOID && !slot->tts_isnull[at] &&
			VARATT_IS_SHORT(DatumGetPointer(slot->tts_values[at])))
			slot->tts_values[at] = NumericGetDatum(
				DatumGetNumeric(slot->tts_values[at]));
	}
	return ExecStoreVirtualTuple(slot);
}

bool
agentpay_evaluate_step(AgentpayEvaluation *evaluation, const char *name,
					   void (*body)(void *), void *arg)
{
	ErrorData *error;

	if (!evaluation->careful)
	{
		body(arg);
		return true;
	}
	if (agentpay_contain(body, arg, &error))
		return true;
	agentpay_evaluate_fault(evaluation, name, error);
	return false;
}

void
agentpay_evaluate_fault(AgentpayEvaluation *evaluation, const char *name,
						const ErrorData *error)
{
	AgentpayFault *fault = palloc(sizeof(AgentpayFault));

	fault->name = name;
	fault->sqlstate = error->sqlerrcode;
	fault->message = without_values(error);
	fault->param = -1;
	evaluation->faults = lappend(evaluation->faults, fault);
}

static void
whole_body(void *arg)
{
	AgentpayEvaluation *evaluation = arg;
	AgentpayPoint *point = evaluation->point;

	begin(evaluation);
	if (evaluation->given != NULL)
		take_features(evaluation);
	else
		read_features(evaluation);
	for (int i = 0; i < point->n_models; i++)
		if (point->models[i].needed)
			predict(evaluation, i);
	agentpay_rules_evaluate(evaluation);
	if (evaluation->given != NULL)
		return;
	if (point->score.column.attno != 0 && evaluation->score != NULL)
		(void) agentpay_evaluate_step(evaluation, point->score.column.name,
									  received_body, evaluation);
	choose_agents(evaluation);
	agentpay_evaluate_inputs(evaluation);
}

/* Forgets an earlier attempt and reads the row's own time and amount. */
static void
begin(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	const AgentpayPointConfig *config = point->config;

	evaluation->asked = NULL;
	evaluation->later = NULL;
	evaluation->asks = NULL;
	evaluation->faults = NIL;
	evaluation->failed = false;
	evaluation->lost = NULL;
	evaluation->inputs = NULL;
	evaluation->clear = NULL;
	for (int i = 0; i < point->params->numParams; i++)
		set_param(point, i, (Datum) 0, true);
	evaluation->table->econtext->ecxt_scantuple = evaluation->row;
	evaluation->occurred_at = evaluation->decided_at;
	evaluation->amount = (Datum) 0;
	evaluation->currency = (Datum) 0;
	evaluation->base_amount = (Datum) 0;
	evaluation->received = (Datum) 0;
	evaluation->has_received = false;
	if (evaluation->given != NULL)
	{
		begin_given(evaluation);
		return;
	}
	evaluation->failed |= !agentpay_evaluate_step(evaluation,
												  config->occurred_at_column,
												  occurred_body, evaluation);
	if (point->amount.attno != 0)
		evaluation->failed |= !agentpay_evaluate_step(evaluation,
													  point->amount.name,
													  amount_body, evaluation);
	(void) agentpay_evaluate_step(evaluation, "currency", currency_body,
								  evaluation);
	if (evaluation->amount != (Datum) 0 && evaluation->currency != (Datum) 0)
		(void) agentpay_evaluate_step(evaluation, "base_amount",
									  base_amount_body, evaluation);
	note_lost_columns(evaluation);
}

static void
begin_given(AgentpayEvaluation *evaluation)
{
	const AgentpayGiven *given = evaluation->given;

	evaluation->occurred_at = given->occurred_at;
	evaluation->amount = given->amount;
	evaluation->currency = given->currency;
	evaluation->base_amount = given->base_amount;
	evaluation->faults = list_copy(given->faults);
	evaluation->failed = given->failed;
}

static void
set_param(AgentpayPoint *point, int param, Datum value, bool isnull)
{
	point->params->params[param].value = value;
	point->params->params[param].isnull = isnull;
}

/* NULL, or a column that is gone: the row came now. */
static void
occurred_body(void *arg)
{
	AgentpayEvaluation *evaluation = arg;
	const AgentpayColumn *column = &evaluation->point->occurred_at;
	Datum value;
	bool isnull = true;

	if (column->attno != 0)
		value = slot_getattr(evaluation->row, column->attno, &isnull);
	if (isnull)
		return;
	/* while it is evaluated, the point's time zone is the session's */
	switch (column->type)
	{
		case TIMESTAMPTZOID:
			break;
		case TIMESTAMPOID:
			value = DirectFunctionCall1(timestamp_timestamptz, value);
			break;
		case DATEOID:
			value = DirectFunctionCall1(date_timestamptz, value);
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
							errmsg("column \"%s\" is no time", column->name)));
	}
	if (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value)))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
						errmsg("the payment's time is infinite")));
	evaluation->occurred_at = DatumGetTimestampTz(value);
}

/* Any number as numeric; NaN and infinity are no amounts. */
static void
amount_body(void *arg)
{
	AgentpayEvaluation *evaluation = arg;
	const AgentpayColumn *column = &evaluation->point->amount;
	bool isnull;
	Datum value = slot_getattr(evaluation->row, column->attno, &isnull);

	if (isnull)
		return;
	switch (column->type)
	{
		case INT2OID:
			value = DirectFunctionCall1(int2_numeric, value);
			break;
		case INT4OID:
			value = DirectFunctionCall1(int4_numeric, value);
			break;
		case INT8OID:
			value = DirectFunctionCall1(int8_numeric, value);
			break;
		case FLOAT4OID:
			value = DirectFunctionCall1(float4_numeric, value);
			break;
		case FLOAT8OID:
			value = DirectFunctionCall1(float8_numeric, value);
			break;
		case NUMERICOID:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" is no number", column->name)));
	}
	if (numeric_is_nan(DatumGetNumeric(value)) ||
		numeric_is_inf(DatumGetNumeric(value)))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("the amount is no finite number")));
	evaluation->amount = value;
}

static void
currency_body(void *arg)
{
	AgentpayEvaluation *evaluation = arg;
	AgentpayPoint *point = evaluation->point;
	Oid output;
	bool varlena;
	bool isnull;
	Datum value;

	if (point->currency.attno == 0)
	{
		if (point->config->currency != NULL)
			evaluation->currency = CStringGetTextDatum(point->config->currency);
		return;
	}
	value = slot_getattr(evaluation->row, point->currency.attno, &isnull);
	if (isnull)
		return;
	if (point->currency.type != TEXTOID)
	{
		getTypeOutputInfo(point->currency.type, &output, &varlena);
		value = CStringGetTextDatum(
			agentpay_text_form(point->currency.type,
							   OidOutputFunctionCall(output, value)));
	}
	evaluation->currency = value;
}

/* The amount at the rate of its day; without a rate there is none. */
static void
base_amount_body(void *arg)
{
	AgentpayEvaluation *evaluation = arg;
	const char *base = evaluation->point->config->base_currency;
	char *currency = TextDatumGetCString(evaluation->currency);
	Numeric rate;
	DateADT day;

	if (strcmp(currency, base) == 0)
	{
		evaluation->base_amount = evaluation->amount;
		return;
	}
	/* in the point's time zone, which is the session's meanwhile */
	day = DatumGetDateADT(
		DirectFunctionCall1(timestamptz_date,
							TimestampTzGetDatum(evaluation->occurred_at)));
	rate = agentpay_rates_find(base, currency, day);
	if (rate != NULL)
		evaluation->base_amount = DirectFunctionCall2(numeric_mul,
													  evaluation->amount,
													  NumericGetDatum(rate));
}

/* The score in the type of the column that receives it. */
static void
received_body(void *arg)
{
	AgentpayEvaluation *evaluation = arg;
	const AgentpayTarget *target = &evaluation->point->score;
	Datum score = NumericGetDatum(evaluation->score);

	switch (target->column.type)
	{
		case INT2OID:
			score = DirectFunctionCall1(numeric_int2, score);
			break;
		case INT4OID:
			score = DirectFunctionCall1(numeric_int4, score);
			break;
		case INT8OID:
			score = DirectFunctionCall1(numeric_int8, score);
			break;
		case FLOAT4OID:
			score = DirectFunctionCall1(numeric_float4, score);
			break;
		case FLOAT8OID:
			score = DirectFunctionCall1(numeric_float8, score);
			break;
		case NUMERICOID:
			if (target->typmod >= 0)
				score = DirectFunctionCall2(numeric, score,
											Int32GetDatum(target->typmod));
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
							errmsg("column \"%s\" is no number",
								   target->column.name)));
	}
	if (target->declared_type != target->column.type)
		domain_check(score, false, target->declared_type, NULL, NULL);
	evaluation->received = score;
	evaluation->has_received = true;
}

/* Columns that the point names and the table has no more. */
static void
note_lost_columns(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	const AgentpayPointConfig *config = point->config;
	const struct
	{
		const char *name;
		AttrNumber attno;
	} columns[] = {
		{config->occurred_at_column, point->occurred_at.attno},
		{config->amount_column, point->amount.attno},
		{config->currency_column, point->currency.attno},
		{config->idempotency_column, point->idempotency.attno},
		{config->score_column, point->score.column.attno},
		{config->reasons_column, point->reasons.column.attno},
	};

	for (int i = 0; point->lost_columns && i < lengthof(columns); i++)
	{
		ErrorData error = {.sqlerrcode = ERRCODE_UNDEFINED_COLUMN};

		if (columns[i].name == NULL || columns[i].attno != 0)
			continue;
		error.message = "the column does not exist any more";
		agentpay_evaluate_fault(evaluation, columns[i].name, &error);
	}
	if (point->zone_broken != NULL)
	{
		agentpay_evaluate_fault(evaluation, "time_zone", point->zone_broken);
		evaluation->failed = true;
	}
	if (point->outcome_broken != NULL)
		agentpay_evaluate_fault(evaluation, config->outcome_column,
								point->outcome_broken);
}

static void
read_features(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;

	for (int i = 0; i < point->config->n_features; i++)
	{
		AgentpayFeatureSlot *slot = &point->features[i];
		const char *name = point->config->features[i].name;
		Step step = {.evaluation = evaluation, .index = i};
		bool read = false;

		if (!slot->needed)
			continue;
		if (slot->reader == NULL && slot->lookup == NULL)
			agentpay_evaluate_fault(evaluation, name, slot->broken);
		else
			read = agentpay_evaluate_step(evaluation, name, feature_body,
										  &step);
		if (!read)
			note_lost(evaluation, i);
	}
}

/* As recorded; of one that failed then, the fault stands among the given. */
static void
take_features(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	ListCell *lc;

	for (int i = 0; i < point->config->n_features; i++)
	{
		const NullableDatum *value = &evaluation->given->features[i];

		if (point->features[i].needed)
			set_param(point, i, value->value, value->isnull);
	}
	foreach(lc, evaluation->faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (fault->param >= 0)
			evaluation->lost = bms_add_member(evaluation->lost, fault->param);
	}
}

/* The fault that was noted last is that parameter's. */
static void
note_lost(AgentpayEvaluation *evaluation, int param)
{
	AgentpayFault *fault = llast(evaluation->faults);

	fault->param = param;
	evaluation->lost = bms_add_member(evaluation->lost, param);
}

static void
feature_body(void *arg)
{
	Step *step = arg;
	AgentpayEvaluation *evaluation = step->evaluation;
	AgentpayFeatureSlot *slot = &evaluation->point->features[step->index];
	bool isnull = false;
	Datum value;

	if (slot->lookup != NULL)
		value = agentpay_lookup_read(slot->lookup, evaluation->row,
									 evaluation->occurred_at, &isnull);
	else
		value = Float8GetDatum(
			agentpay_feature_read(slot->reader, evaluation->row,
								  evaluation->occurred_at, &isnull));
	set_param(evaluation->point, step->index, value, isnull);
}

/* The model's answer becomes its parameter. */
static void
predict(AgentpayEvaluation *evaluation, int model)
{
	AgentpayModelSlot *slot = &evaluation->point->models[model];
	const char *name = slot->config->name;
	Step step = {.evaluation = evaluation, .index = model};
	bool predicted = false;

	if (slot->broken != NULL)
		agentpay_evaluate_fault(evaluation, name, slot->broken);
	else
		predicted = agentpay_evaluate_step(evaluation, name, model_body, &step);
	if (!predicted)
		note_lost(evaluation,
				  AGENTPAY_PARAM_MODEL(&evaluation->point->scope, model));
}

static void
model_body(void *arg)
{
	Step *step = arg;
	AgentpayEvaluation *evaluation = step->evaluation;
	AgentpayPoint *point = evaluation->point;
	AgentpayModelSlot *slot = &point->models[step->index];
	double answer;

	for (int i = 0; i < slot->config->n_inputs; i++)
	{
		AgentpayModelInput *input = &slot->inputs[i];
		ParamExternData *param = &point->params->params[input->feature];

		if (input->column.attno != 0)
			slot->values[i] = number_in(&input->column, evaluation->row);
		else
			slot->values[i] = param->isnull
								  ? NAN
								  : number_of(param->value, param->ptype,
											  slot->config->inputs[i]);
	}
	answer = agentpay_model_predict(slot->model, slot->values);
	set_param(point, AGENTPAY_PARAM_MODEL(&point->scope, step->index),
			  Float8GetDatum(answer), false);
}

/* A column as a model sees it: NaN when missing. */
static double
number_in(const AgentpayColumn *column, TupleTableSlot *row)
{
	bool isnull;
	Datum value = slot_getattr(row, column->attno, &isnull);

	return isnull ? NAN : number_of(value, column->type, column->name);
}

/* false is 0 and true 1. */
static double
number_of(Datum value, Oid type, const char *name)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(value) ? 1 : 0;
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(
				DirectFunctionCall1(numeric_float8_no_overflow, value));
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("input \"%s\" of a model is no number", name)));
	}
}

/*
 * Which agents are asked about the row, which may be asked when one of these
 * is unsure or when a case opens, and what built-in ones say.
 */
static void
choose_agents(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	AgentpayScope *scope = &point->scope;
	bool may_open;

	set_param(point, AGENTPAY_PARAM_SCORE(scope),
			  NumericGetDatum(evaluation->score), evaluation->score == NULL);
	set_param(point, AGENTPAY_PARAM_VERDICT(scope),
			  point->verdict_texts[evaluation->verdict], false);
	for (int i = 0; i < point->n_agents; i++)
	{
		const AgentpayAgentConfig *agent = point->agents[i].config;

		if (agent->is_tier || agent->reviews || !invokes(evaluation, i))
			continue;
		evaluation->asked = bms_add_member(evaluation->asked, i);
		add_tiers(evaluation, i);
	}
	may_open = evaluation->asked != NULL || point->config->audit_percent > 0 ||
			   point->config->verdicts[evaluation->verdict].needs_person;
	for (int i = 0; may_open && i < point->n_agents; i++)
	{
		const AgentpayAgentConfig *agent = point->agents[i].config;

		if (agent->is_tier || !agent->reviews || !invokes(evaluation, i))
			continue;
		evaluation->later = bms_add_member(evaluation->later, i);
		add_tiers(evaluation, i);
	}
	predict_for(evaluation, evaluation->asked);
	predict_for(evaluation, evaluation->later);
	if (evaluation->asked != NULL || evaluation->later != NULL)
		agentpay_ask_draw(evaluation);
}

/* Whether the agent's own conditions hold for the row. */
static bool
invokes(AgentpayEvaluation *evaluation, int index)
{
	AgentpayInvoke *agent = &evaluation->point->agents[index];
	const char *name = agent->config->name;
	Step step = {.evaluation = evaluation, .index = index};

	if (!agentpay_evaluate_drawn(agent, evaluation->row_id))
		return false;
	if (agent->invoke_when == NULL)
	{
		agentpay_evaluate_fault(evaluation, name, agent->broken);
		return false;
	}
	return agentpay_evaluate_step(evaluation, name, invoke_body, &step) &&
		   step.holds;
}

/*
 * The agents that the agent escalates to, as far as their own conditions hold;
 * configuration has no cycle, and each is visited once all the same.
 */
static void
add_tiers(AgentpayEvaluation *evaluation, int index)
{
	const AgentpayInvoke *agents = evaluation->point->agents;

	for (int i = agents[index].escalate_to; i >= 0; i = agents[i].escalate_to)
	{
		if (bms_is_member(i, evaluation->later) || !invokes(evaluation, i))
			return;
		evaluation->later = bms_add_member(evaluation->later, i);
	}
}

static void
predict_for(AgentpayEvaluation *evaluation, Bitmapset *agents)
{
	AgentpayPoint *point = evaluation->point;

	for (int m = 0; agents != NULL && m < point->n_models; m++)
	{
		AgentpayModelSlot *model = &point->models[m];
		int i = -1;

		while ((i = bms_next_member(agents, i)) >= 0)
			if (!model->needed && point->agents[i].config->builtin &&
				strcmp(point->agents[i].config->model, model->config->name) ==
					0)
			{
				predict(evaluation, m);
				break;
			}
	}
}

static void
invoke_body(void *arg)
{
	Step *step = arg;
	AgentpayEvaluation *evaluation = step->evaluation;
	bool isnull;
	Datum value = agentpay_expression_eval(
		evaluation->point->agents[step->index].invoke_when,
		evaluation->table->econtext, &isnull);

	step->holds = !isnull && DatumGetBool(value);
}

bool
agentpay_evaluate_drawn(const AgentpayInvoke *agent, const char *row_id)
{
	uint64 hash;

	if (agent->draw_below >= BUCKETS)
		return true;
	hash = hash_bytes_extended((const unsigned char *) row_id, strlen(row_id),
							   agent->seed);
	return hash % BUCKETS < agent->draw_below;
}

/*
 * The message; of a data exception without what stands in quotes, which is a
 * value of the row.
 */
static char *
without_values(const ErrorData *error)
{
	const char *message = error->message ? error->message : "";
	StringInfoData text;
	bool quoted = false;

	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
		return pstrdup(message);
	initStringInfo(&text);
	for (const char *c = message; *c; c++)
	{
		if (*c == '"')
		{
			quoted = !quoted;
			appendStringInfoString(&text, quoted ? "\"..." : "\"");
		}
		else if (!quoted)
			appendStringInfoChar(&text, *c);
	}
	return text.data;
}
