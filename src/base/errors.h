/*-------------------------------------------------------------------------
 * errors.h
 *		agentpay's own SQLSTATEs (class AP); everything else uses standard
 *		ones.  docs/reference/errors.md lists them.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ERRORS_H
#define AGENTPAY_ERRORS_H

#include "utils/elog.h"

/* a log is append-only: UPDATE, DELETE, TRUNCATE, DROP, DETACH, direct write */
#define ERRCODE_AGENTPAY_APPEND_ONLY MAKE_SQLSTATE('A', 'P', '0', '0', '1')
/* a column that was read changed after scoring, and the setting says error */
#define ERRCODE_AGENTPAY_CHANGED_AFTER_SCORING \
	MAKE_SQLSTATE('A', 'P', '0', '0', '2')
/* the database is a copy and waits for adopt() */
#define ERRCODE_AGENTPAY_HELD MAKE_SQLSTATE('A', 'P', '0', '0', '3')
/* the log is not that of its exported checkpoint: nothing is signed */
#define ERRCODE_AGENTPAY_FORK MAKE_SQLSTATE('A', 'P', '0', '0', '4')
/* a gate does not hold, so an agent stays at its stage; raised by SQL */
#define ERRCODE_AGENTPAY_GATE MAKE_SQLSTATE('A', 'P', '0', '0', '5')

#endif /* AGENTPAY_ERRORS_H */
