/*-------------------------------------------------------------------------
 * drop.h
 *		The locks that DROP EXTENSION agentpay needs, without a deadlock.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DROP_H
#define AGENTPAY_DROP_H

/*
 * Locks the tables of payments, then everything of agentpay's, exclusively
 * until the transaction ends.  Returns without them when others hold some for
 * long; DROP EXTENSION then waits for each as it comes to it.
 */
extern void agentpay_drop_lock(void);

#endif /* AGENTPAY_DROP_H */
