/*-------------------------------------------------------------------------
 * sealing.c
 *		Seals what a row's inputs were under the key of its subject.
 *
 * In BEFORE, while the values are at hand, so that they never wait in clear in
 * a file for AFTER.  Contained: a payment that cannot be sealed is stored in
 * its treated form, as without a master key.
 *
 * Locks: those of privacy/keys.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "base/clock.h"
#include "base/contain.h"
#include "evidence/decisions.h"
#include "privacy/keys.h"
#include "scoring/sealing.h"

/* Ahead of what is sealed. */
typedef struct Head
{
	pg_uuid_t id;
	int64 key_id;
} Head;

typedef struct Work
{
	const AgentpayEvaluation *evaluation;
	MemoryContext context;
	bytea *result; /* NULL: not sealed */
	const char *problem;
} Work;

static void seal_body(void *arg);
static void seal(Work *work, const char *text, size_t len);

Datum
agentpay_sealing_inputs(const AgentpayEvaluation *evaluation)
{
	Work work = {.evaluation = evaluation, .context = CurrentMemoryContext};
	ErrorData *error;

	if (evaluation->clear == NULL)
		return (Datum) 0;
	if (!agentpay_contain(seal_body, &work, &error))
	{
		agentpay_keys_complain(error->message);
		return (Datum) 0;
	}
	if (work.result == NULL && work.problem != NULL)
		agentpay_keys_complain(work.problem);
	return PointerGetDatum(work.result);
}

void
agentpay_sealing_put(Datum sealed, pg_uuid_t *id, Datum *values)
{
	bytea *bytes = DatumGetByteaPP(sealed);
	Size size = VARSIZE_ANY_EXHDR(bytes) - sizeof(Head);
	bytea *rest = palloc(VARHDRSZ + size);
	Head head;

	memcpy(&head, VARDATA_ANY(bytes), sizeof(head));
	*id = head.id;
	SET_VARSIZE(rest, VARHDRSZ + size);
	memcpy(VARDATA(rest), VARDATA_ANY(bytes) + sizeof(head), size);
	values[AGENTPAY_DECISION_SEALED] = PointerGetDatum(rest);
	values[AGENTPAY_DECISION_KEY_ID] = Int64GetDatum(head.key_id);
}

static void
seal_body(void *arg)
{
	Work *work = arg;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"inputs\": ");
	(void) JsonbToCString(&text, &work->evaluation->clear->root,
						  VARSIZE(work->evaluation->clear));
	appendStringInfoChar(&text, '}');
	seal(work, text.data, text.len);
	explicit_bzero(text.data, text.len);
}

static void
seal(Work *work, const char *text, size_t len)
{
	Head head;
	bytea *sealed;
	MemoryContext old;

	head.key_id =
		agentpay_keys_of(agentpay_sealing_subject(work->evaluation->point,
												  work->evaluation->row),
						 &work->problem);
	if (head.key_id == 0)
		return;
	agentpay_uuid_v7(work->evaluation->decided_at, &head.id);
	sealed = agentpay_keys_seal(head.key_id, AGENTPAY_SEALED_DECISION, &head.id,
								text, len, &work->problem);
	if (sealed == NULL)
		return;
	old = MemoryContextSwitchTo(work->context);
	work->result = palloc(VARSIZE(sealed) + sizeof(head));
	MemoryContextSwitchTo(old);
	SET_VARSIZE(work->result, VARSIZE(sealed) + sizeof(head));
	memcpy(VARDATA(work->result), &head, sizeof(head));
	memcpy(VARDATA(work->result) + sizeof(head), VARDATA(sealed),
		   VARSIZE(sealed) - VARHDRSZ);
}

const char *
agentpay_sealing_subject(AgentpayPoint *point, TupleTableSlot *row)
{
	bool isnull;
	Datum value;

	if (point->subject.attno == 0)
		return NULL;
	value = slot_getattr(row, point->subject.attno, &isnull);
	return isnull
			   ? NULL
			   : agentpay_text_form(point->subject.type,
									OutputFunctionCall(&point->subject_output,
													   value));
}
