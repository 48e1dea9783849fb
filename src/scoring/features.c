/*-------------------------------------------------------------------------
 * features.c
 *		What a row's past says: exact windows over rows with the same key.
 *
 * velocity.c finds the rows, aggregate.c makes a number of them; here is what
 * a feature means: which rows, which of them pass the filter, what each one
 * is worth, and whether the row itself is among them.
 *
 *	window		rows with the same key in (t - delay - over, t - delay], and,
 *				when delay is 0 and include_current is set, the row itself,
 *				which is not in the table yet; of another table it is no row
 *	since_last	seconds since the latest such row up to t - delay, at most;
 *				the row itself is none
 *
 * A row one of whose keys is NULL has no others beside itself.
 *
 * Expressions are compiled for each leaf, since attribute numbers differ, when
 * it is first read.  Whatever belongs to a leaf lives with it: a change of the
 * table drops it all at once (velocity_source.c).
 *
 * Locking: as velocity.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "scoring/features_internal.h"
#include "scoring/labels.h"
#include "scoring/velocity_stream.h"

static void
copy_config(AgentpayFeature *feature, const AgentpayFeatureConfig *config);
static Oid owner_of(const AgentpayFeatureConfig *config);
static void compile_leaf(AgentpayFeature *feature, Oid leaf,
						 AgentpayLeafExpressions *expressions);
static AgentpayExpression *
compile_value(AgentpayFeature *feature, AgentpayScope *scope,
			  ParamListInfo params);
static AgentpayAggregator *make_aggregator(AgentpayFeature *feature);
static Bitmapset *columns_of(AgentpayFeature *feature);
static Bitmapset *
event_columns_of(AgentpayFeature *feature, const AgentpayFeatureConfig *config,
				 Oid leaf);
static bool is_foreign(const AgentpayExpression *expression);
static void
read_as_owner(AgentpayFeature *feature, TupleTableSlot *row, TimestampTz at);
static bool leaf_stale(const AgentpayLeafExpressions *expressions);
static void
read_rows(AgentpayFeature *feature, TupleTableSlot *row, TimestampTz at);
static bool see_row(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
					TupleTableSlot *slot, TimestampTz at);
static void see_itself(AgentpayVelocityScan *scan, TupleTableSlot *row);
static void forget_rows(AgentpayVelocityScan *scan);
static void
add_row(AgentpayFeature *feature, const AgentpayLeafExpressions *expressions,
		TupleTableSlot *slot);
static Datum evaluate(AgentpayFeature *feature, AgentpayExpression *expression,
					  TupleTableSlot *slot, bool *isnull);
static double result_of(AgentpayFeature *feature, TimestampTz at, bool *isnull);
static double
with_default(const AgentpayFeature *feature, double result, bool *isnull);

/*
 * The feature's memory is a child of the current context; with that it goes,
 * too, also when this fails.
 */
AgentpayFeature *
agentpay_feature_compile(const AgentpayPointConfig *point,
						 const AgentpayFeatureConfig *config, Oid leaf)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay feature",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	AgentpayFeature *feature = palloc0(sizeof(AgentpayFeature));
	AgentpayScope scope;

	feature->context = context;
	copy_config(feature, config);
	feature->time_zone = pstrdup(point->time_zone);
	scope = agentpay_feature_scope(point, config, leaf);
	feature->owner = scope.owner;
	feature->of_own_table = config->from_table == point->table;
	feature->counts_itself = config->kind == AGENTPAY_FEATURE_WINDOW &&
							 config->include_current && config->delay_us == 0 &&
							 !config->elsewhere;
	feature->velocity = agentpay_velocity_make(config, leaf);
	if (config->labelled)
		feature->labels = agentpay_labels_make(point);
	compile_leaf(feature, scope.relation, &feature->row);
	if (config->kind == AGENTPAY_FEATURE_WINDOW)
		feature->aggregator = make_aggregator(feature);
	feature->columns = columns_of(feature);
	feature->event_columns = event_columns_of(feature, config, scope.relation);
	feature->econtext = CreateStandaloneExprContext();
	MemoryContextSwitchTo(old);
	return feature;
}

AgentpayScope
agentpay_feature_scope(const AgentpayPointConfig *point,
					   const AgentpayFeatureConfig *config, Oid leaf)
{
	return (AgentpayScope){.relation = config->from_table == point->table
										   ? leaf
										   : config->from_table,
						   .usage = AGENTPAY_USAGE_FEATURE,
						   .labels = config->labelled,
						   .time_zone = point->time_zone,
						   .owner = owner_of(config)};
}

void
agentpay_feature_free(AgentpayFeature *feature)
{
	MemoryContextDelete(feature->context);
}

const Bitmapset *
agentpay_feature_columns(const AgentpayFeature *feature)
{
	return feature->columns;
}

bool
agentpay_feature_stale(const AgentpayFeature *feature)
{
	const AgentpayVelocity *velocity = feature->velocity;

	if (velocity->stale || leaf_stale(&feature->row))
		return true;
	for (int i = 0; i < velocity->n_sources; i++)
	{
		const AgentpayLeafExpressions *expressions =
			velocity->sources[i]->extra;

		if (expressions != NULL && leaf_stale(expressions))
			return true;
	}
	return false;
}

double
agentpay_feature_read(AgentpayFeature *feature, TupleTableSlot *row,
					  TimestampTz at, bool *isnull)
{
	MemoryContext old;
	double result;

	Assert(!TIMESTAMP_NOT_FINITE(at));
	if (feature->velocity->busy)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot read feature \"%s\" while it is read",
						feature->config.name),
				 errdetail("A function in its expressions inserts into the "
						   "table whose rows it computes from."),
				 errhint("Use functions that change nothing.")));
	if (feature->stream != NULL &&
		agentpay_stream_read(feature->stream, feature->window, row, at, &result,
							 isnull))
		return with_default(feature, result, isnull);
	if (feature->aggregator != NULL)
		agentpay_aggregator_reset(feature->aggregator);
	feature->latest = DT_NOBEGIN;
	ResetExprContext(feature->econtext);

	if (feature->labels != NULL)
		agentpay_labels_begin(feature->labels, at);
	if (is_foreign(feature->row.value) || is_foreign(feature->row.filter))
		read_as_owner(feature, row, at);
	else
		read_rows(feature, row, at);
	if (feature->labels != NULL)
		agentpay_labels_end(feature->labels);

	ResetExprContext(feature->econtext);
	old = MemoryContextSwitchTo(feature->econtext->ecxt_per_tuple_memory);
	result = result_of(feature, at, isnull);
	MemoryContextSwitchTo(old);
	ResetExprContext(feature->econtext);
	return result;
}

/* What the configuration's next reload would take away. */
static void
copy_config(AgentpayFeature *feature, const AgentpayFeatureConfig *config)
{
	feature->config = *config;
	feature->config.name = pstrdup(config->name);
	/* velocity has them */
	feature->config.keys = feature->config.from_keys = NULL;
	feature->config.from_time = NULL;
	feature->config.policies = NULL;
	if (config->value != NULL)
		feature->config.value = pstrdup(config->value);
	if (config->filter != NULL)
		feature->config.filter = pstrdup(config->filter);
}

/* The owner of the table whose rows count. */
static Oid
owner_of(const AgentpayFeatureConfig *config)
{
	HeapTuple tuple = SearchSysCache1(RELOID,
									  ObjectIdGetDatum(config->from_table));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of feature \"%s\" does not exist any more",
						config->name),
				 errhint("Name another one in from_table of "
						 "agentpay.features.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* In the current memory context. */
static void
compile_leaf(AgentpayFeature *feature, Oid leaf,
			 AgentpayLeafExpressions *expressions)
{
	AgentpayScope scope = {.relation = leaf,
						   .usage = AGENTPAY_USAGE_FEATURE,
						   .labels = feature->config.labelled,
						   .time_zone = feature->time_zone,
						   .owner = feature->owner};
	ParamListInfo params = agentpay_expression_params(&scope);

	if (feature->config.kind == AGENTPAY_FEATURE_WINDOW &&
		feature->config.value != NULL)
		expressions->value = compile_value(feature, &scope, params);
	if (feature->config.filter != NULL)
		expressions->filter =
			agentpay_expression_compile(&scope, feature->config.filter, BOOLOID,
										params);
}

/* Numbers keep their type, so that sums are exact; others become float8. */
static AgentpayExpression *
compile_value(AgentpayFeature *feature, AgentpayScope *scope,
			  ParamListInfo params)
{
	AgentpayAggregate aggregate = feature->config.aggregate;
	const char *text = feature->config.value;
	AgentpayExpression *value;

	if (aggregate == AGENTPAY_AGGREGATE_RATE)
		return agentpay_expression_compile(scope, text, BOOLOID, params);
	value = agentpay_expression_compile(scope, text, InvalidOid, params);
	if (aggregate == AGENTPAY_AGGREGATE_COUNT_DISTINCT ||
		agentpay_aggregator_takes(value->type))
		return value;
	agentpay_expression_free(value);
	return agentpay_expression_compile(scope, text, FLOAT8OID, params);
}

static AgentpayAggregator *
make_aggregator(AgentpayFeature *feature)
{
	AgentpayExpression *value = feature->row.value;

	if (value == NULL)
		return agentpay_aggregator_make(feature->config.aggregate, InvalidOid,
										InvalidOid);
	return agentpay_aggregator_make(feature->config.aggregate, value->type,
									exprCollation(value->plan->expr));
}

/* Of the row itself: its keys, and what it is worth in its own window. */
static Bitmapset *
columns_of(AgentpayFeature *feature)
{
	AgentpayVelocity *velocity = feature->velocity;
	Bitmapset *columns = NULL;

	for (int i = 0; i < velocity->n_keys; i++)
		columns = bms_add_member(columns, velocity->key_columns[i]);
	if (!feature->counts_itself)
		return columns;
	if (feature->row.value != NULL)
		columns = bms_add_members(columns, feature->row.value->columns);
	if (feature->row.filter != NULL)
		columns = bms_add_members(columns, feature->row.filter->columns);
	return columns;
}

/* Of a row of the point's own table, when it is one of the window's rows. */
static Bitmapset *
event_columns_of(AgentpayFeature *feature, const AgentpayFeatureConfig *config,
				 Oid leaf)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < config->n_keys; i++)
		columns = bms_add_member(columns,
								 get_attnum(leaf, config->from_keys[i]));
	columns = bms_add_member(columns, get_attnum(leaf, config->from_time));
	if (feature->row.value != NULL)
		columns = bms_add_members(columns, feature->row.value->columns);
	if (feature->row.filter != NULL)
		columns = bms_add_members(columns, feature->row.filter->columns);
	return columns;
}

static bool
leaf_stale(const AgentpayLeafExpressions *expressions)
{
	return (expressions->value != NULL &&
			agentpay_expression_stale(expressions->value)) ||
		   (expressions->filter != NULL &&
			agentpay_expression_stale(expressions->filter));
}

static bool
is_foreign(const AgentpayExpression *expression)
{
	return expression != NULL && expression->foreign_functions;
}

/* Functions of the user's run as the owner of the table. */
static void
read_as_owner(AgentpayFeature *feature, TupleTableSlot *row, TimestampTz at)
{
	AgentpayScope scope = {.relation = feature->velocity->leaf,
						   .usage = AGENTPAY_USAGE_FEATURE,
						   .time_zone = feature->time_zone,
						   .owner = feature->owner};
	AgentpayExpressionState saved;

	agentpay_expression_enter(&scope, true, &saved);
	PG_TRY();
	{
		read_rows(feature, row, at);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
}

/* Feeds the window's rows, and the row itself, to the aggregator. */
static void
read_rows(AgentpayFeature *feature, TupleTableSlot *row, TimestampTz at)
{
	AgentpayVelocityScan scan = {.row = see_row,
								 .forget = forget_rows,
								 .arg = feature};

	scan.until = agentpay_feature_earlier(at, feature->config.delay_us);
	scan.after = DT_NOBEGIN;
	if (feature->config.kind == AGENTPAY_FEATURE_WINDOW)
		scan.after = agentpay_feature_earlier(scan.until,
											  feature->config.over_us);
	else
		scan.newest_first = true;
	if (feature->counts_itself)
		scan.itself = see_itself;
	agentpay_velocity_scan(feature->velocity, row, &scan);
}

/* One row of the table, in a leaf that may see its first one. */
static bool
see_row(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
		TupleTableSlot *slot, TimestampTz at)
{
	AgentpayFeature *feature = scan->arg;
	AgentpayLeafExpressions *expressions = agentpay_feature_expressions(feature,
																		source);

	ResetExprContext(feature->econtext);
	if (feature->labels != NULL)
		agentpay_labels_next(feature->labels, slot);
	if (!agentpay_feature_passes(feature, expressions, slot))
		return true;
	if (feature->config.kind == AGENTPAY_FEATURE_WINDOW)
	{
		add_row(feature, expressions, slot);
		return true;
	}
	/* in what other leaves have, only a later row is of interest */
	feature->latest = scan->after = at;
	return false;
}

/* The row that is not in the table yet. */
static void
see_itself(AgentpayVelocityScan *scan, TupleTableSlot *row)
{
	AgentpayFeature *feature = scan->arg;

	ResetExprContext(feature->econtext);
	if (feature->labels != NULL)
		agentpay_labels_next(feature->labels, NULL);
	if (agentpay_feature_passes(feature, &feature->row, row))
		add_row(feature, &feature->row, row);
}

static void
forget_rows(AgentpayVelocityScan *scan)
{
	AgentpayFeature *feature = scan->arg;

	if (feature->aggregator != NULL)
		agentpay_aggregator_reset(feature->aggregator);
	feature->latest = DT_NOBEGIN;
}

bool
agentpay_feature_passes(AgentpayFeature *feature,
						const AgentpayLeafExpressions *expressions,
						TupleTableSlot *slot)
{
	Datum result;
	bool isnull;

	if (expressions->filter == NULL)
		return true;
	result = evaluate(feature, expressions->filter, slot, &isnull);
	return !isnull && DatumGetBool(result);
}

Datum
agentpay_feature_value(AgentpayFeature *feature,
					   const AgentpayLeafExpressions *expressions,
					   TupleTableSlot *slot, bool *isnull)
{
	*isnull = true;
	if (expressions->value == NULL)
		return (Datum) 0;
	return evaluate(feature, expressions->value, slot, isnull);
}

static void
add_row(AgentpayFeature *feature, const AgentpayLeafExpressions *expressions,
		TupleTableSlot *slot)
{
	MemoryContext old;
	bool isnull;
	Datum value = agentpay_feature_value(feature, expressions, slot, &isnull);

	old = MemoryContextSwitchTo(feature->econtext->ecxt_per_tuple_memory);
	agentpay_aggregator_add(feature->aggregator, value, isnull);
	MemoryContextSwitchTo(old);
}

static Datum
evaluate(AgentpayFeature *feature, AgentpayExpression *expression,
		 TupleTableSlot *slot, bool *isnull)
{
	ExprContext *econtext = feature->econtext;

	econtext->ecxt_scantuple = slot;
	if (feature->labels != NULL)
		agentpay_labels_fill(feature->labels, expression,
							 econtext->ecxt_per_tuple_memory);
	return agentpay_expression_eval(expression, econtext, isnull);
}

AgentpayLeafExpressions *
agentpay_feature_expressions(AgentpayFeature *feature,
							 AgentpayVelocitySource *source)
{
	if (source->extra == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(source->context);
		AgentpayLeafExpressions *expressions = palloc0(
			sizeof(AgentpayLeafExpressions));

		compile_leaf(feature, source->relation, expressions);
		source->extra = expressions;
		MemoryContextSwitchTo(old);
	}
	return source->extra;
}

/* Before the beginning of time: -infinity. */
TimestampTz
agentpay_feature_earlier(TimestampTz at, int64 by)
{
	TimestampTz result;

	if (TIMESTAMP_NOT_FINITE(at) || pg_sub_s64_overflow(at, by, &result) ||
		!IS_VALID_TIMESTAMP(result))
		return DT_NOBEGIN;
	return result;
}

/* All of time is longer than an int64 has microseconds. */
double
agentpay_feature_seconds(TimestampTz from, TimestampTz to)
{
	int64 difference;

	if (pg_sub_s64_overflow(to, from, &difference))
		return ((double) to - (double) from) / USECS_PER_SEC;
	return (double) difference / USECS_PER_SEC;
}

static double
result_of(AgentpayFeature *feature, TimestampTz at, bool *isnull)
{
	double result = 0;

	if (feature->aggregator != NULL)
		result = agentpay_aggregator_result(feature->aggregator, isnull);
	else
	{
		*isnull = TIMESTAMP_NOT_FINITE(feature->latest);
		if (!*isnull)
			result = agentpay_feature_seconds(feature->latest, at);
	}
	return with_default(feature, result, isnull);
}

static double
with_default(const AgentpayFeature *feature, double result, bool *isnull)
{
	if (!*isnull || !feature->config.has_default)
		return result;
	*isnull = false;
	return feature->config.default_value;
}
