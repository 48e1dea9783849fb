/*-------------------------------------------------------------------------
 * contain.h
 *		Runs what may fail without failing the statement.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CONTAIN_H
#define AGENTPAY_CONTAIN_H

#include "postgres.h"

/*
 * Calls body(arg) in a subtransaction of its own.  True: it returned, and what
 * it did stays.  False: it raised an error, everything that it did is undone,
 * and *error, in the current memory context, says why.  A cancel, a shutdown,
 * running out of memory and what the whole transaction must know (class 40)
 * are raised again.
 */
extern bool
agentpay_contain(void (*body)(void *arg), void *arg, ErrorData **error);

#endif /* AGENTPAY_CONTAIN_H */
