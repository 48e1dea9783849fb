/*-------------------------------------------------------------------------
 * aggregate.c
 *		The aggregates of a window, as PostgreSQL's own define them.
 *
 * PostgreSQL's transition functions run only under an executor node, so the
 * few that are needed are here, by the same formulas: NULL values do not
 * count; count and count_distinct of nothing are 0, everything else is NULL;
 * stddev is that of a sample, NULL for fewer than two values; rate is the
 * share of true values.
 *
 * Integers and numerics are summed exactly (int128, numeric).  Floating point
 * is summed with Neumaier's compensation (ZAMM 54, 1974), and its variance by
 * Youngs and Cramer (Technometrics 13, 1971), as in float8_accum(): the result
 * does not drift with the order of rows, nor by subtraction.
 *
 * Locking: none; knows no tables.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "scoring/aggregate.h"

/* Distinct values kept before the first time that repeats are thrown out. */
#define DISTINCT_INITIAL 64
/* For splitting an int128 into two int64. */
#define TEN_TO_18 INT64CONST(1000000000000000000)
#define EXACT_MAX (INT64CONST(1) << 53) /* integers up to it are doubles */
#define DECIMALS_MAX 15

static const double powers_of_ten[DECIMALS_MAX + 1] = {1e0,	 1e1,  1e2,	 1e3,
													   1e4,	 1e5,  1e6,	 1e7,
													   1e8,	 1e9,  1e10, 1e11,
													   1e12, 1e13, 1e14, 1e15};

typedef enum Arithmetic
{
	ARITHMETIC_NONE,
	ARITHMETIC_INTEGER, /* int128 */
	ARITHMETIC_NUMERIC,
	ARITHMETIC_FLOAT
} Arithmetic;

/* A numeric that changes in place. */
typedef struct NumericCell
{
	Numeric value; /* NULL: none yet */
	Size size;	   /* allocated */
} NumericCell;

struct AgentpayAggregator
{
	AgentpayAggregate aggregate;
	Oid type;
	Oid collation;
	Arithmetic arithmetic;
	MemoryContext context; /* of what one result needs; reset for the next */
	int64 count;		   /* values that were not NULL; count: all */
	int64 hits;			   /* rate: true ones */
	/* sum, avg, stddev */
	int128 sum;
	int128 squares;
	NumericCell numeric_sum; /* min, max: the extreme */
	NumericCell numeric_squares;
	double float_sum; /* min, max: the extreme */
	double compensation;
	double deviation; /* sum of squared differences from the mean */
	bool infinite;	  /* a value was infinite or NaN */
	/* count_distinct */
	TypeCacheEntry *distinct_type;
	Datum *distinct;
	int64 max_distinct;
	int64 n_distinct;
};

static Arithmetic arithmetic_of(AgentpayAggregate aggregate, Oid type);
static void add_integer(AgentpayAggregator *aggregator, int64 value);
static void add_numeric(AgentpayAggregator *aggregator, Numeric value);
static void add_float(AgentpayAggregator *aggregator, double value);
static void add_extreme(AgentpayAggregator *aggregator, Datum value);
static void add_distinct(AgentpayAggregator *aggregator, Datum value);
static void throw_out_repeats(AgentpayAggregator *aggregator);
static int compare_distinct(const void *a, const void *b, void *arg);
static double
float_sum_result(AgentpayAggregate aggregate, const AgentpayEventSum *sum);
static double quotient(int128 value, int scale, int64 count);
static double decimal_result(int128 value, int scale);
static bool decimal_of(Numeric number, int64 *value, int *scale);
static Numeric decimal_to_numeric(int128 value, int scale);
static double integer_result(AgentpayAggregator *aggregator);
static double numeric_result(AgentpayAggregator *aggregator);
static double numeric_deviation(int64 count, Numeric sum, Numeric squares);
static double float_result(AgentpayAggregator *aggregator);
static double extreme_result(AgentpayAggregator *aggregator);
static double to_float(Oid type, Datum value);
static int64 to_integer(Oid type, Datum value);
static Numeric to_numeric(Oid type, Datum value);
static Numeric integer_to_numeric(int128 value);
static void
keep_numeric(AgentpayAggregator *aggregator, NumericCell *cell, Numeric value);
static Numeric call_numeric(PGFunction function, Numeric a, Numeric b);

AgentpayAggregator *
agentpay_aggregator_make(AgentpayAggregate aggregate, Oid type, Oid collation)
{
	AgentpayAggregator *aggregator = palloc0(sizeof(AgentpayAggregator));

	aggregator->aggregate = aggregate;
	aggregator->type = type;
	aggregator->collation = collation;
	aggregator->arithmetic = arithmetic_of(aggregate, type);
	aggregator->context = AllocSetContextCreate(CurrentMemoryContext,
												"agentpay aggregate",
												ALLOCSET_DEFAULT_SIZES);
	if (aggregate == AGENTPAY_AGGREGATE_COUNT_DISTINCT)
	{
		aggregator->distinct_type = lookup_type_cache(type,
													  TYPECACHE_CMP_PROC_FINFO);
		if (!OidIsValid(aggregator->distinct_type->cmp_proc))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
							errmsg("cannot count distinct values of type %s",
								   format_type_be(type)),
							errdetail("The type has no order."),
							errhint("Cast the value, to text for example.")));
	}
	else if (aggregate == AGENTPAY_AGGREGATE_RATE
				 ? type != BOOLOID
				 : aggregate != AGENTPAY_AGGREGATE_COUNT &&
					   !agentpay_aggregator_takes(type))
		elog(ERROR, "no aggregate %d of type %u", aggregate, type);
	agentpay_aggregator_reset(aggregator);
	return aggregator;
}

bool
agentpay_aggregator_takes(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return true;
		default:
			return false;
	}
}

/* How sums are made. */
static Arithmetic
arithmetic_of(AgentpayAggregate aggregate, Oid type)
{
	if (aggregate == AGENTPAY_AGGREGATE_COUNT ||
		aggregate == AGENTPAY_AGGREGATE_COUNT_DISTINCT ||
		aggregate == AGENTPAY_AGGREGATE_RATE)
		return ARITHMETIC_NONE;
	if (type == FLOAT4OID || type == FLOAT8OID)
		return ARITHMETIC_FLOAT;
	if (type == NUMERICOID)
		return ARITHMETIC_NUMERIC;
	/* squares of int8 do not fit into int128 */
	if (type == INT8OID && aggregate == AGENTPAY_AGGREGATE_STDDEV)
		return ARITHMETIC_NUMERIC;
	return ARITHMETIC_INTEGER;
}

void
agentpay_aggregator_reset(AgentpayAggregator *aggregator)
{
	MemoryContextReset(aggregator->context);
	aggregator->count = aggregator->hits = 0;
	aggregator->sum = aggregator->squares = 0;
	aggregator->numeric_sum = (NumericCell){NULL, 0};
	aggregator->numeric_squares = (NumericCell){NULL, 0};
	aggregator->float_sum = aggregator->compensation = 0;
	aggregator->deviation = 0;
	aggregator->infinite = false;
	aggregator->distinct = NULL;
	aggregator->n_distinct = aggregator->max_distinct = 0;
}

void
agentpay_aggregator_add(AgentpayAggregator *aggregator, Datum value,
						bool isnull)
{
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_COUNT)
	{
		aggregator->count++;
		return;
	}
	if (isnull)
		return;
	aggregator->count++;
	switch (aggregator->aggregate)
	{
		case AGENTPAY_AGGREGATE_RATE:
			if (DatumGetBool(value))
				aggregator->hits++;
			break;
		case AGENTPAY_AGGREGATE_COUNT_DISTINCT:
			add_distinct(aggregator, value);
			break;
		case AGENTPAY_AGGREGATE_MIN:
		case AGENTPAY_AGGREGATE_MAX:
			add_extreme(aggregator, value);
			break;
		default:
			if (aggregator->arithmetic == ARITHMETIC_INTEGER)
				add_integer(aggregator, to_integer(aggregator->type, value));
			else if (aggregator->arithmetic == ARITHMETIC_NUMERIC)
				add_numeric(aggregator, to_numeric(aggregator->type, value));
			else
				add_float(aggregator, to_float(aggregator->type, value));
	}
}

static void
add_integer(AgentpayAggregator *aggregator, int64 value)
{
	aggregator->sum += value;
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_STDDEV)
		aggregator->squares += (int128) value * value;
}

static void
add_numeric(AgentpayAggregator *aggregator, Numeric value)
{
	NumericCell *sum = &aggregator->numeric_sum;
	NumericCell *squares = &aggregator->numeric_squares;

	if (sum->value != NULL)
		keep_numeric(aggregator, sum,
					 call_numeric(numeric_add, sum->value, value));
	else
		keep_numeric(aggregator, sum, value);
	if (aggregator->aggregate != AGENTPAY_AGGREGATE_STDDEV)
		return;
	value = call_numeric(numeric_mul, value, value);
	if (squares->value != NULL)
		value = call_numeric(numeric_add, squares->value, value);
	keep_numeric(aggregator, squares, value);
}

static void
add_float(AgentpayAggregator *aggregator, double value)
{
	double count = (double) aggregator->count;
	double sum = aggregator->float_sum + value;

	if (isinf(value) || isnan(value))
		aggregator->infinite = true;
	if (fabs(aggregator->float_sum) >= fabs(value))
		aggregator->compensation += (aggregator->float_sum - sum) + value;
	else
		aggregator->compensation += (value - sum) + aggregator->float_sum;
	aggregator->float_sum = sum;
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_STDDEV && count > 1)
	{
		double difference = value * count - sum;

		aggregator->deviation += difference * difference /
								 (count * (count - 1));
	}
}

/* min and max */
static void
add_extreme(AgentpayAggregator *aggregator, Datum value)
{
	bool first = aggregator->count == 1;
	bool min = aggregator->aggregate == AGENTPAY_AGGREGATE_MIN;

	if (aggregator->type == NUMERICOID)
	{
		NumericCell *cell = &aggregator->numeric_sum;
		Numeric number = DatumGetNumeric(value);

		if (first ||
			DatumGetBool(DirectFunctionCall2(min ? numeric_lt : numeric_gt,
											 NumericGetDatum(number),
											 NumericGetDatum(cell->value))))
			keep_numeric(aggregator, cell, number);
	}
	else if (aggregator->arithmetic == ARITHMETIC_INTEGER)
	{
		int64 number = to_integer(aggregator->type, value);

		if (first ||
			(min ? number < aggregator->sum : number > aggregator->sum))
			aggregator->sum = number;
	}
	else
	{
		double number = to_float(aggregator->type, value);

		if (first || (min ? float8_lt(number, aggregator->float_sum)
						  : float8_gt(number, aggregator->float_sum)))
			aggregator->float_sum = number;
	}
}

/* Memory stays within twice that of the distinct values. */
static void
add_distinct(AgentpayAggregator *aggregator, Datum value)
{
	TypeCacheEntry *type = aggregator->distinct_type;
	MemoryContext old = MemoryContextSwitchTo(aggregator->context);
	bool full;

	full = aggregator->n_distinct == aggregator->max_distinct;
	if (full)
		throw_out_repeats(aggregator);
	if (aggregator->distinct == NULL)
	{
		aggregator->max_distinct = DISTINCT_INITIAL;
		aggregator->distinct = palloc(sizeof(Datum) * aggregator->max_distinct);
	}
	else if (full && aggregator->n_distinct > aggregator->max_distinct / 2)
	{
		aggregator->max_distinct *= 2;
		aggregator->distinct = repalloc_huge(aggregator->distinct,
											 sizeof(Datum) *
												 aggregator->max_distinct);
	}
	if (type->typlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	else
		value = datumCopy(value, type->typbyval, type->typlen);
	aggregator->distinct[aggregator->n_distinct++] = value;
	MemoryContextSwitchTo(old);
}

/* Sorts, and frees all but one of equal values. */
static void
throw_out_repeats(AgentpayAggregator *aggregator)
{
	Datum *values = aggregator->distinct;
	int64 kept = 0;

	if (aggregator->n_distinct == 0)
		return;
	qsort_arg(values, aggregator->n_distinct, sizeof(Datum), compare_distinct,
			  aggregator);
	for (int64 i = 1; i < aggregator->n_distinct; i++)
	{
		if (compare_distinct(&values[kept], &values[i], aggregator) != 0)
			values[++kept] = values[i];
		else if (!aggregator->distinct_type->typbyval)
			pfree(DatumGetPointer(values[i]));
	}
	aggregator->n_distinct = kept + 1;
}

static int
compare_distinct(const void *a, const void *b, void *arg)
{
	AgentpayAggregator *aggregator = arg;

	CHECK_FOR_INTERRUPTS();
	return DatumGetInt32(
		FunctionCall2Coll(&aggregator->distinct_type->cmp_proc_finfo,
						  aggregator->collation, *(const Datum *) a,
						  *(const Datum *) b));
}

double
agentpay_aggregator_result(AgentpayAggregator *aggregator, bool *isnull)
{
	*isnull = false;
	switch (aggregator->aggregate)
	{
		case AGENTPAY_AGGREGATE_COUNT:
			return (double) aggregator->count;
		case AGENTPAY_AGGREGATE_COUNT_DISTINCT:
			throw_out_repeats(aggregator);
			return (double) aggregator->n_distinct;
		default:
			break;
	}
	if (aggregator->count == 0 ||
		(aggregator->aggregate == AGENTPAY_AGGREGATE_STDDEV &&
		 aggregator->count == 1))
	{
		*isnull = true;
		return 0;
	}
	switch (aggregator->aggregate)
	{
		case AGENTPAY_AGGREGATE_RATE:
			return (double) aggregator->hits / (double) aggregator->count;
		case AGENTPAY_AGGREGATE_MIN:
		case AGENTPAY_AGGREGATE_MAX:
			return extreme_result(aggregator);
		default:
			if (aggregator->arithmetic == ARITHMETIC_INTEGER)
				return integer_result(aggregator);
			if (aggregator->arithmetic == ARITHMETIC_NUMERIC)
				return numeric_result(aggregator);
			return float_result(aggregator);
	}
}

double
agentpay_aggregate_of(AgentpayAggregate aggregate, Oid type, int scale,
					  const AgentpayEventSum *sum, bool *isnull)
{
	*isnull = false;
	if (aggregate == AGENTPAY_AGGREGATE_COUNT)
		return (double) sum->count;
	*isnull = sum->count == 0 ||
			  (aggregate == AGENTPAY_AGGREGATE_STDDEV && sum->count == 1);
	if (*isnull)
		return 0;
	if (type == FLOAT4OID || type == FLOAT8OID)
		return float_sum_result(aggregate, sum);
	switch (aggregate)
	{
		case AGENTPAY_AGGREGATE_RATE:
			return (double) sum->of.integer.sum / (double) sum->count;
		case AGENTPAY_AGGREGATE_MIN:
			return decimal_result(sum->of.integer.min, scale);
		case AGENTPAY_AGGREGATE_MAX:
			return decimal_result(sum->of.integer.max, scale);
		case AGENTPAY_AGGREGATE_SUM:
			return decimal_result(sum->of.integer.sum, scale);
		case AGENTPAY_AGGREGATE_AVG:
			return quotient(sum->of.integer.sum, scale, sum->count);
		default:
			return numeric_deviation(
				sum->count, decimal_to_numeric(sum->of.integer.sum, scale),
				decimal_to_numeric(sum->of.integer.squares, 2 * scale));
	}
}

/* As float_result(), min and max. */
static double
float_sum_result(AgentpayAggregate aggregate, const AgentpayEventSum *sum)
{
	double result = sum->of.real.sum;

	if (aggregate == AGENTPAY_AGGREGATE_MIN)
		return sum->of.real.min;
	if (aggregate == AGENTPAY_AGGREGATE_MAX)
		return sum->of.real.max;
	if (!isinf(result) && !isnan(result))
		result += sum->of.real.compensation;
	if (aggregate == AGENTPAY_AGGREGATE_AVG)
		result /= (double) sum->count;
	else if (aggregate == AGENTPAY_AGGREGATE_STDDEV)
		result = sum->of.real.special > 0
					 ? get_float8_nan()
					 : sqrt(sum->of.real.deviation / (double) (sum->count - 1));
	if ((isinf(result) || isnan(result)) && sum->of.real.special == 0)
		float_overflow_error();
	return result;
}

/*
 * The nearest double to value / 10^scale / count; beyond 2^53 to that quotient
 * as numeric has it.
 */
static double
quotient(int128 value, int scale, int64 count)
{
	while (scale > 0 && value % 10 == 0)
	{
		value /= 10;
		scale--;
	}
	/* both are exact, so that the quotient is rounded once */
	if (scale <= DECIMALS_MAX && value <= EXACT_MAX && value >= -EXACT_MAX &&
		count <= EXACT_MAX / (int64) powers_of_ten[scale])
		return (double) value / ((double) count * powers_of_ten[scale]);
	return to_float(NUMERICOID,
					NumericGetDatum(
						call_numeric(numeric_div,
									 decimal_to_numeric(value, scale),
									 int64_to_numeric(count))));
}

/* The nearest double to value / 10^scale. */
static double
decimal_result(int128 value, int scale)
{
	if (scale == 0)
		return (double) value;
	/* both are exact, so that the quotient is rounded once */
	if (value <= EXACT_MAX && value >= -EXACT_MAX)
		return (double) value / powers_of_ten[scale];
	return to_float(NUMERICOID,
					NumericGetDatum(decimal_to_numeric(value, scale)));
}

static Numeric
decimal_to_numeric(int128 value, int scale)
{
	if (value >= PG_INT64_MIN && value <= PG_INT64_MAX)
		return int64_div_fast_to_numeric((int64) value, scale);
	return call_numeric(numeric_mul, integer_to_numeric(value),
						int64_div_fast_to_numeric(1, scale));
}

static double
integer_result(AgentpayAggregator *aggregator)
{
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_SUM)
		return (double) aggregator->sum;
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_STDDEV)
		return numeric_deviation(aggregator->count,
								 integer_to_numeric(aggregator->sum),
								 integer_to_numeric(aggregator->squares));
	return quotient(aggregator->sum, 0, aggregator->count);
}

static double
numeric_result(AgentpayAggregator *aggregator)
{
	Numeric sum = aggregator->numeric_sum.value;

	if (aggregator->aggregate == AGENTPAY_AGGREGATE_STDDEV)
		return numeric_deviation(aggregator->count, sum,
								 aggregator->numeric_squares.value);
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_AVG)
	{
		int64 value;
		int scale;

		if (decimal_of(sum, &value, &scale))
			return quotient(value, scale, aggregator->count);
		sum = call_numeric(numeric_div, sum,
						   int64_to_numeric(aggregator->count));
	}
	return to_float(NUMERICOID, NumericGetDatum(sum));
}

/* A numeric as an integer / 10^scale; false when it is too large. */
static bool
decimal_of(Numeric number, int64 *value, int *scale)
{
	char *digits = DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	bool fraction = false;

	*value = 0;
	*scale = 0;
	for (const char *c = digits + (*digits == '-'); *c != '\0'; c++)
	{
		if (*c == '.')
		{
			fraction = true;
			continue;
		}
		if (*c < '0' || *c > '9') /* NaN, Infinity */
			return false;
		if (pg_mul_s64_overflow(*value, 10, value) ||
			pg_add_s64_overflow(*value, *c - '0', value))
			return false;
		*scale += fraction;
	}
	if (*digits == '-')
		*value = -*value;
	return *scale <= DECIMALS_MAX;
}

/* sqrt((n * sum(x^2) - sum(x)^2) / (n * (n - 1))), as stddev_samp(numeric) */
static double
numeric_deviation(int64 count, Numeric sum, Numeric squares)
{
	Numeric n = int64_to_numeric(count);
	Numeric numerator;
	Numeric variance;

	if (numeric_is_nan(sum) || numeric_is_inf(sum))
		return get_float8_nan();
	numerator = call_numeric(numeric_sub, call_numeric(numeric_mul, n, squares),
							 call_numeric(numeric_mul, sum, sum));
	variance = call_numeric(numeric_div, numerator,
							call_numeric(numeric_mul, n,
										 int64_to_numeric(count - 1)));
	return to_float(NUMERICOID, DirectFunctionCall1(numeric_sqrt,
													NumericGetDatum(variance)));
}

static double
float_result(AgentpayAggregator *aggregator)
{
	double result = aggregator->float_sum;

	/* an infinite sum has no compensation */
	if (!isinf(result) && !isnan(result))
		result += aggregator->compensation;
	if (aggregator->aggregate == AGENTPAY_AGGREGATE_AVG)
		result /= (double) aggregator->count;
	else if (aggregator->aggregate == AGENTPAY_AGGREGATE_STDDEV)
		result = aggregator->infinite ? get_float8_nan()
									  : sqrt(aggregator->deviation /
											 (double) (aggregator->count - 1));
	if ((isinf(result) || isnan(result)) && !aggregator->infinite)
		float_overflow_error();
	return result;
}

static double
extreme_result(AgentpayAggregator *aggregator)
{
	if (aggregator->type == NUMERICOID)
		return to_float(NUMERICOID,
						NumericGetDatum(aggregator->numeric_sum.value));
	if (aggregator->arithmetic == ARITHMETIC_INTEGER)
		return (double) aggregator->sum;
	return aggregator->float_sum;
}

static double
to_float(Oid type, Datum value)
{
	if (type == FLOAT4OID)
		return DatumGetFloat4(value);
	if (type == FLOAT8OID)
		return DatumGetFloat8(value);
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, value));
}

static int64
to_integer(Oid type, Datum value)
{
	if (type == INT2OID)
		return DatumGetInt16(value);
	if (type == INT4OID)
		return DatumGetInt32(value);
	return DatumGetInt64(value);
}

static Numeric
to_numeric(Oid type, Datum value)
{
	if (type == NUMERICOID)
		return DatumGetNumeric(value);
	return int64_to_numeric(to_integer(type, value));
}

/* Of less than 9.2e36, which sums of fewer than 2^60 rows are. */
static Numeric
integer_to_numeric(int128 value)
{
	Numeric high;

	if (value >= PG_INT64_MIN && value <= PG_INT64_MAX)
		return int64_to_numeric((int64) value);
	high = call_numeric(numeric_mul,
						int64_to_numeric((int64) (value / TEN_TO_18)),
						int64_to_numeric(TEN_TO_18));
	return call_numeric(numeric_add, high,
						int64_to_numeric((int64) (value % TEN_TO_18)));
}

/* Copies value into the cell, which grows as needed. */
static void
keep_numeric(AgentpayAggregator *aggregator, NumericCell *cell, Numeric value)
{
	Size size = VARSIZE(value);

	if (size > cell->size)
	{
		cell->size = Max(size, 64);
		/* value may depend on the old one, but is no part of it */
		cell->value = MemoryContextAlloc(aggregator->context, cell->size);
	}
	memcpy(cell->value, value, size);
}

static Numeric
call_numeric(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetNumeric(
		DirectFunctionCall2(function, NumericGetDatum(a), NumericGetDatum(b)));
}
