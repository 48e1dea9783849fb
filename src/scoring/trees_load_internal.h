/*-------------------------------------------------------------------------
 * trees_load_internal.h
 *		What the files of the loader share.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TREES_LOAD_INTERNAL_H
#define AGENTPAY_TREES_LOAD_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "scoring/json_walk.h"
#include "scoring/trees_load.h"

/* A node as the arrays of a file have it. */
typedef struct AgentpayTreesFileNode
{
	int left;
	int right;
	int input;
	int missing_left;
	int categorical;
	float value;
	bool reached;
} AgentpayTreesFileNode;

typedef struct AgentpayTreesLoad
{
	AgentpayTreesProblem *problem;
	AgentpayTrees model;
	int parallel_trees;
	AgentpayTree *trees;		 /* model.n_trees_in_file */
	AgentpayTreesFileNode *file; /* the current tree's */
	size_t file_room;
	AgentpayTreeNode *nodes; /* of all trees so far */
	uint32_t *origins;		 /* each node's place in its tree's arrays */
	size_t nodes_room;
	float base[AGENTPAY_TREES_MAX_CLASSES];
} AgentpayTreesLoad;

/* Notes why the model is refused; false. */
__attribute__((format(printf, 3, 4))) extern bool
agentpay_trees_refuse(AgentpayTreesLoad *load, AgentpayTreesRefusal refusal,
					  const char *format, ...);
extern bool agentpay_trees_no_memory(AgentpayTreesLoad *load);

/* A whole number, written as a string ("15") or as a number; or missing. */
extern bool
agentpay_trees_whole_number(AgentpayJsonWalk value, int missing, int *number);

/* Adds one tree to the nodes. */
extern bool agentpay_trees_load_tree(AgentpayTreesLoad *load, int tree,
									 AgentpayJsonWalk text);

#endif /* AGENTPAY_TREES_LOAD_INTERNAL_H */
