/*-------------------------------------------------------------------------
 * statistics_sql.c
 *		What the gates ask of statistics, for SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "control/statistics.h"

PG_FUNCTION_INFO_V1(agentpay_sql_normal_quantile);

/* agentpay._normal_quantile(p float8) */
Datum
agentpay_sql_normal_quantile(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(agentpay_statistics_normal_quantile(PG_GETARG_FLOAT8(0)));
}
