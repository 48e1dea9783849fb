/*-------------------------------------------------------------------------
 * ready.c
 *		Makes tasks ready to be sent: their bodies, and the bounds to be held.
 *
 * Each task is marked as sent at once; in the same transaction the caller holds
 * its bound, or takes the mark back.  What the tasks of an agent have in common
 * is asked for once a batch.
 *
 * Locking: rows of agentpay._task_work, in ascending order; one that somebody
 * else has is left out.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "agents/request.h"
#include "base/compat.h"
#include "base/log_find.h"
#include "base/memo.h"
#include "base/rows.h"
#include "base/statement.h"
#include "base/store.h"
#include "control/attempts.h"
#include "control/reservation.h"
#include "evidence/decisions.h"

#define CALL1(function, a) DirectFunctionCall1(function, a)
#define CALL2(function, a, b) DirectFunctionCall2(function, a, b)

/* A call may take so much longer than its time-out before its lease ends. */
#define LEASE_MS 30000

/* What agentpay._talk() says. */
typedef enum TalkColumn
{
	TALK_WHY,
	TALK_PROTOCOL,
	TALK_ROLE,
	TALK_PROMPT,
	TALK_VERDICTS,
	TALK_NOTES,
	TALK_FIELDS,
	TALK_MODEL,
	TALK_MAX_OUTPUT_TOKENS,
	TALK_OPTIONS,
	TALK_TABLE_NAME,
	TALK_COST_CENTER,
	TALK_TIMEOUT_MS,
	TALK_PRICE_OF_BYTE, /* USD per million */
	TALK_PRICE_OF_CALL,
	TALK_COLUMNS
} TalkColumn;

/* The columns of agentpay._ready. */
typedef enum ReadyColumn
{
	READY_TASK_ID,
	READY_CREATED_AT,
	READY_AGENT,
	READY_ATTEMPT,
	READY_SPENT,
	READY_IDEMPOTENCY_KEY,
	READY_WHY,
	READY_BODY,
	READY_COLUMNS
} ReadyColumn;

/* How the tasks of an agent's version are put to it. */
typedef struct Talk
{
	struct Talk *next;
	Datum agent;
	Datum point;
	int32 version;
	Datum values[TALK_COLUMNS];
	bool nulls[TALK_COLUMNS];
	AgentpayRequest request; /* without fields */
	Datum *fields;
	int n_fields;
	char *table;
} Talk;

typedef struct Making
{
	int64 lease;
	Datum killed;
	TimestampTz moment;
	AgentpayStore work;
	AgentpayLogFinder *tasks;
	AgentpayLogFinder *decisions;
	AgentpayRows ready;
	AgentpayRows wanted;
	bool all; /* every task that was found can be sent */
} Making;

/* Talks, of agents that no switch stops. */
static AgentpayMemo talks = {.name = "how agents are asked"};

static void make_ready(Making *s, int64 task_id);
static Talk *find_talk(Making *s, const AgentpayRow *task);
static void ask_talk(Making *s, const AgentpayRow *task, Talk *talk);
static void read_talk(Talk *talk);
static char *talk_text(const Talk *talk, TalkColumn column);
static char *body_of(Making *s, const Talk *talk, const AgentpayRow *task);
static char *fields_of(const Talk *talk, Jsonb *inputs);
static Datum bound_of(const Talk *talk, const char *body);
static bool mark_sent(Making *s, const Talk *talk, Datum bound);
static void
want(Making *s, const Talk *talk, const AgentpayRow *task, Datum bound);
static void add_ready(Making *s, const AgentpayRow *work,
					  const AgentpayRow *task, Datum why, const char *body);
static TimestampTz lease_until(const Making *s, const Talk *talk);
static int compare_ids(const void *a, const void *b);

PG_FUNCTION_INFO_V1(agentpay_sql_make_ready);

/*
 * agentpay._make_ready(lease, task_ids, killed, moment, OUT ready, OUT wanted,
 * OUT all_fit)
 */
Datum
agentpay_sql_make_ready(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(1);
	Making s = {
		.lease = PG_GETARG_INT64(0),
		.killed = PG_GETARG_DATUM(2),
		.moment = PG_GETARG_TIMESTAMPTZ(3),
		.all = true,
	};
	TupleDesc description;
	Datum *ids;
	bool *missing;
	int n;
	Datum values[3];
	bool nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &ids, &missing, &n);
	qsort(ids, n, sizeof(Datum), compare_ids);
	agentpay_store_open(&s.work, "_task_work", "_task_work_pkey");
	s.tasks = agentpay_log_finder_open(AGENTPAY_LOG_TASKS, AGENTPAY_TASK_ID,
									   F_INT8EQ);
	s.decisions = agentpay_log_finder_open(AGENTPAY_LOG_DECISIONS,
										   AGENTPAY_DECISION_ID, F_UUID_EQ);
	agentpay_memo_begin(&talks);
	agentpay_rows_start(&s.ready, "_ready");
	agentpay_rows_start(&s.wanted, "_reservation");
	for (int i = 0; i < n; i++)
		if (i == 0 || ids[i] != ids[i - 1])
			make_ready(&s, DatumGetInt64(ids[i]));
	/* the switches may have been read before others that memo has seen */
	if (ARR_NDIM(DatumGetArrayTypeP(s.killed)) > 0)
		agentpay_memo_expire(&talks);
	agentpay_log_finder_close(s.decisions);
	agentpay_log_finder_close(s.tasks);
	agentpay_store_close(&s.work);
	values[0] = agentpay_rows_finish(&s.ready, &nulls[0]);
	values[1] = agentpay_rows_finish(&s.wanted, &nulls[1]);
	values[2] = BoolGetDatum(s.all);
	return agentpay_row(BlessTupleDesc(description), values, nulls);
}

/* Nothing for a task that does not wait any more, or that somebody has. */
static void
make_ready(Making *s, int64 task_id)
{
	AgentpayRow work;
	AgentpayRow task;
	Talk *talk;
	Datum why = (Datum) 0;
	char *body = NULL;

	if (!agentpay_store_find(&s->work, task_id))
		return;
	work = (AgentpayRow){s->work.row->tts_values, s->work.row->tts_isnull};
	if (!agentpay_text_is(work.values[WORK_STATE], "leased") ||
		!agentpay_log_find(s->tasks,
						   DatumGetTimestampTz(work.values[WORK_CREATED_AT]),
						   work.values[WORK_TASK_ID], &task.values,
						   &task.nulls) ||
		!agentpay_store_try_lock(&s->work))
		return;
	talk = find_talk(s, &task);
	if (!talk->nulls[TALK_WHY])
		why = talk->values[TALK_WHY];
	else if (!task.nulls[AGENTPAY_TASK_DECIDE_BY] &&
			 DatumGetTimestampTz(task.values[AGENTPAY_TASK_DECIDE_BY]) <=
				 s->moment)
		why = CStringGetTextDatum("decide_by passed");
	if (why == (Datum) 0)
	{
		Datum bound;

		body = body_of(s, talk, &task);
		bound = bound_of(talk, body);
		if (!mark_sent(s, talk, bound))
			return;
		want(s, talk, &task, bound);
	}
	else
		s->all = false;
	add_ready(s, &work, &task, why, body);
}

/* Asked once for each version, until the configuration changes. */
static Talk *
find_talk(Making *s, const AgentpayRow *task)
{
	Datum agent = task->values[AGENTPAY_TASK_AGENT];
	Datum point = task->values[AGENTPAY_TASK_POINT];
	int32 version = DatumGetInt32(task->values[AGENTPAY_TASK_AGENT_VERSION]);
	MemoryContext old;
	Talk *talk;

	for (talk = talks.first; talk != NULL; talk = talk->next)
		if (talk->version == version &&
			agentpay_text_same(talk->agent, agent) &&
			agentpay_text_same(talk->point, point))
			return talk;
	old = MemoryContextSwitchTo(talks.context);
	talk = palloc0(sizeof(Talk));
	talk->agent = PointerGetDatum(PG_DETOAST_DATUM_COPY(agent));
	talk->point = PointerGetDatum(PG_DETOAST_DATUM_COPY(point));
	talk->version = version;
	ask_talk(s, task, talk);
	if (talk->nulls[TALK_WHY])
		read_talk(talk);
	MemoryContextSwitchTo(old);
	talk->next = talks.first;
	talks.first = talk;
	return talk;
}

/* Each task has its own decide_by; here it is as if it had none. */
static void
ask_talk(Making *s, const AgentpayRow *task, Talk *talk)
{
	static AgentpayStatement statement = {
		.sql = "SELECT x.why, x.protocol, x.role, x.prompt, x.verdicts,"
			   " x.notes, x.fields, x.model, x.max_output_tokens, x.options,"
			   " x.table_name, x.cost_center, x.timeout_ms, x.price_of_byte,"
			   " x.price_of_call FROM agentpay._talk($1, $2) AS x"};
	TupleDesc columns = agentpay_log_finder_columns(s->tasks);
	bool nulls[AGENTPAY_TASK_COLUMNS];
	Oid types[2] = {columns->tdtypeid, TEXTARRAYOID};
	Datum args[2];

	memcpy(nulls, task->nulls, sizeof(nulls));
	nulls[AGENTPAY_TASK_DECIDE_BY] = true;
	args[0] = agentpay_row(columns, task->values, nulls);
	args[1] = s->killed;
	if (!agentpay_memo_row(&talks, &statement, 2, types, args, TALK_COLUMNS,
						   talk->values, talk->nulls))
		elog(ERROR, "_talk() gave no row");
}

/* A route is open again when its time has come, which nobody tells. */
static void
read_talk(Talk *talk)
{
	AgentpayRequest *request = &talk->request;
	int n_notes;

	if (agentpay_text_is(talk->values[TALK_ROLE], "routing"))
		agentpay_memo_expire(&talks);

	request->protocol = agentpay_request_protocol(
		talk_text(talk, TALK_PROTOCOL));
	request->role = talk_text(talk, TALK_ROLE);
	request->prompt = talk_text(talk, TALK_PROMPT);
	request->model = talk_text(talk, TALK_MODEL);
	request->options = talk_text(talk, TALK_OPTIONS);
	request->max_output_tokens = DatumGetInt32(
		talk->values[TALK_MAX_OUTPUT_TOKENS]);
	request->n_verdicts =
		agentpay_request_texts(DatumGetArrayTypeP(talk->values[TALK_VERDICTS]),
							   &request->verdicts);
	n_notes =
		agentpay_request_texts(DatumGetArrayTypeP(talk->values[TALK_NOTES]),
							   &request->notes);
	if (n_notes != request->n_verdicts)
		elog(ERROR, "%d verdicts have %d notes", request->n_verdicts, n_notes);
	deconstruct_array(DatumGetArrayTypeP(talk->values[TALK_FIELDS]), TEXTOID,
					  -1, false, TYPALIGN_INT, &talk->fields, NULL,
					  &talk->n_fields);
	talk->table = psprintf("%u",
						   DatumGetObjectId(talk->values[TALK_TABLE_NAME]));
}

static char *
talk_text(const Talk *talk, TalkColumn column)
{
	return talk->nulls[column] ? NULL
							   : TextDatumGetCString(talk->values[column]);
}

/* What the agent may see of the inputs was treated when the row was scored. */
static char *
body_of(Making *s, const Talk *talk, const AgentpayRow *task)
{
	AgentpayRequest request = talk->request;
	AgentpayRow rules;
	Jsonb *inputs = NULL;

	if (agentpay_log_find(s->decisions,
						  DatumGetTimestampTz(
							  task->values[AGENTPAY_TASK_CREATED_AT]),
						  task->values[AGENTPAY_TASK_DECISION_ID],
						  &rules.values, &rules.nulls) &&
		!rules.nulls[AGENTPAY_DECISION_INPUTS])
		inputs = DatumGetJsonbP(rules.values[AGENTPAY_DECISION_INPUTS]);
	request.fields = fields_of(talk, inputs);
	return agentpay_request_body(&request);
}

/* One JSON object of those fields that there are. */
static char *
fields_of(const Talk *talk, Jsonb *inputs)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;
	Jsonb *fields;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; inputs != NULL && i < talk->n_fields; i++)
	{
		text *name = DatumGetTextPP(talk->fields[i]);
		JsonbValue key = {.type = jbvString};
		JsonbValue *value =
			getKeyJsonValueFromContainer(&inputs->root, VARDATA_ANY(name),
										 VARSIZE_ANY_EXHDR(name), NULL);

		if (value == NULL)
			continue;
		key.val.string.val = VARDATA_ANY(name);
		key.val.string.len = VARSIZE_ANY_EXHDR(name);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	fields = JsonbValueToJsonb(object);
	return JsonbToCString(NULL, &fields->root, VARSIZE(fields));
}

/* As agentpay._cost_bound() has it: whole nano-dollars, rounded up. */
static Datum
bound_of(const Talk *talk, const char *body)
{
	Datum cost = CALL2(numeric_mul,
					   CALL1(int8_numeric, Int64GetDatum((int64) strlen(body))),
					   talk->values[TALK_PRICE_OF_BYTE]);

	cost = CALL2(numeric_add, cost, talk->values[TALK_PRICE_OF_CALL]);
	cost = CALL2(numeric_mul, CALL1(int4_numeric, Int32GetDatum(1000)), cost);
	cost = CALL2(numeric_div, CALL1(numeric_ceil, cost),
				 CALL1(int4_numeric, Int32GetDatum(1000000000)));
	return CALL1(numeric_trim_scale, cost);
}

static bool
mark_sent(Making *s, const Talk *talk, Datum bound)
{
	Datum values[WORK_COLUMNS];
	bool nulls[WORK_COLUMNS];

	memcpy(values, s->work.row->tts_values, sizeof(values));
	memcpy(nulls, s->work.row->tts_isnull, sizeof(nulls));
	values[WORK_STATE] = CStringGetTextDatum("sent");
	values[WORK_ATTEMPT] = Int32GetDatum(DatumGetInt32(values[WORK_ATTEMPT]) +
										 1);
	nulls[WORK_RUN_AFTER] = true;
	values[WORK_LEASE] = Int64GetDatum(s->lease);
	values[WORK_LEASE_UNTIL] = TimestampTzGetDatum(lease_until(s, talk));
	values[WORK_BOUND_COST] = bound;
	values[WORK_SENT_AT] = TimestampTzGetDatum(s->moment);
	nulls[WORK_LEASE] = nulls[WORK_LEASE_UNTIL] = false;
	nulls[WORK_BOUND_COST] = nulls[WORK_SENT_AT] = false;
	return agentpay_store_update(&s->work, values, nulls);
}

static void
want(Making *s, const Talk *talk, const AgentpayRow *task, Datum bound)
{
	int32 attempt = DatumGetInt32(s->work.row->tts_values[WORK_ATTEMPT]);
	char *payment =
		psprintf("%s:%s", talk->table,
				 TextDatumGetCString(task->values[AGENTPAY_TASK_ROW_ID]));
	Datum values[WANTED_COLUMNS] = {
		[WANTED_TASK_ID] = task->values[AGENTPAY_TASK_ID],
		[WANTED_ATTEMPT] = Int32GetDatum(attempt + 1),
		[WANTED_BOUND] = bound,
		[WANTED_ROLE] = talk->values[TALK_ROLE],
		[WANTED_POINT] = task->values[AGENTPAY_TASK_POINT],
		[WANTED_AGENT] = task->values[AGENTPAY_TASK_AGENT],
		[WANTED_COST_CENTER] = talk->values[TALK_COST_CENTER],
		[WANTED_PAYMENT] = CStringGetTextDatum(payment),
		[WANTED_LEASE_UNTIL] = TimestampTzGetDatum(lease_until(s, talk)),
	};
	bool nulls[WANTED_COLUMNS] = {false};

	agentpay_rows_add(&s->wanted, values, nulls);
}

static void
add_ready(Making *s, const AgentpayRow *work, const AgentpayRow *task,
		  Datum why, const char *body)
{
	Datum values[READY_COLUMNS] = {
		[READY_TASK_ID] = work->values[WORK_TASK_ID],
		[READY_CREATED_AT] = work->values[WORK_CREATED_AT],
		[READY_AGENT] = work->values[WORK_AGENT],
		[READY_ATTEMPT] = work->values[WORK_ATTEMPT],
		[READY_SPENT] = work->values[WORK_SPENT],
		[READY_IDEMPOTENCY_KEY] = task->values[AGENTPAY_TASK_IDEMPOTENCY_KEY],
		[READY_WHY] = why,
	};
	bool nulls[READY_COLUMNS] = {false};

	nulls[READY_WHY] = why == (Datum) 0;
	nulls[READY_BODY] = body == NULL;
	if (body != NULL)
		values[READY_BODY] = CStringGetTextDatum(body);
	agentpay_rows_add(&s->ready, values, nulls);
}

static TimestampTz
lease_until(const Making *s, const Talk *talk)
{
	return TimestampTzPlusMilliseconds(
		s->moment,
		(int64) DatumGetInt32(talk->values[TALK_TIMEOUT_MS]) + LEASE_MS);
}

static int
compare_ids(const void *a, const void *b)
{
	int64 left = DatumGetInt64(*(const Datum *) a);
	int64 right = DatumGetInt64(*(const Datum *) b);

	return (left > right) - (left < right);
}
