/*-------------------------------------------------------------------------
 * uuid_bounds.c
 *		The lower and the higher of two uuids, for aggregates.
 *
 * PostgreSQL has min() and max() of uuid from version 18 on; by text they
 * would cost a microsecond a row.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/uuid.h"

static int compare(const pg_uuid_t *a, const pg_uuid_t *b);

PG_FUNCTION_INFO_V1(agentpay_sql_lower_uuid);
PG_FUNCTION_INFO_V1(agentpay_sql_higher_uuid);

/* agentpay._lower_uuid(uuid, uuid) */
Datum
agentpay_sql_lower_uuid(PG_FUNCTION_ARGS)
{
	pg_uuid_t *a = PG_GETARG_UUID_P(0);
	pg_uuid_t *b = PG_GETARG_UUID_P(1);

	PG_RETURN_UUID_P(compare(a, b) <= 0 ? a : b);
}

/* agentpay._higher_uuid(uuid, uuid) */
Datum
agentpay_sql_higher_uuid(PG_FUNCTION_ARGS)
{
	pg_uuid_t *a = PG_GETARG_UUID_P(0);
	pg_uuid_t *b = PG_GETARG_UUID_P(1);

	PG_RETURN_UUID_P(compare(a, b) >= 0 ? a : b);
}

/* As the operators of uuid do. */
static int
compare(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN);
}
