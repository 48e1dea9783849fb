/*-------------------------------------------------------------------------
 * authority.c
 *		Why an agent's answer does not count: the one place that says so.
 *
 * What an answer is judged by is read elsewhere: of now, where it is written
 * (agentpay._judge()); of its moment, for replay(); of authorities that are
 * only tried, for simulate().
 *
 * What the rules said themselves is beyond nobody's authority, nor is advice
 * to a person.  Otherwise, of verdicts in order one that tightens needs no
 * row, unless the agent has rows; one that loosens needs a row that may relax,
 * and rules that nothing forced.  Without an order the verdict needs a row, and
 * a route must be enabled.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "control/authority.h"

static bool may_decide(const AgentpayAnswered *answered);

PG_FUNCTION_INFO_V1(agentpay_sql_answer_failure);

const char *
agentpay_authority_failure(const AgentpayAnswered *answered)
{
	if (answered->unsure)
		return "low_confidence";
	if (answered->exempt || may_decide(answered))
		return NULL;
	return "over_authority";
}

static bool
may_decide(const AgentpayAnswered *answered)
{
	if (!answered->known)
		return false;
	if (answered->held ? !answered->small_enough
					   : answered->listed || !answered->ordered)
		return false;
	if (!answered->ordered)
		return !answered->forced && !answered->disabled;
	return answered->tightens >= 0 ||
		   (!answered->forced && answered->held && answered->may_relax);
}

/*
 * agentpay._answer_failure(…): the members of AgentpayAnswered, tightens NULL
 * where verdicts have no order; NULL is false.
 */
Datum
agentpay_sql_answer_failure(PG_FUNCTION_ARGS)
{
#define ARG_BOOL(n) (!PG_ARGISNULL(n) && PG_GETARG_BOOL(n))
	AgentpayAnswered answered = {
		.unsure = ARG_BOOL(0),
		.exempt = ARG_BOOL(1),
		.known = ARG_BOOL(2),
		.ordered = !PG_ARGISNULL(3),
		.tightens = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3),
		.listed = ARG_BOOL(4),
		.held = ARG_BOOL(5),
		.may_relax = ARG_BOOL(6),
		.small_enough = ARG_BOOL(7),
		.forced = ARG_BOOL(8),
		.disabled = ARG_BOOL(9),
	};
	const char *failure = agentpay_authority_failure(&answered);

	if (failure == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(failure));
}
