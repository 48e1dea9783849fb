/*-------------------------------------------------------------------------
 * fuzz_trees.c
 *		libFuzzer's entry to the model loader.
 *
 * Whatever the bytes are, the loader returns a model or says why not; a model
 * that it returns can be walked by any row, and is within its limits.  Under
 * the address and undefined behaviour sanitizers (scripts/check fuzz).
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/trees_load.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void *
allocate(void *arg, size_t size)
{
	(void) arg;
	return malloc(size);
}

/* Aborts, which libFuzzer reports with the input. */
static void
require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

/* What evaluation relies on. */
static void
check_model(const AgentpayTrees *model)
{
	require(model->n_inputs >= 1 &&
				model->n_inputs <= AGENTPAY_TREES_MAX_INPUTS,
			"inputs");
	require(model->n_classes >= 1 &&
				model->n_classes <= AGENTPAY_TREES_MAX_CLASSES &&
				model->class < model->n_classes,
			"classes");
	require(model->n_trees >= 1 && model->n_trees <= model->n_trees_in_file,
			"trees");
	for (uint32_t i = 0; i < model->n_trees; i++)
		require(model->trees[i].root < model->n_nodes &&
					model->trees[i].class < model->n_classes,
				"a tree");
	for (uint32_t i = 0; i < model->n_nodes; i++)
	{
		const AgentpayTreeNode *node = &model->nodes[i];

		require(node->left == 0 ||
					(node->left > i && node->left + 1 < model->n_nodes),
				"children stand after their parent");
		require((node->split & ~AGENTPAY_TREES_MISSING_LEFT) < model->n_inputs,
				"a split");
		require(isfinite(node->value), "a value");
	}
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const double values[] = {0, -1, 1e300, -1e300, NAN, INFINITY};
	AgentpayTreesProblem problem = {AGENTPAY_TREES_BROKEN, ""};
	char *text = malloc(size + 1);
	AgentpayTrees *model;

	require(text != NULL, "memory");
	memcpy(text, data, size);
	text[size] = '\0';
	model = agentpay_trees_load(text, size, allocate, NULL, &problem);
	free(text);
	if (model == NULL)
	{
		require(problem.what[0] != '\0', "a refusal says why");
		return 0;
	}
	check_model(model);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		double *row = malloc(model->n_inputs * sizeof(double));
		double answer;

		require(row != NULL, "memory");
		for (uint32_t k = 0; k < model->n_inputs; k++)
			row[k] = k % 2 == 0 ? values[i] : -values[i];
		answer = agentpay_trees_predict(model, row);
		require(model->answer != AGENTPAY_TREES_SIGMOID ||
					(answer >= 0 && answer <= 1),
				"a probability");
		free(row);
	}
	free(model);
	return 0;
}
