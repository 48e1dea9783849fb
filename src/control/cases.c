/*-------------------------------------------------------------------------
 * cases.c
 *		Opens cases: rows that a person is to look at.
 *
 * agentpay.cases is a plain table that people work on by SQL.  The INSERT path
 * writes to it as it writes to the logs, directly, past SQL and the table's
 * triggers; a statement's cases together, in one subtransaction, so that
 * whatever goes wrong costs the statement nothing.  What is missing then, the
 * governor opens (agentpay._open_missing_cases()).
 *
 * A row that has an open case gets no other.  That is looked up under a dirty
 * snapshot, so that the INSERT waits for nobody who works on that case.
 *
 * Locking: RowExclusiveLock on agentpay.cases, to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/appender.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/contain.h"
#include "base/errors.h"
#include "control/cases.h"

#define FLUSH_AT 1000

/* Zero-based, as in sql/parts/53_cases.sql; a test compares them. */
enum
{
	CASE_ID,
	CASE_POINT,
	CASE_ROW_ID,
	CASE_DECISION_ID,
	CASE_AGENT,
	CASE_CAUSE,
	CASE_STATE,
	CASE_ASSIGNEE,
	CASE_OPENED_AT,
	CASE_DUE_AT,
	CASE_FIRST_ACTION_AT,
	CASE_CLOSED_AT,
	CASE_RESOLUTION_ID,
	CASE_COLUMNS
};

/* Zero-based, as in sql/parts/20_logs.sql. */
enum
{
	EVENT_ID,
	EVENT_LOGGED_AT,
	EVENT_ACTOR,
	EVENT_ACTION,
	EVENT_OBJECT_KIND,
	EVENT_OBJECT,
	EVENT_REASON,
	EVENT_BEFORE,
	EVENT_AFTER,
	EVENT_XID,
	EVENT_COLUMNS
};

struct AgentpayCases
{
	MemoryContext context; /* of what was added */
	int count;
	AgentpayCase *array;
};

/* The open table. */
typedef struct Target
{
	Relation cases;
	Relation open_rows; /* index cases_one_open */
	ResultRelInfo *result;
	EState *estate;
	TupleTableSlot *slot;
	TupleTableSlot *found;
	Oid sequence;
} Target;

static void open_all(void *arg);
static void open_target(Target *target);
static void close_target(Target *target);
static bool has_open_case(Target *target, Datum point, Datum row_id);
static void insert_found(Target *target, const AgentpayCase *opened);
static int64 insert_case(Target *target, Datum *values, bool *nulls);
static TimestampTz due_at(const AgentpayCase *opened);
static void note_failure(const AgentpayCases *cases, const ErrorData *error);

PG_FUNCTION_INFO_V1(agentpay_sql_insert_case);

AgentpayCases *
agentpay_cases_begin(MemoryContext context)
{
	AgentpayCases *cases = MemoryContextAllocZero(context,
												  sizeof(AgentpayCases));

	cases->context = AllocSetContextCreate(context, "agentpay cases",
										   ALLOCSET_DEFAULT_SIZES);
	return cases;
}

bool
agentpay_cases_add(AgentpayCases *cases, const AgentpayCase *opened)
{
	AgentpayCase *copy;

	if (cases->array == NULL)
		cases->array = MemoryContextAlloc(cases->context,
										  sizeof(AgentpayCase) * FLUSH_AT);
	Assert(cases->count < FLUSH_AT);
	copy = &cases->array[cases->count++];
	*copy = *opened;
	copy->point = MemoryContextStrdup(cases->context, opened->point);
	copy->row_id = MemoryContextStrdup(cases->context, opened->row_id);
	return cases->count == FLUSH_AT;
}

void
agentpay_cases_flush(AgentpayCases *cases)
{
	MemoryContext old;
	ErrorData *error;

	if (cases->count == 0)
		return;
	old = MemoryContextSwitchTo(cases->context);
	if (!agentpay_contain(open_all, cases, &error))
		note_failure(cases, error);
	MemoryContextSwitchTo(old);
	MemoryContextReset(cases->context);
	cases->array = NULL;
	cases->count = 0;
}

/* In a subtransaction: an error undoes all of it. */
static void
open_all(void *arg)
{
	AgentpayCases *cases = arg;
	Target target;

	open_target(&target);
	for (int i = 0; i < cases->count; i++)
		insert_found(&target, &cases->array[i]);
	close_target(&target);
}

static void
open_target(Target *target)
{
	Oid relid = agentpay_relation("cases");

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agentpay.cases\" does not exist"),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	target->cases = table_open(relid, RowExclusiveLock);
	target->open_rows = index_open(agentpay_relation("cases_one_open"),
								   RowExclusiveLock);
	target->sequence = agentpay_relation("cases_case_id_seq");
	target->estate = CreateExecutorState();
	target->result = makeNode(ResultRelInfo);
	InitResultRelInfo(target->result, target->cases, 0, NULL, 0);
	ExecOpenIndices(target->result, false);
	target->slot = MakeSingleTupleTableSlot(RelationGetDescr(target->cases),
											&TTSOpsHeapTuple);
	target->found = table_slot_create(target->cases, NULL);
}

static void
close_target(Target *target)
{
	ExecDropSingleTupleTableSlot(target->found);
	ExecDropSingleTupleTableSlot(target->slot);
	ExecCloseIndices(target->result);
	FreeExecutorState(target->estate);
	index_close(target->open_rows, NoLock);
	table_close(target->cases, NoLock);
}

/* Also one of a transaction that has not ended. */
static bool
has_open_case(Target *target, Datum point, Datum row_id)
{
	Relation index = target->open_rows;
	SnapshotData dirty;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	bool found;

	InitDirtySnapshot(dirty);
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, TEXTOID,
						   index->rd_indcollation[0], F_TEXTEQ, point);
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, TEXTOID,
						   index->rd_indcollation[1], F_TEXTEQ, row_id);
	scan = AGENTPAY_INDEX_BEGINSCAN(target->cases, index, &dirty, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, target->found);
	index_endscan(scan);
	ExecClearTuple(target->found);
	return found;
}

static void
insert_found(Target *target, const AgentpayCase *opened)
{
	static const char *const causes[] = {
		[AGENTPAY_CAUSE_REVIEW] = "review",
		[AGENTPAY_CAUSE_AUDIT] = "audit",
	};
	pg_uuid_t decision_id = opened->decision_id;
	Datum values[CASE_COLUMNS] = {0};
	bool nulls[CASE_COLUMNS] = {0};

	values[CASE_POINT] = CStringGetTextDatum(opened->point);
	values[CASE_ROW_ID] = CStringGetTextDatum(opened->row_id);
	values[CASE_DECISION_ID] = UUIDPGetDatum(&decision_id);
	nulls[CASE_AGENT] = true;
	values[CASE_CAUSE] = CStringGetTextDatum(causes[opened->cause]);
	nulls[CASE_ASSIGNEE] = true;
	values[CASE_OPENED_AT] = TimestampTzGetDatum(opened->opened_at);
	values[CASE_DUE_AT] = TimestampTzGetDatum(due_at(opened));
	(void) insert_case(target, values, nulls);
}

/* Its case_id, which is new; 0 when the row has an open case. */
static int64
insert_case(Target *target, Datum *values, bool *nulls)
{
	TupleTableSlot *slot = target->slot;
	int64 case_id;

	if (has_open_case(target, values[CASE_POINT], values[CASE_ROW_ID]))
		return 0;
	case_id = nextval_internal(target->sequence, false);
	values[CASE_ID] = Int64GetDatum(case_id);
	nulls[CASE_ID] = false;
	values[CASE_STATE] = CStringGetTextDatum("pending");
	nulls[CASE_STATE] = false;
	for (int i = CASE_FIRST_ACTION_AT; i < CASE_COLUMNS; i++)
		nulls[i] = true;
	ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(target->cases), values,
									   nulls),
					   slot, true);
	slot->tts_tableOid = RelationGetRelid(target->cases);
	ExecConstraints(target->result, slot, target->estate);
	table_tuple_insert(target->cases, slot, GetCurrentCommandId(true), 0, NULL);
	list_free(AGENTPAY_EXEC_INSERT_INDEX_TUPLES(target->result, slot,
												target->estate));
	ResetPerTupleExprContext(target->estate);
	return case_id;
}

static TimestampTz
due_at(const AgentpayCase *opened)
{
	Interval due_in = opened->due_in;
	TimestampTz due = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval,
							TimestampTzGetDatum(opened->opened_at),
							IntervalPGetDatum(&due_in)));

	return Min(due, opened->due_by);
}

/* The statement goes on; whoever reads the governance log sees why. */
static void
note_failure(const AgentpayCases *cases, const ErrorData *error)
{
	TimestampTz now = agentpay_clock_now();
	Datum values[EVENT_COLUMNS] = {0};
	bool nulls[EVENT_COLUMNS] = {0};
	NameData actor;
	pg_uuid_t id;

	agentpay_uuid_v7(now, &id);
	namestrcpy(&actor, "agentpay");
	values[EVENT_ID] = UUIDPGetDatum(&id);
	values[EVENT_LOGGED_AT] = TimestampTzGetDatum(now);
	values[EVENT_ACTOR] = NameGetDatum(&actor);
	values[EVENT_ACTION] = CStringGetTextDatum("fail");
	values[EVENT_OBJECT_KIND] = CStringGetTextDatum("case");
	values[EVENT_OBJECT] = CStringGetTextDatum(cases->array[0].point);
	values[EVENT_REASON] = CStringGetTextDatum(
		psprintf("%d cases could not be opened with their rows: %s %s",
				 cases->count, unpack_sql_state(error->sqlerrcode),
				 error->message ? error->message : ""));
	nulls[EVENT_BEFORE] = nulls[EVENT_AFTER] = nulls[EVENT_XID] = true;
	agentpay_append(AGENTPAY_LOG_GOVERNANCE, now, values, nulls);
}

/*
 * agentpay._insert_case(cases): a row of the table, of which case_id, state
 * and what closes a case do not count.
 */
Datum
agentpay_sql_insert_case(PG_FUNCTION_ARGS)
{
	HeapTupleHeader record = PG_GETARG_HEAPTUPLEHEADER(0);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(record),
						   .t_data = record};
	Datum values[CASE_COLUMNS];
	bool nulls[CASE_COLUMNS];
	Target target;
	int64 case_id;

	open_target(&target);
	heap_deform_tuple(&tuple, RelationGetDescr(target.cases), values, nulls);
	if (nulls[CASE_POINT] || nulls[CASE_ROW_ID])
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("a case without a point or a row id"),
						errhint("SELECT agentpay.open_case('fraud', '4711', "
								"'asked for by ...');")));
	case_id = insert_case(&target, values, nulls);
	close_target(&target);
	if (case_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(case_id);
}
