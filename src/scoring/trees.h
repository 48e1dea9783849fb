/*-------------------------------------------------------------------------
 * trees.h
 *		Gradient-boosted trees, evaluated as XGBoost evaluates them.
 *
 * Our own evaluator, because XGBoost's library starts OpenMP threads in a
 * backend and hangs after a fork.  Pure: libc and libm only, no state, no
 * allocation, so that it is unit-tested and fuzzed outside a server.
 * trees_load.h makes what is evaluated here, and has checked it.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TREES_H
#define AGENTPAY_TREES_H

#include <stdint.h>

#define AGENTPAY_TREES_MAX_CLASSES 256

/* What becomes of the sum over the trees. */
typedef enum AgentpayTreesAnswer
{
	AGENTPAY_TREES_IDENTITY,
	AGENTPAY_TREES_SIGMOID,
	AGENTPAY_TREES_EXP,
	AGENTPAY_TREES_STEP,
	AGENTPAY_TREES_SOFTMAX
} AgentpayTreesAnswer;

/* The highest bit of split: a missing value goes left. */
#define AGENTPAY_TREES_MISSING_LEFT UINT32_C(0x80000000)

/*
 * A node.  Left and right stand side by side, and after their parent, so that
 * no walk can be endless.
 */
typedef struct AgentpayTreeNode
{
	float value;	/* a leaf's value; else: what is less goes left */
	uint32_t split; /* the input, and AGENTPAY_TREES_MISSING_LEFT */
	uint32_t left;	/* 0: a leaf */
} AgentpayTreeNode;

typedef struct AgentpayTree
{
	uint32_t root;
	uint32_t class; /* whose sum it adds to */
} AgentpayTree;

/* A model, in one piece of memory. */
typedef struct AgentpayTrees
{
	AgentpayTreesAnswer answer;
	const char *objective; /* XGBoost's name, constant */
	int version[3];		   /* of the XGBoost that wrote it */
	uint32_t n_inputs;
	uint32_t n_classes; /* 1 but for multi:* */
	uint32_t class;		/* whose probability is the answer */
	uint32_t n_trees;	/* those in use */
	uint32_t n_trees_in_file;
	uint32_t n_nodes;
	uint32_t depth;
	const float *base; /* each class's sum begins with it */
	const AgentpayTree *trees;
	const AgentpayTreeNode *nodes;
} AgentpayTrees;

/*
 * The model's answer for a row of n_inputs values; NaN is a missing one.  For
 * several classes it is the probability of one, model->class.  As in XGBoost,
 * values are rounded to float first, "less than" is strict, and the leaves are
 * added up as floats in the order of the trees.
 */
extern double
agentpay_trees_predict(const AgentpayTrees *model, const double *inputs);

#endif /* AGENTPAY_TREES_H */
