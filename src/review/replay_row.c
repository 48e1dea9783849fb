/*-------------------------------------------------------------------------
 * replay_row.c
 *		The row and the features that a decision saw, read back from its
 *		inputs, and the rules on them.
 *
 * Columns and features get the values that are stored, models are computed
 * again and compared.  What failed then and cannot fail again, because it is
 * not read again, is taken from the record.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "base/contain.h"
#include "review/replay.h"

/* What one decision is read back into. */
typedef struct Reading
{
	AgentpayThen *then;
	const AgentpayRecorded *recorded;
	AgentpayReplayed *replayed;
} Reading;

static void read_body(void *arg);
static void read_input(Reading *reading, int index);
static void take_faults(Reading *reading, AgentpayGiven *given);
static void take_fault(Reading *reading, AgentpayGiven *given, char *name,
					   JsonbValue *error);
static bool is_judged_again(const AgentpayPoint *point, const char *name);
static bool same_name(const char *name, const char *other);
static void compare_models(Reading *reading);

void
agentpay_replay_row(AgentpayThen *then, const AgentpayRecorded *recorded,
					AgentpayReplayed *replayed)
{
	AgentpayPoint *point = then->point;
	Reading reading = {then, recorded, replayed};
	AgentpayGiven given = {
		.occurred_at = recorded->occurred_at,
		.amount = recorded->amount,
		.currency = recorded->currency,
		.base_amount = recorded->base_amount,
		.features = then->features,
	};
	AgentpayEvaluation *evaluation = &replayed->evaluation;
	AgentpayExpressionState saved;
	ErrorData *error;
	volatile bool read = false;

	ExecClearTuple(then->slot);
	memset(then->slot->tts_isnull, true,
		   then->slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < point->config->n_features; i++)
		then->features[i].isnull = true;
	agentpay_expression_enter(&point->scope, false, &saved);
	PG_TRY();
	{
		if (evaluation->contained)
		{
			read_body(&reading);
			read = true;
		}
		else
			read = agentpay_contain(read_body, &reading, &error);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
	if (!read)
		replayed->problem = error->message;
	if (!read || replayed->erased != NIL)
		return;
	ExecStoreVirtualTuple(then->slot);
	take_faults(&reading, &given);

	evaluation->table = then->table;
	evaluation->point = point;
	evaluation->row = then->slot;
	evaluation->row_id = recorded->row_id;
	evaluation->decided_at = recorded->decided_at;
	evaluation->given = &given;
	agentpay_evaluate(evaluation);
	evaluation->given = NULL;
	compare_models(&reading);
}

static void
read_body(void *arg)
{
	Reading *reading = arg;

	for (int i = 0; i < reading->then->point->n_inputs; i++)
		read_input(reading, i);
}

/*
 * One input.  What a policy had treated is not what the rules read, unless it
 * was sealed as they read it; a treated NULL is NULL all the same, but what
 * was dropped.
 */
static void
read_input(Reading *reading, int index)
{
	AgentpayThen *then = reading->then;
	AgentpayInput *input = &then->point->inputs[index];
	AgentpayReplayed *replayed = reading->replayed;
	JsonbValue value;

	if (!agentpay_recorded_input(reading->recorded->inputs, input, &value))
	{
		replayed->missing = lappend(replayed->missing, input->name);
		return;
	}
	if (input->has_policy && !reading->recorded->sealed &&
		input->policy.treatment != AGENTPAY_TREATMENT_PASS &&
		(value.type != jbvNull ||
		 input->policy.treatment == AGENTPAY_TREATMENT_DROP))
	{
		replayed->erased = lappend(replayed->erased, input->name);
		return;
	}
	if (value.type == jbvNull)
		return;
	if (input->column.attno != 0)
	{
		int at = input->column.attno - 1;

		then->slot->tts_values[at] =
			agentpay_recorded_datum(&then->reads[index], input->column.type,
									&value);
		then->slot->tts_isnull[at] = false;
	}
	else if (input->param < then->point->config->n_features)
	{
		then->features[input->param].value =
			agentpay_recorded_datum(&then->reads[index], input->column.type,
									&value);
		then->features[input->param].isnull = false;
	}
}

/* What failed while the row was read: detail.errors. */
static void
take_faults(Reading *reading, AgentpayGiven *given)
{
	JsonbValue errors;
	JsonbValue item;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	char *name = NULL;

	if (!agentpay_recorded_member(reading->recorded->detail, "errors",
								  &errors) ||
		errors.type != jbvBinary)
		return;
	iterator = JsonbIteratorInit(errors.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE && name != NULL)
			take_fault(reading, given, name, &item);
	}
}

static void
take_fault(Reading *reading, AgentpayGiven *given, char *name,
		   JsonbValue *error)
{
	const AgentpayPoint *point = reading->then->point;
	const AgentpayPointConfig *config = point->config;
	AgentpayFault *fault;
	JsonbValue state;

	if (is_judged_again(point, name) || error->type != jbvBinary ||
		getKeyJsonValueFromContainer(error->val.binary.data, "sqlstate", 8,
									 &state) == NULL ||
		state.type != jbvString || state.val.string.len != 5)
		return;
	fault = palloc0(sizeof(AgentpayFault));
	fault->name = name;
	fault->sqlstate = MAKE_SQLSTATE(state.val.string.val[0],
									state.val.string.val[1],
									state.val.string.val[2],
									state.val.string.val[3],
									state.val.string.val[4]);
	fault->message = "";
	fault->param = agentpay_config_feature(config, name);
	given->faults = lappend(given->faults, fault);
	if (same_name(name, config->occurred_at_column) ||
		same_name(name, config->amount_column) ||
		strcmp(name, "time_zone") == 0)
		given->failed = true;
}

/* Rules and models, which fail again if they failed. */
static bool
is_judged_again(const AgentpayPoint *point, const char *name)
{
	for (int i = 0; i < point->rulesets[0].n_rules; i++)
		if (strcmp(point->rulesets[0].rules[i].config->code, name) == 0)
			return true;
	for (int i = 0; i < point->n_models; i++)
		if (point->models[i].needed &&
			strcmp(point->models[i].config->name, name) == 0)
			return true;
	return false;
}

static bool
same_name(const char *name, const char *other)
{
	return other != NULL && strcmp(name, other) == 0;
}

/* What models say of the inputs, beside what they said. */
static void
compare_models(Reading *reading)
{
	AgentpayPoint *point = reading->then->point;

	for (int i = 0; i < point->n_inputs; i++)
	{
		AgentpayInput *input = &point->inputs[i];
		ParamExternData *param;
		JsonbValue value;
		bool same;

		if (input->column.attno != 0 ||
			input->param < point->config->n_features ||
			!agentpay_recorded_member(reading->recorded->inputs, input->name,
									  &value))
			continue;
		param = &point->params->params[input->param];
		if (param->isnull || value.type == jbvNull)
			same = param->isnull && value.type == jbvNull;
		else
			same = value.type == jbvNumeric &&
				   agentpay_recorded_double(value.val.numeric) ==
					   DatumGetFloat8(param->value);
		if (!same)
			reading->replayed->models = lappend(reading->replayed->models,
												input->name);
	}
}
