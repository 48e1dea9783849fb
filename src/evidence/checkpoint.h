/*-------------------------------------------------------------------------
 * checkpoint.h
 *		Signs how large the log is and what its root is, and exports that.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CHECKPOINT_H
#define AGENTPAY_CHECKPOINT_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "evidence/note.h"

/*
 * In this transaction: signs the last seal unless that is done, and refuses
 * (an error) when an exported checkpoint says that the log was longer, or
 * another one.  Does nothing where origin or key are not set.
 */
extern void agentpay_checkpoint_sign(void);

/*
 * Brings the directory up to the last committed checkpoint; called when the
 * transaction that signed it has been flushed.
 */
extern void agentpay_checkpoint_export(void);

/* Whether a key that this log has signed with signed that note; needs SPI. */
extern bool agentpay_checkpoint_known(const char *note, size_t len);

/*
 * The newest checkpoint that retention may rely on: the exported one where
 * checkpoints are exported, else the last one on record.  NULL, and it is in
 * *checkpoint; or why there is none.  Needs SPI.
 */
extern const char *
agentpay_checkpoint_kept(Snapshot snapshot, AgentpayCheckpoint *checkpoint);

/* The last signed checkpoint's note, in the current context; NULL: none. */
extern char *agentpay_checkpoint_last(Snapshot snapshot, int64 *tree_size);

#endif /* AGENTPAY_CHECKPOINT_H */
