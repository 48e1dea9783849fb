/*-------------------------------------------------------------------------
 * sealing.c
 *		Seals what a row's inputs were under the key of its subject.
 *
 * In BEFORE, while the values are at hand, so that they never wait in clear in
 * a file for AFTER.  A payment that cannot be sealed is stored in its treated
 * form, as without a master key.  What is raised ends the subtransaction that
 * the row is evaluated in; it is evaluated again, step by step, and then this
 * has a subtransaction of its own.
 *
 * Locks: those of privacy/keys.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "base/clock.h"
#include "base/contain.h"
#include "evidence/decisions.h"
#include "privacy/keys.h"
#include "scoring/sealing.h"

/* The decision's id and the key's, ahead of the sealed bytes. */
struct AgentpaySealed
{
	int32 vl_len_; /* varlena header */
	pg_uuid_t id;
	uint8 key_id[sizeof(int64)]; /* not aligned */
	uint8 bytes[FLEXIBLE_ARRAY_MEMBER];
};

#define HEAD_SIZE offsetof(AgentpaySealed, bytes)

typedef struct Work
{
	AgentpayEvaluation *evaluation;
	const JsonbPair *pairs;
	int count;
} Work;

static void seal_body(void *arg);
static void write_value(StringInfo text, const JsonbValue *value);
static void write_string(StringInfo text, const char *string, int len);

void
agentpay_sealing_inputs(AgentpayEvaluation *evaluation, const JsonbPair *pairs,
						int count)
{
	Work work = {.evaluation = evaluation, .pairs = pairs, .count = count};
	ErrorData *error;

	if (!evaluation->careful)
		seal_body(&work);
	else if (!agentpay_contain(seal_body, &work, &error))
		agentpay_keys_complain(error->message);
}

void
agentpay_sealing_put(Datum sealed, pg_uuid_t *id, Datum *values)
{
	const AgentpaySealed *from = (AgentpaySealed *) PG_DETOAST_DATUM(sealed);
	Size size = VARSIZE(from) - HEAD_SIZE;
	bytea *rest = palloc(VARHDRSZ + size);
	int64 key_id;

	*id = from->id;
	memcpy(&key_id, from->key_id, sizeof(key_id));
	SET_VARSIZE(rest, VARHDRSZ + size);
	memcpy(VARDATA(rest), from->bytes, size);
	values[AGENTPAY_DECISION_SEALED] = PointerGetDatum(rest);
	values[AGENTPAY_DECISION_KEY_ID] = Int64GetDatum(key_id);
}

/* {"inputs": {"<name>": <value>, ...}} under the key of the row's subject. */
static void
seal_body(void *arg)
{
	Work *work = arg;
	AgentpayEvaluation *evaluation = work->evaluation;
	AgentpaySealed *sealed;
	StringInfoData text;
	const char *problem;
	int64 key_id;
	Size size;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"inputs\": {");
	for (int i = 0; i < work->count; i++)
	{
		const JsonbValue *key = &work->pairs[i].key;

		if (i > 0)
			appendStringInfoString(&text, ", ");
		write_string(&text, key->val.string.val, key->val.string.len);
		appendStringInfoString(&text, ": ");
		write_value(&text, &work->pairs[i].value);
	}
	appendStringInfoString(&text, "}}");
	size = HEAD_SIZE + text.len + AGENTPAY_SEAL_OVERHEAD;
	sealed = palloc(size);
	SET_VARSIZE(sealed, size);
	agentpay_uuid_v7(evaluation->decided_at, &sealed->id);
	key_id = agentpay_keys_seal_of(agentpay_sealing_subject(evaluation->point,
															evaluation->row),
								   AGENTPAY_SEALED_DECISION, &sealed->id,
								   text.data, text.len, sealed->bytes,
								   &problem);
	explicit_bzero(text.data, text.len);
	if (key_id == 0)
	{
		agentpay_keys_complain(problem);
		return;
	}
	memcpy(sealed->key_id, &key_id, sizeof(key_id));
	evaluation->sealed = sealed;
}

static void
write_value(StringInfo text, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			appendStringInfoString(text, "null");
			break;
		case jbvBool:
			appendStringInfoString(text, value->val.boolean ? "true" : "false");
			break;
		case jbvNumeric:
			appendStringInfoString(text,
								   DatumGetCString(DirectFunctionCall1(
									   numeric_out,
									   NumericGetDatum(value->val.numeric))));
			break;
		case jbvString:
			write_string(text, value->val.string.val, value->val.string.len);
			break;
		default:
			elog(ERROR, "an input is no plain value: %d", (int) value->type);
	}
}

/* In quotes, escaped; in runs of what stands for itself. */
static void
write_string(StringInfo text, const char *string, int len)
{
	int from = 0;

	appendStringInfoChar(text, '"');
	for (int i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) string[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(text, string + from, i - from);
		from = i + 1;
		if (c < 0x20)
			appendStringInfo(text, "\\u%04x", c);
		else
		{
			appendStringInfoChar(text, '\\');
			appendStringInfoChar(text, (char) c);
		}
	}
	appendBinaryStringInfo(text, string + from, len - from);
	appendStringInfoChar(text, '"');
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
