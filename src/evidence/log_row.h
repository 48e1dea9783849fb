/*-------------------------------------------------------------------------
 * log_row.h
 *		A row of a log in its canonical form, and how to find it.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LOG_ROW_H
#define AGENTPAY_LOG_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "base/json_writer.h"

/* The logs that the tree is over: all but the tasks. */
#define AGENTPAY_SEALED_LOGS AGENTPAY_LOG_TASKS

typedef struct AgentpayLogColumn
{
	const char *name;
	AttrNumber attno; /* 0: not of the row, the name of the log */
	Oid type;
	FmgrInfo output; /* for types that have no code of their own */
} AgentpayLogColumn;

/* How to write the rows of one leaf partition; columns by their key. */
typedef struct AgentpayLogForm
{
	AgentpayLog log;
	AttrNumber key;	 /* uuid: the row's own id */
	AttrNumber time; /* timestamptz */
	AttrNumber xid;
	int count;
	AgentpayLogColumn *columns;
	MemoryContext scratch; /* reset for each row */
} AgentpayLogForm;

extern const char *agentpay_log_row_log_name(AgentpayLog log);

/* In the current memory context. */
extern AgentpayLogForm *agentpay_log_row_form(AgentpayLog log, Relation leaf);

/*
 * The canonical form of the row, in the writer, whose memory is used again.
 * Does not look at TimeZone, DateStyle or any other setting.
 */
extern void agentpay_log_row_write(AgentpayLogForm *form, TupleTableSlot *slot,
								   AgentpayJsonWriter *writer);

/*
 * Looks a row up by its id in the leaves of a log, the newest first, by index
 * where there is one.  True: its canonical form is in the writer.
 */
extern bool
agentpay_log_row_find(AgentpayLog log, const pg_uuid_t *key, Snapshot snapshot,
					  AgentpayJsonWriter *writer);

/* A valid btree index whose first column that is; InvalidOid: none. */
extern Oid agentpay_log_row_index(Relation relation, AttrNumber column);

#endif /* AGENTPAY_LOG_ROW_H */
