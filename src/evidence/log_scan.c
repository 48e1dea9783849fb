/*-------------------------------------------------------------------------
 * log_scan.c
 *		The rows of a log that became visible between two snapshots.
 *
 * Found by the leaves' indexes on xid: what was in progress in the older
 * snapshot, one by one, and what is between its xmax and the newer one's.
 *
 * Locking: AccessShareLock on the leaves, kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "evidence/log_scan.h"

typedef struct LeafScan
{
	AgentpayLogForm *form;
	Relation leaf;
	Relation index; /* on xid, or NULL */
	Snapshot snapshot;
	TupleTableSlot *slot;
	AgentpayLogVisit visit;
	void *arg;
} LeafScan;

static bool
scan_leaf(AgentpayLog log, Oid leaf_oid, const AgentpayLogWindow *window,
		  AgentpayLogVisit visit, void *arg);
static bool scan_unseen(LeafScan *scan, const AgentpayLogWindow *window);
static bool scan_all(LeafScan *scan);
static bool scan_xids(LeafScan *scan, uint64 from, uint64 until);
static int compare_xids(const void *a, const void *b);

void
agentpay_log_scan(AgentpayLog log, const AgentpayLogWindow *window,
				  AgentpayLogVisit visit, void *arg)
{
	List *leaves = find_inheritance_children(agentpay_log_relation(log),
											 AccessShareLock);
	ListCell *lc;

	foreach(lc, leaves)
		if (!scan_leaf(log, lfirst_oid(lc), window, visit, arg))
			break;
	list_free(leaves);
}

void
agentpay_log_scan_leaf(AgentpayLog log, Oid leaf,
					   const AgentpayLogWindow *window, AgentpayLogVisit visit,
					   void *arg)
{
	(void) scan_leaf(log, leaf, window, visit, arg);
}

static bool
scan_leaf(AgentpayLog log, Oid leaf_oid, const AgentpayLogWindow *window,
		  AgentpayLogVisit visit, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay log scan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	LeafScan scan = {.snapshot = window->snapshot, .visit = visit, .arg = arg};
	Oid index;
	bool more;

	scan.leaf = table_open(leaf_oid, NoLock);
	scan.form = agentpay_log_row_form(log, scan.leaf);
	scan.slot = table_slot_create(scan.leaf, NULL);
	index = window->since == NULL
				? InvalidOid
				: agentpay_log_row_index(scan.leaf, scan.form->xid);
	if (OidIsValid(index))
		scan.index = index_open(index, AccessShareLock);
	more = scan.index != NULL ? scan_unseen(&scan, window) : scan_all(&scan);
	if (scan.index != NULL)
		index_close(scan.index, NoLock);
	ExecDropSingleTupleTableSlot(scan.slot);
	table_close(scan.leaf, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return more;
}

static bool
scan_unseen(LeafScan *scan, const AgentpayLogWindow *window)
{
	AgentpayHorizon since;
	AgentpayHorizon until;

	agentpay_horizon_read(window->since, &since);
	agentpay_horizon_read(window->until, &until);
	for (int i = 0; i < since.count; i++)
		if (!scan_xids(scan, since.xip[i], since.xip[i] + 1))
			return false;
	return scan_xids(scan, since.xmax, until.xmax);
}

static bool
scan_all(LeafScan *scan)
{
	TableScanDesc rows = table_beginscan(scan->leaf, scan->snapshot, 0, NULL);
	bool more = true;

	while (more &&
		   table_scan_getnextslot(rows, ForwardScanDirection, scan->slot))
		more = scan->visit(scan->arg, scan->form, scan->slot);
	ExecClearTuple(scan->slot);
	table_endscan(rows);
	return more;
}

/* Rows of transactions from and above, below until. */
static bool
scan_xids(LeafScan *scan, uint64 from, uint64 until)
{
	IndexScanDesc rows;
	ScanKeyData keys[2];
	bool more = true;

	if (from >= until)
		return true;
	rows = AGENTPAY_INDEX_BEGINSCAN(scan->leaf, scan->index, scan->snapshot, 2);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(FullTransactionIdFromU64(from)));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT,
				FullTransactionIdGetDatum(FullTransactionIdFromU64(until)));
	index_rescan(rows, keys, 2, NULL, 0);
	while (more && index_getnext_slot(rows, ForwardScanDirection, scan->slot))
		more = scan->visit(scan->arg, scan->form, scan->slot);
	ExecClearTuple(scan->slot);
	index_endscan(rows);
	return more;
}

/* xmin:xmax:xip,xip,... */
void
agentpay_horizon_read(const char *text, AgentpayHorizon *horizon)
{
	char *rest;
	int commas = 0;

	horizon->xmin = strtoull(text, &rest, 10);
	horizon->xmax = strtoull(rest + 1, &rest, 10);
	horizon->count = 0;
	for (const char *c = rest; *c != '\0'; c++)
		commas += *c == ',';
	horizon->xip = palloc((commas + 1) * sizeof(uint64));
	while (rest[0] != '\0' && rest[1] != '\0')
		horizon->xip[horizon->count++] = strtoull(rest + 1, &rest, 10);
}

bool
agentpay_horizon_sees(const AgentpayHorizon *horizon, uint64 xid)
{
	if (xid < horizon->xmin)
		return true;
	return xid < horizon->xmax && bsearch(&xid, horizon->xip, horizon->count,
										  sizeof(uint64), compare_xids) == NULL;
}

static int
compare_xids(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}
