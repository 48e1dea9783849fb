/*-------------------------------------------------------------------------
 * seal.h
 *		Gives committed rows of the logs their place in the Merkle tree.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SEAL_H
#define AGENTPAY_SEAL_H

#include "postgres.h"

/*
 * Seals what committed since the last time, in this transaction: how many
 * rows.  Takes the lock of the tree and holds it to the transaction's end.
 */
extern int64 agentpay_seal(void);

#endif /* AGENTPAY_SEAL_H */
