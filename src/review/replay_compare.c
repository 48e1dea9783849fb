/*-------------------------------------------------------------------------
 * replay_compare.c
 *		What a replayed decision says beside what is recorded.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "review/replay.h"

/* The object while it is written. */
typedef struct Difference
{
	StringInfoData json;
	bool any;
} Difference;

static void compare_drawn(Difference *difference, const AgentpayThen *then,
						  const AgentpayRecorded *recorded,
						  const AgentpayReplayed *replayed);
static bool same_text(Datum a, Datum b);
static bool same_score(Datum recorded, Numeric replayed);
static bool
same_reasons(const AgentpayRecorded *recorded, const AgentpayEvaluation *now);
static bool
same_errors(const AgentpayRecorded *recorded, const AgentpayEvaluation *now);
static void put_key(Difference *difference, const char *key);
static void put_names(Difference *difference, const char *key, List *names);
static void
put_texts(Difference *difference, const char *key, Datum before, Datum after);
static void put_text(Difference *difference, Datum value);
static void put_reasons(Difference *difference, int count, Datum *reasons);
static void put_errors(Difference *difference, const AgentpayRecorded *recorded,
					   const AgentpayEvaluation *now);

Datum
agentpay_replay_compare(const AgentpayThen *then,
						const AgentpayRecorded *recorded,
						const AgentpayReplayed *replayed)
{
	const AgentpayEvaluation *now = &replayed->evaluation;
	Difference difference = {.any = false};

	initStringInfo(&difference.json);
	appendStringInfoChar(&difference.json, '{');
	compare_drawn(&difference, then, recorded, replayed);
	if (!same_score(recorded->score, now->score))
	{
		put_key(&difference, "score");
		appendStringInfo(&difference.json, "{\"recorded\":%s,\"replayed\":%s}",
						 recorded->score == (Datum) 0
							 ? "null"
							 : DatumGetCString(
								   DirectFunctionCall1(numeric_out,
													   recorded->score)),
						 now->score == NULL
							 ? "null"
							 : DatumGetCString(DirectFunctionCall1(
								   numeric_out, NumericGetDatum(now->score))));
	}
	if (!same_reasons(recorded, now))
	{
		put_key(&difference, "reasons");
		appendStringInfoString(&difference.json, "{\"recorded\":");
		put_reasons(&difference, recorded->n_reasons, recorded->reasons);
		appendStringInfoString(&difference.json, ",\"replayed\":");
		put_reasons(&difference, now->n_reasons, now->reasons);
		appendStringInfoChar(&difference.json, '}');
	}
	if (!same_errors(recorded, now))
		put_errors(&difference, recorded, now);
	put_names(&difference, "models", replayed->models);
	put_names(&difference, "missing_inputs", replayed->missing);
	appendStringInfoChar(&difference.json, '}');
	if (!difference.any)
		return (Datum) 0;
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(difference.json.data));
}

/* The verdict and what was drawn; of one in shadow, the verdict alone. */
static void
compare_drawn(Difference *difference, const AgentpayThen *then,
			  const AgentpayRecorded *recorded,
			  const AgentpayReplayed *replayed)
{
	const AgentpayAssigned *assigned = &replayed->assigned;
	Datum *texts = then->point->verdict_texts;
	Datum verdict = texts[assigned->verdict];
	Datum answer = assigned->answer < 0 ? (Datum) 0 : texts[assigned->answer];
	Datum assignment;
	float4 propensity = assigned->propensity;

	if (recorded->repeats)
	{
		verdict = recorded->first_verdict;
		answer = recorded->first_answer;
		assignment = recorded->first_assignment;
		propensity = recorded->first_propensity;
	}
	else
		assignment = CStringGetTextDatum(
			agentpay_assignment_name(assigned->assignment));
	put_texts(difference, "verdict", recorded->verdict, verdict);
	if (recorded->in_shadow)
		return;
	put_texts(difference, "answer", recorded->answer, answer);
	put_texts(difference, "assignment", recorded->assignment, assignment);
	if (recorded->propensity != propensity)
	{
		put_key(difference, "propensity");
		appendStringInfo(&difference->json,
						 "{\"recorded\":%.9g,\"replayed\":%.9g}",
						 recorded->propensity, propensity);
	}
}

static bool
same_text(Datum a, Datum b)
{
	if (a == (Datum) 0 || b == (Datum) 0)
		return a == b;
	return DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, a, b));
}

/* The value and its digits. */
static bool
same_score(Datum recorded, Numeric replayed)
{
	if (recorded == (Datum) 0 || replayed == NULL)
		return recorded == (Datum) 0 && replayed == NULL;
	return DatumGetBool(DirectFunctionCall2(numeric_eq, recorded,
											NumericGetDatum(replayed))) &&
		   DatumGetInt32(DirectFunctionCall1(numeric_scale, recorded)) ==
			   DatumGetInt32(DirectFunctionCall1(numeric_scale,
												 NumericGetDatum(replayed)));
}

static bool
same_reasons(const AgentpayRecorded *recorded, const AgentpayEvaluation *now)
{
	if (recorded->n_reasons != now->n_reasons)
		return false;
	for (int i = 0; i < now->n_reasons; i++)
		if (!same_text(recorded->reasons[i], now->reasons[i]))
			return false;
	return true;
}

/* Which ones, and of what kind; messages depend on the server's language. */
static bool
same_errors(const AgentpayRecorded *recorded, const AgentpayEvaluation *now)
{
	JsonbValue errors;
	JsonbValue error;
	JsonbValue state;
	ListCell *lc;
	List *names = NIL;

	if (!agentpay_recorded_member(recorded->detail, "errors", &errors))
		return now->faults == NIL;
	if (errors.type != jbvBinary)
		return false;
	foreach(lc, now->faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (getKeyJsonValueFromContainer(errors.val.binary.data, fault->name,
										 strlen(fault->name), &error) == NULL ||
			error.type != jbvBinary ||
			getKeyJsonValueFromContainer(error.val.binary.data, "sqlstate", 8,
										 &state) == NULL ||
			state.type != jbvString || state.val.string.len != 5)
			return false;
		/* of one name, the last one is recorded */
		if (strncmp(state.val.string.val, unpack_sql_state(fault->sqlstate),
					5) == 0)
			names = list_append_unique(names, makeString(pstrdup(fault->name)));
	}
	return list_length(names) ==
		   (int) JsonContainerSize(errors.val.binary.data);
}

static void
put_key(Difference *difference, const char *key)
{
	if (difference->any)
		appendStringInfoChar(&difference->json, ',');
	difference->any = true;
	escape_json(&difference->json, key);
	appendStringInfoChar(&difference->json, ':');
}

/* Nothing for none. */
static void
put_names(Difference *difference, const char *key, List *names)
{
	ListCell *lc;

	if (names == NIL)
		return;
	put_key(difference, key);
	foreach(lc, names)
	{
		appendStringInfoChar(&difference->json,
							 foreach_current_index(lc) == 0 ? '[' : ',');
		escape_json(&difference->json, lfirst(lc));
	}
	appendStringInfoChar(&difference->json, ']');
}

/* Nothing for equal ones. */
static void
put_texts(Difference *difference, const char *key, Datum before, Datum after)
{
	if (same_text(before, after))
		return;
	put_key(difference, key);
	appendStringInfoString(&difference->json, "{\"recorded\":");
	put_text(difference, before);
	appendStringInfoString(&difference->json, ",\"replayed\":");
	put_text(difference, after);
	appendStringInfoChar(&difference->json, '}');
}

static void
put_text(Difference *difference, Datum value)
{
	if (value == (Datum) 0)
		appendStringInfoString(&difference->json, "null");
	else
		escape_json(&difference->json, TextDatumGetCString(value));
}

static void
put_reasons(Difference *difference, int count, Datum *reasons)
{
	appendStringInfoChar(&difference->json, '[');
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(&difference->json, ',');
		put_text(difference, reasons[i]);
	}
	appendStringInfoChar(&difference->json, ']');
}

static void
put_errors(Difference *difference, const AgentpayRecorded *recorded,
		   const AgentpayEvaluation *now)
{
	JsonbValue errors;
	ListCell *lc;

	put_key(difference, "errors");
	appendStringInfoString(&difference->json, "{\"recorded\":");
	if (agentpay_recorded_member(recorded->detail, "errors", &errors) &&
		errors.type == jbvBinary)
		(void) JsonbToCString(&difference->json, errors.val.binary.data,
							  errors.val.binary.len);
	else
		appendStringInfoString(&difference->json, "null");
	appendStringInfoString(&difference->json, ",\"replayed\":{");
	foreach(lc, now->faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (foreach_current_index(lc) > 0)
			appendStringInfoChar(&difference->json, ',');
		escape_json(&difference->json, fault->name);
		appendStringInfo(&difference->json, ":{\"sqlstate\":\"%s\"}",
						 unpack_sql_state(fault->sqlstate));
	}
	appendStringInfoString(&difference->json, "}}");
}
