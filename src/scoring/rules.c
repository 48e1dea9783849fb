/*-------------------------------------------------------------------------
 * rules.c
 *		The verdict of the active rules.
 *
 * Mode score: the scores of the rules that match add up, exactly, and the
 * tightest verdict whose threshold the sum reaches holds; a rule's own verdict
 * can only tighten that.  Mode first_match: the first rule that matches, by
 * priority and then code, decides.  NULL is no match.  Without a match the
 * default verdict holds.
 *
 * A rule that fails decides nothing: the verdict is the stricter of on_error
 * and what the other rules say; where verdicts have no order, on_error.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "scoring/evaluate.h"

/* A rule on its way through agentpay_evaluate_step(). */
typedef struct Trial
{
	AgentpayEvaluation *evaluation;
	AgentpayRule *rule;
	bool matched;
} Trial;

static bool matches(AgentpayEvaluation *evaluation, AgentpayRule *rule);
static void trial_body(void *arg);
static void evaluate_score(AgentpayEvaluation *evaluation);
static void evaluate_first_match(AgentpayEvaluation *evaluation);
static int
reached(const AgentpayRulesetConfig *ruleset, Numeric sum, int verdict);

void
agentpay_rules_evaluate(AgentpayEvaluation *evaluation)
{
	const AgentpayPointConfig *config = evaluation->point->config;

	evaluation->verdict = config->default_verdict;
	evaluation->score = NULL;
	evaluation->n_reasons = 0;
	if (config->ruleset == NULL)
		return;
	if (config->ruleset->mode == AGENTPAY_MODE_SCORE)
		evaluate_score(evaluation);
	else
		evaluate_first_match(evaluation);
	if (!evaluation->failed)
		return;
	/* verdicts stand in the order of their rank */
	if (config->verdicts[0].rank < 0)
		evaluation->verdict = config->ruleset->on_error;
	else
		evaluation->verdict = Max(evaluation->verdict,
								  config->ruleset->on_error);
}

static void
evaluate_score(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	const AgentpayRulesetConfig *ruleset = point->config->ruleset;
	Datum sum = NumericGetDatum(int64_to_numeric(0));
	int verdict = 0; /* the loosest */

	for (int i = 0; i < point->n_rules; i++)
	{
		AgentpayRule *rule = &point->rules[i];

		if (!matches(evaluation, rule))
			continue;
		evaluation->reasons[evaluation->n_reasons++] = rule->code;
		sum = DirectFunctionCall2(numeric_add, sum,
								  NumericGetDatum(rule->config->score));
		verdict = Max(verdict, rule->config->verdict);
	}
	evaluation->score = DatumGetNumeric(sum);
	if (evaluation->n_reasons > 0)
		evaluation->verdict = reached(ruleset, evaluation->score, verdict);
}

/* The tightest verdict that the sum reaches, or the given one. */
static int
reached(const AgentpayRulesetConfig *ruleset, Numeric sum, int verdict)
{
	for (int i = 0; i < ruleset->n_thresholds; i++)
	{
		const AgentpayThreshold *threshold = &ruleset->thresholds[i];

		if (threshold->verdict > verdict &&
			DatumGetBool(
				DirectFunctionCall2(numeric_ge, NumericGetDatum(sum),
									NumericGetDatum(threshold->score))))
			verdict = threshold->verdict;
	}
	return verdict;
}

static void
evaluate_first_match(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;

	for (int i = 0; i < point->n_rules; i++)
	{
		AgentpayRule *rule = &point->rules[i];

		if (!matches(evaluation, rule))
			continue;
		evaluation->reasons[evaluation->n_reasons++] = rule->code;
		if (rule->config->verdict >= 0)
			evaluation->verdict = rule->config->verdict;
		return;
	}
}

/* Whether the rule holds for the row; a failure is noted, and no match. */
static bool
matches(AgentpayEvaluation *evaluation, AgentpayRule *rule)
{
	Trial trial = {.evaluation = evaluation, .rule = rule};

	if (rule->config->snoozed_until > evaluation->decided_at)
		return false;
	if (rule->condition == NULL)
	{
		agentpay_evaluate_fault(evaluation, rule->config->code, rule->broken);
		evaluation->failed = true;
		return false;
	}
	if (!agentpay_evaluate_step(evaluation, rule->config->code, trial_body,
								&trial))
	{
		evaluation->failed = true;
		return false;
	}
	return trial.matched;
}

static void
trial_body(void *arg)
{
	Trial *trial = arg;
	bool isnull;
	Datum value = agentpay_expression_eval(trial->rule->condition,
										   trial->evaluation->table->econtext,
										   &isnull);

	trial->matched = !isnull && DatumGetBool(value);
}
