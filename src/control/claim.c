/*-------------------------------------------------------------------------
 * claim.c
 *		Where tasks go that the cursor has passed: to a row of work, to the
 *		agents inside the database, or to an end.
 *
 * What tasks of an agent's version have in common is asked for once a batch.
 *
 * Locking: none beyond the rows that it inserts.  One dispatcher at a time
 * claims.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/memo.h"
#include "base/rows.h"
#include "base/statement.h"
#include "base/store.h"
#include "control/attempts.h"
#include "control/ends.h"
#include "evidence/decisions.h"

/* What becomes of the tasks of an agent's version. */
typedef struct Asked
{
	struct Asked *next;
	Datum agent;
	Datum point;
	int32 version;
	bool builtin;
	bool skipped;
	Datum why; /* it is not asked any more */
} Asked;

typedef struct Claiming
{
	AgentpayStore work;
	Oid places; /* the sequence of _task_work.place */
	TimestampTz moment;
	AgentpayRows skipped;
	AgentpayRows builtin;
	Datum *agents; /* those that are called */
	int n_agents;
} Claiming;

static AgentpayMemo asked_agents = {.name = "agents that are asked"};

static void take(Claiming *s, Datum row, Datum *values, bool *nulls);
static Asked *find_asked(Claiming *s, Datum *values, bool *nulls);
static void add_work(Claiming *s, Asked *asked, const Datum *values);
static void skip(Claiming *s, const Datum *values, Datum why);

PG_FUNCTION_INFO_V1(agentpay_sql_take_tasks);

/*
 * agentpay._take_tasks(batch agentpay._tasks[], OUT skipped, OUT builtin,
 * OUT agents)
 */
Datum
agentpay_sql_take_tasks(PG_FUNCTION_ARGS)
{
	Claiming s = {.moment = agentpay_clock_now()};
	AgentpayRowsReader batch;
	TupleDesc description;
	Datum values[3];
	bool nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	agentpay_memo_begin(&asked_agents);
	agentpay_rows_open(&batch, PG_GETARG_ARRAYTYPE_P(0), AGENTPAY_TASK_COLUMNS);
	agentpay_store_open(&s.work, "_task_work", "_task_work_pkey");
	s.places = agentpay_relation("_task_work_place_seq");
	agentpay_rows_start(&s.skipped, "_task_end");
	agentpay_rows_start(&s.builtin, "_tasks");
	s.agents = palloc(sizeof(Datum) * Max(batch.n, 1));
	for (int i = 0; i < batch.n; i++)
		if (agentpay_rows_read(&batch, i))
			take(&s, batch.rows[i], batch.values, batch.nulls);
	agentpay_store_close(&s.work);
	agentpay_rows_close(&batch);
	values[0] = agentpay_rows_finish(&s.skipped, &nulls[0]);
	values[1] = agentpay_rows_finish(&s.builtin, &nulls[1]);
	values[2] = PointerGetDatum(construct_array(s.agents, s.n_agents, TEXTOID,
												-1, false, TYPALIGN_INT));
	return agentpay_row(BlessTupleDesc(description), values, nulls);
}

static void
take(Claiming *s, Datum row, Datum *values, bool *nulls)
{
	Asked *asked;

	if (nulls[AGENTPAY_TASK_ID] || nulls[AGENTPAY_TASK_CREATED_AT] ||
		nulls[AGENTPAY_TASK_POINT] || nulls[AGENTPAY_TASK_AGENT] ||
		nulls[AGENTPAY_TASK_AGENT_VERSION])
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a task has its number, time, point and agent"),
						errhint("SELECT agentpay._claim(100); takes those that "
								"wait.")));
	asked = find_asked(s, values, nulls);
	if (asked->skipped)
		skip(s, values, asked->why);
	else if (!nulls[AGENTPAY_TASK_DECIDE_BY] &&
			 DatumGetTimestampTz(values[AGENTPAY_TASK_DECIDE_BY]) <= s->moment)
		skip(s, values, CStringGetTextDatum("decide_by passed"));
	else if (asked->builtin)
		agentpay_rows_add_row(&s->builtin, row);
	else
		add_work(s, asked, values);
}

/* Each task has its own decide_by; here it is as if it had none. */
static Asked *
find_asked(Claiming *s, Datum *values, bool *nulls)
{
	static AgentpayStatement statement = {
		.sql = "SELECT coalesce(a.protocol = 'builtin', false),"
			   " agentpay._why_skipped($1) FROM (SELECT 1) AS one"
			   " LEFT JOIN agentpay.agents a ON a.name = ($1).agent"};
	Datum agent = values[AGENTPAY_TASK_AGENT];
	Datum point = values[AGENTPAY_TASK_POINT];
	int32 version = DatumGetInt32(values[AGENTPAY_TASK_AGENT_VERSION]);
	bool undated[AGENTPAY_TASK_COLUMNS];
	Oid types[1] = {s->builtin.columns->tdtypeid};
	Datum args[1];
	Datum said[2];
	bool missing[2];
	MemoryContext old;
	Asked *asked;

	for (asked = asked_agents.first; asked != NULL; asked = asked->next)
		if (asked->version == version &&
			agentpay_text_same(asked->agent, agent) &&
			agentpay_text_same(asked->point, point))
			return asked;
	memcpy(undated, nulls, sizeof(undated));
	undated[AGENTPAY_TASK_DECIDE_BY] = true;
	args[0] = agentpay_row(s->builtin.columns, values, undated);
	if (!agentpay_memo_row(&asked_agents, &statement, 1, types, args, 2, said,
						   missing))
		elog(ERROR, "_why_skipped() gave no row");
	old = MemoryContextSwitchTo(asked_agents.context);
	asked = palloc0(sizeof(Asked));
	asked->agent = PointerGetDatum(PG_DETOAST_DATUM_COPY(agent));
	asked->point = PointerGetDatum(PG_DETOAST_DATUM_COPY(point));
	MemoryContextSwitchTo(old);
	asked->version = version;
	asked->builtin = DatumGetBool(said[0]);
	asked->skipped = !missing[1];
	asked->why = said[1];
	asked->next = asked_agents.first;
	asked_agents.first = asked;
	return asked;
}

static void
add_work(Claiming *s, Asked *asked, const Datum *values)
{
	Datum work[WORK_COLUMNS] = {
		[WORK_TASK_ID] = values[AGENTPAY_TASK_ID],
		[WORK_PLACE] = Int64GetDatum(nextval_internal(s->places, false)),
		[WORK_CREATED_AT] = values[AGENTPAY_TASK_CREATED_AT],
		[WORK_AGENT] = values[AGENTPAY_TASK_AGENT],
		[WORK_STATE] = CStringGetTextDatum("leased"),
		[WORK_ATTEMPT] = Int32GetDatum(0),
		[WORK_SPENT] = DirectFunctionCall1(int4_numeric, Int32GetDatum(0)),
	};
	bool missing[WORK_COLUMNS] = {
		[WORK_RUN_AFTER] = true,   [WORK_LEASE] = true,
		[WORK_LEASE_UNTIL] = true, [WORK_BOUND_COST] = true,
		[WORK_SENT_AT] = true,
	};
	bool known = false;

	agentpay_store_insert(&s->work, work, missing);
	for (int i = 0; i < s->n_agents && !known; i++)
		known = agentpay_text_same(s->agents[i], asked->agent);
	if (!known)
		s->agents[s->n_agents++] = asked->agent;
}

/* Ends unasked. */
static void
skip(Claiming *s, const Datum *values, Datum why)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	StringInfoData detail;
	Datum end[AGENTPAY_END_COLUMNS];
	bool nulls[AGENTPAY_END_COLUMNS];

#define PUT(column, value) (end[column] = (value), nulls[column] = false)
	agentpay_uuid_v7(s->moment, id);
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"error\": ");
	escape_json(&detail, TextDatumGetCString(why));
	appendStringInfoChar(&detail, '}');
	memset(nulls, true, sizeof(nulls));
	PUT(AGENTPAY_END_TASK_ID, values[AGENTPAY_TASK_ID]);
	PUT(AGENTPAY_END_CREATED_AT, values[AGENTPAY_TASK_CREATED_AT]);
	PUT(AGENTPAY_END_DECISION_ID, UUIDPGetDatum(id));
	PUT(AGENTPAY_END_FAILURE, CStringGetTextDatum("skipped"));
	PUT(AGENTPAY_END_COST, DirectFunctionCall1(int4_numeric, Int32GetDatum(0)));
	PUT(AGENTPAY_END_DETAIL,
		DirectFunctionCall1(jsonb_in, CStringGetDatum(detail.data)));
#undef PUT
	agentpay_rows_add(&s->skipped, end, nulls);
}
