/*-------------------------------------------------------------------------
 * trees_load.c
 *		Reads XGBoost's JSON into trees, and refuses what is broken.
 *
 * Here is all but the trees themselves, which are in trees_load_tree.c.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/trees_load_internal.h"

/* An objective and what it makes of the sum. */
typedef struct Objective
{
	const char *name;
	AgentpayTreesAnswer answer;
} Objective;

/*
 * Not among them: binary:logitraw, whose base_score means a probability or a
 * margin depending on the version, and what ranks or estimates survival.
 */
static const Objective objectives[] = {
	{"binary:logistic", AGENTPAY_TREES_SIGMOID},
	{"reg:logistic", AGENTPAY_TREES_SIGMOID},
	{"binary:hinge", AGENTPAY_TREES_STEP},
	{"multi:softprob", AGENTPAY_TREES_SOFTMAX},
	{"multi:softmax", AGENTPAY_TREES_SOFTMAX},
	{"reg:squarederror", AGENTPAY_TREES_IDENTITY},
	{"reg:linear", AGENTPAY_TREES_IDENTITY}, /* its older name */
	{"reg:squaredlogerror", AGENTPAY_TREES_IDENTITY},
	{"reg:absoluteerror", AGENTPAY_TREES_IDENTITY},
	{"reg:pseudohubererror", AGENTPAY_TREES_IDENTITY},
	{"count:poisson", AGENTPAY_TREES_EXP},
	{"reg:gamma", AGENTPAY_TREES_EXP},
	{"reg:tweedie", AGENTPAY_TREES_EXP},
};

static bool load_model(AgentpayTreesLoad *load, const char *text, size_t len);
static bool unwrap(AgentpayJsonWalk *root, AgentpayJsonWalk *class);
static bool load_class(AgentpayTreesLoad *load, AgentpayJsonWalk class);
static bool load_version(AgentpayTreesLoad *load, AgentpayJsonWalk version);
static bool load_objective(AgentpayTreesLoad *load, AgentpayJsonWalk objective);
static bool load_params(AgentpayTreesLoad *load, AgentpayJsonWalk params);
static bool load_base(AgentpayTreesLoad *load, AgentpayJsonWalk base);
static bool load_booster(AgentpayTreesLoad *load, AgentpayJsonWalk booster);
static bool load_tree_info(AgentpayTreesLoad *load, AgentpayJsonWalk info);
static bool load_trees(AgentpayTreesLoad *load, AgentpayJsonWalk trees);
static bool limit_rounds(AgentpayTreesLoad *load, AgentpayJsonWalk attributes);
static AgentpayTrees *
pack(AgentpayTreesLoad *load, void *(*allocate)(void *, size_t), void *arg);

AgentpayTrees *
agentpay_trees_load(const char *text, size_t len,
					void *(*allocate)(void *arg, size_t size), void *arg,
					AgentpayTreesProblem *problem)
{
	AgentpayTreesLoad load = {.problem = problem};
	AgentpayTrees *model = NULL;

	if (load_model(&load, text, len))
		model = pack(&load, allocate, arg);
	free(load.trees);
	free(load.file);
	free(load.nodes);
	free(load.origins);
	return model;
}

bool
agentpay_trees_refuse(AgentpayTreesLoad *load, AgentpayTreesRefusal refusal,
					  const char *format, ...)
{
	va_list args;

	load->problem->refusal = refusal;
	va_start(args, format);
	vsnprintf(load->problem->what, sizeof(load->problem->what), format, args);
	va_end(args);
	return false;
}

bool
agentpay_trees_no_memory(AgentpayTreesLoad *load)
{
	return agentpay_trees_refuse(load, AGENTPAY_TREES_NO_MEMORY,
								 "Memory ran out.");
}

static bool
load_model(AgentpayTreesLoad *load, const char *text, size_t len)
{
	static const char *const top[] = {"learner", "version"};
	static const char *const parts[] = {"learner_model_param", "objective",
										"gradient_booster", "attributes"};
	AgentpayJsonWalk at_top[2];
	AgentpayJsonWalk part[4];
	AgentpayJsonWalk root = {text, text + len};
	AgentpayJsonWalk class;

	if (len > AGENTPAY_TREES_MAX_TEXT)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
									 "It has %zu MB; the limit is %zu MB.",
									 len >> 20, AGENTPAY_TREES_MAX_TEXT >> 20);
	if (!unwrap(&root, &class) ||
		!agentpay_json_walk_members(root, top, 2, at_top))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "It is no JSON object.");
	if (agentpay_json_walk_kind(&at_top[0]) != '{' ||
		!agentpay_json_walk_members(at_top[0], parts, 4, part))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "It has no object \"learner\".");
	return load_version(load, at_top[1]) && load_objective(load, part[1]) &&
		   load_params(load, part[0]) && load_class(load, class) &&
		   load_booster(load, part[2]) && limit_rounds(load, part[3]);
}

/*
 * Steps into a wrapped file, and finds the class that is asked for beside it;
 * false: it is no object.
 */
static bool
unwrap(AgentpayJsonWalk *root, AgentpayJsonWalk *class)
{
	static const char *const names[] = {"xgboost", "class"};
	AgentpayJsonWalk found[2];

	*class = (AgentpayJsonWalk){NULL, NULL};
	if (!agentpay_json_walk_members(*root, names, 2, found))
		return false;
	if (found[0].at != NULL)
	{
		*root = found[0];
		*class = found[1];
	}
	return true;
}

/* The class whose probability is the answer: by default the last. */
static bool
load_class(AgentpayTreesLoad *load, AgentpayJsonWalk class)
{
	int number;

	load->model.class = load->model.n_classes - 1;
	if (class.at == NULL)
		return true;
	if (load->model.answer != AGENTPAY_TREES_SOFTMAX)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_NO_CLASS,
			"Its objective is %s, which has no classes to choose from.",
			load->model.objective);
	if (!agentpay_trees_whole_number(class, -1, &number) || number < 0 ||
		(uint32_t) number >= load->model.n_classes)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_NO_CLASS,
									 "Its classes are 0 to %u.",
									 load->model.n_classes - 1);
	load->model.class = (uint32_t) number;
	return true;
}

/* "version": [major, minor, patch], since 1.0. */
static bool
load_version(AgentpayTreesLoad *load, AgentpayJsonWalk version)
{
	int *parts = load->model.version;
	bool more;
	bool right = agentpay_json_walk_begin(&version, &more);

	for (int i = 0; right && i < 3; i++)
		right = more && agentpay_json_walk_int(&version, &parts[i]) &&
				parts[i] >= 0 && agentpay_json_walk_next(&version, &more);
	if (!right || more)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "It has no \"version\" of three numbers.");
	if (parts[0] < 1 || parts[0] > 3)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_UNSUPPORTED,
			"It was written by XGBoost %d.%d.%d; files of 1.0 to "
			"3.x are read.",
			parts[0], parts[1], parts[2]);
	return true;
}

/* How much of a name can be shown: letters, digits, colons, at most 40. */
static int
shown(const char *name, size_t len)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz"
							"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-");

	return n < len ? (int) (n < 40 ? n : 40) : (int) (len < 40 ? len : 40);
}

static bool
load_objective(AgentpayTreesLoad *load, AgentpayJsonWalk objective)
{
	static const char *const names[] = {"name"};
	AgentpayJsonWalk found;
	const char *name;
	size_t len;

	if (!agentpay_json_walk_members(objective, names, 1, &found) ||
		!agentpay_json_walk_string(&found, &name, &len))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Its \"objective\" has no \"name\".");
	for (size_t i = 0; i < sizeof(objectives) / sizeof(objectives[0]); i++)
		if (strlen(objectives[i].name) == len &&
			memcmp(objectives[i].name, name, len) == 0)
		{
			load->model.objective = objectives[i].name;
			load->model.answer = objectives[i].answer;
			return true;
		}
	return agentpay_trees_refuse(
		load, AGENTPAY_TREES_UNSUPPORTED,
		"Its objective is %.*s; binary:logistic, multi:softprob and "
		"reg:squarederror are among those that are evaluated.",
		shown(name, len), name);
}

bool
agentpay_trees_whole_number(AgentpayJsonWalk value, int missing, int *number)
{
	const char *digits;
	size_t len;

	if (value.at == NULL)
	{
		*number = missing;
		return true;
	}
	if (agentpay_json_walk_kind(&value) == '"')
	{
		if (!agentpay_json_walk_string(&value, &digits, &len))
			return false;
		value = (AgentpayJsonWalk){digits, digits + len};
	}
	return agentpay_json_walk_int(&value, number) && value.at == value.end;
}

/* learner.learner_model_param; false: refused, and load says why. */
static bool
load_params(AgentpayTreesLoad *load, AgentpayJsonWalk params)
{
	static const char *const names[] = {"num_feature", "num_class",
										"num_target", "base_score"};
	AgentpayJsonWalk found[4];
	int inputs;
	int classes;
	int targets;

	if (!agentpay_json_walk_members(params, names, 4, found) ||
		!agentpay_trees_whole_number(found[0], 0, &inputs) || inputs < 1 ||
		!agentpay_trees_whole_number(found[1], 0, &classes) || classes < 0 ||
		!agentpay_trees_whole_number(found[2], 1, &targets) || targets < 0)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Its \"learner_model_param\" has no valid num_feature, "
			"num_class or num_target.");
	if (inputs > AGENTPAY_TREES_MAX_INPUTS)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
									 "It has %d features; the limit is %d.",
									 inputs, AGENTPAY_TREES_MAX_INPUTS);
	if (classes > AGENTPAY_TREES_MAX_CLASSES)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
									 "It has %d classes; the limit is %d.",
									 classes, AGENTPAY_TREES_MAX_CLASSES);
	if (targets > 1)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_UNSUPPORTED,
			"It answers with %d numbers; one is asked for.", targets);
	if (load->model.answer == AGENTPAY_TREES_SOFTMAX ? classes < 2
													 : classes > 1)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Its objective is %s, and its num_class %d.", load->model.objective,
			classes);
	load->model.n_inputs = (uint32_t) inputs;
	load->model.n_classes = classes > 1 ? (uint32_t) classes : 1;
	return load_base(load, found[3]);
}

/* base_score as it enters the sum (XGBoost's ProbToMargin). */
static bool
to_margin(AgentpayTreesLoad *load, float *base)
{
	if (load->model.answer == AGENTPAY_TREES_SIGMOID)
	{
		if (!(*base > 0 && *base < 1))
			return agentpay_trees_refuse(
				load, AGENTPAY_TREES_BROKEN,
				"Its base_score is %g; for %s it is between 0 and 1.", *base,
				load->model.objective);
		*base = -logf(1.0f / *base - 1.0f);
	}
	else if (load->model.answer == AGENTPAY_TREES_EXP)
	{
		if (!(*base > 0))
			return agentpay_trees_refuse(
				load, AGENTPAY_TREES_BROKEN,
				"Its base_score is %g; for %s it is above 0.", *base,
				load->model.objective);
		*base = logf(*base);
	}
	return true;
}

/*
 * "5E-1", "[5E-1]", "[1E-1,2E-1]", and the same without quotes.  One for all
 * classes, or one each.
 */
static bool
load_base(AgentpayTreesLoad *load, AgentpayJsonWalk base)
{
	const char *string;
	size_t len;
	uint32_t n = 0;
	bool more = true;
	bool right = base.at != NULL;
	bool is_array;

	if (agentpay_json_walk_kind(&base) == '"')
	{
		right = agentpay_json_walk_string(&base, &string, &len);
		if (right)
			base = (AgentpayJsonWalk){string, string + len};
	}
	is_array = right && agentpay_json_walk_kind(&base) == '[';
	if (is_array)
		right = agentpay_json_walk_begin(&base, &more);
	while (right && more && n < load->model.n_classes)
	{
		right = agentpay_json_walk_float(&base, &load->base[n++]);
		more = false;
		if (right && is_array)
			right = agentpay_json_walk_next(&base, &more);
	}
	if (!right || more || base.at != base.end ||
		(n != 1 && n != load->model.n_classes))
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Its base_score is no number, nor an array of one a "
			"class.");
	for (uint32_t i = n; i < load->model.n_classes; i++)
		load->base[i] = load->base[0];
	for (uint32_t i = 0; i < load->model.n_classes; i++)
		if (!to_margin(load, &load->base[i]))
			return false;
	return true;
}

/* learner.gradient_booster: only gbtree, and as many trees as it says. */
static bool
load_booster(AgentpayTreesLoad *load, AgentpayJsonWalk booster)
{
	static const char *const names[] = {"name", "model"};
	static const char *const parts[] = {"gbtree_model_param", "tree_info",
										"trees"};
	static const char *const params[] = {"num_trees", "num_parallel_tree"};
	AgentpayJsonWalk found[2];
	AgentpayJsonWalk part[3];
	AgentpayJsonWalk param[2];
	const char *name;
	size_t len;
	int trees;

	if (!agentpay_json_walk_members(booster, names, 2, found) ||
		!agentpay_json_walk_string(&found[0], &name, &len))
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Its \"gradient_booster\" has no \"name\".");
	if (len != strlen("gbtree") || memcmp(name, "gbtree", len) != 0)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_UNSUPPORTED,
			"Its booster is %.*s; gbtree is evaluated.", shown(name, len),
			name);
	if (!agentpay_json_walk_members(found[1], parts, 3, part) ||
		!agentpay_json_walk_members(part[0], params, 2, param) ||
		!agentpay_trees_whole_number(param[0], 0, &trees) ||
		!agentpay_trees_whole_number(param[1], 1, &load->parallel_trees))
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Its \"gradient_booster\" has no model with "
			"gbtree_model_param, tree_info and trees.");
	if (trees < 1 || load->parallel_trees < 0)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "It has no trees.");
	if (trees > AGENTPAY_TREES_MAX_TREES)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
									 "It has %d trees; the limit is %d.", trees,
									 AGENTPAY_TREES_MAX_TREES);
	load->model.n_trees_in_file = load->model.n_trees = (uint32_t) trees;
	load->trees = calloc((size_t) trees, sizeof(AgentpayTree));
	if (load->trees == NULL)
		return agentpay_trees_no_memory(load);
	return load_tree_info(load, part[1]) && load_trees(load, part[2]);
}

/* The class of each tree. */
static bool
load_tree_info(AgentpayTreesLoad *load, AgentpayJsonWalk info)
{
	uint32_t n = 0;
	bool more;

	if (!agentpay_json_walk_begin(&info, &more))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Its tree_info is no array.");
	while (more)
	{
		int class;

		if (!agentpay_json_walk_int(&info, &class) || class < 0 ||
			(uint32_t) class >= load->model.n_classes)
			return agentpay_trees_refuse(
				load, AGENTPAY_TREES_BROKEN,
				"Its tree_info names another class than its %u.",
				load->model.n_classes);
		if (n < load->model.n_trees)
			load->trees[n].class = (uint32_t) class;
		n++;
		if (!agentpay_json_walk_next(&info, &more))
			return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
										 "Its tree_info ends too early.");
	}
	if (n != load->model.n_trees)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Its num_trees is %u, and tree_info has %u.", load->model.n_trees,
			n);
	return true;
}

static bool
load_trees(AgentpayTreesLoad *load, AgentpayJsonWalk trees)
{
	uint32_t n = 0;
	bool more;

	if (!agentpay_json_walk_begin(&trees, &more))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Its trees are no array.");
	while (more)
	{
		AgentpayJsonWalk tree = trees;

		if (!agentpay_json_walk_skip(&trees))
			return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
										 "Its tree %u ends too early.", n);
		tree.end = trees.at;
		if (n < load->model.n_trees &&
			!agentpay_trees_load_tree(load, (int) n, tree))
			return false;
		n++;
		if (!agentpay_json_walk_next(&trees, &more))
			return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
										 "Its array of trees ends too early.");
	}
	if (n != load->model.n_trees)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Its num_trees is %u, and there are %u.",
									 load->model.n_trees, n);
	return true;
}

/* ---- the whole ---- */

/*
 * XGBoost's scikit-learn classes answer with the best round of an early
 * stopping and those before it; the file of one of them is known by its
 * attribute "scikit_learn".  Booster.predict() uses all trees.
 */
static bool
limit_rounds(AgentpayTreesLoad *load, AgentpayJsonWalk attributes)
{
	static const char *const names[] = {"best_iteration", "scikit_learn"};
	AgentpayJsonWalk found[2];
	int best;
	uint64_t used;

	if (attributes.at == NULL)
		return true;
	if (!agentpay_json_walk_members(attributes, names, 2, found))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Its \"attributes\" are no object.");
	if (found[0].at == NULL || found[1].at == NULL)
		return true;
	if (!agentpay_trees_whole_number(found[0], 0, &best) || best < 0)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Its best_iteration is no whole number.");
	used = ((uint64_t) best + 1) * load->model.n_classes *
		   (uint64_t) (load->parallel_trees > 1 ? load->parallel_trees : 1);
	if (used < load->model.n_trees)
		load->model.n_trees = (uint32_t) used;
	return true;
}

/* The model in one piece: its struct, then nodes, trees and base. */
static AgentpayTrees *
pack(AgentpayTreesLoad *load, void *(*allocate)(void *, size_t), void *arg)
{
	size_t nodes = load->model.n_nodes * sizeof(AgentpayTreeNode);
	size_t trees = load->model.n_trees * sizeof(AgentpayTree);
	size_t base = load->model.n_classes * sizeof(float);
	char *memory = allocate(arg, sizeof(AgentpayTrees) + nodes + trees + base);
	AgentpayTrees *model = (AgentpayTrees *) memory;

	if (memory == NULL)
	{
		(void) agentpay_trees_no_memory(load);
		return NULL;
	}
	*model = load->model;
	memory += sizeof(AgentpayTrees);
	model->nodes = memcpy(memory, load->nodes, nodes);
	memory += nodes;
	model->trees = memcpy(memory, load->trees, trees);
	memory += trees;
	model->base = memcpy(memory, load->base, base);
	return model;
}
