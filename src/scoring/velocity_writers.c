/*-------------------------------------------------------------------------
 * velocity_writers.c
 *		Who wrote an entry's events in flight, and what became of them.
 *
 * Writers that committed are forgotten when there are many, or when the entry
 * may be evicted.  They are known by their full ids, so that one of long ago is
 * not taken for one of now; a subtransaction stands for itself.
 *
 * Locking: the caller holds the key's lock; ProcArrayLock and those of pg_xact
 * are taken inside.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/procarray.h"

#include "base/compat.h"
#include "scoring/velocity_cache_internal.h"

#define FIRST_WRITERS_BYTES 128

static AgentpayCacheWriter *writers_of(const AgentpayCacheEntry *entry);
static bool must_ask(const AgentpayCacheEntry *entry, uint64 aborts);
static AgentpayCacheWriter *
add_writer(AgentpayCacheEntry *entry, FullTransactionId xid, uint32 tag);

static AgentpayCacheWriter *
writers_of(const AgentpayCacheEntry *entry)
{
	return agentpay_arena_at(&agentpay_cache_arena, entry->writers);
}

bool
agentpay_cache_resolve(AgentpayCacheEntry *entry)
{
	AgentpayCacheWriter *writers = writers_of(entry);
	uint64 aborts = pg_atomic_read_u64(&agentpay_cache_shared->aborts);
	uint32 kept = 0;

	if (entry->n_writers == 0 || !must_ask(entry, aborts))
		return true;
	for (uint32 i = 0; i < entry->n_writers; i++)
	{
		AgentpayCacheWriter writer = writers[i];
		TransactionId xid = XidFromFullTransactionId(writer.xid);
		bool wrong = false;

		if (agentpay_cache_is_forgotten(writer.xid))
			wrong = true;
		else if (agentpay_cache_is_own(writer.xid) ||
				 TransactionIdIsInProgress(xid))
		{
			writers[kept++] = writer;
			continue;
		}
		else if (TransactionIdDidCommit(xid))
			wrong = writer.tag == 0;
		else if (writer.tag != 0)
			(void) agentpay_event_tree_remove_tag(&agentpay_cache_arena,
												  &entry->tree, writer.tag,
												  writer.from, writer.until);
		else
			wrong = writer.wrong_on_abort;
		if (wrong)
		{
			agentpay_cache_drop(entry);
			return false;
		}
	}
	entry->n_writers = kept;
	entry->prune_at = Max(PRUNE_FIRST, kept * 2);
	entry->aborts_seen = aborts;
	return true;
}

static bool
must_ask(const AgentpayCacheEntry *entry, uint64 aborts)
{
	if (entry->n_writers >= entry->prune_at || entry->aborts_seen != aborts ||
		pg_atomic_read_u32(&agentpay_cache_shared->prepared) != 0)
		return true;
	for (uint32 i = 0; i < entry->n_writers; i++)
		if (writers_of(entry)[i].tag == 0)
			return true;
	return false;
}

bool
agentpay_cache_is_own(FullTransactionId xid)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	return FullTransactionIdIsValid(own) && FullTransactionIdEquals(own, xid);
}

/* So long ago that its fate may be known no more. */
bool
agentpay_cache_is_forgotten(FullTransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint64 age = U64FromFullTransactionId(next) - U64FromFullTransactionId(xid);

	return age > PG_INT32_MAX / 2 ||
		   TransactionIdPrecedes(XidFromFullTransactionId(xid),
								 AGENTPAY_OLDEST_KNOWN_XID);
}

/* NULL when there is no memory. */
static AgentpayCacheWriter *
add_writer(AgentpayCacheEntry *entry, FullTransactionId xid, uint32 tag)
{
	Size needed = sizeof(AgentpayCacheWriter) * (entry->n_writers + 1);
	AgentpayCacheWriter *writer;

	if (entry->writers == 0 ||
		agentpay_arena_block_size(&agentpay_cache_arena, entry->writers) <
			needed)
	{
		AgentpayRef ref = agentpay_arena_alloc(&agentpay_cache_arena,
											   Max(needed,
												   FIRST_WRITERS_BYTES));

		if (ref == 0)
			return NULL;
		if (entry->writers != 0)
		{
			memcpy(agentpay_arena_at(&agentpay_cache_arena, ref),
				   writers_of(entry),
				   sizeof(AgentpayCacheWriter) * entry->n_writers);
			agentpay_arena_free(&agentpay_cache_arena, entry->writers);
		}
		entry->writers = ref;
	}
	writer = &writers_of(entry)[entry->n_writers++];
	*writer = (AgentpayCacheWriter){.xid = xid, .tag = tag};
	return writer;
}

int
agentpay_cache_own_tags(const AgentpayCacheEntry *entry, uint32 *tags, int room)
{
	int n = 0;

	for (uint32 i = 0; i < entry->n_writers && n < room; i++)
	{
		const AgentpayCacheWriter *writer = &writers_of(entry)[i];

		if (writer->tag != 0 && TransactionIdIsCurrentTransactionId(
									XidFromFullTransactionId(writer->xid)))
			tags[n++] = writer->tag;
	}
	return n;
}

uint32
agentpay_cache_own_tag(AgentpayCacheEntry *entry, int64 time)
{
	return agentpay_cache_writer_tag(entry, GetTopFullTransactionId(), time);
}

uint32
agentpay_cache_writer_tag(AgentpayCacheEntry *entry, FullTransactionId xid,
						  int64 time)
{
	AgentpayCacheWriter *writer;

	for (uint32 i = entry->n_writers; i > 0; i--)
	{
		writer = &writers_of(entry)[i - 1];
		if (writer->tag == 0 || !FullTransactionIdEquals(writer->xid, xid))
			continue;
		writer->from = Min(writer->from, time);
		writer->until = Max(writer->until, time);
		return writer->tag;
	}
	/* the first one cannot have seen an abort of its own */
	if (entry->n_writers == 0)
		entry->aborts_seen = pg_atomic_read_u64(&agentpay_cache_shared->aborts);
	if (entry->next_tag == 0) /* all were used: begin anew */
		return 0;
	writer = add_writer(entry, xid, entry->next_tag);
	if (writer == NULL)
		return 0;
	entry->next_tag++;
	writer->from = writer->until = time;
	return writer->tag;
}

bool
agentpay_cache_mark(AgentpayCacheEntry *entry, FullTransactionId xid,
					bool wrong_on_abort)
{
	AgentpayCacheWriter *writer;

	for (uint32 i = 0; i < entry->n_writers; i++)
	{
		writer = &writers_of(entry)[i];
		if (writer->tag != 0 || !FullTransactionIdEquals(writer->xid, xid))
			continue;
		writer->wrong_on_abort |= wrong_on_abort;
		return true;
	}
	writer = add_writer(entry, xid, 0);
	if (writer == NULL)
		return false;
	writer->wrong_on_abort = wrong_on_abort;
	return true;
}

void
agentpay_cache_note_abort(void)
{
	pg_atomic_fetch_add_u64(&agentpay_cache_shared->aborts, 1);
}

void
agentpay_cache_note_prepare(void)
{
	pg_atomic_write_u32(&agentpay_cache_shared->prepared, 1);
}
