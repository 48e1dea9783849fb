/*-------------------------------------------------------------------------
 * trees_load.h
 *		Reads XGBoost's JSON into trees, and refuses what is broken.
 *
 * Files of XGBoost 1.0 to 3.x, as they are or wrapped, to say which class of
 * multi:* is asked for: {"xgboost": file, "class": 0}; the last without that.
 *
 * base_score is stored in the space of the
 * answer by all of them (a probability for logistic objectives), as a number
 * ("5E-1") or, since 3.1, as an array of them ("[5E-1]").
 *
 * Pure: libc only, so that it is unit-tested and fuzzed outside a server.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TREES_LOAD_H
#define AGENTPAY_TREES_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "scoring/trees.h"

/* A limit on everything. */
#define AGENTPAY_TREES_MAX_TEXT ((size_t) 96 * 1024 * 1024)
#define AGENTPAY_TREES_MAX_INPUTS 10000
#define AGENTPAY_TREES_MAX_TREES 50000
#define AGENTPAY_TREES_MAX_NODES 4000000
#define AGENTPAY_TREES_MAX_DEPTH 256

typedef enum AgentpayTreesRefusal
{
	AGENTPAY_TREES_BROKEN,		/* no model of XGBoost, or not a whole one */
	AGENTPAY_TREES_UNSUPPORTED, /* one that is not evaluated here */
	AGENTPAY_TREES_NO_CLASS,	/* the class that is asked for is none */
	AGENTPAY_TREES_TOO_LARGE,
	AGENTPAY_TREES_NO_MEMORY
} AgentpayTreesRefusal;

typedef struct AgentpayTreesProblem
{
	AgentpayTreesRefusal refusal;
	char what[240]; /* a sentence */
} AgentpayTreesProblem;

/*
 * The model that text describes, in one piece of memory that allocate(arg,
 * size) gave and whose owner the caller is; allocate may return NULL, and may
 * not fail otherwise.  NULL: it was refused, and *problem says why.  text has
 * len bytes and then a NUL byte.
 */
extern AgentpayTrees *
agentpay_trees_load(const char *text, size_t len,
					void *(*allocate)(void *arg, size_t size), void *arg,
					AgentpayTreesProblem *problem);

#endif /* AGENTPAY_TREES_LOAD_H */
