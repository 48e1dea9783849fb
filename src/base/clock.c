/*-------------------------------------------------------------------------
 * clock.c
 *		agentpay's clock, which tests can move, and time-ordered ids.
 *
 * Whatever depends on the time of day (budget windows, partitions, leases)
 * asks this room, so that a test moves one setting instead of waiting.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/settings.h"

#define UNIX_TO_POSTGRES_US \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* Random bytes are drawn for many ids at once: one system call for 256. */
#define ENTROPY_BYTES 2048

static void take_entropy(unsigned char *out, int len);

PG_FUNCTION_INFO_V1(agentpay_sql_now);
PG_FUNCTION_INFO_V1(agentpay_sql_uuid_v7);

TimestampTz
agentpay_clock_now(void)
{
	return GetCurrentTimestamp() +
		   (int64) agentpay_clock_offset_s * USECS_PER_SEC;
}

/*
 * RFC 9562, section 5.7: 48 bits of milliseconds, then 12 bits of the
 * fraction of the millisecond (method 3 of section 6.2), then 62 random ones.
 */
void
agentpay_uuid_v7(TimestampTz at, pg_uuid_t *out)
{
	int64 unix_us = at + UNIX_TO_POSTGRES_US;
	uint64 ms = (uint64) unix_us / 1000;
	uint64 fraction = ((uint64) unix_us % 1000) * 4096 / 1000;
	uint64 high = pg_hton64((ms << 16) | (7 << 12) | fraction);

	memcpy(out->data, &high, sizeof(high));
	take_entropy(out->data + 8, 8);
	out->data[8] = (out->data[8] & 0x3f) | 0x80;
}

/* Fills out with len random bytes; len divides ENTROPY_BYTES. */
static void
take_entropy(unsigned char *out, int len)
{
	static unsigned char pool[ENTROPY_BYTES];
	static int used = ENTROPY_BYTES;
	static int owner_pid = 0;

	if (used >= ENTROPY_BYTES || owner_pid != MyProcPid)
	{
		if (!pg_strong_random(pool, ENTROPY_BYTES))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
							errmsg("could not generate random values")));
		used = 0;
		owner_pid = MyProcPid;
	}
	memcpy(out, pool + used, len);
	used += len;
}

/* agentpay._now() */
Datum
agentpay_sql_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(agentpay_clock_now());
}

/* agentpay._uuid_v7() */
Datum
agentpay_sql_uuid_v7(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

	agentpay_uuid_v7(agentpay_clock_now(), id);
	PG_RETURN_UUID_P(id);
}
