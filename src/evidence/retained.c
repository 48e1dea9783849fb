/*-------------------------------------------------------------------------
 * retained.c
 *		Which leaves' rows apply_retention() dropped, as governance_log has it.
 *
 * Each drop is a row of governance_log, sealed as any other, so that nobody can
 * excuse what he deleted without a trace.  A record counts only if it is one
 * that apply_retention() could have written: of whole days, of a time that was
 * long past, and of this tree, which had that root at that size.  Rows that
 * logical replication brings speak of another node's tree.
 *
 * Locking: AccessShareLock on what is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "evidence/log_row.h"
#include "evidence/retained.h"

/* Nothing younger is ever dropped: three months, the shortest ones. */
#define YOUNGEST (89 * USECS_PER_DAY)

/* Leaves from first to last whose rows, those of the log, were dropped. */
typedef struct Run
{
	int64 first;
	int64 last;
	AgentpayDrop *drop;
} Run;

struct AgentpayRetained
{
	int drop_count;
	AgentpayDrop **drops;
	int run_count[AGENTPAY_SEALED_LOGS];
	Run *runs[AGENTPAY_SEALED_LOGS]; /* by first */
};

static const char records[] =
	"SELECT g.event_id, g.after ->> 'log',"
	" (g.after ->> 'from')::timestamptz, (g.after ->> 'until')::timestamptz,"
	" (g.after ->> 'tree_size')::bigint,"
	" decode(g.after ->> 'root_hash', 'hex'), g.logged_at,"
	" (r.run ->> 0)::bigint, (r.run ->> 1)::bigint"
	" FROM agentpay.governance_log g"
	" CROSS JOIN LATERAL jsonb_array_elements(g.after -> 'leaves') AS r (run)"
	" WHERE g.object_kind = 'partition' AND g.action = 'drop'"
	" AND g.after ->> 'log' IN ('decisions', 'agent_calls', 'outcomes',"
	" 'governance_log') ORDER BY g.logged_at, g.event_id";

static Datum value_of(HeapTuple row, int column, bool *isnull);
static AgentpayDrop *
read_drop(AgentpayRetained *retained, HeapTuple row, AgentpayTree *tree);
static bool is_of_tree(HeapTuple row, int64 size, AgentpayTree *tree);
static void add_run(AgentpayRetained *retained, AgentpayDrop *drop, int64 first,
					int64 last, uint64 room);
static int compare_runs(const void *a, const void *b);

AgentpayRetained *
agentpay_retained_read(AgentpayTree *tree)
{
	AgentpayRetained *retained = palloc0(sizeof(AgentpayRetained));
	MemoryContext caller = CurrentMemoryContext;
	SPITupleTable *rows;
	uint64 count;
	AgentpayDrop *drop = NULL;
	bool isnull;

	if (SPI_execute(records, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what was dropped");
	rows = SPI_tuptable;
	count = SPI_processed;
	MemoryContextSwitchTo(caller);
	retained->drops = palloc((count + 1) * sizeof(AgentpayDrop *));
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple row = rows->vals[i];
		pg_uuid_t *event = DatumGetUUIDP(value_of(row, 1, &isnull));

		/* a row for each run; those of one record come together */
		if (i == 0 ||
			memcmp(event,
				   DatumGetUUIDP(value_of(rows->vals[i - 1], 1, &isnull)),
				   UUID_LEN) != 0)
			drop = read_drop(retained, row, tree);
		if (drop != NULL)
			add_run(retained, drop, DatumGetInt64(value_of(row, 8, &isnull)),
					DatumGetInt64(value_of(row, 9, &isnull)), count);
	}
	SPI_freetuptable(rows);
	for (int log = 0; log < AGENTPAY_SEALED_LOGS; log++)
		if (retained->run_count[log] > 0)
			qsort(retained->runs[log], retained->run_count[log], sizeof(Run),
				  compare_runs);
	return retained;
}

static Datum
value_of(HeapTuple row, int column, bool *isnull)
{
	return SPI_getbinval(row, SPI_tuptable->tupdesc, column, isnull);
}

/* NULL: nobody but a forger, or another node, has written it. */
static AgentpayDrop *
read_drop(AgentpayRetained *retained, HeapTuple row, AgentpayTree *tree)
{
	AgentpayDrop *drop;
	AgentpayLeaf leaf;
	char *log;
	TimestampTz from;
	TimestampTz until;
	TimestampTz logged_at;
	int64 size;
	bool nulls[4];

	from = DatumGetTimestampTz(value_of(row, 3, &nulls[0]));
	until = DatumGetTimestampTz(value_of(row, 4, &nulls[1]));
	size = DatumGetInt64(value_of(row, 5, &nulls[2]));
	logged_at = DatumGetTimestampTz(value_of(row, 7, &nulls[3]));
	if (nulls[0] || nulls[1] || nulls[2] || nulls[3] ||
		from % USECS_PER_DAY != 0 || until % USECS_PER_DAY != 0 ||
		from >= until || until > logged_at - YOUNGEST ||
		!is_of_tree(row, size, tree))
		return NULL;
	drop = palloc0(sizeof(AgentpayDrop));
	log = TextDatumGetCString(value_of(row, 2, &nulls[0]));
	drop->event = *DatumGetUUIDP(value_of(row, 1, &nulls[0]));
	drop->leaf = agentpay_tree_find(tree, &drop->event, &leaf) ? leaf.index
															   : -1;
	for (int i = 0; i < AGENTPAY_SEALED_LOGS; i++)
		if (strcmp(log, agentpay_log_row_log_name(i)) == 0)
			drop->log = i;
	drop->from = from;
	drop->until = until;
	drop->tree_size = size;
	retained->drops[retained->drop_count++] = drop;
	return drop;
}

/* Whether this tree had the root that the record says. */
static bool
is_of_tree(HeapTuple row, int64 size, AgentpayTree *tree)
{
	AgentpayHash root;
	bool isnull;
	Datum value = value_of(row, 6, &isnull);
	bytea *bytes;

	if (isnull || size < 1)
		return false;
	bytes = DatumGetByteaPP(value);
	return VARSIZE_ANY_EXHDR(bytes) == AGENTPAY_HASH_SIZE &&
		   agentpay_merkle_root(agentpay_tree_source(tree), size, &root) &&
		   memcmp(root.bytes, VARDATA_ANY(bytes), AGENTPAY_HASH_SIZE) == 0;
}

static void
add_run(AgentpayRetained *retained, AgentpayDrop *drop, int64 first, int64 last,
		uint64 room)
{
	Run *run;

	if (retained->runs[drop->log] == NULL)
		retained->runs[drop->log] =
			MemoryContextAllocExtended(CurrentMemoryContext, room * sizeof(Run),
									   MCXT_ALLOC_HUGE);
	run = &retained->runs[drop->log][retained->run_count[drop->log]++];
	run->first = first;
	run->last = Min(last, drop->tree_size - 1);
	run->drop = drop;
}

static int
compare_runs(const void *a, const void *b)
{
	int64 left = ((const Run *) a)->first;
	int64 right = ((const Run *) b)->first;

	return left < right ? -1 : left > right;
}

AgentpayDrop *
agentpay_retained_leaf(const AgentpayRetained *retained, AgentpayLog log,
					   int64 index)
{
	const Run *runs = retained->runs[log];
	int low = 0;
	int high = retained->run_count[log];

	/* the first run that begins behind the leaf */
	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (runs[middle].first <= index)
			low = middle + 1;
		else
			high = middle;
	}
	/* a run has no leaf of the log that is not of its partition */
	return low > 0 && runs[low - 1].last >= index ? runs[low - 1].drop : NULL;
}

AgentpayDrop *
agentpay_retained_row(const AgentpayRetained *retained, AgentpayLog log,
					  int64 index, TimestampTz time)
{
	for (int i = 0; i < retained->drop_count; i++)
	{
		AgentpayDrop *drop = retained->drops[i];

		if (drop->log == log && time >= drop->from && time < drop->until &&
			index < drop->tree_size)
			return drop;
	}
	return NULL;
}

AgentpayDrop *
agentpay_retained_drop(const AgentpayRetained *retained, int i)
{
	return i < retained->drop_count ? retained->drops[i] : NULL;
}
