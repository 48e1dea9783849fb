/*-------------------------------------------------------------------------
 * attempts.c
 *		What became of attempts: their calls into the log, their work done or
 *		put back, and what is to be settled and decided.
 *
 * Usage beyond the bound cannot be: it counts each byte of the request, and all
 * of max_output_tokens.
 *
 * Locking: rows of agentpay._task_work that are the lease's, which nobody else
 * writes while its dispatcher lives.  The caller holds the kill lock shared,
 * from an earlier statement, and settles afterwards.
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
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/log_find.h"
#include "base/memo.h"
#include "base/rows.h"
#include "base/statement.h"
#include "base/store.h"
#include "control/attempts.h"
#include "control/ends.h"
#include "evidence/decisions.h"

#define CALL1(function, a) DirectFunctionCall1(function, a)
#define CALL2(function, a, b) DirectFunctionCall2(function, a, b)

/* Zero-based, as in sql/parts/20_logs.sql. */
typedef enum CallColumn
{
	CALL_ID,
	CALL_CALLED_AT,
	CALL_TASK_ID,
	CALL_ATTEMPT,
	CALL_DECISION_ID,
	CALL_POINT,
	CALL_ROW_ID,
	CALL_AGENT,
	CALL_AGENT_VERSION,
	CALL_COST_CENTER,
	CALL_PROVIDER,
	CALL_REQUEST_MODEL,
	CALL_RESPONSE_MODEL,
	CALL_REQUEST_ID,
	CALL_INPUT_TOKENS,
	CALL_CACHED_TOKENS,
	CALL_OUTPUT_TOKENS,
	CALL_FINISH_REASON,
	CALL_HTTP_STATUS,
	CALL_STATUS,
	CALL_ERROR,
	CALL_RESERVED_COST,
	CALL_COST,
	CALL_QUEUED_MS,
	CALL_IN_FLIGHT_AT_START,
	CALL_LATENCY_MS,
	CALL_REQUEST_SHA256,
	CALL_SEALED,
	CALL_KEY_ID,
	CALL_XID,
	CALL_COLUMNS
} CallColumn;

/* An agent as it was in a version, and how sure it has to be now. */
typedef enum VersionColumn
{
	VERSION_COST_CENTER,
	VERSION_PROTOCOL,
	VERSION_MODEL,
	VERSION_INPUT, /* prices, USD per million */
	VERSION_CACHED,
	VERSION_OUTPUT,
	VERSION_CALL,
	VERSION_MIN_CONFIDENCE,
	VERSION_COLUMNS
} VersionColumn;

typedef struct Version
{
	struct Version *next;
	Datum agent;
	int32 number;
	bool known;
	Datum values[VERSION_COLUMNS];
	bool nulls[VERSION_COLUMNS];
} Version;

/* One attempt, with all that is known about it. */
typedef struct Attempt
{
	AgentpayRow result;
	AgentpayRow work;
	AgentpayRow task;
	AgentpayRow rules; /* values NULL: there is no decision of the rules */
	Version *version;
	bool killed;
	bool ended;
	Datum decision_id;
	Datum charged;
	Datum why; /* why its answer does not count */
	bool counts;
} Attempt;

typedef struct Taking
{
	int64 lease;
	ArrayType *killed;
	AgentpayStore work;
	AgentpayLogFinder *tasks;
	AgentpayLogFinder *decisions;
	AgentpayAppender *calls;
	AgentpayRows settled;
	AgentpayRows ends;
	Datum *again;
	int n_again;
	Datum *awaited; /* tasks with a decide_by that end */
	int n_awaited;
} Taking;

static AgentpayMemo versions = {.name = "versions of agents"};

static void start(Taking *s);
static Datum finish(Taking *s, TupleDesc description);
static Datum ids_of(Datum *ids, int n);
static void take(Taking *s, AgentpayRow result);
static bool is_ours(Taking *s, const Attempt *a);
static bool find_rows(Taking *s, Attempt *a);
static Version *find_version(Datum agent, Datum number);
static bool is_killed(Taking *s, Datum agent);
static bool charge_is(const Attempt *a, const char *name);
static Datum charge_of(const Attempt *a);
static Datum usage_cost(const Attempt *a);
static void judge(Taking *s, Attempt *a);
static bool agrees(const Attempt *a);
static Datum ask_judge(Taking *s, const Attempt *a, bool *counts);
static bool let_go(Taking *s, const Attempt *a);
static void add_settlement(Taking *s, const Attempt *a);
static void add_call(Taking *s, const Attempt *a);
static bool seal(const Attempt *a, Datum call_id, Datum *sealed);
static void add_end(Taking *s, const Attempt *a);
static bool detail_of(const Attempt *a, Datum *detail);
static Datum new_uuid(void);

PG_FUNCTION_INFO_V1(agentpay_sql_take_results);

/*
 * agentpay._take_results(lease, results agentpay._attempt_end[], killed,
 * OUT settled, OUT ends, OUT again, OUT awaited)
 */
Datum
agentpay_sql_take_results(PG_FUNCTION_ARGS)
{
	Taking s = {.lease = PG_GETARG_INT64(0),
				.killed = PG_GETARG_ARRAYTYPE_P(2)};
	AgentpayRowsReader results;
	TupleDesc description;

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	agentpay_rows_open(&results, PG_GETARG_ARRAYTYPE_P(1), ATTEMPT_COLUMNS);
	start(&s);
	s.again = palloc(sizeof(Datum) * Max(results.n, 1));
	s.awaited = palloc(sizeof(Datum) * Max(results.n, 1));
	for (int i = 0; i < results.n; i++)
		if (agentpay_rows_read(&results, i))
			take(&s, (AgentpayRow){results.values, results.nulls});
	agentpay_rows_close(&results);
	return finish(&s, BlessTupleDesc(description));
}

static void
start(Taking *s)
{
	agentpay_memo_begin(&versions);
	agentpay_store_open(&s->work, "_task_work", "_task_work_pkey");
	s->tasks = agentpay_log_finder_open(AGENTPAY_LOG_TASKS, AGENTPAY_TASK_ID,
										F_INT8EQ);
	s->decisions = agentpay_log_finder_open(AGENTPAY_LOG_DECISIONS,
											AGENTPAY_DECISION_ID, F_UUID_EQ);
	s->calls = agentpay_appender_open(AGENTPAY_LOG_AGENT_CALLS);
	agentpay_rows_start(&s->settled, "_settlement");
	agentpay_rows_start(&s->ends, "_task_end");
}

static Datum
finish(Taking *s, TupleDesc description)
{
	Datum values[4];
	bool nulls[4] = {false, false, false, false};

	agentpay_appender_close(s->calls);
	agentpay_log_finder_close(s->decisions);
	agentpay_log_finder_close(s->tasks);
	agentpay_store_close(&s->work);
	values[0] = agentpay_rows_finish(&s->settled, &nulls[0]);
	values[1] = agentpay_rows_finish(&s->ends, &nulls[1]);
	values[2] = ids_of(s->again, s->n_again);
	values[3] = ids_of(s->awaited, s->n_awaited);
	return agentpay_row(description, values, nulls);
}

static Datum
ids_of(Datum *ids, int n)
{
	return PointerGetDatum(construct_array(ids, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Nothing for an attempt that is not the lease's any more. */
static void
take(Taking *s, AgentpayRow result)
{
	Attempt a = {.result = result};

	if (!agentpay_store_find(&s->work,
							 DatumGetInt64(result.values[ATTEMPT_TASK_ID])))
		return;
	a.work.values = s->work.row->tts_values;
	a.work.nulls = s->work.row->tts_isnull;
	if (!is_ours(s, &a) || !find_rows(s, &a))
		return;
	a.killed = is_killed(s, a.work.values[WORK_AGENT]);
	a.ended = a.killed || DatumGetBool(result.values[ATTEMPT_FINAL]);
	a.decision_id = new_uuid();
	a.charged = charge_of(&a);
	if (a.ended)
		judge(s, &a);
	if (!let_go(s, &a))
		return;
	add_settlement(s, &a);
	if (!result.nulls[ATTEMPT_STATUS])
		add_call(s, &a);
	if (a.ended && a.rules.values != NULL)
		add_end(s, &a);
	if (a.ended && !a.task.nulls[AGENTPAY_TASK_DECIDE_BY])
		s->awaited[s->n_awaited++] = a.work.values[WORK_TASK_ID];
}

static bool
is_ours(Taking *s, const Attempt *a)
{
	return DatumGetInt32(a->work.values[WORK_ATTEMPT]) ==
			   DatumGetInt32(a->result.values[ATTEMPT_NUMBER]) &&
		   !a->work.nulls[WORK_LEASE] &&
		   DatumGetInt64(a->work.values[WORK_LEASE]) == s->lease &&
		   agentpay_text_is(a->work.values[WORK_STATE], "sent");
}

/* The task, its agent's version, and what the rules decided. */
static bool
find_rows(Taking *s, Attempt *a)
{
	TimestampTz created_at = DatumGetTimestampTz(
		a->work.values[WORK_CREATED_AT]);

	if (!agentpay_log_find(s->tasks, created_at, a->work.values[WORK_TASK_ID],
						   &a->task.values, &a->task.nulls))
		return false;
	a->version = find_version(a->task.values[AGENTPAY_TASK_AGENT],
							  a->task.values[AGENTPAY_TASK_AGENT_VERSION]);
	if (!agentpay_log_find(s->decisions, created_at,
						   a->task.values[AGENTPAY_TASK_DECISION_ID],
						   &a->rules.values, &a->rules.nulls))
		a->rules.values = NULL;
	return a->version->known;
}

/* Asked once for each version, until the configuration changes. */
static Version *
find_version(Datum agent, Datum number)
{
	static AgentpayStatement statement = {
		.sql = "SELECT a.cost_center, a.protocol, a.model,"
			   " coalesce(a.price_input_per_million, 0),"
			   " coalesce(a.price_cached_input_per_million,"
			   " a.price_input_per_million, 0),"
			   " coalesce(a.price_output_per_million, 0),"
			   " 1000000 * coalesce(a.price_per_call, 0),"
			   " n.min_confidence::real"
			   " FROM agentpay.agent_versions v"
			   " LEFT JOIN agentpay.agents n ON n.name = v.agent"
			   " CROSS JOIN jsonb_to_record(v.definition)"
			   " AS a (cost_center text, protocol text, model text,"
			   " price_input_per_million numeric,"
			   " price_cached_input_per_million numeric,"
			   " price_output_per_million numeric, price_per_call numeric)"
			   " WHERE v.agent = $1 AND v.version = $2"};
	Oid types[2] = {TEXTOID, INT4OID};
	Datum args[2] = {agent, number};
	MemoryContext old;
	Version *version;

	for (version = versions.first; version != NULL; version = version->next)
		if (version->number == DatumGetInt32(number) &&
			agentpay_text_same(version->agent, agent))
			return version;
	old = MemoryContextSwitchTo(versions.context);
	version = palloc(sizeof(Version));
	version->agent = PointerGetDatum(PG_DETOAST_DATUM_COPY(agent));
	MemoryContextSwitchTo(old);
	version->number = DatumGetInt32(number);
	version->known = agentpay_memo_row(&versions, &statement, 2, types, args,
									   VERSION_COLUMNS, version->values,
									   version->nulls);
	version->next = versions.first;
	versions.first = version;
	return version;
}

static bool
is_killed(Taking *s, Datum agent)
{
	Datum *names;
	bool *nulls;
	int n;
	bool found = false;

	if (ARR_NDIM(s->killed) == 0)
		return false;
	deconstruct_array(s->killed, TEXTOID, -1, false, TYPALIGN_INT, &names,
					  &nulls, &n);
	for (int i = 0; i < n && !found; i++)
		found = !nulls[i] && agentpay_text_same(names[i], agent);
	pfree(names);
	pfree(nulls);
	return found;
}

static bool
charge_is(const Attempt *a, const char *name)
{
	return !a->result.nulls[ATTEMPT_CHARGE] &&
		   agentpay_text_is(a->result.values[ATTEMPT_CHARGE], name);
}

/* What the attempt is charged, USD. */
static Datum
charge_of(const Attempt *a)
{
	if (charge_is(a, "usage"))
		return usage_cost(a);
	if (charge_is(a, "bound") || charge_is(a, "uncertain"))
		return a->work.values[WORK_BOUND_COST];
	return CALL1(int4_numeric, Int32GetDatum(0));
}

/* By its tokens, in whole nano-dollars, rounded up; at most the bound. */
static Datum
usage_cost(const Attempt *a)
{
	const AgentpayRow *r = &a->result;
	Datum *prices = a->version->values;
	Datum cost;

	if (r->nulls[ATTEMPT_INPUT_TOKENS] || r->nulls[ATTEMPT_CACHED_TOKENS] ||
		r->nulls[ATTEMPT_OUTPUT_TOKENS])
		return a->work.values[WORK_BOUND_COST];
#define PRICED(tokens, price) \
	CALL2(numeric_mul, CALL1(int8_numeric, Int64GetDatum(tokens)), price)
#define TOKENS(column) DatumGetInt64(r->values[ATTEMPT_##column])
	cost = CALL2(numeric_add,
				 PRICED(TOKENS(INPUT_TOKENS) - TOKENS(CACHED_TOKENS),
						prices[VERSION_INPUT]),
				 PRICED(TOKENS(CACHED_TOKENS), prices[VERSION_CACHED]));
	cost = CALL2(numeric_add, cost,
				 PRICED(TOKENS(OUTPUT_TOKENS), prices[VERSION_OUTPUT]));
	cost = CALL2(numeric_add, cost, prices[VERSION_CALL]);
	cost = CALL1(numeric_ceil, PRICED(1000, cost));
	cost = CALL2(numeric_div, cost,
				 CALL1(int4_numeric, Int32GetDatum(1000000000)));
	return CALL2(numeric_smaller, a->work.values[WORK_BOUND_COST],
				 CALL1(numeric_trim_scale, cost));
#undef PRICED
#undef TOKENS
}

/* Whether the answer counts, and why it does not. */
static void
judge(Taking *s, Attempt *a)
{
	a->counts = false;
	if (a->killed)
		a->why = CStringGetTextDatum("killed");
	else if (!a->result.nulls[ATTEMPT_FAILURE])
		a->why = a->result.values[ATTEMPT_FAILURE];
	else if (a->rules.values == NULL || agrees(a))
		a->counts = true;
	else
		a->why = ask_judge(s, a, &a->counts);
}

/* Agreeing with the rules is what _judge() looks at first. */
static bool
agrees(const Attempt *a)
{
	float4 confidence = 0;
	float4 least = 0;
	AgentpayDecisionColumn said = AGENTPAY_DECISION_VERDICT;

	if (!a->result.nulls[ATTEMPT_CONFIDENCE])
		confidence = DatumGetFloat4(a->result.values[ATTEMPT_CONFIDENCE]);
	if (!a->version->nulls[VERSION_MIN_CONFIDENCE])
		least = DatumGetFloat4(a->version->values[VERSION_MIN_CONFIDENCE]);
	if (agentpay_text_is(a->rules.values[AGENTPAY_DECISION_ASSIGNMENT],
						 "explore"))
		said = AGENTPAY_DECISION_ANSWER;
	return confidence >= least && !a->result.nulls[ATTEMPT_VERDICT] &&
		   !a->rules.nulls[said] &&
		   agentpay_text_same(a->result.values[ATTEMPT_VERDICT],
							  a->rules.values[said]);
}

static Datum
ask_judge(Taking *s, const Attempt *a, bool *counts)
{
	static AgentpayStatement statement = {
		.sql = "SELECT agentpay._judge($1, a, $2, $3, $4)"
			   " FROM (SELECT 1) AS one"
			   " LEFT JOIN agentpay.agents a ON a.name = ($1).agent"};
	TupleDesc task_columns = agentpay_log_finder_columns(s->tasks);
	TupleDesc rules_columns = agentpay_log_finder_columns(s->decisions);
	Oid types[4] = {task_columns->tdtypeid, rules_columns->tdtypeid, TEXTOID,
					FLOAT4OID};
	Datum args[4] = {
		agentpay_row(task_columns, a->task.values, a->task.nulls),
		agentpay_row(rules_columns, a->rules.values, a->rules.nulls),
		a->result.values[ATTEMPT_VERDICT],
		a->result.values[ATTEMPT_CONFIDENCE],
	};
	bool arg_nulls[4] = {false, false, a->result.nulls[ATTEMPT_VERDICT],
						 a->result.nulls[ATTEMPT_CONFIDENCE]};
	Datum why;

	if (!agentpay_statement_row(&statement, 4, types, args, arg_nulls, 1, &why,
								counts))
		elog(ERROR, "_judge() gave no row");
	return why;
}

/* Its work is done, or waits for another attempt. */
static bool
let_go(Taking *s, const Attempt *a)
{
	Datum values[WORK_COLUMNS];
	bool nulls[WORK_COLUMNS];
	int64 delay_ms = a->result.nulls[ATTEMPT_DELAY_MS]
						 ? 0
						 : DatumGetInt32(a->result.values[ATTEMPT_DELAY_MS]);

	if (a->ended)
		return agentpay_store_delete(&s->work);
	memcpy(values, a->work.values, sizeof(values));
	memcpy(nulls, a->work.nulls, sizeof(nulls));
	values[WORK_STATE] = CStringGetTextDatum("leased");
	nulls[WORK_LEASE] = nulls[WORK_LEASE_UNTIL] = true;
	nulls[WORK_BOUND_COST] = nulls[WORK_SENT_AT] = true;
	values[WORK_SPENT] = CALL2(numeric_add, values[WORK_SPENT], a->charged);
	values[WORK_RUN_AFTER] = TimestampTzGetDatum(
		TimestampTzPlusMilliseconds(agentpay_clock_now(), delay_ms));
	nulls[WORK_RUN_AFTER] = false;
	if (!agentpay_store_update(&s->work, values, nulls))
		return false;
	s->again[s->n_again++] = values[WORK_TASK_ID];
	return true;
}

static void
add_settlement(Taking *s, const Attempt *a)
{
	bool kept = charge_is(a, "released") || charge_is(a, "uncertain");
	Datum values[4] = {a->work.values[WORK_TASK_ID],
					   a->work.values[WORK_ATTEMPT],
					   kept ? a->result.values[ATTEMPT_CHARGE]
							: CStringGetTextDatum("settled"),
					   a->charged};
	bool nulls[4] = {false, false, false, false};

	agentpay_rows_add(&s->settled, values, nulls);
}

/* Copies a column, NULL or not, from a row to the call's. */
#define TAKE(column, from, from_column)            \
	(values[column] = (from)->values[from_column], \
	 nulls[column] = (from)->nulls[from_column])
#define PUT(column, value) (values[column] = (value), nulls[column] = false)

static void
add_call(Taking *s, const Attempt *a)
{
	const AgentpayRow *r = &a->result;
	AgentpayRow version = {a->version->values, a->version->nulls};
	Datum values[CALL_COLUMNS];
	bool nulls[CALL_COLUMNS];
	Datum sealed;

	memset(nulls, true, sizeof(nulls));
	PUT(CALL_ID, new_uuid());
	TAKE(CALL_CALLED_AT, r, ATTEMPT_CALLED_AT);
	if (nulls[CALL_CALLED_AT])
		elog(ERROR, "an attempt has a status and no time");
	TAKE(CALL_TASK_ID, r, ATTEMPT_TASK_ID);
	TAKE(CALL_ATTEMPT, r, ATTEMPT_NUMBER);
	if (a->ended)
		PUT(CALL_DECISION_ID, a->decision_id);
	TAKE(CALL_POINT, &a->task, AGENTPAY_TASK_POINT);
	TAKE(CALL_ROW_ID, &a->task, AGENTPAY_TASK_ROW_ID);
	TAKE(CALL_AGENT, &a->task, AGENTPAY_TASK_AGENT);
	TAKE(CALL_AGENT_VERSION, &a->task, AGENTPAY_TASK_AGENT_VERSION);
	TAKE(CALL_COST_CENTER, &version, VERSION_COST_CENTER);
	TAKE(CALL_PROVIDER, &version, VERSION_PROTOCOL);
	TAKE(CALL_REQUEST_MODEL, &version, VERSION_MODEL);
	TAKE(CALL_RESPONSE_MODEL, r, ATTEMPT_RESPONSE_MODEL);
	TAKE(CALL_REQUEST_ID, r, ATTEMPT_REQUEST_ID);
	TAKE(CALL_INPUT_TOKENS, r, ATTEMPT_INPUT_TOKENS);
	TAKE(CALL_CACHED_TOKENS, r, ATTEMPT_CACHED_TOKENS);
	TAKE(CALL_OUTPUT_TOKENS, r, ATTEMPT_OUTPUT_TOKENS);
	TAKE(CALL_FINISH_REASON, r, ATTEMPT_FINISH_REASON);
	TAKE(CALL_HTTP_STATUS, r, ATTEMPT_HTTP_STATUS);
	TAKE(CALL_STATUS, r, ATTEMPT_STATUS);
	if (!r->nulls[ATTEMPT_ERROR] &&
		!agentpay_text_is(r->values[ATTEMPT_ERROR], ""))
		TAKE(CALL_ERROR, r, ATTEMPT_ERROR);
	TAKE(CALL_RESERVED_COST, &a->work, WORK_BOUND_COST);
	PUT(CALL_COST, a->charged);
	TAKE(CALL_QUEUED_MS, r, ATTEMPT_QUEUED_MS);
	TAKE(CALL_IN_FLIGHT_AT_START, r, ATTEMPT_IN_FLIGHT_AT_START);
	TAKE(CALL_LATENCY_MS, r, ATTEMPT_LATENCY_MS);
	if (!r->nulls[ATTEMPT_REQUEST_SHA256])
		PUT(CALL_REQUEST_SHA256,
			CALL2(binary_decode, r->values[ATTEMPT_REQUEST_SHA256],
				  CStringGetTextDatum("hex")));
	if (seal(a, values[CALL_ID], &sealed))
	{
		PUT(CALL_SEALED, sealed);
		TAKE(CALL_KEY_ID, &a->rules, AGENTPAY_DECISION_KEY_ID);
	}
	agentpay_appender_put(s->calls, DatumGetTimestampTz(values[CALL_CALLED_AT]),
						  values, nulls);
}

/* What was asked and answered, under the key of the payment's subject. */
static bool
seal(const Attempt *a, Datum call_id, Datum *sealed)
{
	static AgentpayStatement statement = {
		.sql = "SELECT agentpay._seal_call($1, $2, $3, $4)", .writes = true};
	Oid types[4] = {UUIDOID, INT8OID, TEXTOID, TEXTOID};
	const AgentpayRow *r = &a->result;
	Datum args[4];
	bool arg_nulls[4] = {false, false, false, r->nulls[ATTEMPT_ANSWER_BODY]};
	bool isnull;

	if (a->rules.values == NULL || a->rules.nulls[AGENTPAY_DECISION_KEY_ID] ||
		r->nulls[ATTEMPT_REQUEST_BODY])
		return false;
	args[0] = call_id;
	args[1] = a->rules.values[AGENTPAY_DECISION_KEY_ID];
	args[2] = r->values[ATTEMPT_REQUEST_BODY];
	args[3] = r->values[ATTEMPT_ANSWER_BODY];
	return agentpay_statement_row(&statement, 4, types, args, arg_nulls, 1,
								  sealed, &isnull) &&
		   !isnull;
}

static void
add_end(Taking *s, const Attempt *a)
{
	const AgentpayRow *r = &a->result;
	Datum values[AGENTPAY_END_COLUMNS];
	bool nulls[AGENTPAY_END_COLUMNS];
	Datum detail;

	memset(nulls, true, sizeof(nulls));
	TAKE(AGENTPAY_END_TASK_ID, &a->work, WORK_TASK_ID);
	TAKE(AGENTPAY_END_CREATED_AT, &a->work, WORK_CREATED_AT);
	PUT(AGENTPAY_END_DECISION_ID, a->decision_id);
	if (!a->counts)
		PUT(AGENTPAY_END_FAILURE, a->why);
	TAKE(AGENTPAY_END_VERDICT, r, ATTEMPT_VERDICT);
	TAKE(AGENTPAY_END_ANSWER, r, ATTEMPT_VERDICT);
	TAKE(AGENTPAY_END_CONFIDENCE, r, ATTEMPT_CONFIDENCE);
	TAKE(AGENTPAY_END_SCORE, r, ATTEMPT_SCORE);
	TAKE(AGENTPAY_END_REASONS, r, ATTEMPT_REASONS);
	PUT(AGENTPAY_END_COST,
		CALL2(numeric_add, a->work.values[WORK_SPENT], a->charged));
	TAKE(AGENTPAY_END_LATENCY_MS, r, ATTEMPT_LATENCY_MS);
	if (detail_of(a, &detail))
		PUT(AGENTPAY_END_DETAIL, detail);
	agentpay_rows_add(&s->ends, values, nulls);
}

/* Why it failed, and what the agent explains; false: neither. */
static bool
detail_of(const Attempt *a, Datum *detail)
{
	const AgentpayRow *r = &a->result;
	bool error = !a->counts && !r->nulls[ATTEMPT_ERROR] &&
				 !agentpay_text_is(r->values[ATTEMPT_ERROR], "");
	StringInfoData json;

	if (a->counts && r->nulls[ATTEMPT_EXPLANATION])
		return false;
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (error)
	{
		appendStringInfoString(&json, "\"error\": ");
		escape_json(&json, TextDatumGetCString(r->values[ATTEMPT_ERROR]));
	}
	if (!r->nulls[ATTEMPT_EXPLANATION])
	{
		appendStringInfo(&json, "%s\"explanation\": ", error ? ", " : "");
		escape_json(&json, TextDatumGetCString(r->values[ATTEMPT_EXPLANATION]));
	}
	appendStringInfoChar(&json, '}');
	*detail = CALL1(jsonb_in, CStringGetDatum(json.data));
	return true;
}

static Datum
new_uuid(void)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

	agentpay_uuid_v7(agentpay_clock_now(), id);
	return UUIDPGetDatum(id);
}
