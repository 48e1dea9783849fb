/*-------------------------------------------------------------------------
 * kill_switch.h
 *		The lock that orders a kill with dispatch and apply.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_KILL_SWITCH_H
#define AGENTPAY_KILL_SWITCH_H

#include "postgres.h"

/*
 * Takes the kill lock shared to the end of the transaction; false at once
 * when somebody is about to flip a switch.  The switches are to be read in a
 * later statement, under a fresh snapshot.
 */
extern bool agentpay_kill_switch_try_share(void);

/* Rises whenever a switch may have moved. */
extern uint64 agentpay_kill_switch_generation(void);

#endif /* AGENTPAY_KILL_SWITCH_H */
