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
#include "executor/executor.h"
#include "utils/builtins.h"

#include "base/contain.h"
#include "scoring/evaluate.h"
#include "scoring/evaluate_internal.h"
#include "scoring/models.h"

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

/* One step's feature or model. */
typedef struct Step
{
	AgentpayEvaluation *evaluation;
	int index;
} Step;

static void enter(AgentpayEvaluation *evaluation, Around *around);
static void leave(AgentpayEvaluation *evaluation, Around *around);
static TupleTableSlot *unpacked(AgentpayTable *table, TupleTableSlot *row);
static void whole_body(void *arg);
static void received_body(void *arg);
static void read_features(AgentpayEvaluation *evaluation);
static void read_feature(AgentpayEvaluation *evaluation, int index);
static void take_features(AgentpayEvaluation *evaluation);
static void feature_body(void *arg);
static void note_lost(AgentpayEvaluation *evaluation, int param);
static void model_body(void *arg);
static double number_in(const AgentpayColumn *column, TupleTableSlot *row);
static double number_of(Datum value, Oid type, const char *name);
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
		if (evaluation->contained)
			whole_body(evaluation);
		else if (!agentpay_contain(whole_body, evaluation, &error))
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

	agentpay_evaluate_begin(evaluation);
	if (evaluation->given != NULL)
		take_features(evaluation);
	else
		read_features(evaluation);
	for (int i = 0; i < point->n_models; i++)
		if (point->models[i].needed)
			agentpay_evaluate_model(evaluation, i);
	agentpay_rules_evaluate(evaluation);
	if (evaluation->given != NULL)
		return;
	if (point->score.column.attno != 0 && evaluation->score != NULL)
		(void) agentpay_evaluate_step(evaluation, point->score.column.name,
									  received_body, evaluation);
	agentpay_evaluate_agents(evaluation);
	agentpay_evaluate_inputs(evaluation);
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

static void
read_features(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;

	for (int i = 0; i < point->config->n_features; i++)
		if (point->features[i].needed)
			read_feature(evaluation, i);
}

static void
read_feature(AgentpayEvaluation *evaluation, int index)
{
	AgentpayPoint *point = evaluation->point;
	AgentpayFeatureSlot *slot = &point->features[index];
	const char *name = point->config->features[index].name;
	Step step = {.evaluation = evaluation, .index = index};
	bool read = false;

	if (slot->reader == NULL && slot->lookup == NULL)
		agentpay_evaluate_fault(evaluation, name, slot->broken);
	else
		read = agentpay_evaluate_step(evaluation, name, feature_body, &step);
	if (!read)
		note_lost(evaluation, index);
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

		if (!point->features[i].needed)
			continue;
		if (bms_is_member(i, evaluation->given->unknown))
			read_feature(evaluation, i);
		else
			agentpay_evaluate_set(point, i, value->value, value->isnull);
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
	agentpay_evaluate_set(evaluation->point, step->index, value, isnull);
}

void
agentpay_evaluate_model(AgentpayEvaluation *evaluation, int model)
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
	agentpay_evaluate_set(point,
						  AGENTPAY_PARAM_MODEL(&point->scope, step->index),
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
