/*-------------------------------------------------------------------------
 * row.c
 *		What BEFORE and AFTER both ask of a row: its id, its digest, and its
 *		decision at one point.
 *
 * Locks: those of idempotency keys and of features.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/arguments.h"
#include "base/clock.h"
#include "base/compat.h"
#include "evidence/decisions.h"
#include "scoring/ask.h"
#include "scoring/assignment.h"
#include "scoring/idempotency.h"
#include "scoring/row.h"
#include "scoring/sealing.h"

static uint32 column_hash(const AgentpayColumn *column, TupleTableSlot *row);
static bool
repeated(AgentpayFrame *frame, AgentpayEvaluation *evaluation, int point,
		 char **first, AgentpayAssigned *assigned, ErrorData **error);
static bool on_record(const AgentpayPointConfig *config, const char *row_id,
					  AgentpayAssigned *assigned);
static AgentpayCause cause_of_case(const AgentpayEvaluation *evaluation,
								   const AgentpayAssigned *assigned);
static void ask_reviewers(AgentpayEvaluation *evaluation);
static Datum reasons_array(int count, Datum *reasons);
static Datum detail_of(const AgentpayPoint *point, List *faults,
					   const char *repeats, Bitmapset *later);
static void push_later(JsonbParseState **state, const AgentpayPoint *point,
					   Bitmapset *later);
static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text);
static void push_faults(JsonbParseState **state, List *faults);

char *
agentpay_row_id(AgentpayPoint *point, TupleTableSlot *row)
{
	bool isnull;
	Datum id = slot_getattr(row, point->id.attno, &isnull);
	char *digits;

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\", the id of point \"%s\"",
						point->id.name, point->config->name),
				 errhint("A decision is found by the row's id: give the row "
						 "one.")));
	switch (point->id.type)
	{
		case INT4OID:
			digits = palloc(MAXINT8LEN + 1);
			pg_ltoa(DatumGetInt32(id), digits);
			return digits;
		case INT8OID:
			digits = palloc(MAXINT8LEN + 1);
			pg_lltoa(DatumGetInt64(id), digits);
			return digits;
		case TEXTOID:
			return TextDatumGetCString(id);
		default:
			return agentpay_text_form(point->id.type,
									  OutputFunctionCall(&point->id_output,
														 id));
	}
}

bytea *
agentpay_row_digest(const AgentpayTable *table, TupleTableSlot *row)
{
	Size size = VARHDRSZ + sizeof(uint32) * table->n_used;
	bytea *digest = palloc(size);

	SET_VARSIZE(digest, size);
	for (int i = 0; i < table->n_used; i++)
	{
		uint32 hash = column_hash(&table->used[i], row);

		memcpy(VARDATA(digest) + i * sizeof(uint32), &hash, sizeof(uint32));
	}
	return digest;
}

/* Of the value's bytes, however they are stored. */
static uint32
column_hash(const AgentpayColumn *column, TupleTableSlot *row)
{
	bool isnull;
	Datum value = slot_getattr(row, column->attno, &isnull);
	struct varlena *packed;
	uint32 hash;

	if (isnull)
		return 0;
	if (column->by_value)
	{
		char bytes[sizeof(Datum)];

		/* what is beyond the type's length is not part of the value */
		store_att_byval(bytes, value, column->length);
		return hash_bytes((unsigned char *) bytes, column->length);
	}
	if (column->length > 0)
		return hash_bytes((unsigned char *) DatumGetPointer(value),
						  column->length);
	if (column->length == -2)
		return hash_bytes((unsigned char *) DatumGetCString(value),
						  strlen(DatumGetCString(value)));
	packed = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));
	hash = hash_bytes((unsigned char *) VARDATA_ANY(packed),
					  VARSIZE_ANY_EXHDR(packed));
	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return hash;
}

void
agentpay_row_score(AgentpayFrame *frame, AgentpayTable *table, int point,
				   TupleTableSlot *row, AgentpayEvaluation *evaluation,
				   AgentpayEntry *entry)
{
	char *repeats = NULL;
	AgentpayAssigned assigned;
	ErrorData *error;
	bool repeats_one;

	memset(evaluation, 0, sizeof(*evaluation));
	evaluation->table = table;
	evaluation->point = &table->points[point];
	evaluation->row = row;
	evaluation->row_id = agentpay_row_id(evaluation->point, row);
	evaluation->decided_at = agentpay_clock_now();
	evaluation->seals = true;
	repeats_one = repeated(frame, evaluation, point, &repeats, &assigned,
						   &error);
	agentpay_evaluate(evaluation);
	if (error != NULL)
		agentpay_evaluate_fault(evaluation, evaluation->point->idempotency.name,
								error);
	if (repeats_one)
		evaluation->n_shadows = 0; /* no rules have decided */
	else
		assigned = agentpay_assignment_draw(evaluation, error == NULL);
	evaluation->verdict = assigned.verdict;
	/* nobody is asked twice, also where it is not known whether they were */
	if (repeats_one || error != NULL)
		evaluation->asked = evaluation->later = NULL;

	memset(entry, 0, sizeof(*entry));
	entry->leaf = table->leaf;
	entry->point = point;
	entry->row_id = unconstify(char *, evaluation->row_id);
	entry->occurred_at = evaluation->occurred_at;
	entry->decided_at = evaluation->decided_at;
	entry->amount = evaluation->amount;
	entry->currency = evaluation->currency;
	entry->base_amount = evaluation->base_amount;
	entry->assigned = assigned;
	entry->score = PointerGetDatum(evaluation->score);
	entry->reasons = reasons_array(evaluation->n_reasons, evaluation->reasons);
	entry->inputs = PointerGetDatum(evaluation->inputs);
	entry->sealed = PointerGetDatum(evaluation->sealed);
	if (!repeats_one)
		entry->cause = cause_of_case(evaluation, &assigned);
	if (entry->cause != AGENTPAY_CAUSE_NONE)
		ask_reviewers(evaluation);
	entry->asked = agentpay_ask_bytes(evaluation);
	entry->detail = detail_of(evaluation->point, evaluation->faults, repeats,
							  table->config->held ? NULL : evaluation->later);
	if (evaluation->point->idempotency.attno != 0)
		agentpay_frame_key_note(frame, point, entry->row_id, &entry->assigned);
}

void
agentpay_row_shadow(const AgentpayEvaluation *evaluation, int shadow,
					const AgentpayEntry *rules, AgentpayEntry *entry)
{
	const AgentpayRuling *ruling = &evaluation->shadows[shadow];

	*entry = *rules;
	entry->ruleset = shadow + 1;
	/* the draw is the payment's */
	entry->assigned.verdict = ruling->verdict;
	entry->assigned.answer = -1;
	entry->score = PointerGetDatum(ruling->score);
	entry->reasons = reasons_array(ruling->n_reasons, ruling->reasons);
	entry->inputs = (Datum) 0;
	entry->sealed = (Datum) 0;
	entry->asked = (Datum) 0;
	entry->cause = AGENTPAY_CAUSE_NONE;
	entry->digest = (Datum) 0;
	entry->detail = detail_of(evaluation->point, ruling->faults, NULL, NULL);
}

/* No datum when there are none. */
static Datum
reasons_array(int count, Datum *reasons)
{
	if (count == 0)
		return (Datum) 0;
	return PointerGetDatum(
		construct_array(reasons, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Whether the row repeats another one's key, and what that one got.  An
 * earlier row without a decision, from before attach(), is not repeated.
 */
static bool
repeated(AgentpayFrame *frame, AgentpayEvaluation *evaluation, int point,
		 char **first, AgentpayAssigned *assigned, ErrorData **error)
{
	AgentpayPoint *compiled = evaluation->point;
	ListCell *lc;

	foreach(lc, agentpay_idempotency_earlier(frame, compiled, evaluation->row,
											 error))
	{
		char *row_id = lfirst(lc);
		const AgentpayAssigned *noted = agentpay_frame_key_find(frame, point,
																row_id);

		*first = row_id;
		if (noted != NULL)
			*assigned = *noted;
		if (noted != NULL || on_record(compiled->config, row_id, assigned))
			return true;
	}
	*first = NULL;
	return false;
}

/* What an earlier statement decided about a row; false: nothing. */
static bool
on_record(const AgentpayPointConfig *config, const char *row_id,
		  AgentpayAssigned *assigned)
{
	AgentpayDecided decided;

	if (!agentpay_decisions_find(config->name, row_id, &decided))
		return false;
	assigned->verdict = agentpay_config_verdict(config, decided.verdict);
	assigned->answer = decided.answer == NULL
						   ? -1
						   : agentpay_config_verdict(config, decided.answer);
	assigned->assignment = agentpay_assignment_named(decided.assignment);
	assigned->propensity = decided.propensity;
	return assigned->verdict >= 0;
}

/* Why somebody has to look at the row, if somebody has. */
static AgentpayCause
cause_of_case(const AgentpayEvaluation *evaluation,
			  const AgentpayAssigned *assigned)
{
	const AgentpayPointConfig *config = evaluation->point->config;

	if (config->verdicts[assigned->verdict].needs_person)
		return AGENTPAY_CAUSE_REVIEW;
	if (assigned->assignment == AGENTPAY_AUDIT)
		return AGENTPAY_CAUSE_AUDIT;
	return AGENTPAY_CAUSE_NONE;
}

/* The case is there: who advises cases is asked at once. */
static void
ask_reviewers(AgentpayEvaluation *evaluation)
{
	const AgentpayPoint *point = evaluation->point;
	int i = -1;

	while ((i = bms_next_member(evaluation->later, i)) >= 0)
		if (point->agents[i].config->reviews &&
			!point->agents[i].config->is_tier)
		{
			evaluation->asked = bms_add_member(evaluation->asked, i);
			evaluation->later = bms_del_member(evaluation->later, i);
		}
}

/* The decision's detail, or no datum. */
static Datum
detail_of(const AgentpayPoint *point, List *faults, const char *repeats,
		  Bitmapset *later)
{
	Jsonb *usual = point->detail;
	JsonbParseState *state = NULL;
	Datum special;

	if (faults == NIL && repeats == NULL && bms_is_empty(later))
		return PointerGetDatum(usual);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (repeats != NULL)
	{
		push_text(&state, WJB_KEY, "repeats");
		push_text(&state, WJB_VALUE, repeats);
	}
	if (faults != NIL)
		push_faults(&state, faults);
	if (!bms_is_empty(later))
		push_later(&state, point, later);
	special = JsonbPGetDatum(
		JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	if (usual == NULL)
		return special;
	return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(usual), special);
}

/* "later": [names of agents that may be asked] */
static void
push_later(JsonbParseState **state, const AgentpayPoint *point,
		   Bitmapset *later)
{
	int i = -1;

	push_text(state, WJB_KEY, "later");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	while ((i = bms_next_member(later, i)) >= 0)
		push_text(state, WJB_ELEM, point->agents[i].config->name);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, token, &value);
}

/* "errors": {"<name>": {"sqlstate": ..., "message": ...}, ...} */
static void
push_faults(JsonbParseState **state, List *faults)
{
	ListCell *lc;

	push_text(state, WJB_KEY, "errors");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	foreach(lc, faults)
	{
		AgentpayFault *fault = lfirst(lc);

		push_text(state, WJB_KEY, fault->name);
		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_text(state, WJB_KEY, "sqlstate");
		push_text(state, WJB_VALUE, pstrdup(unpack_sql_state(fault->sqlstate)));
		push_text(state, WJB_KEY, "message");
		push_text(state, WJB_VALUE, fault->message);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}
