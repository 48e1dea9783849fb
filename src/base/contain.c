/*-------------------------------------------------------------------------
 * contain.c
 *		Runs what may fail without failing the statement.
 *
 * Catching an error without a subtransaction is unsafe: locks, buffers and
 * memory would stay as the error left them.  A subtransaction that writes
 * nothing costs a fraction of a microsecond and no transaction id.
 *
 * It ends here, whatever happened: an error that goes on finds the transaction
 * at the level at which this was called.  Whoever catches it there, or ends
 * the statement, would otherwise abort our subtransaction instead of theirs.
 *
 * Locks that body takes are kept when it returns, and released when it fails.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/contain.h"

static bool must_be_known(int sqlerrcode);

bool
agentpay_contain(void (*body)(void *arg), void *arg, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool returned = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		body(arg);
		ReleaseCurrentSubTransaction();
		returned = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (must_be_known((*error)->sqlerrcode))
			ReThrowError(*error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return returned;
}

/* Errors that nobody may keep from the transaction. */
static bool
must_be_known(int sqlerrcode)
{
	switch (sqlerrcode)
	{
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_DATABASE_DROPPED:
		case ERRCODE_OUT_OF_MEMORY:
			return true;
		default:
			return ERRCODE_TO_CATEGORY(sqlerrcode) ==
				   ERRCODE_TRANSACTION_ROLLBACK;
	}
}
