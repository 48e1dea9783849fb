/*-------------------------------------------------------------------------
 * tree_write.c
 *		Appends rows to the tables of the Merkle tree, past their guards.
 *
 * Locking: RowExclusiveLock on the table, kept to the end of the transaction;
 * whoever writes holds agentpay_tree_lock() first.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/appender.h"
#include "base/compat.h"
#include "base/locks.h"
#include "evidence/tree_write.h"

#define BUFFERED_ROWS 1000

struct AgentpayTreeWriter
{
	Relation relation;
	EState *estate;
	ResultRelInfo *result;
	MemoryContext context; /* of the slots */
	MemoryContext scratch; /* of an insert */
	int used;
	TupleTableSlot *slots[BUFFERED_ROWS];
};

AgentpayTreeWriter *
agentpay_tree_writer_open(const char *table)
{
	AgentpayTreeWriter *writer = palloc0(sizeof(AgentpayTreeWriter));
	Oid relid = agentpay_relation(table);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agentpay.%s\" does not exist", table),
				 errhint("Run CREATE EXTENSION agentpay in this database.")));
	writer->relation = table_open(relid, RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->relation, 0, NULL, 0);
	ExecOpenIndices(writer->result, false);
	writer->context = CurrentMemoryContext;
	writer->scratch = AllocSetContextCreate(CurrentMemoryContext,
											"agentpay tree writer",
											ALLOCSET_DEFAULT_SIZES);
	return writer;
}

/* No column of these tables is NULL. */
void
agentpay_tree_writer_put(AgentpayTreeWriter *writer, const Datum *values)
{
	TupleTableSlot *slot;

	if (writer->used == BUFFERED_ROWS)
		agentpay_tree_writer_flush(writer);
	slot = writer->slots[writer->used];
	if (slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		slot = table_slot_create(writer->relation, NULL);
		writer->slots[writer->used] = slot;
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = values[i];
		slot->tts_isnull[i] = false;
	}
	ExecStoreVirtualTuple(slot);
	ExecMaterializeSlot(slot);
	slot->tts_tableOid = RelationGetRelid(writer->relation);
	writer->used++;
}

void
agentpay_tree_writer_flush(AgentpayTreeWriter *writer)
{
	MemoryContext old;

	if (writer->used == 0)
		return;
	old = MemoryContextSwitchTo(writer->scratch);
	table_multi_insert(writer->relation, writer->slots, writer->used,
					   GetCurrentCommandId(true), 0, NULL);
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->scratch);
	for (int i = 0; i < writer->used; i++)
	{
		if (writer->result->ri_NumIndices > 0)
			list_free(AGENTPAY_EXEC_INSERT_INDEX_TUPLES(writer->result,
														writer->slots[i],
														writer->estate));
		ExecClearTuple(writer->slots[i]);
		ResetPerTupleExprContext(writer->estate);
	}
	writer->used = 0;
}

void
agentpay_tree_writer_close(AgentpayTreeWriter *writer)
{
	agentpay_tree_writer_flush(writer);
	for (int i = 0; i < BUFFERED_ROWS && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->result);
	FreeExecutorState(writer->estate);
	table_close(writer->relation, NoLock);
	MemoryContextDelete(writer->scratch);
	pfree(writer);
}

Datum
agentpay_tree_hash_datum(const AgentpayHash *hash)
{
	bytea *bytes = palloc(VARHDRSZ + AGENTPAY_HASH_SIZE);

	SET_VARSIZE(bytes, VARHDRSZ + AGENTPAY_HASH_SIZE);
	memcpy(VARDATA(bytes), hash->bytes, AGENTPAY_HASH_SIZE);
	return PointerGetDatum(bytes);
}

void
agentpay_tree_lock(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_SEAL, (uint64) 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
