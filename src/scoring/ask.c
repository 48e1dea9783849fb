/*-------------------------------------------------------------------------
 * ask.c
 *		Which agents are asked about a row, and where it stands in the rollout
 *		of each.
 *
 * A row's bucket is a keyed hash of its subject, or, where the point names
 * none or it is NULL, of its id.  The key is the agent's salt, which never
 * changes: so a customer who was inside at 5 percent is inside at 25, in
 * every version.  It is drawn here, while the subject is at hand: in the log
 * it may be sealed.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "scoring/ask.h"
#include "scoring/assignment.h"
#include "scoring/draw.h"

/* What is hashed. */
typedef struct Key
{
	AgentpayEvaluation *evaluation;
	const char *text;
} Key;

static void subject_body(void *arg);
static void
draw(const AgentpayAgentConfig *agent, const char *key, AgentpayAsk *ask);

void
agentpay_ask_draw(AgentpayEvaluation *evaluation)
{
	const AgentpayPoint *point = evaluation->point;
	Key key = {.evaluation = evaluation, .text = evaluation->row_id};
	bool forced = agentpay_assignment_forced(evaluation);

	if (point->subject.attno != 0 &&
		!agentpay_evaluate_step(evaluation, point->subject.name, subject_body,
								&key))
		key.text = NULL;
	evaluation->asks = palloc0(sizeof(AgentpayAsk) * point->n_agents);
	for (int i = 0; i < point->n_agents; i++)
	{
		AgentpayAsk *ask = &evaluation->asks[i];

		if (!bms_is_member(i, evaluation->asked) &&
			!bms_is_member(i, evaluation->later))
			continue;
		ask->forced = forced;
		ask->bucket = -1;
		ask->stage = (int16) point->agents[i].config->stage;
		ask->lowered = point->agents[i].config->lowered;
		if (key.text != NULL)
			draw(point->agents[i].config, key.text, ask);
	}
}

/* The text form of the subject; NULL: the row stands for itself. */
static void
subject_body(void *arg)
{
	Key *key = arg;
	AgentpayPoint *point = key->evaluation->point;
	bool isnull;
	Datum value = slot_getattr(key->evaluation->row, point->subject.attno,
							   &isnull);

	if (!isnull)
		key->text = agentpay_text_form(
			point->subject.type,
			OutputFunctionCall(&point->subject_output, value));
}

/* Without a salt, as a restore has it for a while, it stays undrawn. */
static void
draw(const AgentpayAgentConfig *agent, const char *key, AgentpayAsk *ask)
{
	AgentpayDraw numbers;

	if (agent->salt == NULL ||
		!agentpay_draw(VARDATA_ANY(agent->salt), VARSIZE_ANY_EXHDR(agent->salt),
					   key, &numbers))
		return;
	ask->bucket = (int16) agentpay_draw_bucket(numbers.first, 100);
	ask->holdout_bucket = (int16) agentpay_draw_bucket(numbers.second, 10000);
	if (ask->holdout_bucket < agent->holdout)
		ask->stage = -ask->stage;
}

Datum
agentpay_ask_bytes(const AgentpayEvaluation *evaluation)
{
	Size size = sizeof(AgentpayAsk) * evaluation->point->n_agents;
	bytea *bytes;
	int i = -1;

	if (evaluation->asked == NULL || evaluation->table->config->held)
		return (Datum) 0;
	bytes = palloc(VARHDRSZ + size);
	SET_VARSIZE(bytes, VARHDRSZ + size);
	while ((i = bms_next_member(evaluation->asked, i)) >= 0)
		evaluation->asks[i].asked = true;
	memcpy(VARDATA(bytes), evaluation->asks, size);
	return PointerGetDatum(bytes);
}

/* Copied out: in the queue it may stand anywhere. */
AgentpayAsk
agentpay_ask_of(Datum bytes, int agent)
{
	AgentpayAsk ask;

	memcpy(&ask, VARDATA_ANY(DatumGetByteaPP(bytes)) + sizeof(ask) * agent,
		   sizeof(ask));
	return ask;
}
