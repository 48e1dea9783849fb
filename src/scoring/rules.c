/*-------------------------------------------------------------------------
 * rules.c
 *		The verdict of the active rules, and of the versions in shadow.
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
 * A thousand rules a row are to cost little more than their expressions: only
 * when something failed does each one run on its own (tried()), and whole
 * scores add up as integers.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "scoring/evaluate.h"
#include "scoring/table_point.h"

/* A rule on its way through agentpay_evaluate_step(). */
typedef struct Trial
{
	AgentpayEvaluation *evaluation;
	AgentpayRule *rule;
	bool matched;
} Trial;

static void judge_shadow(AgentpayEvaluation *evaluation, int shadow);
static void judge(AgentpayEvaluation *evaluation, AgentpayRuleset *ruleset,
				  AgentpayRuling *ruling);
static List *
faults_of(const AgentpayEvaluation *evaluation, const AgentpayRuleset *ruleset);
static void leave_shadow_faults(AgentpayEvaluation *evaluation);
static inline bool matches(AgentpayEvaluation *evaluation, AgentpayRule *rule,
						   AgentpayRuling *ruling);
static inline bool holds(AgentpayEvaluation *evaluation, AgentpayRule *rule);
static bool tried(AgentpayEvaluation *evaluation, AgentpayRule *rule,
				  AgentpayRuling *ruling);
static void trial_body(void *arg);
static void evaluate_score(AgentpayEvaluation *evaluation,
						   AgentpayRuleset *ruleset, AgentpayRuling *ruling);
static void
evaluate_first_match(AgentpayEvaluation *evaluation, AgentpayRuleset *ruleset,
					 AgentpayRuling *ruling);
static Numeric added(Numeric sum, Numeric score);
static int
reached(const AgentpayRulesetConfig *ruleset, Numeric sum, int verdict);

void
agentpay_rules_evaluate(AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	AgentpayRuling ruling;

	evaluation->n_shadows = point->n_rulesets - 1;
	if (evaluation->n_shadows > 0)
	{
		evaluation->shadows = palloc0(sizeof(AgentpayRuling) *
									  evaluation->n_shadows);
		for (int i = 0; i < evaluation->n_shadows; i++)
			judge_shadow(evaluation, i);
		leave_shadow_faults(evaluation);
	}
	judge(evaluation, &point->rulesets[0], &ruling);
	evaluation->verdict = ruling.verdict;
	evaluation->score = ruling.score;
	evaluation->n_reasons = ruling.n_reasons;
	evaluation->reasons = ruling.reasons;
	evaluation->failed = ruling.failed;
}

/* What fails in it is noted with its own verdict, and nowhere else. */
static void
judge_shadow(AgentpayEvaluation *evaluation, int shadow)
{
	AgentpayRuleset *ruleset = &evaluation->point->rulesets[shadow + 1];
	AgentpayRuling *ruling = &evaluation->shadows[shadow];
	List *others = evaluation->faults;

	evaluation->faults = faults_of(evaluation, ruleset);
	judge(evaluation, ruleset, ruling);
	ruling->faults = evaluation->faults;
	evaluation->faults = others;
}

/* Of what failed before the rules, what concerns that version. */
static List *
faults_of(const AgentpayEvaluation *evaluation, const AgentpayRuleset *ruleset)
{
	List *faults = NIL;
	ListCell *lc;

	foreach(lc, evaluation->faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (fault->param >= 0 ? bms_is_member(fault->param, ruleset->reads)
							  : evaluation->failed)
			faults = lappend(faults, lfirst(lc));
	}
	return faults;
}

/* What only versions in shadow read is noted with them, and not here. */
static void
leave_shadow_faults(AgentpayEvaluation *evaluation)
{
	ListCell *lc;

	foreach(lc, evaluation->faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (fault->param >= 0 &&
			agentpay_point_only_shadows(evaluation->point, fault->param))
			evaluation->faults = foreach_delete_current(evaluation->faults, lc);
	}
}

/* What the version says of the row; failures are noted in evaluation. */
static void
judge(AgentpayEvaluation *evaluation, AgentpayRuleset *ruleset,
	  AgentpayRuling *ruling)
{
	const AgentpayPointConfig *config = evaluation->point->config;

	memset(ruling, 0, sizeof(*ruling));
	ruling->verdict = config->default_verdict;
	ruling->reasons = palloc(sizeof(Datum) * (ruleset->n_rules + 1));
	ruling->failed = evaluation->failed ||
					 bms_overlap(evaluation->lost, ruleset->reads);
	if (ruleset->config == NULL)
		return;
	if (ruleset->config->mode == AGENTPAY_MODE_SCORE)
		evaluate_score(evaluation, ruleset, ruling);
	else
		evaluate_first_match(evaluation, ruleset, ruling);
	if (!ruling->failed)
		return;
	/* verdicts stand in the order of their rank */
	if (config->verdicts[0].rank < 0)
		ruling->verdict = ruleset->config->on_error;
	else
		ruling->verdict = Max(ruling->verdict, ruleset->config->on_error);
}

static void
evaluate_score(AgentpayEvaluation *evaluation, AgentpayRuleset *ruleset,
			   AgentpayRuling *ruling)
{
	int64 whole = 0;	/* of the scores that are whole */
	Numeric sum = NULL; /* of the others */
	int verdict = 0;	/* the loosest */

	for (int i = 0; i < ruleset->n_rules; i++)
	{
		AgentpayRule *rule = &ruleset->rules[i];

		if (!matches(evaluation, rule, ruling))
			continue;
		ruling->reasons[ruling->n_reasons++] = rule->code;
		if (rule->is_whole)
			whole += rule->points;
		else
			sum = added(sum, rule->config->score);
		verdict = Max(verdict, rule->config->verdict);
	}
	ruling->score = added(sum, int64_to_numeric(whole));
	if (ruling->n_reasons > 0)
		ruling->verdict = reached(ruleset->config, ruling->score, verdict);
}

/* What is not NULL of both, or their sum. */
static Numeric
added(Numeric sum, Numeric score)
{
	if (sum == NULL)
		return score;
	return DatumGetNumeric(DirectFunctionCall2(numeric_add,
											   NumericGetDatum(sum),
											   NumericGetDatum(score)));
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
evaluate_first_match(AgentpayEvaluation *evaluation, AgentpayRuleset *ruleset,
					 AgentpayRuling *ruling)
{
	for (int i = 0; i < ruleset->n_rules; i++)
	{
		AgentpayRule *rule = &ruleset->rules[i];

		if (!matches(evaluation, rule, ruling))
			continue;
		ruling->reasons[ruling->n_reasons++] = rule->code;
		if (rule->config->verdict >= 0)
			ruling->verdict = rule->config->verdict;
		return;
	}
}

/* Whether the rule holds for the row; a failure is noted, and no match. */
static inline bool
matches(AgentpayEvaluation *evaluation, AgentpayRule *rule,
		AgentpayRuling *ruling)
{
	if (rule->config->snoozed_until > evaluation->decided_at)
		return false;
	if (rule->condition == NULL || evaluation->careful)
		return tried(evaluation, rule, ruling);
	return holds(evaluation, rule);
}

static inline bool
holds(AgentpayEvaluation *evaluation, AgentpayRule *rule)
{
	bool isnull;
	Datum value = agentpay_expression_eval(rule->condition,
										   evaluation->table->econtext,
										   &isnull);

	return !isnull && DatumGetBool(value);
}

/* The same of a rule that may fail, in a subtransaction of its own. */
static bool
tried(AgentpayEvaluation *evaluation, AgentpayRule *rule,
	  AgentpayRuling *ruling)
{
	Trial trial = {.evaluation = evaluation, .rule = rule};

	if (rule->condition == NULL)
	{
		agentpay_evaluate_fault(evaluation, rule->config->code, rule->broken);
		ruling->failed = true;
		return false;
	}
	if (!agentpay_evaluate_step(evaluation, rule->config->code, trial_body,
								&trial))
	{
		ruling->failed = true;
		return false;
	}
	return trial.matched;
}

static void
trial_body(void *arg)
{
	Trial *trial = arg;

	trial->matched = holds(trial->evaluation, trial->rule);
}
