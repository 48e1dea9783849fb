/*-------------------------------------------------------------------------
 * assignment.c
 *		What becomes of a verdict of the rules: it holds, is let through to
 *		learn its label (explore), or is looked at by somebody (audit).
 *
 * A row is stopped when the rules of a point of role fraud give a verdict
 * marked positive.  Only the tightest one can be let through, and only where
 * the sum of scores alone brought it about: not past a rule with a verdict of
 * its own, nor past one that reads a list.
 *
 * The draw is a keyed hash of the row's id, not a random number: a transaction
 * that is tried again gets the same verdict, and nobody gets another draw by
 * rolling back.  The key is the point's secret salt, so that whoever chooses
 * ids cannot tell which are drawn.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "scoring/assignment.h"

static bool is_declined(const AgentpayEvaluation *evaluation);
static const char *
forced_by(const AgentpayEvaluation *evaluation, bool own_verdicts);
static const char *amount_obstacle(const AgentpayEvaluation *evaluation);
static float4 propensity(const AgentpayEvaluation *evaluation,
						 double explore_percent, double audit_percent);

const char *
agentpay_assignment_obstacle(const AgentpayEvaluation *evaluation)
{
	const char *forced;

	if (!is_declined(evaluation))
		return "the rules do not give the tightest verdict";
	if (evaluation->failed)
		return "an error: on_error decided";
	if (evaluation->point->config->ruleset == NULL)
		return "no ruleset is active";
	forced = forced_by(evaluation, true);
	return forced != NULL ? forced : amount_obstacle(evaluation);
}

/* Whether letting the row through would loosen the tightest verdict. */
static bool
is_declined(const AgentpayEvaluation *evaluation)
{
	const AgentpayPoint *point = evaluation->point;

	/* verdicts stand in the order of their rank */
	return evaluation->verdict == point->config->n_verdicts - 1 &&
		   point->config->verdicts[0].rank >= 0 &&
		   point->stops[evaluation->verdict] && !point->stops[0];
}

bool
agentpay_assignment_forced(const AgentpayEvaluation *evaluation)
{
	const AgentpayPointConfig *config = evaluation->point->config;
	bool own_verdicts;

	if (evaluation->failed)
		return true;
	if (config->ruleset == NULL)
		return false;
	/* elsewhere rules have verdicts as a matter of course */
	own_verdicts = config->ruleset->mode == AGENTPAY_MODE_SCORE &&
				   strcmp(config->role, "fraud") == 0;
	return forced_by(evaluation, own_verdicts) != NULL;
}

/*
 * What forced the verdict; own_verdicts: also a rule's own verdict.
 *
 * The rules that matched are found by their codes, which stand among the
 * reasons in the same order, as the same datums.
 */
static const char *
forced_by(const AgentpayEvaluation *evaluation, bool own_verdicts)
{
	const AgentpayRuleset *ruleset = &evaluation->point->rulesets[0];
	int reason = 0;

	for (int i = 0; i < ruleset->n_rules && reason < evaluation->n_reasons; i++)
	{
		const AgentpayRule *rule = &ruleset->rules[i];

		if (rule->code != evaluation->reasons[reason])
			continue;
		reason++;
		if (rule->config->verdict > 0 && own_verdicts)
			return "a rule that matched has a verdict of its own";
		if (rule->condition->reads_lists)
			return "a rule that matched reads a list";
	}
	return NULL;
}

static const char *
amount_obstacle(const AgentpayEvaluation *evaluation)
{
	const AgentpayPointConfig *config = evaluation->point->config;
	Numeric most = config->explore_max_amount;

	if (config->amount_column != NULL && evaluation->amount == (Datum) 0)
		return "the amount is not known";
	if (most != NULL &&
		DatumGetBool(DirectFunctionCall2(numeric_gt, evaluation->amount,
										 NumericGetDatum(most))))
		return "the amount is above explore_max_amount";
	return NULL;
}

float4
agentpay_assignment_propensity(const AgentpayEvaluation *evaluation)
{
	const AgentpayPointConfig *config = evaluation->point->config;
	bool explores = config->explore_percent > 0 &&
					agentpay_assignment_obstacle(evaluation) == NULL;

	return propensity(evaluation, explores ? config->explore_percent : 0,
					  config->audit_percent);
}

static float4
propensity(const AgentpayEvaluation *evaluation, double explore_percent,
		   double audit_percent)
{
	const AgentpayPoint *point = evaluation->point;

	if (point->config->labels_complete || !point->stops[evaluation->verdict])
		return 1;
	return (float4) agentpay_draw_propensity(explore_percent, audit_percent);
}

AgentpayAssigned
agentpay_assignment_draw(const AgentpayEvaluation *evaluation, bool may_explore)
{
	const AgentpayPointConfig *config = evaluation->point->config;
	AgentpayAssigned assigned = {.verdict = evaluation->verdict, .answer = -1};
	double explore_percent = may_explore ? config->explore_percent : 0;
	double audit_percent = config->audit_percent;
	AgentpayDraw numbers = {0};

	if (explore_percent > 0 && agentpay_assignment_obstacle(evaluation) != NULL)
		explore_percent = 0;
	/* where libcrypto fails, nothing is drawn */
	if ((explore_percent > 0 || audit_percent > 0) &&
		!agentpay_draw(VARDATA_ANY(config->salt),
					   VARSIZE_ANY_EXHDR(config->salt), evaluation->row_id,
					   &numbers))
		explore_percent = audit_percent = 0;
	assigned.propensity = propensity(evaluation, explore_percent,
									 audit_percent);
	if (agentpay_draw_below(numbers.first, explore_percent))
	{
		assigned.assignment = AGENTPAY_EXPLORE;
		assigned.answer = evaluation->verdict;
		assigned.verdict = 0; /* the loosest */
	}
	else if (agentpay_draw_below(numbers.second, audit_percent))
		assigned.assignment = AGENTPAY_AUDIT;
	return assigned;
}

/* Spelled as decisions.assignment has them. */
static const char *const names[] = {
	[AGENTPAY_TREATMENT] = "treatment",
	[AGENTPAY_EXPLORE] = "explore",
	[AGENTPAY_AUDIT] = "audit",
};

const char *
agentpay_assignment_name(AgentpayAssignment assignment)
{
	return names[assignment];
}

AgentpayAssignment
agentpay_assignment_named(const char *name)
{
	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return AGENTPAY_TREATMENT;
}
