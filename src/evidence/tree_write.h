/*-------------------------------------------------------------------------
 * tree_write.h
 *		Appends rows to the tables of the Merkle tree, past their guards.
 *
 * A writer lives in the current memory context and belongs to the current
 * resource owner: close it under the same one.  After an error it is just
 * forgotten.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TREE_WRITE_H
#define AGENTPAY_TREE_WRITE_H

#include "postgres.h"

#include "evidence/merkle.h"

typedef struct AgentpayTreeWriter AgentpayTreeWriter;

/* Values are taken over by put(); rows reach the table in flush(). */
extern AgentpayTreeWriter *agentpay_tree_writer_open(const char *table);
extern void
agentpay_tree_writer_put(AgentpayTreeWriter *writer, const Datum *values);
extern void agentpay_tree_writer_flush(AgentpayTreeWriter *writer);
extern void agentpay_tree_writer_close(AgentpayTreeWriter *writer);

/* A hash as a bytea, in the current memory context. */
extern Datum agentpay_tree_hash_datum(const AgentpayHash *hash);

/* One seal, checkpoint or key at a time; to the end of the transaction. */
extern void agentpay_tree_lock(void);

#endif /* AGENTPAY_TREE_WRITE_H */
