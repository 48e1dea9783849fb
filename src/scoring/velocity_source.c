/*-------------------------------------------------------------------------
 * velocity_source.c
 *		Where rows with one key can be: the leaves and their indexes.
 *
 * A table without partitions is its own only leaf.  Of a partitioned one,
 * leaves are left out that cannot hold the key, because a level is split by
 * key columns only, so that equal keys share a child; those that cannot hold
 * the time are left out at each scan.
 *
 * Locking: AccessShareLock on the partitioned tables while they are listed;
 * leaves are not touched before the first scan that needs them, and then the
 * caller holds AccessShareLock on them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "nodes/value.h"
#include "parser/parse_coerce.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "scoring/velocity.h"

/* From root to leaf, while the leaves are listed. */
typedef struct Walk
{
	AgentpayVelocity *velocity;
	List *path; /* the leaf that gets the rows, and its ancestors */
	List *sources;
} Walk;

static void walk_partitions(Walk *walk, Relation parent, bool on_path,
							int64 from, int64 until);
static void watch(AgentpayVelocity *velocity, Oid relation);
static void add_source(Walk *walk, Oid relation, int64 from, int64 until);
static int newest_first(const ListCell *a, const ListCell *b);
static bool equal_keys_share_child(AgentpayVelocity *velocity, Relation parent,
								   PartitionKey key);
static void narrow_to_bounds(AgentpayVelocity *velocity, Oid child, int64 *from,
							 int64 *until);
static int64
bound_value(AgentpayVelocity *velocity, List *datums, int64 if_unbounded);
static int key_of(const AgentpayVelocity *velocity, const char *column);
static bool same_equality(Oid a, Oid b);
static void
prepare_time(AgentpayVelocitySource *source, Relation index, int column);
static Oid find_index(AgentpayVelocity *velocity, Relation relation);
static bool
index_fits(AgentpayVelocity *velocity, Relation relation, HeapTuple index);
static void refuse_without_index(AgentpayVelocity *velocity, Relation relation)
	pg_attribute_noreturn();
static Oid
argument_type(AgentpayVelocity *velocity, Relation index, int column, int key);
static void init_scan_key(ScanKey key, Relation index, int column,
						  StrategyNumber strategy, Oid argument);

/*
 * Lists the leaves anew, those with the newest times first; what was known of
 * the old ones is gone.
 */
void
agentpay_velocity_find_sources(AgentpayVelocity *velocity)
{
	MemoryContext work;
	MemoryContext old;
	ListCell *cell;
	Walk walk = {.velocity = velocity};
	AgentpayVelocitySource **sources;
	Relation root;

	if (velocity->sources_context != NULL)
		MemoryContextDelete(velocity->sources_context);
	velocity->sources_context = NULL;
	velocity->sources = NULL; /* until all are found */
	velocity->n_sources = 0;
	velocity->n_watched = velocity->max_watched = 0;
	velocity->sources_context =
		AllocSetContextCreate(velocity->context, "agentpay velocity sources",
							  ALLOCSET_SMALL_SIZES);
	work = AllocSetContextCreate(velocity->sources_context,
								 "agentpay velocity walk",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(work);

	velocity->sources_stale = false;
	watch(velocity, velocity->table);
	root = table_open(velocity->table, AccessShareLock);
	if (root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		/* of a row that is evaluated only, it is not known where it would go */
		if (!velocity->elsewhere && velocity->leaf != velocity->table)
			walk.path = lcons_oid(velocity->leaf,
								  get_partition_ancestors(velocity->leaf));
		walk_partitions(&walk, root,
						list_member_oid(walk.path, velocity->table),
						PG_INT64_MIN, PG_INT64_MAX);
	}
	else
		add_source(&walk,
				   velocity->elsewhere ? velocity->table : velocity->leaf,
				   PG_INT64_MIN, PG_INT64_MAX);
	table_close(root, AccessShareLock);

	list_sort(walk.sources, newest_first);
	sources = MemoryContextAlloc(velocity->sources_context,
								 sizeof(AgentpayVelocitySource *) *
									 Max(list_length(walk.sources), 1));
	foreach(cell, walk.sources)
		sources[velocity->n_sources++] = lfirst(cell);
	velocity->sources = sources;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/* Adds the leaves below parent, whose times lie between from and until. */
static void
walk_partitions(Walk *walk, Relation parent, bool on_path, int64 from,
				int64 until)
{
	AgentpayVelocity *velocity = walk->velocity;
	PartitionKey key = RelationGetPartitionKey(parent);
	PartitionDesc desc = RelationGetPartitionDesc(parent, true);
	bool by_time = velocity->time_column != NULL &&
				   key->strategy == PARTITION_STRATEGY_RANGE &&
				   key->partattrs[0] == get_attnum(RelationGetRelid(parent),
												   velocity->time_column);
	bool only_path = on_path && equal_keys_share_child(velocity, parent, key);

	for (int i = 0; i < desc->nparts; i++)
	{
		Oid child = desc->oids[i];
		bool child_on_path = on_path && list_member_oid(walk->path, child);
		int64 child_from = from;
		int64 child_until = until;
		Relation partition;

		if (only_path && !child_on_path)
			continue;
		if (by_time)
			narrow_to_bounds(velocity, child, &child_from, &child_until);
		watch(velocity, child);
		if (desc->is_leaf[i])
		{
			add_source(walk, child, child_from, child_until);
			continue;
		}
		partition = try_table_open(child, AccessShareLock);
		if (partition == NULL)
		{
			velocity->sources_stale = true;
			continue;
		}
		walk_partitions(walk, partition, child_on_path, child_from,
						child_until);
		table_close(partition, AccessShareLock);
	}
}

/* The relcache callback marks the sources stale when relation changes. */
static void
watch(AgentpayVelocity *velocity, Oid relation)
{
	if (velocity->n_watched == velocity->max_watched)
	{
		int max = Max(velocity->max_watched * 2, 8);

		if (velocity->max_watched == 0)
			velocity->watched = MemoryContextAlloc(velocity->sources_context,
												   sizeof(Oid) * max);
		else
			velocity->watched = repalloc(velocity->watched, sizeof(Oid) * max);
		velocity->max_watched = max;
	}
	velocity->watched[velocity->n_watched++] = relation;
}

static void
add_source(Walk *walk, Oid relation, int64 from, int64 until)
{
	AgentpayVelocitySource *source =
		MemoryContextAllocZero(walk->velocity->sources_context,
							   sizeof(AgentpayVelocitySource));

	source->relation = relation;
	source->from = from;
	source->until = until;
	source->context = walk->velocity->sources_context;
	if (relation == walk->velocity->leaf)
		watch(walk->velocity, relation);
	walk->sources = lappend(walk->sources, source);
}

static int
newest_first(const ListCell *a, const ListCell *b)
{
	int64 a_until = ((AgentpayVelocitySource *) lfirst(a))->until;
	int64 b_until = ((AgentpayVelocitySource *) lfirst(b))->until;

	return a_until < b_until ? 1 : a_until > b_until ? -1 : 0;
}

/* Whether a level is split by columns of the feature's key only. */
static bool
equal_keys_share_child(AgentpayVelocity *velocity, Relation parent,
					   PartitionKey key)
{
	for (int i = 0; i < key->partnatts; i++)
	{
		Form_pg_attribute column;

		if (key->partattrs[i] == 0)
			return false;
		column = TupleDescAttr(RelationGetDescr(parent), key->partattrs[i] - 1);
		if (key_of(velocity, NameStr(column->attname)) < 0 ||
			!same_equality(key->partcollation[i], column->attcollation))
			return false;
	}
	return true;
}

/* A range partition of the time column; others keep their parent's times. */
static void
narrow_to_bounds(AgentpayVelocity *velocity, Oid child, int64 *from,
				 int64 *until)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(child));
	Datum bound;
	bool isnull;

	if (!HeapTupleIsValid(tuple))
		return;
	bound = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (!isnull)
	{
		PartitionBoundSpec *spec = stringToNode(TextDatumGetCString(bound));

		if (!spec->is_default)
		{
			*from = Max(*from,
						bound_value(velocity, spec->lowerdatums, PG_INT64_MIN));
			*until = Min(*until, bound_value(velocity, spec->upperdatums,
											 PG_INT64_MAX));
		}
	}
	ReleaseSysCache(tuple);
}

/* The first column's bound, in units of the time column. */
static int64
bound_value(AgentpayVelocity *velocity, List *datums, int64 if_unbounded)
{
	PartitionRangeDatum *datum = linitial(datums);

	if (datum->kind != PARTITION_RANGE_DATUM_VALUE || !IsA(datum->value, Const))
		return if_unbounded;
	if (velocity->time_type == DATEOID)
		return DatumGetInt32(((Const *) datum->value)->constvalue);
	return DatumGetInt64(((Const *) datum->value)->constvalue);
}

/* Index of a key column, or -1. */
static int
key_of(const AgentpayVelocity *velocity, const char *column)
{
	for (int i = 0; i < velocity->n_keys; i++)
		if (strcmp(velocity->keys[i], column) == 0)
			return i;
	return -1;
}

/* Whether both collations take the same values for equal. */
static bool
same_equality(Oid a, Oid b)
{
	return a == b || ((!OidIsValid(a) || get_collation_isdeterministic(a)) &&
					  (!OidIsValid(b) || get_collation_isdeterministic(b)));
}

/*
 * Finds the index of a leaf that the caller has open, and prepares to scan
 * it; an error when there is none.
 */
void
agentpay_velocity_prepare(AgentpayVelocity *velocity,
						  AgentpayVelocitySource *source, Relation relation)
{
	MemoryContext old;
	int n_keys = velocity->n_keys;
	TupleDesc row;
	Relation index;

	if (relation->rd_rel->relkind != RELKIND_RELATION ||
		table_slot_callbacks(relation) != &TTSOpsBufferHeapTuple)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read features from \"%s\"",
						RelationGetRelationName(relation)),
				 errdetail("It is not an ordinary table of access method "
						   "heap."),
				 errhint("Keep the feature's rows in ordinary tables, or "
						 "delete the feature.")));
	source->index = find_index(velocity, relation);
	if (!OidIsValid(source->index))
		refuse_without_index(velocity, relation);

	old = MemoryContextSwitchTo(source->context);
	index = index_open(source->index, AccessShareLock);
	source->key_order = palloc(sizeof(int) * n_keys);
	source->keys = palloc0(sizeof(ScanKeyData) * (n_keys + 2));
	source->n_scan_keys = n_keys;
	for (int i = 0; i < n_keys; i++)
	{
		AttrNumber column = index->rd_index->indkey.values[i];

		source->key_order[i] =
			key_of(velocity,
				   NameStr(TupleDescAttr(RelationGetDescr(relation), column - 1)
							   ->attname));
		init_scan_key(&source->keys[i], index, i, BTEqualStrategyNumber,
					  argument_type(velocity, index, i, source->key_order[i]));
	}
	if (velocity->time_column != NULL)
		prepare_time(source, index, n_keys);
	index_close(index, AccessShareLock);

	/* with its values for rows that are older than a column */
	row = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	source->slot = MakeSingleTupleTableSlot(row, &TTSOpsBufferHeapTuple);
	source->ready = true;
	MemoryContextSwitchTo(old);
}

/* The index's column after the keys. */
static void
prepare_time(AgentpayVelocitySource *source, Relation index, int column)
{
	Oid type = index->rd_opcintype[column];

	init_scan_key(&source->keys[column], index, column, BTGreaterStrategyNumber,
				  type);
	init_scan_key(&source->keys[column + 1], index, column,
				  BTLessEqualStrategyNumber, type);
	source->n_scan_keys += 2;
	source->descending = (index->rd_indoption[column] & INDOPTION_DESC) != 0;
	source->time = index->rd_index->indkey.values[column];
}

/*
 * The same rule as agentpay._has_window_index() and, without a time,
 * agentpay._has_unique_index(); InvalidOid: there is none.
 */
static Oid
find_index(AgentpayVelocity *velocity, Relation relation)
{
	List *indexes = RelationGetIndexList(relation);
	Oid found = InvalidOid;
	ListCell *cell;

	foreach(cell, indexes)
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID,
										  ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (index_fits(velocity, relation, tuple))
			found = lfirst_oid(cell);
		ReleaseSysCache(tuple);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

/*
 * A btree over all rows, on the key columns in any order, then the time; or a
 * unique one on just these.
 */
static bool
index_fits(AgentpayVelocity *velocity, Relation relation, HeapTuple tuple)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	TupleDesc row = RelationGetDescr(relation);
	oidvector *collations;
	Bitmapset *keys = NULL;
	bool timed = velocity->time_column != NULL;
	HeapTuple class;
	bool btree;

	if (!index->indisvalid || !index->indisready ||
		index->indnkeyatts < velocity->n_keys + timed ||
		(!timed && (index->indnkeyatts > velocity->n_keys ||
					!index->indisunique || !index->indimmediate)) ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return false;
	class = SearchSysCache1(RELOID, ObjectIdGetDatum(index->indexrelid));
	btree = HeapTupleIsValid(class) &&
			((Form_pg_class) GETSTRUCT(class))->relam == BTREE_AM_OID;
	if (HeapTupleIsValid(class))
		ReleaseSysCache(class);
	if (!btree)
		return false;

	collations = (oidvector *) DatumGetPointer(
		SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indcollation,
						&(bool){false}));
	for (int i = 0; i < velocity->n_keys + timed; i++)
	{
		AttrNumber number = index->indkey.values[i];
		Form_pg_attribute column;
		int key;

		if (number <= 0)
			return false;
		column = TupleDescAttr(row, number - 1);
		if (i == velocity->n_keys)
			return strcmp(NameStr(column->attname), velocity->time_column) == 0;
		key = key_of(velocity, NameStr(column->attname));
		if (key < 0 || bms_is_member(key, keys) ||
			!same_equality(collations->values[i], column->attcollation))
			return false;
		keys = bms_add_member(keys, key);
	}
	return true;
}

static void
refuse_without_index(AgentpayVelocity *velocity, Relation relation)
{
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < velocity->n_keys; i++)
		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(velocity->keys[i]));
	if (velocity->time_column != NULL)
		appendStringInfo(&columns, ", %s",
						 quote_identifier(velocity->time_column));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" lacks the index that a feature needs",
					RelationGetRelationName(relation)),
			 errdetail("Its rows are found by %s index on (%s), on all rows.",
					   velocity->time_column != NULL ? "an" : "a unique",
					   columns.data),
			 errhint("CREATE %sINDEX ON %s (%s);",
					 velocity->time_column != NULL ? "" : "UNIQUE ",
					 quote_qualified_identifier(
						 get_namespace_name(RelationGetNamespace(relation)),
						 RelationGetRelationName(relation)),
					 columns.data)));
}

/*
 * The type that an index column takes a key's values for.  In the point's own
 * table that is the column's; those of another one may be of a type that its
 * index compares with, as integer with bigint.
 */
static Oid
argument_type(AgentpayVelocity *velocity, Relation index, int column, int key)
{
	Oid type = index->rd_opcintype[column];
	Oid given = velocity->key_types[key];
	Oid relation = index->rd_index->indrelid;
	AttrNumber number = index->rd_index->indkey.values[column];

	if (given == getBaseType(get_atttype(relation, number)))
		return type;
	if (OidIsValid(get_opfamily_member(index->rd_opfamily[column], type, given,
									   BTEqualStrategyNumber)))
		return given;
	if (!IsPolymorphicType(type) && type != RECORDOID &&
		IsBinaryCoercible(given, type))
		return type;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("index \"%s\" cannot be searched for values of type %s",
					RelationGetRelationName(index), format_type_be(given)),
			 errdetail("They are a feature's key; column \"%s\" is of type "
					   "%s.",
					   velocity->keys[key],
					   format_type_be(get_atttype(relation, number))),
			 errhint("Use columns of the same type in key and from_key of "
					 "agentpay.features.")));
}

/* Of the index's operator family; the value comes later. */
static void
init_scan_key(ScanKey key, Relation index, int column, StrategyNumber strategy,
			  Oid argument)
{
	Oid family = index->rd_opfamily[column];
	Oid type = index->rd_opcintype[column];
	Oid operator= get_opfamily_member(family, type, argument, strategy);

	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d(%u,%u) in opfamily %u", strategy, type,
			 argument, family);
	ScanKeyEntryInitialize(key, 0, column + 1, strategy, argument,
						   index->rd_indcollation[column], get_opcode(operator),
						   (Datum) 0);
}
