/*-------------------------------------------------------------------------
 * verify.h
 *		The two halves of verify_log(): the tree, and the rows.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VERIFY_H
#define AGENTPAY_VERIFY_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "utils/snapshot.h"

#include "base/json_writer.h"
#include "evidence/log_scan.h"
#include "evidence/retained.h"
#include "evidence/tree.h"

typedef struct AgentpayVerification
{
	ReturnSetInfo *result;
	MemoryContext context;
	Snapshot snapshot;
	AgentpayTree *tree;
	bool sealed;
	AgentpaySeal seal;		 /* the last one; all zeros: none */
	int64 start;			 /* leaves before it are not looked at */
	char *since;			 /* the snapshot of the seal that ended there */
	bool judges_unsealed;	 /* the xids are this database's */
	AgentpayHorizon horizon; /* of the last seal */
	AgentpayHorizon now;
	uint8 *seen; /* a bit for each leaf from start on */
	AgentpayRetained *retained;
	AgentpayJsonWriter json;
	int64 rows;
	int64 dropped; /* leaves whose rows retention dropped */
	int64 problems;
} AgentpayVerification;

/* leaf_index below 0: none. */
extern void agentpay_verify_problem(AgentpayVerification *check,
									const char *log, int64 leaf_index,
									const pg_uuid_t *key, const char *problem);

/* Leaves, nodes, seals and checkpoints against each other. */
extern void agentpay_verify_tree(AgentpayVerification *check);

/* The snapshot of the seal that ended with that size; NULL: none did. */
extern char *
agentpay_verify_snapshot_of(AgentpayVerification *check, int64 tree_size);

#endif /* AGENTPAY_VERIFY_H */
