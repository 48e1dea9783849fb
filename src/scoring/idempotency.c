/*-------------------------------------------------------------------------
 * idempotency.c
 *		Rows that repeat a caller's key.
 *
 * Where the key's index is unique, the table itself refuses or skips a
 * repetition, and nothing is done here.
 *
 * Locking: the key's lock, from before the row is looked for until it is in
 * the table, that is until the statement's next row or its end: so two
 * sessions cannot both be first.  A row in flight is found in the index, and
 * its transaction is waited for, as a unique index does; the key is free
 * meanwhile, since that transaction may need it again.  Holding each key to
 * the end of the transaction instead would fill the lock table.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/contain.h"
#include "base/locks.h"
#include "scoring/idempotency.h"

/* Rows with one key that are looked at, in a leaf. */
#define ROWS_READ 100

/* What agentpay_contain() runs. */
typedef struct Search
{
	AgentpayPoint *point;
	Datum key;
	List *row_ids;
	TransactionId in_flight; /* of a row that is neither there nor not */
	Oid leaf;				 /* where it is */
	ItemPointerData tid;
} Search;

static void search_body(void *arg);
static void
lock_key(AgentpayFrame *frame, AgentpayPoint *point, const char *key);
static void wait_for_row(const Search *search);
static void search_leaf(Search *search, Oid leaf_oid);
static void
read_rows(Search *search, Relation leaf, Relation index, AttrNumber id_attno);
static Oid key_index(Relation leaf, AttrNumber attno);

List *
agentpay_idempotency_earlier(AgentpayFrame *frame, AgentpayPoint *point,
							 TupleTableSlot *row, ErrorData **error)
{
	Search search = {.point = point};
	bool isnull;

	*error = NULL;
	if (point->idempotency.attno == 0 || point->unique_keys)
		return NIL;
	search.key = slot_getattr(row, point->idempotency.attno, &isnull);
	if (isnull)
		return NIL;
	for (;;)
	{
		/* outside of what may be rolled back */
		lock_key(frame, point,
				 OutputFunctionCall(&point->key_output, search.key));
		if (!agentpay_contain(search_body, &search, error))
			return NIL;
		if (!TransactionIdIsValid(search.in_flight))
			return search.row_ids;
		agentpay_frame_unlock_last(frame);
		wait_for_row(&search);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Until the transaction of a row in flight has ended. */
static void
wait_for_row(const Search *search)
{
	Relation leaf = table_open(search->leaf, AccessShareLock);
	ItemPointerData tid = search->tid;

	XactLockTableWait(search->in_flight, leaf, &tid, XLTW_InsertIndexUnique);
	table_close(leaf, AccessShareLock);
}

/* In every leaf: a key is of the point, not of a partition. */
static void
search_body(void *arg)
{
	Search *search = arg;
	ListCell *lc;

	search->row_ids = NIL;
	search->in_flight = InvalidTransactionId;
	foreach(lc, find_all_inheritors(search->point->config->table,
									AccessShareLock, NULL))
	{
		search_leaf(search, lfirst_oid(lc));
		if (TransactionIdIsValid(search->in_flight))
			return;
	}
}

static void
lock_key(AgentpayFrame *frame, AgentpayPoint *point, const char *key)
{
	const char *name = point->config->name;
	uint64 point_hash = hash_bytes_extended((const unsigned char *) name,
											strlen(name), 0);
	uint64 key_hash = hash_bytes_extended((const unsigned char *) key,
										  strlen(key), point_hash);
	LOCKTAG tag;

	SET_LOCKTAG_AGENTPAY(tag, AGENTPAY_LOCK_IDEMPOTENCY, key_hash);
	agentpay_frame_lock(frame, &tag);
}

/* Adds the rows of one leaf, or notes one that is in flight. */
static void
search_leaf(Search *search, Oid leaf_oid)
{
	const AgentpayPointConfig *config = search->point->config;
	Relation leaf = table_open(leaf_oid, NoLock);
	AttrNumber id_attno = get_attnum(leaf_oid, config->id_column);
	Oid index_oid;
	Relation index;

	if (!RELKIND_HAS_STORAGE(leaf->rd_rel->relkind))
	{
		table_close(leaf, NoLock);
		return;
	}
	index_oid = key_index(leaf,
						  get_attnum(leaf_oid, config->idempotency_column));
	if (!OidIsValid(index_oid) || id_attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("idempotency key of point \"%s\" has no index on "
						"\"%s\"",
						config->name, RelationGetRelationName(leaf)),
				 errhint("CREATE INDEX ON %s (%s);",
						 RelationGetRelationName(leaf),
						 config->idempotency_column)));
	index = index_open(index_oid, AccessShareLock);
	read_rows(search, leaf, index, id_attno);
	index_close(index, AccessShareLock);
	table_close(leaf, NoLock);
}

/*
 * Reads rows that are committed, and those of this transaction and statement;
 * stops at one of another transaction in flight.
 */
static void
read_rows(Search *search, Relation leaf, Relation index, AttrNumber id_attno)
{
	Oid type = index->rd_opcintype[0];
	Oid equal = get_opfamily_member(index->rd_opfamily[0], type, type,
									BTEqualStrategyNumber);
	int rows = 0;
	SnapshotData dirty;
	IndexScanDesc scan;
	ScanKeyData scan_key;
	TupleTableSlot *slot;

	InitDirtySnapshot(dirty);
	ScanKeyEntryInitialize(&scan_key, 0, 1, BTEqualStrategyNumber, type,
						   index->rd_indcollation[0], get_opcode(equal),
						   search->key);
	slot = table_slot_create(leaf, NULL);
	scan = AGENTPAY_INDEX_BEGINSCAN(leaf, index, &dirty, 1);
	index_rescan(scan, &scan_key, 1, NULL, 0);
	while (rows++ < ROWS_READ &&
		   index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool isnull;
		Datum id;

		if (TransactionIdIsValid(dirty.xmin))
		{
			search->in_flight = dirty.xmin;
			search->leaf = RelationGetRelid(leaf);
			search->tid = slot->tts_tid;
			break;
		}
		id = slot_getattr(slot, id_attno, &isnull);
		search->row_ids = lappend(search->row_ids,
								  OutputFunctionCall(&search->point->id_output,
													 id));
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
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
