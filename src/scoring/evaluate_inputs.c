/*-------------------------------------------------------------------------
 * evaluate_inputs.c
 *		What a decision keeps of its row: the values that were read, after the
 *		policies, and sealed what these treat.
 *
 * Each value is a step of its own: one that fails costs no other.
 *
 * Locks: those of privacy/keys.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/jsonb.h"

#include "privacy/keys.h"
#include "scoring/evaluate.h"
#include "scoring/inputs.h"
#include "scoring/sealing.h"

/* One step's subject, whatever it is. */
typedef struct Step
{
	AgentpayEvaluation *evaluation;
	int index;
	JsonbValue *value;
	JsonbPair *pairs;
} Step;

static void input_body(void *arg);
static void inputs_body(void *arg);
static void seal_inputs(AgentpayEvaluation *evaluation);
static void clear_body(void *arg);

void
agentpay_evaluate_inputs(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	JsonbPair *pairs = palloc(sizeof(JsonbPair) * Max(point->n_inputs, 1));
	Step whole = {.evaluation = evaluation, .pairs = pairs};
	int count = 0;

	for (int i = 0; i < point->n_inputs; i++)
	{
		AgentpayInput *input = &point->inputs[i];
		JsonbPair *pair = &pairs[count];
		Step step = {.evaluation = evaluation,
					 .index = i,
					 .value = &pair->value};

		if (!agentpay_inputs_wanted(input, evaluation->asked) &&
			!agentpay_inputs_wanted(input, evaluation->later))
			continue;
		pair->key.type = jbvString;
		pair->key.val.string.val = input->name;
		pair->key.val.string.len = input->name_len;
		pair->order = count++;
		if (!agentpay_evaluate_step(evaluation, input->name, input_body, &step))
			pair->value.type = jbvNull;
	}
	whole.index = count;
	if (!agentpay_evaluate_step(evaluation, "inputs", inputs_body, &whole))
		evaluation->inputs = agentpay_inputs_object(pairs, 0);
	if (evaluation->seals && agentpay_keys_wanted())
		seal_inputs(evaluation);
}

/* Seals what a policy treats; a value that fails is left out. */
static void
seal_inputs(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	JsonbPair *pairs = palloc(sizeof(JsonbPair) * Max(point->n_inputs, 1));
	int count = 0;

	for (int i = 0; i < point->n_inputs; i++)
	{
		AgentpayInput *input = &point->inputs[i];
		JsonbPair *pair = &pairs[count];
		Step step = {.evaluation = evaluation,
					 .index = i,
					 .value = &pair->value};

		if (!agentpay_inputs_sealed(input) ||
			(!agentpay_inputs_wanted(input, evaluation->asked) &&
			 !agentpay_inputs_wanted(input, evaluation->later)))
			continue;
		pair->key.type = jbvString;
		pair->key.val.string.val = input->name;
		pair->key.val.string.len = input->name_len;
		if (agentpay_evaluate_step(evaluation, input->name, clear_body, &step))
			count++;
	}
	/* who is asked may explain the answer, which is sealed, too */
	if (count > 0 || evaluation->asked != NULL || evaluation->later != NULL)
		agentpay_sealing_inputs(evaluation, pairs, count);
}

static void
clear_body(void *arg)
{
	Step *step = arg;
	AgentpayPoint *point = step->evaluation->point;

	agentpay_inputs_clear(point, &point->inputs[step->index],
						  step->evaluation->row, step->value);
}

static void
input_body(void *arg)
{
	Step *step = arg;
	AgentpayPoint *point = step->evaluation->point;

	agentpay_inputs_value(point, &point->inputs[step->index],
						  step->evaluation->row, step->value);
}

/* Together they may be more than jsonb holds. */
static void
inputs_body(void *arg)
{
	Step *step = arg;

	step->evaluation->inputs = agentpay_inputs_object(step->pairs, step->index);
}
