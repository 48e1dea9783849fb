/*-------------------------------------------------------------------------
 * dispatcher_result.c
 *		What became of a call, as agentpay._record() takes it.
 *
 * Filled in when the call ends, outside of any transaction: values in the
 * dispatcher's memory, which become rows of agentpay._attempt_end when they
 * are recorded.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/appender.h"
#include "base/compat.h"
#include "control/attempts.h"
#include "privacy/detect.h"
#include "privacy/keys.h"
#include "workers/dispatcher.h"

/* Of an answer that is kept, before redaction. */
#define ANSWER_KEPT 65536

struct DispatcherResult
{
	Datum values[ATTEMPT_COLUMNS]; /* what they point to is the result's */
	bool nulls[ATTEMPT_COLUMNS];
};

/* Those whose value is a pointer. */
static const bool by_reference[ATTEMPT_COLUMNS] = {
	[ATTEMPT_FAILURE] = true,		 [ATTEMPT_CHARGE] = true,
	[ATTEMPT_STATUS] = true,		 [ATTEMPT_ERROR] = true,
	[ATTEMPT_VERDICT] = true,		 [ATTEMPT_SCORE] = true,
	[ATTEMPT_REASONS] = true,		 [ATTEMPT_EXPLANATION] = true,
	[ATTEMPT_RESPONSE_MODEL] = true, [ATTEMPT_REQUEST_ID] = true,
	[ATTEMPT_FINISH_REASON] = true,	 [ATTEMPT_REQUEST_SHA256] = true,
	[ATTEMPT_REQUEST_BODY] = true,	 [ATTEMPT_ANSWER_BODY] = true,
};

static void
set_call(DispatcherResult *r, DispatcherTask *task,
		 const AgentpayHttpResult *result, const AgentpayAnswer *answer);
static const char *
request_id(const DispatcherTask *task, const AgentpayHttpResult *result,
		   const AgentpayAnswer *answer);
static void set_answer(DispatcherResult *r, const AgentpayAnswer *answer);
static void set_bodies(DispatcherResult *r, const AgentpayHttpResult *result);
static void set(DispatcherResult *r, AgentpayAttemptColumn column, Datum value);
static void
set_text(DispatcherResult *r, AgentpayAttemptColumn column, const char *value);
static Datum make_text(const char *value);
static double whole_microseconds(double ms);

/* Keeps the result with its task; result and answer may be NULL. */
void
dispatcher_set_result(Dispatcher *d, DispatcherTask *task,
					  const DispatcherReading *reading,
					  const AgentpayHttpResult *result,
					  const AgentpayAnswer *answer)
{
	MemoryContext old = MemoryContextSwitchTo(d->context);
	DispatcherResult *r = palloc(sizeof(DispatcherResult));

	memset(r->nulls, true, sizeof(r->nulls));
	task->result = r;
	set(r, ATTEMPT_TASK_ID, Int64GetDatum(task->task_id));
	set(r, ATTEMPT_NUMBER, Int32GetDatum(task->attempt));
	set(r, ATTEMPT_FINAL, BoolGetDatum(!task->retry));
	set(r, ATTEMPT_DELAY_MS, Int32GetDatum(task->delay_ms));
	set_text(r, ATTEMPT_STATUS, reading->status);
	set_text(r, ATTEMPT_FAILURE, reading->failure);
	set_text(r, ATTEMPT_CHARGE, reading->charge);
	set_text(r, ATTEMPT_ERROR, reading->error);
	if (result != NULL)
		set_call(r, task, result, answer);
	MemoryContextSwitchTo(old);
}

static void
set_call(DispatcherResult *r, DispatcherTask *task,
		 const AgentpayHttpResult *result, const AgentpayAnswer *answer)
{
	set(r, ATTEMPT_CALLED_AT, TimestampTzGetDatum(task->called_at));
	set_text(r, ATTEMPT_REQUEST_SHA256, task->sha256);
	set(r, ATTEMPT_IN_FLIGHT_AT_START, Int32GetDatum(task->in_flight_at_start));
	set(r, ATTEMPT_LATENCY_MS,
		Float8GetDatum(whole_microseconds(result->latency_ms)));
	set(r, ATTEMPT_QUEUED_MS,
		Float8GetDatum((task->called_at - task->created_at) / 1000.0));
	if (result->http_status != 0)
		set(r, ATTEMPT_HTTP_STATUS, Int32GetDatum(result->http_status));
	set_text(r, ATTEMPT_REQUEST_ID, request_id(task, result, answer));
	set_answer(r, answer);
	set_bodies(r, result);
}

/* The provider's id of the request: of the body or the head; NULL: none. */
static const char *
request_id(const DispatcherTask *task, const AgentpayHttpResult *result,
		   const AgentpayAnswer *answer)
{
	const char *head = result->request_id[0] ? result->request_id : NULL;
	const char *body = answer != NULL ? answer->request_id : NULL;

	if (body == NULL ||
		(head != NULL && task->agent->protocol->request_id_from_header))
		return head;
	return body;
}

static void
set_answer(DispatcherResult *r, const AgentpayAnswer *answer)
{
	Datum *reasons;

	set_text(r, ATTEMPT_RESPONSE_MODEL, answer->response_model);
	set_text(r, ATTEMPT_FINISH_REASON, answer->finish_reason);
	if (answer->usage_valid)
	{
		set(r, ATTEMPT_INPUT_TOKENS, Int64GetDatum(answer->input_tokens));
		set(r, ATTEMPT_CACHED_TOKENS, Int64GetDatum(answer->cached_tokens));
		set(r, ATTEMPT_OUTPUT_TOKENS, Int64GetDatum(answer->output_tokens));
	}
	if (answer->verdict == NULL)
		return;
	set_text(r, ATTEMPT_VERDICT, answer->verdict);
	set(r, ATTEMPT_CONFIDENCE, Float4GetDatum((float4) answer->confidence));
	if (answer->has_score)
	{
		char digits[32];

		snprintf(digits, sizeof(digits), "%.9g", answer->score);
		set(r, ATTEMPT_SCORE,
			DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
								ObjectIdGetDatum(InvalidOid),
								Int32GetDatum(-1)));
	}
	reasons = palloc(sizeof(Datum) * Max(answer->n_reasons, 1));
	for (int i = 0; i < answer->n_reasons; i++)
		reasons[i] = make_text(answer->reasons[i]);
	set(r, ATTEMPT_REASONS,
		PointerGetDatum(construct_array(reasons, answer->n_reasons, TEXTOID, -1,
										false, TYPALIGN_INT)));
	for (int i = 0; i < answer->n_reasons; i++)
		pfree(DatumGetPointer(reasons[i]));
	pfree(reasons);
	set_text(r, ATTEMPT_EXPLANATION, answer->explanation);
}

/*
 * What was asked and answered, to be sealed; nothing where there is no key.
 * Of an answer the beginning, up to the first byte that is no text.
 */
static void
set_bodies(DispatcherResult *r, const AgentpayHttpResult *result)
{
	size_t len = Min(result->body_len, ANSWER_KEPT);
	char *request;
	char *redacted;

	if (result->request_len == 0 || !agentpay_keys_wanted())
		return;
	/* not terminated */
	request = pnstrdup(result->request, result->request_len);
	set_text(r, ATTEMPT_REQUEST_BODY, request);
	pfree(request);
	if (len == 0)
		return;
	redacted = palloc(AGENTPAY_DETECT_OUT_SIZE(len) + 1);
	len = agentpay_detect_redact(result->body, len, redacted, NULL);
	len = pg_encoding_verifymbstr(PG_UTF8, redacted, (int) len);
	redacted[len] = '\0';
	set_text(r, ATTEMPT_ANSWER_BODY, redacted);
	pfree(redacted);
}

static void
set(DispatcherResult *r, AgentpayAttemptColumn column, Datum value)
{
	r->values[column] = value;
	r->nulls[column] = false;
}

/* NULL stays NULL. */
static void
set_text(DispatcherResult *r, AgentpayAttemptColumn column, const char *value)
{
	if (value != NULL)
		set(r, column, make_text(value));
}

/*
 * Values are UTF-8; where the database is not, what is beyond ASCII becomes a
 * question mark.
 */
static Datum
make_text(const char *value)
{
	text *copy = cstring_to_text(value);

	if (GetDatabaseEncoding() != PG_UTF8)
		for (Size i = 0; i < VARSIZE(copy) - VARHDRSZ; i++)
			if (IS_HIGHBIT_SET(VARDATA(copy)[i]))
				VARDATA(copy)[i] = '?';
	return PointerGetDatum(copy);
}

static double
whole_microseconds(double ms)
{
	return rint(ms * 1000) / 1000;
}

void
dispatcher_free_result(DispatcherTask *task)
{
	DispatcherResult *r = task->result;

	if (r == NULL)
		return;
	for (int i = 0; i < ATTEMPT_COLUMNS; i++)
		if (by_reference[i] && !r->nulls[i])
			pfree(DatumGetPointer(r->values[i]));
	pfree(r);
	task->result = NULL;
}

/* An agentpay._attempt_end[], in the current context; *type is its type. */
ArrayType *
dispatcher_results(DispatcherTask **tasks, int n, Oid *type)
{
	Oid relation = agentpay_relation("_attempt_end");
	Oid element = get_rel_type_id(relation);
	TupleDesc desc = lookup_rowtype_tupdesc(element, -1);
	Datum *rows = palloc(sizeof(Datum) * n);

	if (desc->natts != ATTEMPT_COLUMNS)
		elog(ERROR, "agentpay._attempt_end has %d columns, not %d", desc->natts,
			 ATTEMPT_COLUMNS);
	for (int i = 0; i < n; i++)
		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc,
													tasks[i]->result->values,
													tasks[i]->result->nulls));
	ReleaseTupleDesc(desc);
	*type = get_array_type(element);
	return construct_array(rows, n, element, -1, false, TYPALIGN_DOUBLE);
}
