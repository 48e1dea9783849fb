/*-------------------------------------------------------------------------
 * lookup.c
 *		What another row says: an expression over the row of a table whose key
 *		columns equal this row's.
 *
 * velocity.c finds the rows.  With a time column, the latest row that passes
 * the filter and whose time is not after this row's is the one; without, the
 * key is unique.  Of a row that another transaction changes, the version that
 * is committed counts: a lookup is taken for a fact, where a window is an
 * estimate that errs on the safe side.
 *
 * The type of the value is found before the rules are compiled, which read it
 * as a parameter of that type; then it holds until the next compilation.
 *
 * Locking: as velocity.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "scoring/features.h"
#include "scoring/lookup.h"
#include "scoring/velocity.h"

/* The lookup's expressions over one leaf's rows. */
typedef struct LeafExpressions
{
	AgentpayExpression *value;
	AgentpayExpression *filter; /* or NULL */
} LeafExpressions;

struct AgentpayLookup
{
	MemoryContext context;
	AgentpayScope scope; /* of the rows that are found */
	char *name;
	char *value;
	char *filter; /* or NULL */
	Oid type;
	int16 length;
	bool by_value;
	bool has_default;
	Datum default_value;
	Bitmapset *columns;
	AgentpayVelocity *velocity;
	LeafExpressions first; /* over rows of the scope's relation */
	/* while it reads */
	ExprContext *econtext;
	MemoryContext caller;
	Datum result;
	bool isnull;
};

static void compile_default(AgentpayLookup *lookup, const char *text);
static void
compile_leaf(AgentpayLookup *lookup, Oid leaf, LeafExpressions *expressions);
static bool leaf_stale(const LeafExpressions *expressions);
static void
read_as_owner(AgentpayLookup *lookup, TupleTableSlot *row, TimestampTz at);
static void
read_rows(AgentpayLookup *lookup, TupleTableSlot *row, TimestampTz at);
static bool see_row(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
					TupleTableSlot *slot, TimestampTz at);
static void forget_rows(AgentpayVelocityScan *scan);
static void keep(AgentpayLookup *lookup, AgentpayExpression *value);

Oid
agentpay_lookup_type(const AgentpayScope *scope, const char *value,
					 const char *default_value)
{
	AgentpayExpression *compiled =
		agentpay_expression_compile(scope, value, InvalidOid, NULL);
	Oid type = compiled->type;

	agentpay_expression_free(compiled);
	if (default_value != NULL)
		agentpay_expression_free(agentpay_expression_compile(
			scope, quote_literal_cstr(default_value), type, NULL));
	return type;
}

/*
 * The lookup's memory is a child of the current context; with that it goes,
 * too, also when this fails.
 */
AgentpayLookup *
agentpay_lookup_compile(const AgentpayPointConfig *point,
						const AgentpayFeatureConfig *config, Oid leaf, Oid type)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay lookup",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	AgentpayLookup *lookup = palloc0(sizeof(AgentpayLookup));

	lookup->context = context;
	lookup->scope = agentpay_feature_scope(point, config, leaf);
	/* what the configuration's next reload would take away */
	lookup->scope.time_zone = pstrdup(lookup->scope.time_zone);
	lookup->name = pstrdup(config->name);
	lookup->value = pstrdup(config->value);
	if (config->filter != NULL)
		lookup->filter = pstrdup(config->filter);
	lookup->type = type;
	get_typlenbyval(type, &lookup->length, &lookup->by_value);
	lookup->econtext = CreateStandaloneExprContext();
	lookup->velocity = agentpay_velocity_make(config, leaf);
	for (int i = 0; i < lookup->velocity->n_keys; i++)
		lookup->columns = bms_add_member(lookup->columns,
										 lookup->velocity->key_columns[i]);
	compile_leaf(lookup, lookup->scope.relation, &lookup->first);
	if (config->has_default)
		compile_default(lookup, config->default_text);
	MemoryContextSwitchTo(old);
	return lookup;
}

void
agentpay_lookup_free(AgentpayLookup *lookup)
{
	MemoryContextDelete(lookup->context);
}

const Bitmapset *
agentpay_lookup_columns(const AgentpayLookup *lookup)
{
	return lookup->columns;
}

bool
agentpay_lookup_stale(const AgentpayLookup *lookup)
{
	const AgentpayVelocity *velocity = lookup->velocity;

	if (velocity->stale || leaf_stale(&lookup->first))
		return true;
	for (int i = 0; i < velocity->n_sources; i++)
	{
		const LeafExpressions *expressions = velocity->sources[i]->extra;

		if (expressions != NULL && leaf_stale(expressions))
			return true;
	}
	return false;
}

Datum
agentpay_lookup_read(AgentpayLookup *lookup, TupleTableSlot *row,
					 TimestampTz at, bool *isnull)
{
	Assert(!TIMESTAMP_NOT_FINITE(at));
	if (lookup->velocity->busy)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot look up \"%s\" while it is looked up",
						lookup->name),
				 errdetail("A function in its expressions inserts into the "
						   "table whose rows it is looked up for."),
				 errhint("Use functions that change nothing.")));
	lookup->caller = CurrentMemoryContext;
	lookup->result = (Datum) 0;
	lookup->isnull = true;
	if (lookup->first.value->foreign_functions ||
		(lookup->first.filter != NULL &&
		 lookup->first.filter->foreign_functions))
		read_as_owner(lookup, row, at);
	else
		read_rows(lookup, row, at);
	ResetExprContext(lookup->econtext);
	if (lookup->isnull && lookup->has_default)
	{
		lookup->result = lookup->default_value;
		lookup->isnull = false;
	}
	*isnull = lookup->isnull;
	return lookup->result;
}

/* A constant, as it would be one in a rule. */
static void
compile_default(AgentpayLookup *lookup, const char *text)
{
	ParamListInfo params = agentpay_expression_params(&lookup->scope);
	AgentpayExpression *constant =
		agentpay_expression_compile(&lookup->scope, quote_literal_cstr(text),
									lookup->type, params);
	bool isnull;
	Datum value = agentpay_expression_eval(constant, lookup->econtext, &isnull);

	lookup->default_value = datumCopy(value, lookup->by_value, lookup->length);
	lookup->has_default = !isnull;
	agentpay_expression_free(constant);
	ResetExprContext(lookup->econtext);
}

/* In the current memory context. */
static void
compile_leaf(AgentpayLookup *lookup, Oid leaf, LeafExpressions *expressions)
{
	AgentpayScope scope = lookup->scope;
	ParamListInfo params = agentpay_expression_params(&scope);

	scope.relation = leaf;
	expressions->value = agentpay_expression_compile(&scope, lookup->value,
													 lookup->type, params);
	if (lookup->filter != NULL)
		expressions->filter = agentpay_expression_compile(&scope,
														  lookup->filter,
														  BOOLOID, params);
}

static bool
leaf_stale(const LeafExpressions *expressions)
{
	return agentpay_expression_stale(expressions->value) ||
		   (expressions->filter != NULL &&
			agentpay_expression_stale(expressions->filter));
}

/* Functions of the user's run as the owner of the table. */
static void
read_as_owner(AgentpayLookup *lookup, TupleTableSlot *row, TimestampTz at)
{
	AgentpayExpressionState saved;

	agentpay_expression_enter(&lookup->scope, true, &saved);
	PG_TRY();
	{
		read_rows(lookup, row, at);
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
}

static void
read_rows(AgentpayLookup *lookup, TupleTableSlot *row, TimestampTz at)
{
	AgentpayVelocityScan scan = {.after = DT_NOBEGIN,
								 .until = DT_NOEND,
								 .newest_first = true,
								 .settled_only = true,
								 .row = see_row,
								 .forget = forget_rows,
								 .arg = lookup};

	if (lookup->velocity->time_column != NULL)
		scan.until = at;
	agentpay_velocity_scan(lookup->velocity, row, &scan);
}

/* One row of the table, in a leaf that may see its first one. */
static bool
see_row(AgentpayVelocityScan *scan, AgentpayVelocitySource *source,
		TupleTableSlot *slot, TimestampTz at)
{
	AgentpayLookup *lookup = scan->arg;
	LeafExpressions *expressions = source->extra;

	if (expressions == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(source->context);

		expressions = palloc0(sizeof(LeafExpressions));
		compile_leaf(lookup, source->relation, expressions);
		source->extra = expressions;
		MemoryContextSwitchTo(old);
	}
	ResetExprContext(lookup->econtext);
	lookup->econtext->ecxt_scantuple = slot;
	if (expressions->filter != NULL)
	{
		bool isnull;
		Datum passes = agentpay_expression_eval(expressions->filter,
												lookup->econtext, &isnull);

		if (isnull || !DatumGetBool(passes))
			return true;
	}
	keep(lookup, expressions->value);
	/* in what other leaves have, only a later row is of interest */
	scan->after = at;
	return false;
}

static void
forget_rows(AgentpayVelocityScan *scan)
{
	AgentpayLookup *lookup = scan->arg;

	lookup->isnull = true;
	lookup->result = (Datum) 0;
}

/* A copy for the caller, apart from the row and from what is stored aside. */
static void
keep(AgentpayLookup *lookup, AgentpayExpression *value)
{
	Datum result = agentpay_expression_eval(value, lookup->econtext,
											&lookup->isnull);
	MemoryContext old = MemoryContextSwitchTo(lookup->caller);

	if (lookup->isnull)
		lookup->result = (Datum) 0;
	else if (lookup->length == -1)
		lookup->result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
	else
		lookup->result = datumCopy(result, lookup->by_value, lookup->length);
	MemoryContextSwitchTo(old);
}
