/*-------------------------------------------------------------------------
 * evaluate_columns.c
 *		What a point reads of a row by itself: its time, its amount, its
 *		currency, and the amount at the rate of its day.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "scoring/evaluate_internal.h"
#include "scoring/rates.h"

static void begin_given(AgentpayEvaluation *evaluation);
static void occurred_body(void *arg);
static void amount_body(void *arg);
static void currency_body(void *arg);
static void base_amount_body(void *arg);
static void note_lost_columns(AgentpayEvaluation *evaluation);

void
agentpay_evaluate_begin(AgentpayEvaluation *evaluation)
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
	evaluation->sealed = NULL;
	for (int i = 0; i < point->params->numParams; i++)
		agentpay_evaluate_set(point, i, (Datum) 0, true);
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
