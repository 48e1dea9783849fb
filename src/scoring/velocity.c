/*-------------------------------------------------------------------------
 * velocity.c
 *		Reads the rows with one key and a time in a range, by index.
 *
 * A scan fetches every row version that is not dead to all (of a HOT chain
 * each one) and asks velocity_judge.c which of them count.
 *
 * An UPDATE that moves a row from one leaf to another can pass between the
 * reading of the two.  So when transactions in flight mattered and several
 * leaves were read, they are read again, twice: velocity_judge.c says why.
 *
 * A row in flight is found once its index entry is there.  Two sessions that
 * score rows of one key in the same instant, both before either row is
 * inserted, do not see each other.
 *
 * Locking: AccessShareLock on a leaf and on its index while they are read, no
 * longer: a table can have more leaves than there is room for locks, and the
 * statement itself holds the leaf that it inserts into.  Buffers are locked
 * while a version is judged, not while expressions run.  Relcache callbacks
 * only mark.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "scoring/velocity.h"

/* How often a scan begins anew, before it goes on with what it has. */
#define MAX_RESTARTS 8
/* No time zone's clocks were ever set by more. */
#define MAX_CLOCK_CHANGE (26 * USECS_PER_HOUR)

/* What one scan knows. */
typedef struct Reading
{
	AgentpayVelocity *velocity;
	AgentpayVelocityScan *scan;
	AgentpayVelocityJudge *judge;
	Datum *key;
	bool listing; /* rows in flight; nobody sees them yet */
	int n_leaves; /* read */
} Reading;

/* Index bounds in units of the time column. */
typedef struct Range
{
	int64 above;
	int64 up_to;
	bool recheck; /* finds more than the window's rows */
} Range;

static dlist_head velocities = DLIST_STATIC_INIT(velocities);

/* See agentpay_velocity_leave_out(). */
static Oid left_out = InvalidOid;
static ItemPointerData left_out_tid;

static void register_callback(void);
static void mark_stale(Datum arg, Oid relation);
static void unlink_velocity(void *arg);
static Oid time_type_of(const AgentpayVelocity *velocity);
static void scan_and_let_go(Reading *reading, TupleTableSlot *row);
static void let_go(AgentpayVelocity *velocity);
static void scan_until_complete(Reading *reading);
static Datum *read_key(AgentpayVelocity *velocity, TupleTableSlot *row);
static bool scan_sources(Reading *reading, bool may_stop);
static bool open_source(AgentpayVelocity *velocity,
						AgentpayVelocitySource *source, Relation *relation);
static void scan_source(Reading *reading, AgentpayVelocitySource *source,
						Relation relation, const Range *range);
static void scan_rows(Reading *reading, AgentpayVelocitySource *source,
					  IndexScanDesc scan, const Range *range);
static Range range_of(AgentpayVelocity *velocity, AgentpayVelocityScan *scan);
static Timestamp local_time(TimestampTz at);
static bool clocks_change_near(TimestampTz at);

AgentpayVelocity *
agentpay_velocity_make(const AgentpayFeatureConfig *config, Oid leaf)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay velocity",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	AgentpayVelocity *velocity = palloc0(sizeof(AgentpayVelocity));
	MemoryContextCallback *on_reset = palloc0(sizeof(MemoryContextCallback));
	Relation relation;

	velocity->context = context;
	velocity->reading = AllocSetContextCreate(context, "agentpay velocity scan",
											  ALLOCSET_DEFAULT_SIZES);
	velocity->table = config->from_table;
	velocity->leaf = leaf;
	velocity->elsewhere = config->elsewhere;
	velocity->n_keys = config->n_keys;
	velocity->keys = palloc(sizeof(char *) * config->n_keys);
	velocity->key_columns = palloc(sizeof(AttrNumber) * config->n_keys);
	velocity->key_types = palloc(sizeof(Oid) * config->n_keys);
	if (config->from_time != NULL)
		velocity->time_column = pstrdup(config->from_time);

	register_callback();
	on_reset->func = unlink_velocity;
	on_reset->arg = velocity;
	MemoryContextRegisterResetCallback(context, on_reset);
	dlist_push_tail(&velocities, &velocity->node);

	relation = table_open(leaf, AccessShareLock);
	for (int i = 0; i < config->n_keys; i++)
	{
		velocity->keys[i] = pstrdup(config->from_keys[i]);
		velocity->key_columns[i] = get_attnum(leaf, config->keys[i]);
		if (velocity->key_columns[i] <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s\" has no column \"%s\"",
							RelationGetRelationName(relation), config->keys[i]),
					 errdetail("It is a key of a feature."),
					 errhint("Correct or delete the row in "
							 "agentpay.features.")));
		velocity->key_types[i] = getBaseType(
			get_atttype(leaf, velocity->key_columns[i]));
	}
	if (velocity->time_column != NULL)
		velocity->time_type = time_type_of(velocity);
	agentpay_velocity_find_sources(velocity);
	for (int i = 0; i < velocity->n_sources; i++)
		if (velocity->sources[i]->relation == leaf)
			agentpay_velocity_prepare(velocity, velocity->sources[i], relation);
	table_close(relation, NoLock);
	MemoryContextSwitchTo(old);
	return velocity;
}

/* Domains are looked through. */
static Oid
time_type_of(const AgentpayVelocity *velocity)
{
	Oid relation = velocity->elsewhere ? velocity->table : velocity->leaf;
	const char *column = velocity->time_column;
	AttrNumber number = get_attnum(relation, column);
	Oid type = number > 0 ? getBaseType(get_atttype(relation, number))
						  : InvalidOid;

	if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is no time", column,
						get_rel_name(relation)),
				 errdetail("It must be timestamptz, timestamp or date."),
				 velocity->elsewhere
					 ? errhint("Name another column in from_time of "
							   "agentpay.features.")
					 : errhint("Name another column: SELECT "
							   "agentpay.attach(..., occurred_at => '...');")));
	return type;
}

static void
register_callback(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
	registered = true;
}

/* Fires at any time, also in the middle of a scan. */
static void
mark_stale(Datum arg, Oid relation)
{
	dlist_iter iter;

	dlist_foreach(iter, &velocities)
	{
		AgentpayVelocity *velocity = dlist_container(AgentpayVelocity, node,
													 iter.cur);
		bool hit = !OidIsValid(relation);

		for (int i = 0; i < velocity->n_watched && !hit; i++)
			hit = velocity->watched[i] == relation;
		if (hit)
			velocity->stale = velocity->sources_stale = true;
	}
}

static void
unlink_velocity(void *arg)
{
	dlist_delete(&((AgentpayVelocity *) arg)->node);
}

void
agentpay_velocity_scan(AgentpayVelocity *velocity, TupleTableSlot *row,
					   AgentpayVelocityScan *scan)
{
	MemoryContext old;
	Reading reading = {.velocity = velocity, .scan = scan};

	Assert(!velocity->busy);
	MemoryContextReset(velocity->reading);
	old = MemoryContextSwitchTo(velocity->reading);
	reading.key = read_key(velocity, row);
	scan_and_let_go(&reading, row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(velocity->reading);
}

void
agentpay_velocity_leave_out(Oid leaf, ItemPointer tid)
{
	left_out = leaf;
	if (OidIsValid(leaf))
		left_out_tid = *tid;
}

/* Leaves no pin behind, also when an expression fails. */
static void
scan_and_let_go(Reading *reading, TupleTableSlot *row)
{
	AgentpayVelocity *velocity = reading->velocity;
	AgentpayVelocityScan *scan = reading->scan;

	velocity->busy = true;
	PG_TRY();
	{
		if (reading->key != NULL && scan->after < scan->until)
			scan_until_complete(reading);
		if (scan->itself != NULL)
			scan->itself(scan, row);
	}
	PG_CATCH();
	{
		let_go(velocity);
		PG_RE_THROW();
	}
	PG_END_TRY();
	let_go(velocity);
}

/* Before the resource owner drops the pins. */
static void
let_go(AgentpayVelocity *velocity)
{
	for (int i = 0; i < velocity->n_sources; i++)
		if (velocity->sources[i]->ready)
			ExecClearTuple(velocity->sources[i]->slot);
	velocity->busy = false;
}

/*
 * Scans once, or, when that was not enough, lists what is in flight and scans
 * again by the list.
 */
static void
scan_until_complete(Reading *reading)
{
	AgentpayVelocityScan *scan = reading->scan;
	TimestampTz after = scan->after;
	bool list_first = false;

	for (int restarts = 0;; restarts++)
	{
		bool may_stop = restarts < MAX_RESTARTS;
		bool complete = true;

		reading->judge = agentpay_velocity_judge_make(scan->newest_first);
		reading->judge->settled_only = scan->settled_only;
		if (list_first)
		{
			reading->listing = true;
			complete = scan_sources(reading, may_stop);
			reading->listing = false;
			agentpay_velocity_judge_listed(reading->judge);
		}
		if (complete)
		{
			agentpay_velocity_judge_begin(reading->judge);
			complete = scan_sources(reading, may_stop);
			if (!agentpay_velocity_judge_end(reading->judge))
				complete = !may_stop;
		}
		if (complete &&
			(list_first || scan->newest_first || reading->n_leaves < 2 ||
			 !reading->judge->in_flight_mattered))
			return;
		list_first |= complete;
		scan->forget(scan);
		scan->after = after;
	}
}

/* The row's key values; NULL when one is NULL: such rows share nothing. */
static Datum *
read_key(AgentpayVelocity *velocity, TupleTableSlot *row)
{
	Datum *key = palloc(sizeof(Datum) * velocity->n_keys);

	for (int i = 0; i < velocity->n_keys; i++)
	{
		bool isnull;

		key[i] = slot_getattr(row, velocity->key_columns[i], &isnull);
		if (isnull)
			return NULL;
	}
	return key;
}

/* False when the table changed under it; then, if it may, it has stopped. */
static bool
scan_sources(Reading *reading, bool may_stop)
{
	AgentpayVelocity *velocity = reading->velocity;
	bool complete = true;

	if (velocity->sources_stale || velocity->sources == NULL)
		agentpay_velocity_find_sources(velocity);
	reading->n_leaves = 0;
	for (int i = 0; i < velocity->n_sources && complete; i++)
	{
		AgentpayVelocitySource *source = velocity->sources[i];
		/* the visitor may have raised its start */
		Range range = range_of(velocity, reading->scan);
		Relation relation;

		if (source->until <= range.above || source->from > range.up_to)
			continue;
		complete = open_source(velocity, source, &relation) || !may_stop;
		if (complete && relation != NULL)
			scan_source(reading, source, relation, &range);
		if (relation != NULL)
			table_close(relation, AccessShareLock);
	}
	return complete;
}

/*
 * Opens a leaf; false when the table changed.  Taking the lock is when other
 * sessions' changes become known; while it is held, they wait for us.
 */
static bool
open_source(AgentpayVelocity *velocity, AgentpayVelocitySource *source,
			Relation *relation)
{
	*relation = try_table_open(source->relation, AccessShareLock);
	if (*relation == NULL)
		velocity->sources_stale = true;
	else if (!source->ready)
		agentpay_velocity_prepare(velocity, source, *relation);
	return !velocity->sources_stale;
}

static void
scan_source(Reading *reading, AgentpayVelocitySource *source, Relation relation,
			const Range *range)
{
	AgentpayVelocity *velocity = reading->velocity;
	int n_keys = velocity->n_keys;
	ScanKeyData keys[INDEX_MAX_KEYS + 1];
	SnapshotData not_dead;
	Relation index = index_open(source->index, AccessShareLock);
	IndexScanDesc scan;

	memcpy(keys, source->keys, sizeof(ScanKeyData) * source->n_scan_keys);
	for (int i = 0; i < n_keys; i++)
		keys[i].sk_argument = reading->key[source->key_order[i]];
	if (source->time == InvalidAttrNumber)
		Assert(source->n_scan_keys == n_keys);
	else if (velocity->time_type == DATEOID)
	{
		keys[n_keys].sk_argument = DateADTGetDatum(range->above);
		keys[n_keys + 1].sk_argument = DateADTGetDatum(range->up_to);
	}
	else
	{
		keys[n_keys].sk_argument = Int64GetDatum(range->above);
		keys[n_keys + 1].sk_argument = Int64GetDatum(range->up_to);
	}

	/* the judge's snapshot keeps what it sees from being vacuumed */
	InitNonVacuumableSnapshot(not_dead, GlobalVisTestFor(relation));
	scan = AGENTPAY_INDEX_BEGINSCAN(relation, index, &not_dead,
									source->n_scan_keys);
	index_rescan(scan, keys, source->n_scan_keys, NULL, 0);
	scan_rows(reading, source, scan, range);
	reading->n_leaves++;
	index_endscan(scan);
	index_close(index, AccessShareLock);
}

static void
scan_rows(Reading *reading, AgentpayVelocitySource *source, IndexScanDesc scan,
		  const Range *range)
{
	AgentpayVelocityScan *visitor = reading->scan;
	TupleTableSlot *slot = source->slot;
	ScanDirection direction = visitor->newest_first == source->descending
								  ? ForwardScanDirection
								  : BackwardScanDirection;

	while (index_getnext_slot(scan, direction, slot))
	{
		TimestampTz at = DT_NOEND;
		Datum time;
		bool isnull;
		bool counts;

		CHECK_FOR_INTERRUPTS();
		if (source->time != InvalidAttrNumber)
		{
			time = slot_getattr(slot, source->time, &isnull);
			at = agentpay_velocity_time(reading->velocity, time);
		}
		if (range->recheck && (at <= visitor->after || at > visitor->until))
			continue;
		if (source->relation == left_out &&
			ItemPointerEquals(&slot->tts_tid, &left_out_tid))
			continue;
		if (reading->listing)
		{
			agentpay_velocity_judge_list(reading->judge, slot);
			continue;
		}
		counts = agentpay_velocity_judge(reading->judge, slot);
		if (visitor->changing != NULL &&
			TransactionIdIsValid(reading->judge->changer))
			visitor->changing(visitor, reading->judge->changer);
		if (!counts)
			continue;
		visitor->writer = reading->judge->writer;
		visitor->writer_top = reading->judge->writer_top;
		if (!visitor->row(visitor, source, slot, at))
			break;
	}
	ExecClearTuple(slot);
}

/*
 * Where the index has the window's rows.  A timestamp stands for an instant
 * only through the session's time zone, which is the point's.  When clocks
 * go back, an hour's local times are all taken for the later ones, and when
 * they go forward, those left out for later ones, too: so a window that
 * starts near such a change is searched from further back.
 */
static Range
range_of(AgentpayVelocity *velocity, AgentpayVelocityScan *scan)
{
	Range range = {scan->after, scan->until, false};

	if (velocity->time_type == TIMESTAMPTZOID || velocity->time_column == NULL)
		return range;
	range.recheck = true;
	if (TIMESTAMP_NOT_FINITE(range.above) ||
		range.above < MIN_TIMESTAMP + 2 * MAX_CLOCK_CHANGE)
		range.above = DT_NOBEGIN;
	else
	{
		bool change = clocks_change_near(range.above);

		range.above = local_time(range.above);
		if (change)
			range.above -= MAX_CLOCK_CHANGE;
	}
	range.up_to = local_time(range.up_to);
	if (velocity->time_type == DATEOID)
	{
		if (range.above == DT_NOBEGIN)
			range.above = DATEVAL_NOBEGIN;
		else
			range.above = DatumGetDateADT(DirectFunctionCall1(
							  timestamp_date, TimestampGetDatum(range.above))) -
						  1;
		range.up_to = DatumGetDateADT(
			DirectFunctionCall1(timestamp_date,
								TimestampGetDatum(range.up_to)));
	}
	return range;
}

static Timestamp
local_time(TimestampTz at)
{
	return DatumGetTimestamp(
		DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(at)));
}

static bool
clocks_change_near(TimestampTz at)
{
	pg_time_t from = timestamptz_to_time_t(at - MAX_CLOCK_CHANGE);
	pg_time_t boundary;
	long int before_offset;
	long int after_offset;
	int before_dst;
	int after_dst;

	return pg_next_dst_boundary(&from, &before_offset, &before_dst, &boundary,
								&after_offset, &after_dst,
								session_timezone) > 0 &&
		   boundary <= timestamptz_to_time_t(at + MAX_CLOCK_CHANGE);
}

/* A value of the time column as an instant. */
TimestampTz
agentpay_velocity_time(const AgentpayVelocity *velocity, Datum value)
{
	int overflow;

	if (velocity->time_type == TIMESTAMPOID)
		return timestamp2timestamptz_opt_overflow(DatumGetTimestamp(value),
												  &overflow);
	if (velocity->time_type == DATEOID)
		return date2timestamptz_opt_overflow(DatumGetDateADT(value), &overflow);
	return DatumGetTimestampTz(value);
}
