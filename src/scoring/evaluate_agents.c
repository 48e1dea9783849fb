/*-------------------------------------------------------------------------
 * evaluate_agents.c
 *		Which agents a row asks.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "scoring/ask.h"
#include "scoring/evaluate_internal.h"

/* Sampling draws from a million buckets: sample_percent has four digits. */
#define BUCKETS 1000000

/* The agent whose condition is asked. */
typedef struct Step
{
	AgentpayEvaluation *evaluation;
	int index;
	bool holds;
} Step;

static bool invokes(AgentpayEvaluation *evaluation, int index);
static void add_tiers(AgentpayEvaluation *evaluation, int index);
static void predict_for(AgentpayEvaluation *evaluation, Bitmapset *agents);
static void invoke_body(void *arg);

void
agentpay_evaluate_agents(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	AgentpayScope *scope = &point->scope;
	bool may_open;

	agentpay_evaluate_set(point, AGENTPAY_PARAM_SCORE(scope),
						  NumericGetDatum(evaluation->score),
						  evaluation->score == NULL);
	agentpay_evaluate_set(point, AGENTPAY_PARAM_VERDICT(scope),
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
				agentpay_evaluate_model(evaluation, m);
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
