/*-------------------------------------------------------------------------
 * ends.c
 *		The decisions with which tasks end.
 *
 * Most tasks only watch: their agent is in the shadow, nobody waits, and no
 * chance of a label depends on them.  Their decision is made of the task, of
 * what the rules decided and of the end, here.  For all others SQL says what
 * effect the end has (agentpay._end_effect()).
 *
 * Locking: none of its own; the caller holds the tasks' locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/log_find.h"
#include "base/memo.h"
#include "base/rows.h"
#include "base/statement.h"
#include "control/ends.h"
#include "evidence/decisions.h"

#define CALL1(function, a) DirectFunctionCall1(function, a)
#define CALL2(function, a, b) DirectFunctionCall2(function, a, b)

/* What SQL says of an end, or what a task has that only watches. */
typedef enum EffectColumn
{
	EFFECT_FAILURE,
	EFFECT_LATE,
	EFFECT_AUTHORITY,
	EFFECT_ASSIGNMENT,
	EFFECT_DRAW,
	EFFECT_PROPENSITY,
	EFFECT_COLUMNS
} EffectColumn;

typedef struct Effect
{
	Datum values[EFFECT_COLUMNS];
	bool nulls[EFFECT_COLUMNS];
} Effect;

/* Whether an agent keeps a control group. */
typedef struct KnownAgent
{
	struct KnownAgent *next;
	Datum name;
	bool holds_out;
} KnownAgent;

/* A verdict that takes effect, by its task. */
typedef struct Live
{
	int64 task_id;
	Datum row;
} Live;

typedef struct Endings
{
	AgentpayLogFinder *tasks;
	AgentpayLogFinder *decisions;
	Datum moment;
	AgentpayRows rows;	/* decisions that take no effect */
	AgentpayRows leads; /* those of them that may lead further */
	Live *live;
	int n_live;
} Endings;

static AgentpayMemo agents = {.name = "control groups of agents"};

static void end_one(Endings *s, AgentpayRow end);
static bool only_watches(const AgentpayRow *task, const AgentpayRow *rules);
static bool holds_out(Datum agent);
static void
watch(const AgentpayRow *end, const AgentpayRow *rules, Effect *effect);
static void
ask_effect(Endings *s, const AgentpayRow *end, const AgentpayRow *task,
		   const AgentpayRow *rules, Effect *effect);
static bool says_something(const AgentpayRow *end);
static Datum detail_of(const AgentpayRow *end, const AgentpayRow *task,
					   const Effect *effect);
static void fill_decision(Endings *s, const AgentpayRow *end,
						  const AgentpayRow *task, const AgentpayRow *rules,
						  const Effect *effect, Datum *values, bool *nulls);
static Datum seal(Endings *s, Datum row, Datum key_id, bool keyed);
static void keep(Endings *s, AgentpayRow decision, Datum row, int64 task_id,
				 const Effect *effect);
static int compare_live(const void *a, const void *b);
static bool has_key(Datum json, const char *key);

PG_FUNCTION_INFO_V1(agentpay_sql_endings);

/*
 * agentpay._endings(ends agentpay._task_end[], moment, OUT rows, OUT live,
 * OUT leads)
 */
Datum
agentpay_sql_endings(PG_FUNCTION_ARGS)
{
	Endings s = {.moment = PG_GETARG_DATUM(1)};
	AgentpayRowsReader ends;
	AgentpayRows live;
	TupleDesc description;
	Datum values[3];
	bool nulls[3];

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	agentpay_memo_begin(&agents);
	agentpay_rows_open(&ends, PG_GETARG_ARRAYTYPE_P(0), AGENTPAY_END_COLUMNS);
	s.tasks = agentpay_log_finder_open(AGENTPAY_LOG_TASKS, AGENTPAY_TASK_ID,
									   F_INT8EQ);
	s.decisions = agentpay_log_finder_open(AGENTPAY_LOG_DECISIONS,
										   AGENTPAY_DECISION_ID, F_UUID_EQ);
	agentpay_rows_start(&s.rows, "decisions");
	agentpay_rows_start(&s.leads, "decisions");
	agentpay_rows_start(&live, "decisions");
	s.live = palloc(sizeof(Live) * Max(ends.n, 1));
	for (int i = 0; i < ends.n; i++)
		if (agentpay_rows_read(&ends, i))
			end_one(&s, (AgentpayRow){ends.values, ends.nulls});
	agentpay_log_finder_close(s.decisions);
	agentpay_log_finder_close(s.tasks);
	agentpay_rows_close(&ends);

	qsort(s.live, s.n_live, sizeof(Live), compare_live);
	for (int i = 0; i < s.n_live; i++)
		agentpay_rows_add_row(&live, s.live[i].row);
	values[0] = agentpay_rows_finish(&s.rows, &nulls[0]);
	values[1] = agentpay_rows_finish(&live, &nulls[1]);
	values[2] = agentpay_rows_finish(&s.leads, &nulls[2]);
	return agentpay_row(BlessTupleDesc(description), values, nulls);
}

/* Nothing for a task, or a payment, that is not there. */
static void
end_one(Endings *s, AgentpayRow end)
{
	AgentpayRow task;
	AgentpayRow rules;
	Effect effect;
	Datum values[AGENTPAY_DECISION_COLUMNS];
	bool nulls[AGENTPAY_DECISION_COLUMNS];
	TimestampTz created_at = DatumGetTimestampTz(
		end.values[AGENTPAY_END_CREATED_AT]);
	Datum row;

	if (!agentpay_log_find(s->tasks, created_at,
						   end.values[AGENTPAY_END_TASK_ID], &task.values,
						   &task.nulls) ||
		!agentpay_log_find(s->decisions, created_at,
						   task.values[AGENTPAY_TASK_DECISION_ID],
						   &rules.values, &rules.nulls))
		return;
	if (only_watches(&task, &rules))
		watch(&end, &rules, &effect);
	else
		ask_effect(s, &end, &task, &rules, &effect);
	if (DatumGetBool(effect.values[EFFECT_LATE]) && !says_something(&end))
		return;
	fill_decision(s, &end, &task, &rules, &effect, values, nulls);
	row = agentpay_row(s->rows.columns, values, nulls);
	if (!end.nulls[AGENTPAY_END_DETAIL])
	{
		Datum detail = values[AGENTPAY_DECISION_DETAIL];
		bool keyed = !rules.nulls[AGENTPAY_DECISION_KEY_ID];

		if (has_key(detail, "sealed") ||
			(keyed && has_key(detail, "explanation")))
			row = seal(s, row, rules.values[AGENTPAY_DECISION_KEY_ID], keyed);
	}
	keep(s, (AgentpayRow){values, nulls}, row,
		 DatumGetInt64(end.values[AGENTPAY_END_TASK_ID]), &effect);
}

/* Whether the task can have no effect but its record. */
static bool
only_watches(const AgentpayRow *task, const AgentpayRow *rules)
{
	return task->nulls[AGENTPAY_TASK_DECIDE_BY] &&
		   task->nulls[AGENTPAY_TASK_ESCALATED_FROM] &&
		   !task->nulls[AGENTPAY_TASK_STAGE] &&
		   DatumGetInt16(task->values[AGENTPAY_TASK_STAGE]) == 0 &&
		   (task->nulls[AGENTPAY_TASK_HOLDOUT_BUCKET] ||
			!holds_out(task->values[AGENTPAY_TASK_AGENT]));
}

/* Asked once for each agent, until the configuration changes. */
static bool
holds_out(Datum agent)
{
	static AgentpayStatement statement = {
		.sql = "SELECT a.holdout_percent > 0 FROM agentpay.agents a"
			   " WHERE a.name = $1"};
	Oid types[1] = {TEXTOID};
	MemoryContext old;
	KnownAgent *known;
	Datum value;
	bool isnull;

	for (known = agents.first; known != NULL; known = known->next)
		if (agentpay_text_same(known->name, agent))
			return known->holds_out;
	old = MemoryContextSwitchTo(agents.context);
	known = palloc(sizeof(KnownAgent));
	known->name = PointerGetDatum(PG_DETOAST_DATUM_COPY(agent));
	MemoryContextSwitchTo(old);
	known->holds_out = agentpay_memo_row(&agents, &statement, 1, types, &agent,
										 1, &value, &isnull) &&
					   !isnull && DatumGetBool(value);
	known->next = agents.first;
	agents.first = known;
	return known->holds_out;
}

static void
watch(const AgentpayRow *end, const AgentpayRow *rules, Effect *effect)
{
	memset(effect, 0, sizeof(*effect));
	effect->values[EFFECT_FAILURE] = end->values[AGENTPAY_END_FAILURE];
	effect->nulls[EFFECT_FAILURE] = end->nulls[AGENTPAY_END_FAILURE];
	effect->values[EFFECT_LATE] = BoolGetDatum(false);
	effect->values[EFFECT_AUTHORITY] = CStringGetTextDatum("shadow");
	effect->values[EFFECT_ASSIGNMENT] =
		rules->values[AGENTPAY_DECISION_ASSIGNMENT];
	effect->nulls[EFFECT_DRAW] = true;
	effect->values[EFFECT_PROPENSITY] =
		rules->values[AGENTPAY_DECISION_PROPENSITY];
}

static void
ask_effect(Endings *s, const AgentpayRow *end, const AgentpayRow *task,
		   const AgentpayRow *rules, Effect *effect)
{
	static AgentpayStatement statement = {
		.sql = "SELECT x.failure, x.late, x.authority, x.assignment, x.draw,"
			   " x.propensity"
			   " FROM agentpay._end_effect($1, $2, $3, $4, $5) AS x"};
	TupleDesc task_columns = agentpay_log_finder_columns(s->tasks);
	Oid types[5] = {task_columns->tdtypeid, s->rows.columns->tdtypeid, TEXTOID,
					TEXTOID, TIMESTAMPTZOID};
	Datum args[5] = {agentpay_row(task_columns, task->values, task->nulls),
					 agentpay_row(s->rows.columns, rules->values, rules->nulls),
					 end->values[AGENTPAY_END_VERDICT],
					 end->values[AGENTPAY_END_FAILURE], s->moment};
	bool nulls[5] = {false, false, end->nulls[AGENTPAY_END_VERDICT],
					 end->nulls[AGENTPAY_END_FAILURE], false};

	if (!agentpay_statement_row(&statement, 5, types, args, nulls,
								EFFECT_COLUMNS, effect->values, effect->nulls))
		elog(ERROR, "_end_effect() gave no row");
}

/* Nothing is said by the second of two ends that made no call. */
static bool
says_something(const AgentpayRow *end)
{
	return !end->nulls[AGENTPAY_END_ANSWER] ||
		   !end->nulls[AGENTPAY_END_LATENCY_MS] ||
		   (!end->nulls[AGENTPAY_END_FAILURE] &&
			agentpay_text_is(end->values[AGENTPAY_END_FAILURE], "uncertain")) ||
		   (!end->nulls[AGENTPAY_END_COST] &&
			DatumGetBool(CALL2(numeric_gt, end->values[AGENTPAY_END_COST],
							   CALL1(int4_numeric, Int32GetDatum(0)))));
}

static Datum
detail_of(const AgentpayRow *end, const AgentpayRow *task, const Effect *effect)
{
	StringInfoData json;
	Datum detail;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"task_id\": " INT64_FORMAT,
					 DatumGetInt64(task->values[AGENTPAY_TASK_ID]));
	if (!task->nulls[AGENTPAY_TASK_ESCALATED_FROM])
		appendStringInfo(&json, ", \"escalated_from\": " INT64_FORMAT,
						 DatumGetInt64(
							 task->values[AGENTPAY_TASK_ESCALATED_FROM]));
	if (!effect->nulls[EFFECT_DRAW])
		appendStringInfo(&json, ", \"draw\": %s",
						 DatumGetCString(
							 CALL1(jsonb_out, effect->values[EFFECT_DRAW])));
	appendStringInfoChar(&json, '}');
	detail = CALL1(jsonb_in, CStringGetDatum(json.data));
	if (!effect->nulls[EFFECT_DRAW])
		detail = CALL1(jsonb_strip_nulls, detail);
	if (!end->nulls[AGENTPAY_END_DETAIL])
		detail = CALL2(jsonb_concat, detail, end->values[AGENTPAY_END_DETAIL]);
	if (DatumGetBool(effect->values[EFFECT_LATE]))
		detail = CALL2(jsonb_concat, detail,
					   CALL1(jsonb_in, CStringGetDatum("{\"late\": true}")));
	return detail;
}

static void
fill_decision(Endings *s, const AgentpayRow *end, const AgentpayRow *task,
			  const AgentpayRow *rules, const Effect *effect, Datum *values,
			  bool *nulls)
{
	bool counts = effect->nulls[EFFECT_FAILURE];

#define TAKE(column, from, from_column)                                \
	(values[AGENTPAY_DECISION_##column] = (from)->values[from_column], \
	 nulls[AGENTPAY_DECISION_##column] = (from)->nulls[from_column])
#define PUT(column, value)                         \
	(values[AGENTPAY_DECISION_##column] = (value), \
	 nulls[AGENTPAY_DECISION_##column] = false)
	memset(nulls, true, AGENTPAY_DECISION_COLUMNS);
	TAKE(ID, end, AGENTPAY_END_DECISION_ID);
	PUT(DECIDED_AT, s->moment);
	TAKE(POINT, task, AGENTPAY_TASK_POINT);
	TAKE(ROW_ID, task, AGENTPAY_TASK_ROW_ID);
	TAKE(OCCURRED_AT, rules, AGENTPAY_DECISION_OCCURRED_AT);
	TAKE(AMOUNT, rules, AGENTPAY_DECISION_AMOUNT);
	TAKE(CURRENCY, rules, AGENTPAY_DECISION_CURRENCY);
	TAKE(BASE_AMOUNT, rules, AGENTPAY_DECISION_BASE_AMOUNT);
	PUT(KIND, CStringGetTextDatum(counts ? "agent" : "fallback"));
	TAKE(AUTHORITY, effect, EFFECT_AUTHORITY);
	TAKE(ANSWER, end, AGENTPAY_END_ANSWER);
	TAKE(ASSIGNMENT, effect, EFFECT_ASSIGNMENT);
	TAKE(REPEAT_NO, task, AGENTPAY_TASK_REPEAT_NO);
	TAKE(PROPENSITY, effect, EFFECT_PROPENSITY);
	if (counts)
	{
		TAKE(VERDICT, end, AGENTPAY_END_VERDICT);
		TAKE(SCORE, end, AGENTPAY_END_SCORE);
		TAKE(REASONS, end, AGENTPAY_END_REASONS);
		if (nulls[AGENTPAY_DECISION_REASONS])
			PUT(REASONS, PointerGetDatum(construct_empty_array(TEXTOID)));
	}
	else
	{
		TAKE(VERDICT, rules, AGENTPAY_DECISION_VERDICT);
		TAKE(SCORE, rules, AGENTPAY_DECISION_SCORE);
		TAKE(REASONS, rules, AGENTPAY_DECISION_REASONS);
		TAKE(RULESET_VERSION, rules, AGENTPAY_DECISION_RULESET_VERSION);
	}
	TAKE(AGENT, task, AGENTPAY_TASK_AGENT);
	TAKE(AGENT_VERSION, task, AGENTPAY_TASK_AGENT_VERSION);
	TAKE(CONFIDENCE, end, AGENTPAY_END_CONFIDENCE);
	TAKE(FAILURE, effect, EFFECT_FAILURE);
	TAKE(COST, end, AGENTPAY_END_COST);
	if (nulls[AGENTPAY_DECISION_COST])
		PUT(COST, CALL1(int4_numeric, Int32GetDatum(0)));
	TAKE(LATENCY_MS, end, AGENTPAY_END_LATENCY_MS);
	PUT(DETAIL, detail_of(end, task, effect));
#undef TAKE
#undef PUT
}

/* What is prose in a decision goes under the key of the payment's subject. */
static Datum
seal(Endings *s, Datum row, Datum key_id, bool keyed)
{
	static AgentpayStatement statement = {
		.sql = "SELECT agentpay._seal_end($1, $2)", .writes = true};
	Oid types[2] = {s->rows.columns->tdtypeid, INT8OID};
	Datum args[2] = {row, key_id};
	bool arg_nulls[2] = {false, !keyed};
	Datum sealed;
	bool isnull;

	if (!agentpay_statement_row(&statement, 2, types, args, arg_nulls, 1,
								&sealed, &isnull) ||
		isnull)
		elog(ERROR, "_seal_end() gave no row");
	return sealed;
}

/* To where it belongs.  What comes late leads to nothing. */
static void
keep(Endings *s, AgentpayRow decision, Datum row, int64 task_id,
	 const Effect *effect)
{
	if (effect->nulls[EFFECT_FAILURE] &&
		agentpay_text_is(effect->values[EFFECT_AUTHORITY], "live"))
	{
		s->live[s->n_live].task_id = task_id;
		s->live[s->n_live++].row = row;
		return;
	}
	agentpay_rows_add_row(&s->rows, row);
	if (!DatumGetBool(effect->values[EFFECT_LATE]) &&
		(!effect->nulls[EFFECT_FAILURE] ||
		 has_key(decision.values[AGENTPAY_DECISION_DETAIL], "escalated_from")))
		agentpay_rows_add_row(&s->leads, row);
}

static int
compare_live(const void *a, const void *b)
{
	int64 left = ((const Live *) a)->task_id;
	int64 right = ((const Live *) b)->task_id;

	return (left > right) - (left < right);
}

static bool
has_key(Datum json, const char *key)
{
	return DatumGetBool(CALL2(jsonb_exists, json, CStringGetTextDatum(key)));
}
