/*-------------------------------------------------------------------------
 * retained.h
 *		Which leaves' rows apply_retention() dropped, as governance_log has it.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_RETAINED_H
#define AGENTPAY_RETAINED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "base/appender.h"
#include "evidence/tree.h"

/* A row of governance_log that says so, of one partition. */
typedef struct AgentpayDrop
{
	pg_uuid_t event;
	int64 leaf; /* the row's own; -1: it is not sealed yet */
	AgentpayLog log;
	TimestampTz from;  /* inclusive */
	TimestampTz until; /* exclusive */
	int64 tree_size;   /* every row of the partition was among so many leaves */
	bool contradicted; /* a row is there */
	bool counted;
} AgentpayDrop;

typedef struct AgentpayRetained AgentpayRetained;

/*
 * The records that are of this tree, in the current memory context, by the
 * active snapshot; needs SPI.
 */
extern AgentpayRetained *agentpay_retained_read(AgentpayTree *tree);

/* The record that has the leaf; NULL: its row should be there. */
extern AgentpayDrop *agentpay_retained_leaf(const AgentpayRetained *retained,
											AgentpayLog log, int64 index);

/* The record that says that this row, which is there, was dropped; or NULL. */
extern AgentpayDrop *
agentpay_retained_row(const AgentpayRetained *retained, AgentpayLog log,
					  int64 index, TimestampTz time);

/* One after the other; NULL: no more. */
extern AgentpayDrop *
agentpay_retained_drop(const AgentpayRetained *retained, int i);

#endif /* AGENTPAY_RETAINED_H */
