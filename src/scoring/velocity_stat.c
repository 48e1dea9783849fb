/*-------------------------------------------------------------------------
 * velocity_stat.c
 *		What shared memory remembers of each table, for stat_velocity.
 *
 * Locking: the keys' locks, one after the other (velocity_cache.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/tuplestore.h"

#include "scoring/velocity_cache.h"

#define COLUMNS 7
#define SOURCES_SHOWN 256

PG_FUNCTION_INFO_V1(agentpay_sql_stat_velocity);

/* agentpay._stat_velocity(): this database's tables. */
Datum
agentpay_sql_stat_velocity(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AgentpayCacheCounts *counts = palloc(sizeof(AgentpayCacheCounts) *
										 SOURCES_SHOWN);
	int n = agentpay_cache_counts(counts, SOURCES_SHOWN);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		Datum values[COLUMNS];
		bool nulls[COLUMNS] = {false};

		values[0] = ObjectIdGetDatum(counts[i].table);
		values[1] = Int64GetDatum(counts[i].entries);
		values[2] = Int64GetDatum(counts[i].bytes);
		values[3] = Int64GetDatum(counts[i].hits);
		values[4] = Int64GetDatum(counts[i].loads);
		values[5] = Int64GetDatum(counts[i].evictions);
		values[6] = Int64GetDatum(counts[i].bypasses);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
