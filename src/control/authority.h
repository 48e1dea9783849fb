/*-------------------------------------------------------------------------
 * authority.h
 *		Why an agent's answer does not count.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_AUTHORITY_H
#define AGENTPAY_AUTHORITY_H

#include "postgres.h"

/* An answer beside the rules decision of its row and the agent's authority. */
typedef struct AgentpayAnswered
{
	bool unsure; /* its confidence is below the agent's min_confidence */
	bool exempt; /* what the rules said, too; or advice to a person */
	bool known;	 /* a verdict of the point; without, the rest is not read */
	bool ordered;
	int tightens; /* by how many ranks; below 0: it loosens */
	bool listed;  /* the agent has authorities */
	bool held;	  /* one for this verdict; without, not the next two */
	bool may_relax;
	bool small_enough;
	bool forced;   /* a rule's explicit verdict was matched */
	bool disabled; /* a route that is switched off */
} AgentpayAnswered;

/* As decisions.failure says it; NULL: the answer counts. */
extern const char *agentpay_authority_failure(const AgentpayAnswered *answered);

#endif /* AGENTPAY_AUTHORITY_H */
