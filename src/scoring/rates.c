/*-------------------------------------------------------------------------
 * rates.c
 *		Exchange rates, by day: the rows of a pair of currencies, per session.
 *
 * A pair is read when it is first asked for, by SQL as the extension's owner
 * under the latest snapshot (base/owner.h), and forgotten when any rate may
 * have changed.  That a pair has no rate is remembered as well.
 *
 * Locking: AccessShareLock on exchange_rates while a pair is read, kept to
 * the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/config.h"
#include "base/owner.h"
#include "scoring/rates.h"

typedef struct Rate
{
	DateADT valid_from;
	Numeric rate;
} Rate;

/* One pair; there are few, so they are looked through one after another. */
typedef struct Pair
{
	struct Pair *next;
	char *base;
	char *currency;
	uint64 n_rates; /* ascending in valid_from */
	Rate *rates;
} Pair;

static MemoryContext context = NULL;
static Pair *pairs = NULL;
static uint64 generation = 0;

static Pair *find_pair(const char *base, const char *currency);
static Pair *read_pair(const char *base, const char *currency);
static void fill_pair(Pair *pair, MemoryContext memory);

Numeric
agentpay_rates_find(const char *base, const char *currency, DateADT day)
{
	const Pair *pair = find_pair(base, currency);
	uint64 low = 0;
	uint64 high = pair->n_rates;

	/* rates before low hold on that day or earlier, those from high later */
	while (low < high)
	{
		uint64 middle = low + (high - low) / 2;

		if (pair->rates[middle].valid_from <= day)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? pair->rates[low - 1].rate : NULL;
}

/* The pair, read when it is not there yet. */
static Pair *
find_pair(const char *base, const char *currency)
{
	uint64 now = agentpay_config_rates_generation();

	if (now != generation)
	{
		pairs = NULL;
		if (context != NULL)
			MemoryContextReset(context);
		else
			context = AllocSetContextCreate(CacheMemoryContext,
											"agentpay rates",
											ALLOCSET_SMALL_SIZES);
		generation = now;
	}
	for (Pair *pair = pairs; pair != NULL; pair = pair->next)
		if (strcmp(pair->currency, currency) == 0 &&
			strcmp(pair->base, base) == 0)
			return pair;
	return read_pair(base, currency);
}

/* An error frees with the statement what was read. */
static Pair *
read_pair(const char *base, const char *currency)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext,
												 "agentpay rate",
												 ALLOCSET_START_SMALL_SIZES);
	Pair *pair = MemoryContextAllocZero(memory, sizeof(Pair));

	pair->base = MemoryContextStrdup(memory, base);
	pair->currency = MemoryContextStrdup(memory, currency);
	fill_pair(pair, memory);
	MemoryContextSetParent(memory, context);
	pair->next = pairs;
	pairs = pair;
	return pair;
}

/* What the table says of the pair now. */
static void
fill_pair(Pair *pair, MemoryContext memory)
{
	Oid types[2] = {TEXTOID, TEXTOID};
	Datum values[2] = {CStringGetTextDatum(pair->base),
					   CStringGetTextDatum(pair->currency)};
	AgentpayOwnerReading reading;
	MemoryContext old;

	agentpay_owner_read_begin(&reading);
	agentpay_owner_select(&reading,
						  "SELECT valid_from, rate"
						  "  FROM agentpay.exchange_rates"
						  " WHERE base = $1 AND currency = $2"
						  " ORDER BY valid_from",
						  2, types, values, 0);
	old = MemoryContextSwitchTo(memory);
	pair->rates = palloc(sizeof(Rate) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		pair->rates[i].valid_from = DatumGetDateADT(
			SPI_getbinval(row, desc, 1, &isnull));
		pair->rates[i].rate = DatumGetNumericCopy(
			SPI_getbinval(row, desc, 2, &isnull));
	}
	pair->n_rates = SPI_processed;
	MemoryContextSwitchTo(old);
	agentpay_owner_read_end(&reading);
}
