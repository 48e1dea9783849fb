/*-------------------------------------------------------------------------
 * idempotency.c
 *		Rows that repeat a caller's key.
 *
 * Where the key's index is unique, the table itself refuses or skips a
 * repetition, and nothing is done here.
 *
 * Locking: the key's lock, exclusive, and the point's, shared, until the
 * transaction ends.  The lock table is small, so a transaction of many keys
 * takes the point's lock exclusively instead: it then waits for, and holds
 * up, every other transaction with keys of that point.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "base/locks.h"
#include "scoring/idempotency.h"

/* Keys that one transaction locks one by one. */
#define KEYS_LOCKED 1000

/* Rows with one key that are looked at, in a leaf. */
#define ROWS_READ 100

/* Of the transaction that locked last. */
static LocalTransactionId locking_lxid = InvalidLocalTransactionId;
static int locked_keys = 0;

static void lock_key(AgentpayPoint *point, const char *key);
static List *rows_in_leaf(AgentpayPoint *point, Oid leaf_oid, Datum key);
static Oid key_index(Relation leaf, AttrNumber attno);

List *
agentpay_idempotency_earlier(AgentpayPoint *point, TupleTableSlot *row)
{
	List *earlier = NIL;
	Datum key;
	bool isnull;
	ListCell *lc;

	if (point->idempotency.attno == 0 || point->unique_keys)
		return NIL;
	key = slot_getattr(row, point->idempotency.attno, &isnull);
	if (isnull)
		return NIL;
	lock_key(point, OutputFunctionCall(&point->key_output, key));
	/* in every leaf: a key is of the point, not of a partition */
	foreach(lc,
			find_all_inheritors(point->config->table, AccessShareLock, NULL))
		earlier = list_concat(earlier,
							  rows_in_leaf(point, lfirst_oid(lc), key));
	return earlier;
}

static void
lock_key(AgentpayPoint *point, const char *key)
{
	const char *name = point->config->name;
	uint64 point_hash = hash_bytes_extended((const unsigned char *) name,
											strlen(name), 0);
	uint64 key_hash = hash_bytes_extended((const unsigned char *) key,
										  strlen(key), point_hash);
	LOCKTAG tag;

	if (locking_lxid != AGENTPAY_MY_LXID)
	{
		locking_lxid = AGENTPAY_MY_LXID;
		locked_keys = 0;
	}
	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_IDEMPOTENCY, point_hash);
	(void) LockAcquire(&tag,
					   locked_keys < KEYS_LOCKED ? ShareLock : ExclusiveLock,
					   false, false);
	if (locked_keys >= KEYS_LOCKED)
		return;
	locked_keys++;
	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_IDEMPOTENCY, key_hash);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Reads rows that are committed, and those of this transaction and statement;
 * others in flight cannot have the key while we hold its lock.
 */
static List *
rows_in_leaf(AgentpayPoint *point, Oid leaf_oid, Datum key)
{
	Relation leaf = table_open(leaf_oid, NoLock);
	AttrNumber key_attno;
	AttrNumber id_attno;
	Oid index_oid;
	Relation index;
	IndexScanDesc scan;
	ScanKeyData scan_key;
	TupleTableSlot *slot;
	List *row_ids = NIL;
	Oid equal;

	if (!RELKIND_HAS_STORAGE(leaf->rd_rel->relkind))
	{
		table_close(leaf, NoLock);
		return NIL;
	}
	key_attno = get_attnum(leaf_oid, point->config->idempotency_column);
	id_attno = get_attnum(leaf_oid, point->config->id_column);
	index_oid = key_index(leaf, key_attno);
	if (!OidIsValid(index_oid) || id_attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("idempotency key of point \"%s\" has no index on "
						"\"%s\"",
						point->config->name, RelationGetRelationName(leaf)),
				 errhint("CREATE INDEX ON %s (%s);",
						 RelationGetRelationName(leaf),
						 point->config->idempotency_column)));
	index = index_open(index_oid, AccessShareLock);
	equal = get_opfamily_member(index->rd_opfamily[0], index->rd_opcintype[0],
								index->rd_opcintype[0], BTEqualStrategyNumber);
	ScanKeyEntryInitialize(&scan_key, 0, 1, BTEqualStrategyNumber,
						   index->rd_opcintype[0], index->rd_indcollation[0],
						   get_opcode(equal), key);
	slot = table_slot_create(leaf, NULL);
	scan = AGENTPAY_INDEX_BEGINSCAN(leaf, index, SnapshotSelf, 1);
	index_rescan(scan, &scan_key, 1, NULL, 0);
	while (list_length(row_ids) < ROWS_READ &&
		   index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool isnull;
		Datum id = slot_getattr(slot, id_attno, &isnull);

		row_ids = lappend(
			row_ids,
			agentpay_text_form(point->id.type,
							   OutputFunctionCall(&point->id_output, id)));
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(leaf, NoLock);
	return row_ids;
}

/* A btree whose first column is the key, over all rows. */
static Oid
key_index(Relation leaf, AttrNumber attno)
{
	Oid found = InvalidOid;
	ListCell *lc;

	foreach(lc, RelationGetIndexList(leaf))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid &&
			index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indkey.values[0] == attno &&
			RelationGetIndexPredicate(index) == NIL)
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	return found;
}
