/*-------------------------------------------------------------------------
 * velocity_stream.c
 *		What is a stream, and a row as an event of it.
 *
 * Features of one leaf that look at the same rows in the same way share a
 * stream, whatever the length of their windows: one event is remembered for
 * all of them.  What a stream is is written as text (its definition), whose
 * hash is part of every key; sessions that compile the same feature find the
 * same entries.
 *
 * A feature has no stream, and is read by index, when its rows are another
 * table's, whose changes nobody tells of; when it reads a column that receives
 * the verdict, which no row has yet when it is scored; when a trigger of ours is off on one
 * of the leaves; when its expressions call functions of users, which may
 * become other ones; or when a key or value has a type whose equality is not
 * that of bytes.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "scoring/velocity_stream_internal.h"

#define SCALE_DEFAULT 6
#define SCALE_MAX 12
/* squares of fewer than 2^32 such values add up to less than 2^127 */
#define SQUARED_MAX (INT64CONST(1) << 47)

static bool
can_stream(const AgentpayStreams *streams, const AgentpayFeature *feature);
static bool triggers_fire(const AgentpayVelocity *velocity);
static bool
trigger_fires(Relation triggers, Oid leaf, const char *name, int16 events);
static AgentpayStream *
make_stream(AgentpayStreams *streams, AgentpayFeature *feature);
static bool choose_kind(AgentpayStream *stream);
static int scale_of(const AgentpayExpression *value);
static bool choose_keys(AgentpayStream *stream);
static void define(AgentpayStream *stream);
static AgentpayStream *
find_stream(AgentpayStreams *streams, const char *definition);
static void add_window(AgentpayStream *stream, AgentpayFeature *feature);
static void
cover_source(AgentpayStreams *streams, AgentpayStreamSource *source);
static bool
to_value(const AgentpayStream *stream, Datum value, AgentpayEventValue *result);
static bool decimal_to_integer(Datum value, int scale, int64 *result);

AgentpayStreams *
agentpay_streams_make(Relation leaf, const Bitmapset *received)
{
	AgentpayStreams *streams = palloc0(sizeof(AgentpayStreams));

	streams->context = CurrentMemoryContext;
	streams->leaf = RelationGetRelid(leaf);
	streams->received = bms_copy(received);
	streams->tables = list_make1_oid(streams->leaf);
	if (leaf->rd_rel->relispartition)
		streams->tables = list_concat(streams->tables,
									  get_partition_ancestors(streams->leaf));
	return streams;
}

void
agentpay_streams_add(AgentpayStreams *streams, AgentpayFeature *feature)
{
	MemoryContext old = MemoryContextSwitchTo(streams->context);
	AgentpayStream *stream;

	if (agentpay_cache_enabled() && can_stream(streams, feature))
	{
		stream = make_stream(streams, feature);
		if (stream != NULL)
			add_window(stream, feature);
	}
	MemoryContextSwitchTo(old);
}

static bool
can_stream(const AgentpayStreams *streams, const AgentpayFeature *feature)
{
	const AgentpayLeafExpressions *row = &feature->row;

	if (!feature->of_own_table || feature->labels != NULL ||
		bms_overlap(feature->event_columns, streams->received) ||
		(row->value != NULL && row->value->foreign_functions) ||
		(row->filter != NULL && row->filter->foreign_functions))
		return false;
	return triggers_fire(feature->velocity);
}

/* Whether every leaf tells of each change, also in sessions of replication. */
static bool
triggers_fire(const AgentpayVelocity *velocity)
{
	const int16 events = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE |
						 TRIGGER_TYPE_DELETE;
	Relation triggers = table_open(TriggerRelationId, AccessShareLock);
	bool fire = true;

	for (int i = 0; i < velocity->n_sources && fire; i++)
	{
		Oid leaf = velocity->sources[i]->relation;

		fire = trigger_fires(triggers, leaf, "~agentpay_score", events) &&
			   trigger_fires(triggers, leaf, "~agentpay_record", events);
	}
	table_close(triggers, AccessShareLock);
	return fire;
}

static bool
trigger_fires(Relation triggers, Oid leaf, const char *name, int16 events)
{
	ScanKeyData keys[2];
	NameData trigger_name;
	SysScanDesc scan;
	HeapTuple tuple;
	bool fires = false;

	namestrcpy(&trigger_name, name);
	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(leaf));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber,
				F_NAMEEQ, NameGetDatum(&trigger_name));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 2,
							  keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		fires = trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
				(trigger->tgtype & events) == events;
	}
	systable_endscan(scan);
	return fires;
}

/* The stream of the feature, a new one or one that is there; NULL: none. */
static AgentpayStream *
make_stream(AgentpayStreams *streams, AgentpayFeature *feature)
{
	AgentpayStream *stream = palloc0(sizeof(AgentpayStream));
	AgentpayStream *known;

	stream->owner = streams;
	stream->feature = feature;
	stream->table = feature->velocity->table;
	stream->time = get_attnum(streams->leaf, feature->velocity->time_column);
	stream->source = agentpay_cache_source(stream->table);
	stream->only_last = true;
	if (stream->source < 0 || stream->time <= 0 || !choose_kind(stream) ||
		!choose_keys(stream))
		return NULL;
	define(stream);
	known = find_stream(streams, stream->definition);
	if (known != NULL)
		return known;
	streams->streams = lappend(streams->streams, stream);
	return stream;
}

static AgentpayStream *
find_stream(AgentpayStreams *streams, const char *definition)
{
	ListCell *lc;

	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);

		if (strcmp(stream->definition, definition) == 0)
			return stream;
	}
	return NULL;
}

/* What an event carries. */
static bool
choose_kind(AgentpayStream *stream)
{
	const AgentpayFeatureConfig *config = &stream->feature->config;
	const AgentpayExpression *value = stream->feature->row.value;

	stream->kind = AGENTPAY_EVENT_PLAIN;
	if (value == NULL)
		return true;
	stream->type = getBaseType(value->type);
	if (config->aggregate == AGENTPAY_AGGREGATE_COUNT_DISTINCT)
	{
		stream->kind = AGENTPAY_EVENT_IDENTITY;
		stream->identity = agentpay_key_form(stream->type,
											 exprCollation(value->plan->expr));
		return stream->identity != AGENTPAY_KEY_NONE;
	}
	if (stream->type == FLOAT4OID || stream->type == FLOAT8OID)
	{
		stream->kind = AGENTPAY_EVENT_FLOAT;
		return true;
	}
	stream->kind = AGENTPAY_EVENT_INTEGER;
	stream->squares = config->aggregate == AGENTPAY_AGGREGATE_STDDEV;
	if (stream->type == NUMERICOID)
		stream->scale = scale_of(value);
	return true;
}

/* The digits behind the point that values are remembered with. */
static int
scale_of(const AgentpayExpression *value)
{
	int32 typmod = exprTypmod(value->plan->expr);
	int scale;

	if (typmod < (int32) VARHDRSZ)
		return SCALE_DEFAULT;
	scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	return Min(Max(scale, 0), SCALE_MAX);
}

static bool
choose_keys(AgentpayStream *stream)
{
	const AgentpayVelocity *velocity = stream->feature->velocity;
	Oid leaf = stream->owner->leaf;
	int n = velocity->n_keys;

	stream->n_keys = n;
	stream->forms = palloc0(sizeof(AgentpayKeyForm) * n);
	stream->read_columns = palloc(sizeof(AttrNumber) * n);
	stream->event_columns = palloc(sizeof(AttrNumber) * n);
	stream->read_types = palloc(sizeof(Oid) * n);
	stream->event_types = palloc(sizeof(Oid) * n);
	stream->same_key = true;
	for (int i = 0; i < n; i++)
	{
		AttrNumber read = velocity->key_columns[i];
		AttrNumber event = get_attnum(leaf, velocity->keys[i]);
		Oid type;
		int32 typmod;
		Oid collation;
		AgentpayKeyForm form;

		if (event <= 0)
			return false;
		get_atttypetypmodcoll(leaf, event, &type, &typmod, &collation);
		type = getBaseType(type);
		form = agentpay_key_form(type, collation);
		stream->forms[i] = form;
		stream->read_columns[i] = read;
		stream->event_columns[i] = event;
		stream->event_types[i] = type;
		get_atttypetypmodcoll(leaf, read, &type, &typmod, &collation);
		stream->read_types[i] = getBaseType(type);
		if (form == AGENTPAY_KEY_NONE ||
			agentpay_key_form(stream->read_types[i], collation) != form ||
			(form == AGENTPAY_KEY_FIXED &&
			 stream->read_types[i] != stream->event_types[i]))
			return false;
		stream->same_key &= read == event;
	}
	return true;
}

/* Everything that decides what an event is and whose it is. */
static void
define(AgentpayStream *stream)
{
	const AgentpayFeature *feature = stream->feature;
	const AgentpayFeatureConfig *config = &feature->config;
	const AgentpayVelocity *velocity = feature->velocity;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%u %u %d %d %u %d %s %s", MyDatabaseId,
					 stream->table, stream->kind, stream->squares, stream->type,
					 stream->scale, quote_identifier(velocity->time_column),
					 quote_literal_cstr(feature->time_zone));
	for (int i = 0; i < stream->n_keys; i++)
		appendStringInfo(&text, " %s=%s %d",
						 quote_identifier(velocity->keys[i]),
						 quote_identifier(get_attname(stream->owner->leaf,
													  stream->read_columns[i],
													  false)),
						 stream->forms[i]);
	appendStringInfo(&text, " value %s filter %s",
					 config->value ? quote_literal_cstr(config->value) : "",
					 config->filter ? quote_literal_cstr(config->filter) : "");
	stream->definition = text.data;
	for (int i = 0; i < 2; i++)
		stream->digest[i] = hash_bytes_extended((unsigned char *) text.data,
												text.len, i);
}

static void
add_window(AgentpayStream *stream, AgentpayFeature *feature)
{
	const AgentpayFeatureConfig *config = &feature->config;
	int n = stream->n_windows++;

	if (stream->windows == NULL)
		stream->windows = palloc0(sizeof(AgentpayWindow));
	else
		stream->windows = repalloc(stream->windows,
								   sizeof(AgentpayWindow) * (n + 1));
	memset(&stream->windows[n], 0, sizeof(AgentpayWindow));
	stream->windows[n].feature = feature;
	feature->stream = stream;
	feature->window = n;
	if (config->kind != AGENTPAY_FEATURE_WINDOW)
		return;
	stream->only_last = false;
	if (config->over_us > PG_INT64_MAX - config->delay_us)
		stream->lookback = PG_INT64_MAX;
	else
		stream->lookback = Max(stream->lookback,
							   config->over_us + config->delay_us);
}

/*
 * Says which streams this session knows of the tables that a row of the leaf
 * is a row of, when they are others than it last saw.
 */
void
agentpay_streams_cover(AgentpayStreams *streams)
{
	uint32 registry = agentpay_cache_registry();

	if (streams->registry != registry || streams->sources == NULL)
	{
		ListCell *lc;

		if (streams->sources == NULL)
			streams->sources =
				MemoryContextAlloc(streams->context,
								   sizeof(AgentpayStreamSource) *
									   list_length(streams->tables));
		streams->n_sources = 0;
		foreach(lc, streams->tables)
		{
			int source = agentpay_cache_find_source(lfirst_oid(lc));

			if (source >= 0)
				streams->sources[streams->n_sources++] = (AgentpayStreamSource){
					.source = source,
					.version = agentpay_cache_version(source) - 1};
		}
		streams->registry = registry;
	}
	for (int i = 0; i < streams->n_sources; i++)
		if (streams->sources[i].version !=
			agentpay_cache_version(streams->sources[i].source))
			cover_source(streams, &streams->sources[i]);
}

static void
cover_source(AgentpayStreams *streams, AgentpayStreamSource *source)
{
	AgentpayCacheStream *known = palloc(sizeof(AgentpayCacheStream) *
										Max(list_length(streams->streams), 1));
	int n = 0;
	ListCell *lc;

	foreach(lc, streams->streams)
	{
		const AgentpayStream *stream = lfirst(lc);

		if (stream->source == source->source)
			memcpy(known[n++].digest, stream->digest, sizeof(stream->digest));
	}
	source->version = agentpay_cache_cover(source->source, known, n);
	n = 0;
	foreach(lc, streams->streams)
	{
		AgentpayStream *stream = lfirst(lc);

		if (stream->source == source->source)
			stream->epoch = known[n++].epoch;
	}
	pfree(known);
}

/* ── rows ───────────────────────────────────────────────────────────────── */

bool
agentpay_stream_key(const AgentpayStream *stream, TupleTableSlot *row,
					bool as_event, AgentpayCacheKey *key, bool *too_long)
{
	const AttrNumber *columns = as_event ? stream->event_columns
										 : stream->read_columns;
	const Oid *types = as_event ? stream->event_types : stream->read_types;
	int length = sizeof(stream->digest) + sizeof(stream->epoch);

	*too_long = false;
	key->source = stream->source;
	memcpy(key->bytes, stream->digest, sizeof(stream->digest));
	memcpy(key->bytes + sizeof(stream->digest), &stream->epoch,
		   sizeof(stream->epoch));
	for (int i = 0; i < stream->n_keys; i++)
	{
		bool isnull;
		Datum value = slot_getattr(row, columns[i], &isnull);
		int written;
		uint16 written_bytes;

		if (isnull)
			return false;
		if (*too_long)
			continue; /* but a NULL is still a NULL */
		length += sizeof(uint16);
		written = length > AGENTPAY_CACHE_KEY_MAX
					  ? -1
					  : agentpay_key_write(stream->forms[i], types[i], value,
										   key->bytes + length,
										   AGENTPAY_CACHE_KEY_MAX - length);
		*too_long = written < 0;
		written_bytes = (uint16) Max(written, 0);
		if (!*too_long)
			memcpy(key->bytes + length - sizeof(uint16), &written_bytes,
				   sizeof(uint16));
		length += Max(written, 0);
	}
	key->length = length;
	if (!*too_long)
	{
		key->hash = hash_bytes_extended((unsigned char *) key->bytes, length,
										0);
		key->hash += key->hash == 0; /* which stands for none */
	}
	return true;
}

bool
agentpay_stream_time(const AgentpayStream *stream, TupleTableSlot *row,
					 TimestampTz *at)
{
	bool isnull;
	Datum value = slot_getattr(row, stream->time, &isnull);

	if (isnull)
		return false;
	*at = agentpay_velocity_time(stream->feature->velocity, value);
	return !TIMESTAMP_NOT_FINITE(*at);
}

AgentpayPresence
agentpay_stream_event(AgentpayStream *stream,
					  const AgentpayLeafExpressions *expressions,
					  TupleTableSlot *row, TimestampTz at, AgentpayEvent *event)
{
	AgentpayFeature *feature = stream->feature;
	AgentpayPresence presence = AGENTPAY_EVENT_PRESENT;
	MemoryContext old;
	Datum value;
	bool isnull;

	memset(event, 0, sizeof(*event));
	event->time = at;
	if (!agentpay_feature_passes(feature, expressions, row))
		return AGENTPAY_EVENT_ABSENT;
	if (stream->kind == AGENTPAY_EVENT_PLAIN)
		return AGENTPAY_EVENT_PRESENT;
	value = agentpay_feature_value(feature, expressions, row, &isnull);
	if (isnull)
		return AGENTPAY_EVENT_ABSENT;
	old = MemoryContextSwitchTo(feature->econtext->ecxt_per_tuple_memory);
	if (!to_value(stream, value, &event->value))
		presence = AGENTPAY_EVENT_UNFIT;
	MemoryContextSwitchTo(old);
	return presence;
}

static bool
to_value(const AgentpayStream *stream, Datum value, AgentpayEventValue *result)
{
	switch (stream->kind)
	{
		case AGENTPAY_EVENT_IDENTITY:
			agentpay_key_identity(stream->identity, stream->type, value,
								  result);
			return true;
		case AGENTPAY_EVENT_FLOAT:
			result->real = stream->type == FLOAT4OID ? DatumGetFloat4(value)
													 : DatumGetFloat8(value);
			return true;
		default:
			break;
	}
	switch (stream->type)
	{
		case BOOLOID:
			result->integer = DatumGetBool(value);
			break;
		case INT2OID:
			result->integer = DatumGetInt16(value);
			break;
		case INT4OID:
			result->integer = DatumGetInt32(value);
			break;
		case INT8OID:
			result->integer = DatumGetInt64(value);
			break;
		default:
			if (!decimal_to_integer(value, stream->scale, &result->integer))
				return false;
	}
	return !stream->squares ||
		   (result->integer < SQUARED_MAX && result->integer > -SQUARED_MAX);
}

/* A numeric times 10^scale; false when that is no int64. */
static bool
decimal_to_integer(Datum value, int scale, int64 *result)
{
	const char *digits = DatumGetCString(
		DirectFunctionCall1(numeric_out, value));
	bool negative = *digits == '-';
	bool fraction = false;
	int behind = 0;
	int64 number = 0;

	for (digits += negative; *digits != '\0'; digits++)
	{
		if (*digits == '.')
		{
			fraction = true;
			continue;
		}
		if (*digits < '0' || *digits > '9') /* NaN, Infinity */
			return false;
		if (fraction && behind == scale)
		{
			if (*digits != '0')
				return false;
			continue;
		}
		behind += fraction;
		if (__builtin_mul_overflow(number, 10, &number) ||
			__builtin_add_overflow(number, *digits - '0', &number))
			return false;
	}
	for (; behind < scale; behind++)
		if (__builtin_mul_overflow(number, 10, &number))
			return false;
	*result = negative ? -number : number;
	return true;
}
