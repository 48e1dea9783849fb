/*-------------------------------------------------------------------------
 * dry_run.c
 *		evaluate(): what a point would say about a row that is not inserted.
 *
 * The same compiled point and the same evaluation as an INSERT, without the
 * statement's frame: nothing is queued, so nothing is recorded.
 *
 * Locks: AccessShareLock on the point's table, and whatever features read;
 * kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/clock.h"
#include "scoring/assignment.h"
#include "review/dry_run.h"
#include "scoring/evaluate.h"
#include "scoring/row.h"

#define COLUMNS 7

/* A row of the result; empty fields are NULL. */
typedef struct Line
{
	const char *item;
	const char *name;
	char *value;
	bool has_matched;
	bool matched;
	Numeric score;
	const char *verdict;
	char *error;
} Line;

static void evaluate_row(AgentpayEvaluation *evaluation, Relation relation,
						 HeapTupleHeader header);
static void
put_parameters(ReturnSetInfo *result, const AgentpayEvaluation *evaluation);
static char *param_text(const AgentpayPoint *point, int param);
static void
put_rules(ReturnSetInfo *result, const AgentpayEvaluation *evaluation);
static bool has_reason(const AgentpayEvaluation *evaluation, Datum code);
static void
put_verdict(ReturnSetInfo *result, const AgentpayEvaluation *evaluation);
static void
put_shadows(ReturnSetInfo *result, const AgentpayEvaluation *evaluation);
static char *join_reasons(const AgentpayRuling *ruling);
static void
put_label(ReturnSetInfo *result, const AgentpayEvaluation *evaluation);
static bool is_of_item(const AgentpayPoint *point, const char *name);
static void
put_agents(ReturnSetInfo *result, const AgentpayEvaluation *evaluation);
static char *error_of(const AgentpayEvaluation *evaluation, const char *name);
static char *error_among(List *faults, const char *name);
static void put(ReturnSetInfo *result, const Line *line);

PG_FUNCTION_INFO_V1(agentpay_sql_evaluate);

/* agentpay._evaluate(point, table, row): the row is of the table's type. */
Datum
agentpay_sql_evaluate(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Relation relation = table_open(PG_GETARG_OID(1), AccessShareLock);
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(2);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AgentpayTable *table = agentpay_table_get(relation, agentpay_config_get());
	AgentpayEvaluation evaluation = {.table = table,
									 .point = agentpay_review_point(table,
																	name),
									 .decided_at = agentpay_clock_now()};

	if (HeapTupleHeaderGetTypeId(header) != relation->rd_rel->reltype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("row of type %s for table \"%s\"",
						format_type_be(HeapTupleHeaderGetTypeId(header)),
						RelationGetRelationName(relation)),
				 errhint("SELECT * FROM agentpay.evaluate('fraud', '{}');")));
	InitMaterializedSRF(fcinfo, 0);
	agentpay_table_pin(table);
	PG_TRY();
	{
		evaluate_row(&evaluation, relation, header);
		put_parameters(result, &evaluation);
		put_rules(result, &evaluation);
		put_verdict(result, &evaluation);
		put_shadows(result, &evaluation);
		put_label(result, &evaluation);
		put_agents(result, &evaluation);
	}
	PG_FINALLY();
	{
		agentpay_table_unpin(table);
	}
	PG_END_TRY();
	table_close(relation, NoLock);
	return (Datum) 0;
}

AgentpayPoint *
agentpay_review_point(AgentpayTable *table, const char *name)
{
	for (int i = 0; i < table->n_points; i++)
		if (strcmp(table->points[i].config->name, name) == 0)
			return &table->points[i];
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("point \"%s\" does not score rows now", name),
			 errdetail("It is disabled, or has no verdicts."),
			 errhint("UPDATE agentpay.decision_points SET enabled = true WHERE "
					 "point = %s;",
					 quote_literal_cstr(name))));
}

static void
evaluate_row(AgentpayEvaluation *evaluation, Relation relation,
			 HeapTupleHeader header)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation),
													&TTSOpsHeapTuple);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),
						   .t_tableOid = RelationGetRelid(relation),
						   .t_data = header};
	AttrNumber id = evaluation->point->id.attno;

	ItemPointerSetInvalid(&tuple.t_self);
	ExecStoreHeapTuple(&tuple, slot, false);
	evaluation->row = slot;
	/* sampling goes by it */
	evaluation->row_id = slot_attisnull(slot, id)
							 ? ""
							 : agentpay_row_id(evaluation->point, slot);
	agentpay_streams_stop(evaluation->table->streams);
	agentpay_evaluate(evaluation);
	ExecDropSingleTupleTableSlot(slot);
}

/* The features and models that were read. */
static void
put_parameters(ReturnSetInfo *result, const AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;

	for (int i = 0; i < point->config->n_features; i++)
	{
		const char *name = point->config->features[i].name;
		Line line = {.item = "feature",
					 .name = name,
					 .value = param_text(point, i),
					 .error = error_of(evaluation, name)};

		if (point->features[i].needed)
			put(result, &line);
	}
	for (int i = 0; i < point->n_models; i++)
	{
		const char *name = point->models[i].config->name;
		int param = AGENTPAY_PARAM_MODEL(&point->scope, i);
		Line line = {.item = "model",
					 .name = name,
					 .value = param_text(point, param),
					 .error = error_of(evaluation, name)};

		if (point->models[i].needed || line.value != NULL)
			put(result, &line);
	}
}

/* A feature's or model's value as text, as rules see it; NULL for NULL. */
static char *
param_text(const AgentpayPoint *point, int param)
{
	const ParamExternData *data = &point->params->params[param];
	AgentpayExpressionState saved;
	Oid output;
	bool varlena;
	char *volatile text = NULL;

	if (data->isnull)
		return NULL;
	getTypeOutputInfo(data->ptype, &output, &varlena);
	agentpay_expression_enter(&point->scope, false, &saved);
	PG_TRY();
	{
		text = OidOutputFunctionCall(output, data->value);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
	return text;
}

/* In the order in which they decide. */
static void
put_rules(ReturnSetInfo *result, const AgentpayEvaluation *evaluation)
{
	AgentpayPoint *point = evaluation->point;
	const AgentpayRuleset *ruleset = &point->rulesets[0];
	bool decided = false;

	for (int i = 0; i < ruleset->n_rules; i++)
	{
		const AgentpayRule *rule = &ruleset->rules[i];
		const AgentpayRuleConfig *config = rule->config;
		Line line = {.item = "rule",
					 .name = config->code,
					 .error = error_of(evaluation, config->code)};

		if (ruleset->config->mode == AGENTPAY_MODE_SCORE)
			line.score = config->score;
		if (config->verdict >= 0)
			line.verdict = point->config->verdicts[config->verdict].name;
		if (decided)
			line.value = pstrdup("not reached");
		else if (config->snoozed_until > evaluation->decided_at)
			line.value = pstrdup("snoozed");
		else if (line.error == NULL)
		{
			line.has_matched = true;
			line.matched = has_reason(evaluation, rule->code);
			decided = line.matched &&
					  ruleset->config->mode == AGENTPAY_MODE_FIRST_MATCH;
		}
		put(result, &line);
	}
}

/* Reasons are the rules' own codes, not copies. */
static bool
has_reason(const AgentpayEvaluation *evaluation, Datum code)
{
	for (int i = 0; i < evaluation->n_reasons; i++)
		if (evaluation->reasons[i] == code)
			return true;
	return false;
}

/* With what failed beside features, models, rules and agents: columns. */
static void
put_verdict(ReturnSetInfo *result, const AgentpayEvaluation *evaluation)
{
	const AgentpayPointConfig *config = evaluation->point->config;
	Line line = {.item = "verdict",
				 .name = config->name,
				 .score = evaluation->score,
				 .verdict = config->verdicts[evaluation->verdict].name};
	StringInfoData errors;
	ListCell *lc;

	if (config->ruleset != NULL)
		line.value = psprintf("%d", config->ruleset->version);
	initStringInfo(&errors);
	if (evaluation->failed && config->ruleset != NULL)
		appendStringInfo(&errors, "on_error: %s",
						 config->verdicts[config->ruleset->on_error].name);
	foreach(lc, evaluation->faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (!is_of_item(evaluation->point, fault->name))
			appendStringInfo(&errors, "%s%s: %s", errors.len > 0 ? "; " : "",
							 fault->name, fault->message);
	}
	if (errors.len > 0)
		line.error = errors.data;
	put(result, &line);
}

/* A line for each version in shadow: its verdict, its reasons, its errors. */
static void
put_shadows(ReturnSetInfo *result, const AgentpayEvaluation *evaluation)
{
	const AgentpayPoint *point = evaluation->point;

	for (int i = 0; i < evaluation->n_shadows; i++)
	{
		const AgentpayRuling *ruling = &evaluation->shadows[i];
		const AgentpayRulesetConfig *config = point->rulesets[i + 1].config;
		Line line = {.item = "shadow",
					 .name = psprintf("%d", config->version),
					 .value = join_reasons(ruling),
					 .score = ruling->score,
					 .verdict = point->config->verdicts[ruling->verdict].name};
		StringInfoData errors;
		ListCell *lc;

		initStringInfo(&errors);
		if (ruling->failed)
			appendStringInfo(&errors, "on_error: %s",
							 point->config->verdicts[config->on_error].name);
		foreach(lc, ruling->faults)
		{
			const AgentpayFault *fault = lfirst(lc);

			appendStringInfo(&errors, "%s%s: %s", errors.len > 0 ? "; " : "",
							 fault->name, fault->message);
		}
		if (errors.len > 0)
			line.error = errors.data;
		put(result, &line);
	}
}

/* The codes of the rules that matched, or NULL. */
static char *
join_reasons(const AgentpayRuling *ruling)
{
	StringInfoData codes;

	if (ruling->n_reasons == 0)
		return NULL;
	initStringInfo(&codes);
	for (int i = 0; i < ruling->n_reasons; i++)
		appendStringInfo(&codes, "%s%s", i > 0 ? ", " : "",
						 TextDatumGetCString(ruling->reasons[i]));
	return codes.data;
}

/*
 * Where the point draws rows to learn their labels: whether this one could be
 * let through, and how probable a label is.  Not what the draw says, or who
 * may ask could choose an id that is drawn.
 */
static void
put_label(ReturnSetInfo *result, const AgentpayEvaluation *evaluation)
{
	const AgentpayPointConfig *config = evaluation->point->config;
	Line explore = {.item = "explore", .name = config->name};
	Line propensity = {.item = "propensity", .name = config->name};
	const char *obstacle = agentpay_assignment_obstacle(evaluation);

	if (config->explore_percent > 0)
	{
		explore.has_matched = true;
		explore.matched = obstacle == NULL;
		explore.value = obstacle == NULL ? NULL : pstrdup(obstacle);
		put(result, &explore);
	}
	if (config->explore_percent <= 0 && config->audit_percent <= 0)
		return;
	propensity.value = DatumGetCString(DirectFunctionCall1(
		float4out, Float4GetDatum(agentpay_assignment_propensity(evaluation))));
	put(result, &propensity);
}

/* Whether the name, as a pointer, is one that has a row of its own. */
static bool
is_of_item(const AgentpayPoint *point, const char *name)
{
	for (int i = 0; i < point->config->n_features; i++)
		if (point->config->features[i].name == name)
			return true;
	for (int i = 0; i < point->n_models; i++)
		if (point->models[i].config->name == name)
			return true;
	for (int i = 0; i < point->rulesets[0].n_rules; i++)
		if (point->rulesets[0].rules[i].config->code == name)
			return true;
	for (int i = 0; i < point->n_agents; i++)
		if (point->agents[i].config->name == name)
			return true;
	return false;
}

static void
put_agents(ReturnSetInfo *result, const AgentpayEvaluation *evaluation)
{
	const AgentpayPoint *point = evaluation->point;

	for (int i = 0; i < point->n_agents; i++)
	{
		const char *name = point->agents[i].config->name;
		Line line = {.item = "agent",
					 .name = name,
					 .error = error_of(evaluation, name)};

		line.has_matched = line.error == NULL;
		line.matched = bms_is_member(i, evaluation->asked);
		put(result, &line);
	}
}

/*
 * What failed under that very name (a pointer: rules and columns may agree),
 * for the rules or for a version in shadow.
 */
static char *
error_of(const AgentpayEvaluation *evaluation, const char *name)
{
	char *error = error_among(evaluation->faults, name);

	for (int i = 0; i < evaluation->n_shadows && error == NULL; i++)
		error = error_among(evaluation->shadows[i].faults, name);
	return error;
}

static char *
error_among(List *faults, const char *name)
{
	ListCell *lc;

	foreach(lc, faults)
	{
		const AgentpayFault *fault = lfirst(lc);

		if (fault->name == name)
			return psprintf("%s %s", unpack_sql_state(fault->sqlstate),
							fault->message);
	}
	return NULL;
}

static void
put(ReturnSetInfo *result, const Line *line)
{
	const char *const texts[COLUMNS] = {
		[0] = line->item,	 [1] = line->name,	[2] = line->value,
		[5] = line->verdict, [6] = line->error,
	};
	Datum values[COLUMNS] = {0};
	bool nulls[COLUMNS];

	for (int i = 0; i < COLUMNS; i++)
	{
		nulls[i] = texts[i] == NULL;
		if (!nulls[i])
			values[i] = CStringGetTextDatum(texts[i]);
	}
	values[3] = BoolGetDatum(line->matched);
	nulls[3] = !line->has_matched;
	values[4] = NumericGetDatum(line->score);
	nulls[4] = line->score == NULL;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
