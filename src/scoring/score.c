/*-------------------------------------------------------------------------
 * score.c
 *		BEFORE ROW: scores the row and fills the columns that receive the
 *		decision.
 *
 * It writes nothing: whether the row lands is not known yet.  What it found
 * waits in the statement's frame for record.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "scoring/row.h"

/* Columns of the row that are replaced; three for each point. */
typedef struct Replacement
{
	int count;
	int *attnos;
	Datum *values;
	bool *nulls;
} Replacement;

static HeapTuple score_insert(AgentpayFrame *frame, TriggerData *trigger);
static void push_row(AgentpayFrame *frame, const AgentpayEvaluation *evaluation,
					 const AgentpayEntry *entry);
static bool is_same_row(AgentpayPoint *point, TupleTableSlot *row, Oid from,
						HeapTuple moved);
static void
push_moved(AgentpayFrame *frame, AgentpayTable *table, TupleTableSlot *row);
static void
receive(Replacement *replacement, const AgentpayEvaluation *evaluation,
		const AgentpayEntry *entry);
static void
replace(Replacement *replacement, AttrNumber attno, Datum value, bool isnull);

PG_FUNCTION_INFO_V1(agentpay_score_row);

/* The trigger "~agentpay_score"; UPDATE and DELETE on partitioned tables. */
Datum
agentpay_score_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple tuple;
	AgentpayFrame *frame;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("agentpay._score_row() was not called as a BEFORE "
						"ROW trigger"),
				 errhint("SELECT agentpay.attach(...) makes the trigger.")));
	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
													   : trigger->tg_trigtuple;
	/* what is replicated or restored was scored where it came from */
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return PointerGetDatum(tuple);

	frame = agentpay_frame_current();
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return PointerGetDatum(score_insert(frame, trigger));
	agentpay_streams_changing(
		agentpay_frame_table(frame, trigger->tg_relation)->streams,
		trigger->tg_trigslot,
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot
												   : NULL);
	if (!trigger->tg_relation->rd_rel->relispartition)
		return PointerGetDatum(tuple);
	agentpay_frame_mark(frame, RelationGetRelid(trigger->tg_relation),
						&trigger->tg_trigtuple->t_self,
						TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? tuple
																   : NULL);
	return PointerGetDatum(tuple);
}

/* Scores the row at every point; returns it as it is to be inserted. */
static HeapTuple
score_insert(AgentpayFrame *frame, TriggerData *trigger)
{
	AgentpayTable *table = agentpay_frame_table(frame, trigger->tg_relation);
	TupleTableSlot *row = trigger->tg_trigslot;
	int columns = 3 * table->n_points;
	Replacement replacement = {
		.attnos = palloc(sizeof(int) * Max(columns, 1)),
		.values = palloc(sizeof(Datum) * Max(columns, 1)),
		.nulls = palloc(sizeof(bool) * Max(columns, 1)),
	};
	AgentpayEvaluation *evaluations;
	AgentpayEntry *entries;
	int64 number;
	Oid from;
	HeapTuple moved = agentpay_frame_moved(frame, &from);

	if (table->n_points == 0)
		return trigger->tg_trigtuple;
	agentpay_frame_unlock(frame);
	agentpay_frame_settle(frame);
	if (moved != NULL && is_same_row(&table->points[0], row, from, moved))
	{
		push_moved(frame, table, row);
		return trigger->tg_trigtuple;
	}

	evaluations = palloc(sizeof(AgentpayEvaluation) * table->n_points);
	entries = palloc(sizeof(AgentpayEntry) * table->n_points);
	agentpay_streams_begin(table->streams);
	for (int i = 0; i < table->n_points; i++)
	{
		agentpay_row_score(frame, table, i, row, &evaluations[i], &entries[i]);
		receive(&replacement, &evaluations[i], &entries[i]);
	}
	number = agentpay_frame_next_row(frame);
	entries[0].added = agentpay_streams_end(table->streams);
	if (entries[0].added != (Datum) 0 && agentpay_frame_may_skip(frame))
	{
		agentpay_frame_keep_added(frame, table, number, row, entries[0].added);
		entries[0].added = (Datum) 0;
	}
	entries[0].digest = PointerGetDatum(agentpay_row_digest(table, row));
	for (int i = 0; i < table->n_points; i++)
	{
		entries[i].row = number;
		push_row(frame, &evaluations[i], &entries[i]);
	}
	if (replacement.count == 0)
		return trigger->tg_trigtuple;
	return heap_modify_tuple_by_cols(trigger->tg_trigtuple,
									 RelationGetDescr(trigger->tg_relation),
									 replacement.count, replacement.attnos,
									 replacement.values, replacement.nulls);
}

/* Queues a point's decision, and those of its versions in shadow. */
static void
push_row(AgentpayFrame *frame, const AgentpayEvaluation *evaluation,
		 const AgentpayEntry *entry)
{
	agentpay_frame_push(frame, entry);
	for (int i = 0; i < evaluation->n_shadows; i++)
	{
		AgentpayEntry shadow;

		agentpay_row_shadow(evaluation, i, entry, &shadow);
		agentpay_frame_push(frame, &shadow);
	}
}

/* Whether both have the same id; moved is of the leaf from. */
static bool
is_same_row(AgentpayPoint *point, TupleTableSlot *row, Oid from,
			HeapTuple moved)
{
	Relation leaf = RelationIdGetRelation(from);
	AttrNumber attno;
	Datum id = (Datum) 0;
	bool isnull = true;

	if (!RelationIsValid(leaf))
		return false;
	attno = get_attnum(from, point->config->id_column);
	if (attno > 0)
		id = heap_getattr(moved, attno, RelationGetDescr(leaf), &isnull);
	RelationClose(leaf);
	return !isnull && strcmp(OutputFunctionCall(&point->id_output, id),
							 agentpay_row_id(point, row)) == 0;
}

/* The row keeps its verdict; AFTER is to record nothing. */
static void
push_moved(AgentpayFrame *frame, AgentpayTable *table, TupleTableSlot *row)
{
	AgentpayEntry entry = {
		.leaf = table->leaf,
		.row = agentpay_frame_next_row(frame),
		.moved = true,
		.row_id = agentpay_row_id(&table->points[0], row),
	};

	agentpay_frame_push(frame, &entry);
}

/* What the point's own columns receive. */
static void
receive(Replacement *replacement, const AgentpayEvaluation *evaluation,
		const AgentpayEntry *entry)
{
	const AgentpayPoint *point = evaluation->point;

	if (point->outcome.column.attno != 0 && point->outcome_broken == NULL)
		replace(replacement, point->outcome.column.attno,
				point->outcomes[evaluation->verdict], false);
	if (point->score.column.attno != 0)
		replace(replacement, point->score.column.attno, evaluation->received,
				!evaluation->has_received);
	if (point->reasons.column.attno != 0)
		replace(replacement, point->reasons.column.attno,
				entry->reasons != (Datum) 0
					? entry->reasons
					: PointerGetDatum(construct_empty_array(TEXTOID)),
				false);
}

static void
replace(Replacement *replacement, AttrNumber attno, Datum value, bool isnull)
{
	int i = replacement->count++;

	replacement->attnos[i] = attno;
	replacement->values[i] = value;
	replacement->nulls[i] = isnull;
}
