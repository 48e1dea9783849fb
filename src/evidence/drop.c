/*-------------------------------------------------------------------------
 * drop.c
 *		The locks that DROP EXTENSION agentpay needs, without a deadlock.
 *
 * Who inserts a payment locks its table first and the logs last; DROP
 * EXTENSION goes the other way, and one of them would be the victim.  So all
 * that it will need is locked beforehand, in the order of those who insert.
 *
 * Locks: only one is waited for, while none is held; the others are taken if
 * they are free, and otherwise all are given back for another try.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/owner.h"
#include "evidence/drop.h"

#define TRY_FOR_MS 10000
#define PAUSE_MS 20

static bool try_all(List *tables, List *ours, int *first);
static void give_back(List *held);
static List *read_oids(const char *query);

void
agentpay_drop_lock(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													TRY_FOR_MS);
	int first = 0;

	/* read again each time: partitions may have come */
	while (!try_all(read_oids(
						"SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger t"
						" JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
						" JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
						" WHERE p.pronamespace = $1 AND c.relnamespace <> $1"
						" ORDER BY 1"),
					read_oids("SELECT oid FROM pg_catalog.pg_class"
							  " WHERE relnamespace = $1"
							  " AND relkind IN ('r', 'p', 'v', 'S')"
							  " ORDER BY 1"),
					&first) &&
		   GetCurrentTimestamp() < until)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PAUSE_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Waits for one table, and takes the rest if it is free.  Otherwise nothing
 * is held, and first is the table to wait for next time.
 */
static bool
try_all(List *tables, List *ours, int *first)
{
	List *held = NIL;
	ListCell *lc;

	if (*first >= list_length(tables))
		*first = 0;
	if (tables != NIL)
	{
		LockRelationOid(list_nth_oid(tables, *first), AccessExclusiveLock);
		held = lappend_oid(held, list_nth_oid(tables, *first));
	}
	foreach(lc, tables)
	{
		if (foreach_current_index(lc) == *first)
			continue;
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessExclusiveLock))
		{
			*first = foreach_current_index(lc);
			give_back(held);
			return false;
		}
		held = lappend_oid(held, lfirst_oid(lc));
	}
	foreach(lc, ours)
	{
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessExclusiveLock))
		{
			give_back(held);
			return false;
		}
		held = lappend_oid(held, lfirst_oid(lc));
	}
	return true;
}

static void
give_back(List *held)
{
	ListCell *lc;

	foreach(lc, held)
		UnlockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
}

/* The query's one column; $1 is the oid of schema agentpay. */
static List *
read_oids(const char *query)
{
	Oid type = OIDOID;
	Datum schema = ObjectIdGetDatum(get_namespace_oid("agentpay", false));
	MemoryContext caller = CurrentMemoryContext;
	AgentpayOwnerState owner;
	List *oids = NIL;

	agentpay_owner_enter(&owner);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args(query, 1, &type, &schema, NULL, false, 0) !=
			SPI_OK_SELECT)
		elog(ERROR, "could not read what DROP EXTENSION needs");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Datum oid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
								  1, &isnull);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		oids = lappend_oid(oids, DatumGetObjectId(oid));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	agentpay_owner_leave(&owner);
	return oids;
}
