/*-------------------------------------------------------------------------
 * velocity_row.c
 *		What becomes of rows that were added to streams, and of the
 *		transactions that change what streams remember.
 *
 * An event is added when its row is scored; the row may then be skipped, or
 * changed, or its subtransaction may fail.  Skipped and undone events are taken
 * out again.  When an entry was dropped between the row's scoring and its
 * insertion, and loaded in between by somebody else, the row is missing in it:
 * so the entry is dropped again, once the row is in the table.
 *
 * Rows that are updated or deleted: this transaction reads the table by index
 * from then on, and its own view with it; for others the row stays as it is
 * remembered until the commit, when the entry is loaded anew.
 *
 * A change of the table's definition (TRUNCATE, ATTACH and DETACH of a
 * partition, another type of a column, a trigger of ours that is switched off)
 * puts everything of the table out of date when it commits.
 *
 * Locking: the key's lock, for a moment.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "utils/datum.h"
#include "replication/logicalworker.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/contain.h"
#include "base/shmem.h"
#include "scoring/velocity_stream_internal.h"

#define OWN_TAGS_MAX 64
#define TRUNCATED_MAX 64

/* An event of a subtransaction that has not ended. */
typedef struct Note
{
	SubTransactionId subid;
	int source;
	uint32 incarnation;
	uint64 hash;
	AgentpayEvent event;
} Note;

/* Counts the rows of this transaction that stand for equal events. */
typedef struct Recount
{
	AgentpayStream *stream;
	const AgentpayAdded *added;
	TupleTableSlot *row;
	int64 rows;
	bool uncertain;
} Recount;

static Note *notes = NULL;
static int n_notes = 0;
static int notes_room = 0;
static uint64 undone = 1;
static bool wrote = false;		   /* this transaction added events */
static List *changed_tables = NIL; /* in TopTransactionContext */
static bool gave_up = false;	   /* waiting for loaders */
/* relations that an apply worker's transaction may have truncated */
static Oid truncated[TRUNCATED_MAX];
static int n_truncated = 0;

static void know(AgentpayStreams *streams);
static void watch_definition(ObjectAccessType access, Oid class_id,
							 Oid object_id, void *arg);
static void note_truncated(Datum arg, Oid relation);
static void mark_tables(Oid relation);
static Oid table_of_trigger(Oid trigger);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
								  SubTransactionId parent, void *arg);
static void take_out(int source, uint64 hash, uint32 incarnation,
					 const AgentpayEvent *event);
static void drop_key_of(AgentpayStream *stream, TupleTableSlot *row);
static void settle_stream(AgentpayStream *stream, const AgentpayAdded *added,
						  TupleTableSlot *row);
static void recount_body(void *arg);
static bool
recount_row(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
			TupleTableSlot *slot, TimestampTz at);
static void forget_rows(AgentpayVelocityScan *scan);
static int64 own_events(const AgentpayAdded *added);
static bool differs(const AgentpayStream *stream, TupleTableSlot *before,
					TupleTableSlot *after);
static void mark_key_of(AgentpayStream *stream, TupleTableSlot *row);

void
agentpay_streams_install(void)
{
	agentpay_cache_install();
	agentpay_shmem_set_watch(watch_definition);
	CacheRegisterRelcacheCallback(note_truncated, (Datum) 0);
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/*
 * Before a row of the table counts: which streams there are, and that others
 * may come to know it while it is in flight.
 */
static void
know(AgentpayStreams *streams)
{
	agentpay_streams_cover(streams);
	wrote = true;
}

/* ── a row that is scored ───────────────────────────────────────────────── */

void
agentpay_streams_begin(AgentpayStreams *streams)
{
	static uint64 rows = 0;

	streams->row = ++rows;
	if (agentpay_cache_enabled())
		know(streams);
	streams->scoring = streams->streams != NIL;
}

void
agentpay_streams_stop(AgentpayStreams *streams)
{
	streams->scoring = false;
}

Datum
agentpay_streams_end(AgentpayStreams *streams)
{
	int n = list_length(streams->streams);
	bytea *result;
	AgentpayAdded *added;
	ListCell *lc;

	streams->scoring = false;
	if (n == 0)
		return (Datum) 0;
	result = palloc0(VARHDRSZ + MAXIMUM_ALIGNOF + sizeof(AgentpayAdded) * n);
	SET_VARSIZE(result, VARHDRSZ + sizeof(AgentpayAdded) * n);
	added = palloc0(sizeof(AgentpayAdded) * n);
	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);
		AgentpayAdded *of_stream = &added[foreach_current_index(lc)];

		if (stream->row == streams->row && stream->undone == undone)
			*of_stream = stream->added;
		else /* it was not read */
			*of_stream = (AgentpayAdded){.expected = true};
		of_stream->source = stream->source;
		of_stream->epoch = stream->epoch;
	}
	memcpy(VARDATA(result), added, sizeof(AgentpayAdded) * n);
	pfree(added);
	return PointerGetDatum(result);
}

void
agentpay_row_note(const AgentpayAdded *added)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (subid == TopSubTransactionId || added->event.tag == 0)
		return;
	if (n_notes == notes_room)
	{
		notes_room = Max(64, notes_room * 2);
		notes = notes == NULL ? MemoryContextAlloc(TopMemoryContext,
												   sizeof(Note) * notes_room)
							  : repalloc_huge(notes, sizeof(Note) * notes_room);
	}
	notes[n_notes++] = (Note){.subid = subid,
							  .source = added->source,
							  .incarnation = added->incarnation,
							  .hash = added->hash,
							  .event = added->event};
}

uint64
agentpay_row_undone(void)
{
	return undone;
}

bool
agentpay_row_changed(Oid table)
{
	return gave_up ||
		   (changed_tables != NIL && list_member_oid(changed_tables, table));
}

void
agentpay_row_give_up(void)
{
	gave_up = true;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			for (int i = 0; i < n_truncated; i++)
				mark_tables(truncated[i]);
			return;
		case XACT_EVENT_ABORT:
			if (wrote)
				agentpay_cache_note_abort();
			break;
		case XACT_EVENT_PREPARE:
			if (wrote)
				agentpay_cache_note_prepare();
			break;
		case XACT_EVENT_COMMIT:
			break;
		default:
			return;
	}
	wrote = false;
	gave_up = false;
	n_truncated = 0;
	changed_tables = NIL;
	n_notes = 0;
}

/* The notes of a subtransaction are the last ones. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (parent == TopSubTransactionId)
		{
			n_notes = 0;
			return;
		}
		for (int i = n_notes - 1; i >= 0 && notes[i].subid == subid; i--)
			notes[i].subid = parent;
	}
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	/* others may have loaded its rows in flight */
	if (wrote)
		agentpay_cache_note_abort();
	if (n_notes > 0 && notes[n_notes - 1].subid == subid)
		undone++;
	while (n_notes > 0 && notes[n_notes - 1].subid == subid)
	{
		Note *note = &notes[--n_notes];

		take_out(note->source, note->hash, note->incarnation, &note->event);
	}
}

/* If the entry is still the one that has it. */
static void
take_out(int source, uint64 hash, uint32 incarnation,
		 const AgentpayEvent *event)
{
	AgentpayCacheEntry *entry = agentpay_cache_lock_hash(hash, source,
														 incarnation);

	if (entry != NULL && entry->state == AGENTPAY_CACHE_LIVE)
		(void) agentpay_event_tree_remove(&agentpay_cache_arena, &entry->tree,
										  event);
	agentpay_cache_unlock_hash(hash);
}

/* ── a row that was scored ──────────────────────────────────────────────── */

/* A copy, since a bytea need not be aligned. */
static AgentpayAdded *
added_of(const AgentpayStreams *streams, Datum datum)
{
	int n = list_length(streams->streams);
	bytea *bytes;
	AgentpayAdded *added;

	if (datum == (Datum) 0 || n == 0)
		return NULL;
	bytes = DatumGetByteaPP(datum);
	if (VARSIZE_ANY_EXHDR(bytes) != sizeof(AgentpayAdded) * n)
		return NULL;
	added = palloc(sizeof(AgentpayAdded) * n);
	memcpy(added, VARDATA_ANY(bytes), sizeof(AgentpayAdded) * n);
	return added;
}

void
agentpay_streams_landed(AgentpayStreams *streams, Datum datum,
						TupleTableSlot *row, bool changed)
{
	AgentpayAdded *added;
	ListCell *lc;

	if (agentpay_cache_enabled())
		know(streams);
	if (streams->streams == NIL)
		return;
	added = added_of(streams, datum);
	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);
		const AgentpayAdded *was = added == NULL
									   ? NULL
									   : &added[foreach_current_index(lc)];

		/* what is remembered under another epoch has another hash */
		if (was == NULL || changed || was->epoch != stream->epoch ||
			(was->expected && was->hash == 0))
			drop_key_of(stream, row);
		if (was == NULL || was->hash == 0 || !was->expected)
			continue;
		if (changed || was->incarnation == 0)
			agentpay_cache_drop_hash(was->hash, was->source, 0);
		else if (agentpay_cache_drops_hash(was->hash) != was->drops)
			agentpay_cache_drop_hash(was->hash, was->source, was->incarnation);
	}
	if (added != NULL)
		pfree(added);
}

static void
drop_key_of(AgentpayStream *stream, TupleTableSlot *row)
{
	bool too_long;

	if (agentpay_stream_key(stream, row, true, &stream->event_key, &too_long) &&
		!too_long)
		agentpay_cache_drop_hash(stream->event_key.hash, stream->source, 0);
}

void
agentpay_streams_skipped(Datum datum)
{
	bytea *bytes;
	int n;

	if (datum == (Datum) 0)
		return;
	bytes = DatumGetByteaPP(datum);
	n = VARSIZE_ANY_EXHDR(bytes) / sizeof(AgentpayAdded);
	for (int i = 0; i < n; i++)
	{
		AgentpayAdded added;

		memcpy(&added, VARDATA_ANY(bytes) + i * sizeof(AgentpayAdded),
			   sizeof(AgentpayAdded));
		if (added.incarnation != 0 && added.event.tag != 0)
			take_out(added.source, added.hash, added.incarnation, &added.event);
		/* who has loaded since may have seen it in the table */
		if (added.incarnation != 0 &&
			agentpay_cache_drops_hash(added.hash) != added.drops)
			agentpay_cache_drop_hash(added.hash, added.source,
									 added.incarnation);
	}
}

/* ── a row that may have been skipped ───────────────────────────────────── */

void
agentpay_streams_settle(AgentpayStreams *streams, Datum datum,
						TupleTableSlot *row)
{
	AgentpayAdded *added = added_of(streams, datum);
	ListCell *lc;

	know(streams);
	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);

		if (added == NULL || added[foreach_current_index(lc)].hash == 0 ||
			added[foreach_current_index(lc)].epoch != stream->epoch)
			drop_key_of(stream, row);
		else
			settle_stream(stream, &added[foreach_current_index(lc)], row);
	}
}

/*
 * The row's time and key tell where it is, if it has landed.  This
 * transaction's rows there and its events there must be as many; if there is
 * an event more, that is the row's.
 */
static void
settle_stream(AgentpayStream *stream, const AgentpayAdded *added,
			  TupleTableSlot *row)
{
	Recount recount = {.stream = stream, .added = added, .row = row};
	ErrorData *error;

	if (!added->expected)
		return;
	if (added->incarnation == 0 || !stream->same_key ||
		agentpay_row_changed(stream->table) ||
		!agentpay_contain(recount_body, &recount, &error) || recount.uncertain)
	{
		agentpay_cache_drop_hash(added->hash, added->source, 0);
		return;
	}
	if (added->event.tag != 0 && recount.rows < own_events(added))
		take_out(added->source, added->hash, added->incarnation, &added->event);
	else if (agentpay_cache_drops_hash(added->hash) != added->drops)
		agentpay_cache_drop_hash(added->hash, added->source,
								 added->incarnation);
}

static void
recount_body(void *arg)
{
	Recount *recount = arg;
	AgentpayFeature *feature = recount->stream->feature;
	AgentpayScope scope = {.relation = recount->stream->owner->leaf,
						   .usage = AGENTPAY_USAGE_FEATURE,
						   .time_zone = feature->time_zone,
						   .owner = feature->owner};
	AgentpayVelocityScan scan = {.row = recount_row,
								 .forget = forget_rows,
								 .arg = recount};
	AgentpayExpressionState saved;

	scan.until = recount->added->event.time;
	scan.after = scan.until - 1;
	agentpay_expression_enter(&scope, false, &saved);
	PG_TRY();
	{
		agentpay_velocity_scan(feature->velocity, recount->row, &scan);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
}

static bool
recount_row(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
			TupleTableSlot *slot, TimestampTz at)
{
	Recount *recount = scan->arg;
	AgentpayStream *stream = recount->stream;
	AgentpayEvent event;

	if (!TransactionIdIsValid(scan->writer_top) ||
		!TransactionIdIsCurrentTransactionId(scan->writer_top))
		return true;
	/* changed by it, but maybe not inserted */
	recount->uncertain |= !TransactionIdIsValid(scan->writer);
	ResetExprContext(stream->feature->econtext);
	if (agentpay_stream_event(stream,
							  agentpay_feature_expressions(stream->feature,
														   source),
							  slot, at, &event) == AGENTPAY_EVENT_PRESENT)
		recount->rows++;
	return true;
}

static void
forget_rows(AgentpayVelocityScan *scan)
{
	((Recount *) scan->arg)->rows = 0;
}

/* The events of some tags. */
typedef struct TagCount
{
	uint32 tags[OWN_TAGS_MAX];
	int n_tags;
	int64 events;
} TagCount;

static void
count_tag(const AgentpayEvent *event, void *arg)
{
	TagCount *count = arg;

	for (int i = 0; i < count->n_tags; i++)
		count->events += event->tag == count->tags[i];
}

/*
 * This transaction's events of the same time; those that were loaded have the
 * tags of its subtransactions.
 */
static int64
own_events(const AgentpayAdded *added)
{
	TagCount count = {0};
	AgentpayCacheEntry *entry = agentpay_cache_lock_hash(added->hash,
														 added->source,
														 added->incarnation);

	if (entry != NULL && entry->state == AGENTPAY_CACHE_LIVE)
	{
		count.n_tags = agentpay_cache_own_tags(entry, count.tags, OWN_TAGS_MAX);
		agentpay_event_tree_walk(&agentpay_cache_arena, &entry->tree,
								 added->event.time - 1, added->event.time,
								 count_tag, &count);
	}
	agentpay_cache_unlock_hash(added->hash);
	/* with more subtransactions than that: as if the row were skipped */
	return count.n_tags < OWN_TAGS_MAX ? count.events : PG_INT64_MAX;
}

/* ── rows that change ───────────────────────────────────────────────────── */

void
agentpay_streams_changing(AgentpayStreams *streams, TupleTableSlot *before,
						  TupleTableSlot *after)
{
	MemoryContext old;
	ListCell *lc;

	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);

		if (agentpay_row_changed(stream->table) ||
			!differs(stream, before, after))
			continue;
		old = MemoryContextSwitchTo(TopTransactionContext);
		changed_tables = lappend_oid(changed_tables, stream->table);
		MemoryContextSwitchTo(old);
	}
}

void
agentpay_streams_changed(AgentpayStreams *streams, TupleTableSlot *before,
						 TupleTableSlot *after)
{
	ListCell *lc;

	if (!agentpay_cache_enabled())
		return;
	know(streams);
	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);

		if (!differs(stream, before, after))
			continue;
		mark_key_of(stream, before);
		if (after != NULL)
			mark_key_of(stream, after);
	}
	/* another trigger may have changed what BEFORE saw */
	agentpay_streams_changing(streams, before, after);
}

/* It counts for nobody; but it may come back with a savepoint. */
void
agentpay_streams_deleted(AgentpayStreams *streams, TupleTableSlot *row)
{
	ListCell *lc;

	if (!agentpay_cache_enabled())
		return;
	know(streams);
	foreach(lc, streams->streams)
		drop_key_of(lfirst(lc), row);
	agentpay_streams_changing(streams, row, NULL);
}

/* Whether the row is another event, or none, after the change. */
static bool
differs(const AgentpayStream *stream, TupleTableSlot *before,
		TupleTableSlot *after)
{
	int column = -1;

	if (after == NULL)
		return true;
	while ((column = bms_next_member(stream->feature->event_columns, column)) >=
		   0)
	{
		Form_pg_attribute attribute;
		Datum old_value;
		Datum new_value;
		bool old_null;
		bool new_null;

		if (column == 0)
			return true;
		attribute = TupleDescAttr(before->tts_tupleDescriptor, column - 1);
		old_value = slot_getattr(before, column, &old_null);
		new_value = slot_getattr(after, column, &new_null);
		if (old_null != new_null ||
			(!old_null &&
			 !datum_image_eq(old_value, new_value, attribute->attbyval,
							 attribute->attlen)))
			return true;
	}
	return false;
}

static void
mark_key_of(AgentpayStream *stream, TupleTableSlot *row)
{
	AgentpayCacheKey *key = &stream->event_key;
	FullTransactionId xid = GetTopFullTransactionId();
	AgentpayCacheEntry *entry;
	bool too_long;

	if (!agentpay_stream_key(stream, row, true, key, &too_long) || too_long)
		return;
	entry = agentpay_cache_lock(key);
	if (entry != NULL && entry->state == AGENTPAY_CACHE_LOADING)
		entry->spoiled = true;
	else if (entry != NULL && entry->state == AGENTPAY_CACHE_LIVE &&
			 !agentpay_cache_mark(entry, xid, false))
		agentpay_cache_drop(entry);
	agentpay_cache_unlock(key);
}

/* ── tables that change ─────────────────────────────────────────────────── */

/* The object_access hook. */
static void
watch_definition(ObjectAccessType access, Oid class_id, Oid object_id,
				 void *arg)
{
	if ((access != OAT_TRUNCATE && access != OAT_DROP &&
		 access != OAT_POST_ALTER) ||
		!agentpay_cache_enabled() || !IsTransactionState())
		return;
	if (class_id == RelationRelationId)
		mark_tables(object_id);
	else if (class_id == TriggerRelationId)
		mark_tables(table_of_trigger(object_id));
	else if (class_id == InheritsRelationId)
	{
		ObjectAccessPostAlter *alter = arg;

		mark_tables(object_id);
		if (access == OAT_POST_ALTER && alter != NULL)
			mark_tables(alter->auxiliary_id);
	}
}

/*
 * The relcache callback.  The apply worker of a subscription truncates without
 * asking the hook; of what changes there, only that matters.
 */
static void
note_truncated(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || !IsLogicalWorker() ||
		n_truncated == TRUNCATED_MAX)
		return;
	for (int i = 0; i < n_truncated; i++)
		if (truncated[i] == relation)
			return;
	truncated[n_truncated++] = relation;
}

/* Those that rows of the relation are rows of. */
static void
mark_tables(Oid relation)
{
	List *tables = list_make1_oid(relation);
	char kind = get_rel_relkind(relation);
	ListCell *lc;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		return;
	if (get_rel_relispartition(relation))
		tables = list_concat(tables, get_partition_ancestors(relation));
	foreach(lc, tables)
	{
		int source = agentpay_cache_find_source(lfirst_oid(lc));

		if (source >= 0)
			agentpay_cache_mark_source(source);
	}
	list_free(tables);
}

static Oid
table_of_trigger(Oid trigger)
{
	Relation triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid table = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (strncmp(NameStr(form->tgname), "~agentpay_", 10) == 0)
			table = form->tgrelid;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return table;
}
