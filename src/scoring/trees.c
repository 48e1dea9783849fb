/*-------------------------------------------------------------------------
 * trees.c
 *		Gradient-boosted trees, evaluated as XGBoost evaluates them.
 *
 * The transformations are those of XGBoost's objectives (PredTransform), in
 * float as there; a probability can differ in its last bits, since expf() is
 * each libc's own.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "scoring/trees.h"

static float sigmoid(float margin);
static float softmax(const float *margins, uint32_t n, uint32_t class);

/* The leaf that the row comes to. */
static inline float
walk(const AgentpayTreeNode *nodes, uint32_t at, const double *inputs)
{
	while (nodes[at].left != 0)
	{
		const AgentpayTreeNode *node = &nodes[at];
		uint32_t split = node->split;
		float value = (float) inputs[split & ~AGENTPAY_TREES_MISSING_LEFT];
		/* no branches: where a row goes cannot be guessed */
		uint32_t left = (value < node->value) |
						((value != value) & (split >> 31));

		at = node->left + 1 - left;
	}
	return nodes[at].value;
}

double
agentpay_trees_predict(const AgentpayTrees *model, const double *inputs)
{
	float sums[AGENTPAY_TREES_MAX_CLASSES];

	memcpy(sums, model->base, model->n_classes * sizeof(float));
	for (uint32_t i = 0; i < model->n_trees; i++)
		sums[model->trees[i].class] += walk(model->nodes, model->trees[i].root,
											inputs);

	switch (model->answer)
	{
		case AGENTPAY_TREES_SIGMOID:
			return sigmoid(sums[0]);
		case AGENTPAY_TREES_EXP:
			return expf(sums[0]);
		case AGENTPAY_TREES_STEP:
			return sums[0] > 0 ? 1 : 0;
		case AGENTPAY_TREES_SOFTMAX:
			return softmax(sums, model->n_classes, model->class);
		case AGENTPAY_TREES_IDENTITY:
			break;
	}
	return sums[0];
}

/* 1 / (1 + e^-margin), the exponent bounded as in XGBoost. */
static float
sigmoid(float margin)
{
	return 1.0f / (1.0f + expf(fminf(-margin, 88.7f)));
}

/* e^that of the class / (sum of e^each), without overflow. */
static float
softmax(const float *margins, uint32_t n, uint32_t class)
{
	float largest = margins[0];
	double sum = 0;

	for (uint32_t i = 1; i < n; i++)
		largest = fmaxf(largest, margins[i]);
	for (uint32_t i = 0; i < n; i++)
		sum += expf(margins[i] - largest);
	return expf(margins[class] - largest) / (float) sum;
}
