/*-------------------------------------------------------------------------
 * record.c
 *		AFTER ROW: appends the decision of a row that landed, and a task for
 *		each agent that is asked.
 *
 * Rows go to the logs directly, past SQL (base/appender.c).
 *
 * Locking: as the appender.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/errors.h"
#include "base/settings.h"
#include "evidence/decisions.h"
#include "scoring/ask.h"
#include "scoring/assignment.h"
#include "scoring/row.h"
#include "scoring/sealing.h"

/* The same for every rules decision; made once per session. */
typedef struct Constants
{
	bool ready;
	Datum rules;
	Datum shadow_rules;
	Datum live;
	Datum shadow;
	Datum assignments[AGENTPAY_AUDIT + 1];
	Datum no_reasons;
	Datum no_cost;
} Constants;

static Constants constants;

static void note_change(AgentpayFrame *frame, TriggerData *trigger);
static void note_replicated(AgentpayFrame *frame, TriggerData *trigger);
static void record_insert(AgentpayFrame *frame, TriggerData *trigger);
static void
land(AgentpayFrame *frame, AgentpayTable *table, const AgentpayEntry *entry,
	 TupleTableSlot *row, const bytea *digest);
static void
score_late(AgentpayFrame *frame, AgentpayTable *table, TupleTableSlot *row);
static List *
changed_columns(const AgentpayTable *table, const AgentpayEntry *entry,
				const bytea *after, bool renamed);
static List *with_outcome(List *changed, const AgentpayPoint *point,
						  int verdict, TupleTableSlot *row);
static void refuse_changed(List *changed);
static Datum detail_with(Datum detail, List *changed);
static void append_decision(AgentpayFrame *frame, const AgentpayTable *table,
							const AgentpayEntry *entry, TupleTableSlot *row,
							Datum row_id, List *changed);
static void open_case(AgentpayFrame *frame, const AgentpayPoint *point,
					  const AgentpayEntry *entry, TupleTableSlot *row,
					  const pg_uuid_t *decision_id);
static void append_tasks(AgentpayFrame *frame, const AgentpayPoint *point,
						 const AgentpayEntry *entry, Datum row_id,
						 const pg_uuid_t *decision_id);
static int times_asked(const AgentpayPointConfig *point,
					   const AgentpayAgentConfig *agent, Datum row_id);
static void prepare_constants(void);

PG_FUNCTION_INFO_V1(agentpay_record_row);

/* The trigger "~agentpay_record". */
Datum
agentpay_record_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("agentpay._record_row() was not called as an AFTER "
						"ROW trigger"),
				 errhint("SELECT agentpay.attach(...) makes the trigger.")));
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		note_change(agentpay_frame_current(), trigger);
	else if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		record_insert(agentpay_frame_current(), trigger);
	else
		note_replicated(agentpay_frame_current(), trigger);
	return PointerGetDatum(NULL);
}

/* Windows count the row as it is now. */
static void
note_change(AgentpayFrame *frame, TriggerData *trigger)
{
	AgentpayTable *table = agentpay_frame_table(frame, trigger->tg_relation);
	HeapTupleHeader before = trigger->tg_trigtuple->t_data;

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(before)))
		agentpay_streams_deleted(table->streams, trigger->tg_trigslot);
	else
		agentpay_streams_changed(table->streams, trigger->tg_trigslot,
								 TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)
									 ? trigger->tg_newslot
									 : NULL);
}

/* A row that was scored where it comes from counts in windows all the same. */
static void
note_replicated(AgentpayFrame *frame, TriggerData *trigger)
{
	AgentpayTable *table = agentpay_frame_table(frame, trigger->tg_relation);

	agentpay_streams_landed(table->streams, (Datum) 0, trigger->tg_trigslot,
							true);
}

/* Takes the row's entries out of the queue and appends a decision for each. */
static void
record_insert(AgentpayFrame *frame, TriggerData *trigger)
{
	AgentpayTable *table = agentpay_frame_table(frame, trigger->tg_relation);
	TupleTableSlot *row = trigger->tg_trigslot;
	const AgentpayEntry *entry;
	List *changed = NIL;
	bytea *digest;
	bool renamed;

	if (table->n_points == 0)
	{
		agentpay_streams_landed(table->streams, (Datum) 0, row, true);
		return;
	}
	digest = agentpay_row_digest(table, row);
	entry = agentpay_frame_take(frame, table->leaf,
								agentpay_row_id(&table->points[0], row), digest,
								&renamed);
	if (entry == NULL)
	{
		score_late(frame, table, row);
		return;
	}
	land(frame, table, entry, row, digest);
	while (entry != NULL)
	{
		AgentpayPoint *point = &table->points[entry->point];

		if (!entry->moved)
		{
			if (entry->digest != (Datum) 0)
				changed = changed_columns(table, entry, digest, renamed);
			append_decision(frame, table, entry, row,
							CStringGetTextDatum(agentpay_row_id(point, row)),
							entry->ruleset > 0
								? NIL
								: with_outcome(changed, point,
											   entry->assigned.verdict, row));
		}
		entry = agentpay_frame_take_next(frame);
	}
}

/* Tells streams what became of the row that BEFORE scored. */
static void
land(AgentpayFrame *frame, AgentpayTable *table, const AgentpayEntry *entry,
	 TupleTableSlot *row, const bytea *digest)
{
	Datum added = entry->added;
	bytea *before;

	if (entry->moved)
	{
		agentpay_streams_changed(table->streams, row, NULL);
		return;
	}
	if (added == (Datum) 0)
		added = agentpay_frame_added(frame, entry->row);
	/* others of a statement that may skip rows were settled */
	if (added == (Datum) 0)
		return;
	before = DatumGetByteaPP(entry->digest);
	agentpay_streams_landed(table->streams, added, row,
							memcmp(VARDATA_ANY(before), VARDATA_ANY(digest),
								   VARSIZE_ANY_EXHDR(before)) != 0);
}

/*
 * A row that BEFORE did not see, because somebody disabled that trigger: its
 * decision is recorded all the same.
 */
static void
score_late(AgentpayFrame *frame, AgentpayTable *table, TupleTableSlot *row)
{
	agentpay_streams_stop(table->streams);
	for (int i = 0; i < table->n_points; i++)
	{
		AgentpayEvaluation evaluation;
		AgentpayEntry entry;

		agentpay_row_score(frame, table, i, row, &evaluation, &entry);
		append_decision(frame, table, &entry, row,
						CStringGetTextDatum(entry.row_id), NIL);
		for (int s = 0; s < evaluation.n_shadows; s++)
		{
			AgentpayEntry shadow;

			agentpay_row_shadow(&evaluation, s, &entry, &shadow);
			append_decision(frame, table, &shadow, row,
							CStringGetTextDatum(entry.row_id), NIL);
		}
	}
	agentpay_frame_unlock(frame);
	agentpay_streams_landed(table->streams, (Datum) 0, row, true);
}

/* Names of columns that were scored with another value than the row has. */
static List *
changed_columns(const AgentpayTable *table, const AgentpayEntry *entry,
				const bytea *after, bool renamed)
{
	bytea *before = DatumGetByteaPP(entry->digest);
	Size size = VARSIZE_ANY_EXHDR(before);
	List *changed = NIL;

	if (!renamed && memcmp(VARDATA_ANY(before), VARDATA(after), size) == 0)
		return NIL;
	for (int i = 0; i < table->n_used; i++)
		if (memcmp(VARDATA_ANY(before) + i * sizeof(uint32),
				   VARDATA(after) + i * sizeof(uint32), sizeof(uint32)) != 0)
			changed = lappend(changed, table->used[i].name);
	if (changed != NIL &&
		agentpay_changed_after_scoring == AGENTPAY_CHANGED_ERROR)
		refuse_changed(changed);
	return changed;
}

/* The same with the outcome, when it is not the verdict that BEFORE gave. */
static List *
with_outcome(List *changed, const AgentpayPoint *point, int verdict,
			 TupleTableSlot *row)
{
	const AgentpayColumn *column = &point->outcome.column;
	bool isnull;
	Datum value;

	if (column->attno == 0 || point->outcome_broken != NULL)
		return changed;
	value = slot_getattr(row, column->attno, &isnull);
	if (!isnull && datum_image_eq(value, point->outcomes[verdict],
								  column->by_value, column->length))
		return changed;
	changed = lappend(list_copy(changed), column->name);
	if (agentpay_changed_after_scoring == AGENTPAY_CHANGED_ERROR)
		refuse_changed(changed);
	return changed;
}

static void
refuse_changed(List *changed)
{
	StringInfoData names;
	ListCell *lc;

	initStringInfo(&names);
	foreach(lc, changed)
		appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "",
						 (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ERRCODE_AGENTPAY_CHANGED_AFTER_SCORING),
			 errmsg("the row changed after it was scored: %s", names.data),
			 errdetail("Another trigger changed what the rules had read or "
					   "decided, and agentpay.changed_after_scoring is "
					   "\"error\"."),
			 errhint("Give that trigger a name that sorts before "
					 "\"~agentpay_score\".")));
}

/* The detail, with "changed_after_scoring": [names]. */
static Datum
detail_with(Datum detail, List *changed)
{
	JsonbParseState *state = NULL;
	JsonbValue value;
	ListCell *lc;
	Datum addition;

	value.type = jbvString;
	value.val.string.val = "changed_after_scoring";
	value.val.string.len = strlen("changed_after_scoring");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &value);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, changed)
	{
		value.val.string.val = lfirst(lc);
		value.val.string.len = strlen(lfirst(lc));
		pushJsonbValue(&state, WJB_ELEM, &value);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	addition = JsonbPGetDatum(
		JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	if (detail == (Datum) 0)
		return addition;
	return DirectFunctionCall2(jsonb_concat, detail, addition);
}

/*
 * Appends the decision, of the rules or of a version in shadow, and the tasks
 * of the agents that are asked.
 */
static void
append_decision(AgentpayFrame *frame, const AgentpayTable *table,
				const AgentpayEntry *entry, TupleTableSlot *row, Datum row_id,
				List *changed)
{
	const AgentpayPoint *point = &table->points[entry->point];
	const AgentpayRulesetConfig *ruleset =
		point->rulesets[entry->ruleset].config;
	bool in_shadow = entry->ruleset > 0;
	const AgentpayAssigned *assigned = &entry->assigned;
	Datum values[AGENTPAY_DECISION_COLUMNS];
	bool nulls[AGENTPAY_DECISION_COLUMNS];
	pg_uuid_t id;

	prepare_constants();
	memset(values, 0, sizeof(values));
	if (entry->sealed == (Datum) 0)
		agentpay_uuid_v7(entry->decided_at, &id);
	else
		agentpay_sealing_put(entry->sealed, &id, values);
	values[AGENTPAY_DECISION_ID] = UUIDPGetDatum(&id);
	values[AGENTPAY_DECISION_POINT] = point->name;
	values[AGENTPAY_DECISION_ROW_ID] = row_id;
	values[AGENTPAY_DECISION_AMOUNT] = entry->amount;
	values[AGENTPAY_DECISION_CURRENCY] = entry->currency;
	values[AGENTPAY_DECISION_BASE_AMOUNT] = entry->base_amount;
	values[AGENTPAY_DECISION_KIND] = in_shadow ? constants.shadow_rules
											   : constants.rules;
	values[AGENTPAY_DECISION_AUTHORITY] = in_shadow ? constants.shadow
													: constants.live;
	values[AGENTPAY_DECISION_VERDICT] = point->verdict_texts[assigned->verdict];
	if (assigned->answer >= 0)
		values[AGENTPAY_DECISION_ANSWER] =
			point->verdict_texts[assigned->answer];
	values[AGENTPAY_DECISION_ASSIGNMENT] =
		constants.assignments[assigned->assignment];
	values[AGENTPAY_DECISION_SCORE] = entry->score;
	values[AGENTPAY_DECISION_REASONS] = entry->reasons != (Datum) 0
											? entry->reasons
											: constants.no_reasons;
	values[AGENTPAY_DECISION_INPUTS] = entry->inputs;
	values[AGENTPAY_DECISION_COST] = constants.no_cost;
	values[AGENTPAY_DECISION_DETAIL] =
		changed == NIL ? entry->detail : detail_with(entry->detail, changed);
	for (int i = 0; i < AGENTPAY_DECISION_COLUMNS; i++)
		nulls[i] = values[i] == (Datum) 0;

	/* those whose zero is a value */
	values[AGENTPAY_DECISION_DECIDED_AT] = TimestampTzGetDatum(
		entry->decided_at);
	nulls[AGENTPAY_DECISION_DECIDED_AT] = false;
	values[AGENTPAY_DECISION_OCCURRED_AT] = TimestampTzGetDatum(
		entry->occurred_at);
	nulls[AGENTPAY_DECISION_OCCURRED_AT] = false;
	nulls[AGENTPAY_DECISION_REPEAT_NO] = false;
	values[AGENTPAY_DECISION_PROPENSITY] = Float4GetDatum(assigned->propensity);
	nulls[AGENTPAY_DECISION_PROPENSITY] = false;
	if (ruleset != NULL)
	{
		values[AGENTPAY_DECISION_RULESET_VERSION] = Int32GetDatum(
			ruleset->version);
		nulls[AGENTPAY_DECISION_RULESET_VERSION] = false;
	}
	agentpay_frame_append(frame, AGENTPAY_LOG_DECISIONS, entry->decided_at,
						  values, nulls);
	if (entry->asked != (Datum) 0)
		append_tasks(frame, point, entry, row_id, &id);
	if (entry->cause != AGENTPAY_CAUSE_NONE)
		open_case(frame, point, entry, row, &id);
}

/*
 * A dispute is to be answered before it can be contested no more, whatever the
 * point's case_due.
 */
static void
open_case(AgentpayFrame *frame, const AgentpayPoint *point,
		  const AgentpayEntry *entry, TupleTableSlot *row,
		  const pg_uuid_t *decision_id)
{
	AgentpayCase opened = {
		.point = point->config->name,
		.row_id = agentpay_row_id(unconstify(AgentpayPoint *, point), row),
		.decision_id = *decision_id,
		.cause = entry->cause,
		.opened_at = entry->decided_at,
		.due_in = point->config->case_due,
		.due_by = DT_NOEND,
	};
	bool isnull;

	if (point->respond_by.attno != 0)
	{
		Datum due_by = slot_getattr(row, point->respond_by.attno, &isnull);

		if (!isnull)
			opened.due_by = DatumGetTimestampTz(due_by);
	}
	agentpay_frame_open_case(frame, &opened);
}

/*
 * One task for each agent that is asked, and one for each time that it is
 * asked again.  The appender of tasks wakes the dispatcher at commit.
 */
static void
append_tasks(AgentpayFrame *frame, const AgentpayPoint *point,
			 const AgentpayEntry *entry, Datum row_id,
			 const pg_uuid_t *decision_id)
{
	Oid sequence = agentpay_relation("_task_id_seq");
	int within_ms = point->config->decide_within_ms;

	for (int i = 0; i < point->n_agents; i++)
	{
		const AgentpayAgentConfig *agent = point->agents[i].config;
		Datum values[AGENTPAY_TASK_COLUMNS] = {0};
		bool nulls[AGENTPAY_TASK_COLUMNS] = {false};
		AgentpayAsk ask = agentpay_ask_of(entry->asked, i);
		int times;

		if (!ask.asked)
			continue;
		values[AGENTPAY_TASK_CREATED_AT] = TimestampTzGetDatum(
			entry->decided_at);
		values[AGENTPAY_TASK_POINT] = point->name;
		values[AGENTPAY_TASK_ROW_ID] = row_id;
		values[AGENTPAY_TASK_DECISION_ID] = UUIDPGetDatum(decision_id);
		values[AGENTPAY_TASK_AGENT] = CStringGetTextDatum(agent->name);
		values[AGENTPAY_TASK_AGENT_VERSION] = Int32GetDatum(agent->version);
		values[AGENTPAY_TASK_DECIDE_BY] = TimestampTzGetDatum(
			entry->decided_at + INT64CONST(1000) * within_ms);
		nulls[AGENTPAY_TASK_ESCALATED_FROM] = true;
		values[AGENTPAY_TASK_BUCKET] = Int16GetDatum(ask.bucket);
		values[AGENTPAY_TASK_HOLDOUT_BUCKET] = Int16GetDatum(
			ask.holdout_bucket);
		nulls[AGENTPAY_TASK_BUCKET] = ask.bucket < 0;
		nulls[AGENTPAY_TASK_HOLDOUT_BUCKET] = ask.bucket < 0;
		values[AGENTPAY_TASK_FORCED] = BoolGetDatum(ask.forced);
		values[AGENTPAY_TASK_STAGE] = Int16GetDatum(ask.stage);
		values[AGENTPAY_TASK_LOWERED] = Int64GetDatum(ask.lowered);
		nulls[AGENTPAY_TASK_XID] = true; /* the appender's */
		times = times_asked(point->config, agent, row_id);
		for (int repeat_no = 0; repeat_no < times; repeat_no++)
		{
			pg_uuid_t idempotency_key;

			/* each its own, or the provider gives the first answer again */
			agentpay_uuid_v7(entry->decided_at, &idempotency_key);
			values[AGENTPAY_TASK_ID] = Int64GetDatum(
				nextval_internal(sequence, false));
			values[AGENTPAY_TASK_IDEMPOTENCY_KEY] = UUIDPGetDatum(
				&idempotency_key);
			nulls[AGENTPAY_TASK_DECIDE_BY] = !agent->pre_auth || repeat_no > 0;
			values[AGENTPAY_TASK_REPEAT_NO] = Int32GetDatum(repeat_no);
			agentpay_frame_append(frame, AGENTPAY_LOG_TASKS, entry->decided_at,
								  values, nulls);
		}
	}
}

/*
 * How often an agent is asked about the row: the same whenever it is inserted.
 * Without a salt, or where libcrypto fails, nobody is asked again.
 */
static int
times_asked(const AgentpayPointConfig *point, const AgentpayAgentConfig *agent,
			Datum row_id)
{
	uint64 number;

	if (agent->repeat_percent <= 0 || point->salt == NULL ||
		!agentpay_draw_repeat(VARDATA_ANY(point->salt),
							  VARSIZE_ANY_EXHDR(point->salt), agent->name,
							  TextDatumGetCString(row_id), &number) ||
		!agentpay_draw_below(number, agent->repeat_percent))
		return 1;
	return agent->repeats;
}

static void
prepare_constants(void)
{
	MemoryContext old;

	if (constants.ready)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	constants.rules = CStringGetTextDatum("rules");
	constants.shadow_rules = CStringGetTextDatum("shadow_rules");
	constants.live = CStringGetTextDatum("live");
	constants.shadow = CStringGetTextDatum("shadow");
	for (int i = 0; i <= AGENTPAY_AUDIT; i++)
		constants.assignments[i] = CStringGetTextDatum(
			agentpay_assignment_name(i));
	constants.no_reasons = PointerGetDatum(construct_empty_array(TEXTOID));
	constants.no_cost = NumericGetDatum(int64_to_numeric(0));
	constants.ready = true;
	MemoryContextSwitchTo(old);
}
