/*-------------------------------------------------------------------------
 * test_trees.c
 *		Boosted trees against XGBoost's own predictions, what is refused, and
 *		what must never crash.
 *
 * test/oracle/trees.py made the models and the predictions with XGBoost.  The
 * layout of 3.x (base_score as an array, cats, iteration_indptr) is that of
 * files that XGBoost 3.3 wrote.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/trees_load.h"
#include "tap.h"
#include "../oracle/trees_cases.h"

/* One split at 10, missing to the left; leaves 1 and 2; begins with 0.5. */
static const char small[] =
	"{\"learner\":{\"attributes\":{},\"feature_names\":[],\"feature_types\":[],"
	"\"gradient_booster\":{\"model\":{\"cats\":{\"enc\":[],"
	"\"feature_segments\":[],\"sorted_idx\":[]},"
	"\"gbtree_model_param\":{\"num_parallel_tree\":\"1\",\"num_trees\":\"1\"},"
	"\"iteration_indptr\":[0,1],\"tree_info\":[0],\"trees\":[{"
	"\"base_weights\":[0E0,1E0,2E0],\"default_left\":[1,0,0],\"id\":0,"
	"\"left_children\":[1,-1,-1],\"parents\":[2147483647,0,0],"
	"\"right_children\":[2,-1,-1],\"split_conditions\":[1E1,1E0,2E0],"
	"\"split_indices\":[1,0,0],\"split_type\":[0,0,0],"
	"\"tree_param\":{\"num_deleted\":\"0\",\"num_feature\":\"2\","
	"\"num_nodes\":\"3\",\"size_leaf_vector\":\"1\"}}]},\"name\":\"gbtree\"},"
	"\"learner_model_param\":{\"base_score\":\"[5E-1]\","
	"\"boost_from_average\":\"1\",\"num_class\":\"0\",\"num_feature\":\"2\","
	"\"num_target\":\"1\"},\"objective\":{\"name\":\"reg:squarederror\","
	"\"reg_loss_param\":{\"scale_pos_weight\":\"1\"}}},\"version\":[3,3,0]}";

static AgentpayTreesProblem problem;
static bool memory_left = true;

static void *
allocate(void *arg, size_t size)
{
	(void) arg;
	return memory_left ? malloc(size) : NULL;
}

static AgentpayTrees *
load(const char *text, size_t len)
{
	return agentpay_trees_load(text, len, allocate, NULL, &problem);
}

/* A copy of text with the first `from` as `to`; exits when it is not there. */
static char *
with(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *copy = malloc(strlen(text) + strlen(to) + 1);

	if (at == NULL)
	{
		printf("Bail out! no %s\n", from);
		exit(1);
	}
	memcpy(copy, text, at - text);
	strcpy(copy + (at - text), to);
	strcat(copy, at + strlen(from));
	return copy;
}

/* The largest error over the rows, relative beyond 1. */
static double
worst(const AgentpayTrees *model, const double *answers)
{
	double largest = 0;

	for (int i = 0; i < TREES_ROWS; i++)
	{
		double got = agentpay_trees_predict(model, trees_rows[i]);
		double error = fabs(got - answers[i]) / fmax(1, fabs(answers[i]));

		if (!(error <= largest))
			largest = error;
	}
	return largest;
}

static void
test_predictions(void)
{
	for (size_t i = 0; i < sizeof(trees_cases) / sizeof(trees_cases[0]); i++)
	{
		AgentpayTrees *model = load(trees_cases[i].text, trees_cases[i].len);
		double error;

		if (!check(model != NULL, "%s is loaded", trees_cases[i].name))
		{
			printf("# %s\n", problem.what);
			continue;
		}
		error = worst(model, trees_cases[i].answers);
		check(error <= 1e-6, "%s answers as XGBoost does (%g)",
			  trees_cases[i].name, error);
		if (strcmp(trees_cases[i].name, "stopped") == 0)
			check(model->n_trees + 3 == model->n_trees_in_file,
				  "after early stopping the best round is the last");
		free(model);
	}
}

/*
 * With 1.5 for the first class instead of 0.5, e times as much of it: the
 * last one's share from XGBoost's probabilities of all three.
 */
static void
test_base_of_one_class(void)
{
	char *text = with(trees_softprob, "\"5E-1\"", "\"[1.5E0,5E-1,5E-1]\"");
	AgentpayTrees *model = load(text, strlen(text));
	double wanted[TREES_ROWS];

	for (int i = 0; i < TREES_ROWS; i++)
		wanted[i] = trees_softprob_2_answers[i] /
					(exp(1) * trees_softprob_0_answers[i] +
					 trees_softprob_1_answers[i] + trees_softprob_2_answers[i]);
	check(model != NULL && worst(model, wanted) <= 1e-6,
		  "base_score of one class alone");
	free(model);
	free(text);
}

/* base_score in each form that XGBoost wrote it in. */
static void
test_base_score(void)
{
	static const char *const forms[] = {
		"\"2E-2\"", "\"[2E-2]\"", "\"0.02\"", "\"[0.02]\"", "0.02", "[0.02]",
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		char *text = with(trees_binary, "\"2E-2\"", forms[i]);
		AgentpayTrees *model = load(text, strlen(text));

		check(model != NULL && worst(model, trees_binary_answers) <= 1e-6,
			  "base_score %s", forms[i]);
		free(model);
		free(text);
	}
	/* what all classes have more of, a softmax does not see */
	for (int i = 0; i < 2; i++)
	{
		char *text = with(trees_softprob, "\"5E-1\"",
						  i == 0 ? "\"[5E-1,5E-1,5E-1]\"" : "\"[1,1,1]\"");
		AgentpayTrees *model = load(text, strlen(text));

		check(model != NULL && worst(model, trees_softprob_answers) <= 1e-6,
			  "base_score of each class, %d", i);
		free(model);
		free(text);
	}
	test_base_of_one_class();
}

/* By hand: what is less goes left, compared as floats. */
static void
test_small(void)
{
	static const struct
	{
		double value;
		double answer;
	} rows[] = {
		{9, 1.5},		  {10, 2.5},
		{NAN, 1.5},		  {9.9999999999, 2.5}, /* 10 as a float */
		{9.99999, 1.5},	  {-1e300, 1.5},	   /* beyond a float */
		{1e300, 2.5},	  {INFINITY, 2.5},
		{-INFINITY, 1.5},
	};
	AgentpayTrees *model = load(small, strlen(small));

	if (!check(model != NULL, "a file of 3.3 is loaded"))
		return;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		double row[2] = {NAN, rows[i].value};

		check(agentpay_trees_predict(model, row) == rows[i].answer,
			  "%.17g answers %g", rows[i].value, rows[i].answer);
	}
	check(model->n_trees == 1 && model->n_nodes == 3 && model->depth == 1 &&
			  model->n_inputs == 2 && model->n_classes == 1 &&
			  model->version[0] == 3 && model->version[1] == 3,
		  "what is said of the model");
	free(model);

	memory_left = false;
	check(load(small, strlen(small)) == NULL &&
			  problem.refusal == AGENTPAY_TREES_NO_MEMORY,
		  "without memory there is no model");
	memory_left = true;
}

/* The model of {"class": class, "xgboost": file}. */
static AgentpayTrees *
load_wrapped(const char *file, const char *class)
{
	size_t size = strlen(file) + strlen(class) + 64;
	char *text = malloc(size);
	AgentpayTrees *model;

	snprintf(text, size, "{\"class\":%s,\"xgboost\":%s}", class, file);
	model = load(text, strlen(text));
	free(text);
	return model;
}

/* Which class is asked for; its probabilities are among trees_cases. */
static void
test_class(void)
{
	static const char *const none[] = {"3",	  "-1",	  "\"x\"",
									   "1.5", "null", "[0]"};
	AgentpayTrees *model = load_wrapped(trees_softprob, "\"1\"");

	check(model != NULL && model->class == 1 && model->n_classes == 3,
		  "a class may be a string");
	free(model);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
	{
		model = load_wrapped(trees_softprob, none[i]);
		check(model == NULL && problem.refusal == AGENTPAY_TREES_NO_CLASS &&
				  strcmp(problem.what, "Its classes are 0 to 2.") == 0,
			  "class %s is none", none[i]);
		free(model);
	}
	model = load_wrapped(trees_binary, "0");
	check(model == NULL && problem.refusal == AGENTPAY_TREES_NO_CLASS &&
			  strstr(problem.what, "no classes") != NULL,
		  "binary:logistic has no classes");
	free(model);
}

static void
test_refusals(void)
{
	static const struct
	{
		const char *from;
		const char *to;
		AgentpayTreesRefusal refusal;
		const char *what;
	} cases[] = {
		{"{\"learner\"", "[{\"learner\"", AGENTPAY_TREES_BROKEN, "no JSON"},
		{"\"learner\"", "\"teacher\"", AGENTPAY_TREES_BROKEN, "\"learner\""},
		{"[3,3,0]", "[3,3]", AGENTPAY_TREES_BROKEN, "\"version\""},
		{"[3,3,0]", "[3,3,0,0]", AGENTPAY_TREES_BROKEN, "\"version\""},
		{"[3,3,0]", "[0,9,0]", AGENTPAY_TREES_UNSUPPORTED, "0.9.0"},
		{"[3,3,0]", "[4,0,0]", AGENTPAY_TREES_UNSUPPORTED, "4.0.0"},
		{"reg:squarederror", "rank:pairwise", AGENTPAY_TREES_UNSUPPORTED,
		 "rank:pairwise"},
		{"reg:squarederror", "binary:logitraw", AGENTPAY_TREES_UNSUPPORTED,
		 "binary:logitraw"},
		{"reg:squarederror", "multi:softprob", AGENTPAY_TREES_BROKEN,
		 "num_class 0"},
		{"\"name\":\"reg:squarederror\",", "", AGENTPAY_TREES_BROKEN,
		 "objective"},
		{"\"name\":\"gbtree\"", "\"name\":\"dart\"", AGENTPAY_TREES_UNSUPPORTED,
		 "booster is dart"},
		{"\"name\":\"gbtree\"", "\"name\":\"gblinear\"",
		 AGENTPAY_TREES_UNSUPPORTED, "booster is gblinear"},
		{"\"num_class\":\"0\"", "\"num_class\":\"3\"", AGENTPAY_TREES_BROKEN,
		 "num_class 3"},
		{"\"num_class\":\"0\"", "\"num_class\":\"999\"",
		 AGENTPAY_TREES_TOO_LARGE, "999 classes"},
		{"\"num_class\":\"0\"", "\"num_class\":\"0.5\"", AGENTPAY_TREES_BROKEN,
		 "num_class"},
		{"\"num_feature\":\"2\",\"num_target\"",
		 "\"num_feature\":\"0\",\"num_target\"", AGENTPAY_TREES_BROKEN,
		 "num_feature"},
		{"\"num_feature\":\"2\",\"num_target\"",
		 "\"num_feature\":\"20000\",\"num_target\"", AGENTPAY_TREES_TOO_LARGE,
		 "20000 features"},
		{"\"num_feature\":\"2\",\"num_target\"",
		 "\"num_feature\":\"1\",\"num_target\"", AGENTPAY_TREES_BROKEN,
		 "feature 1 of 1"},
		{"\"num_target\":\"1\"", "\"num_target\":\"2\"",
		 AGENTPAY_TREES_UNSUPPORTED, "2 numbers"},
		{"[5E-1]", "[5E-1,5E-1]", AGENTPAY_TREES_BROKEN, "base_score"},
		{"[5E-1]", "[]", AGENTPAY_TREES_BROKEN, "base_score"},
		{"[5E-1]", "[5E-1] ]", AGENTPAY_TREES_BROKEN, "base_score"},
		{"[5E-1]", "5E-1x", AGENTPAY_TREES_BROKEN, "base_score"},
		{"[5E-1]", "nan", AGENTPAY_TREES_BROKEN, "base_score"},
		{"\"base_score\":\"[5E-1]\",", "", AGENTPAY_TREES_BROKEN, "base_score"},
		{"\"num_trees\":\"1\"", "\"num_trees\":\"0\"", AGENTPAY_TREES_BROKEN,
		 "no trees"},
		{"\"num_trees\":\"1\"", "\"num_trees\":\"2\"", AGENTPAY_TREES_BROKEN,
		 "num_trees is 2"},
		{"\"num_trees\":\"1\"", "\"num_trees\":\"900000\"",
		 AGENTPAY_TREES_TOO_LARGE, "900000 trees"},
		{"\"tree_info\":[0]", "\"tree_info\":[1]", AGENTPAY_TREES_BROKEN,
		 "another class"},
		{"\"tree_info\":[0]", "\"tree_info\":[0,0]", AGENTPAY_TREES_BROKEN,
		 "tree_info has 2"},
		{"\"tree_info\":[0]", "\"tree_info\":0", AGENTPAY_TREES_BROKEN,
		 "tree_info is no array"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[0,-1,-1]",
		 AGENTPAY_TREES_BROKEN, "its child is 0"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[2,-1,-1]",
		 AGENTPAY_TREES_BROKEN, "child 2 has another parent"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[3,-1,-1]",
		 AGENTPAY_TREES_BROKEN, "its child is 3, and there are 3"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[1,2,-1]",
		 AGENTPAY_TREES_BROKEN, "child 2 has another parent"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[1,-1]",
		 AGENTPAY_TREES_BROKEN, "2 left_children"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[1,-1,99999999999]",
		 AGENTPAY_TREES_BROKEN, "node 2: left_children"},
		{"\"left_children\":[1,-1,-1]", "\"left_children\":[]",
		 AGENTPAY_TREES_BROKEN, "more"},
		{"\"right_children\":[2,-1,-1]", "\"right_children\":[-1,-1,-1]",
		 AGENTPAY_TREES_BROKEN, "its child is -1"},
		{"\"right_children\":[2,-1,-1]", "\"right_children\":[2,-1]",
		 AGENTPAY_TREES_BROKEN, "fewer"},
		{"\"split_conditions\":[1E1", "\"split_conditions\":[1E99",
		 AGENTPAY_TREES_BROKEN, "split_conditions has no valid number"},
		{"\"split_conditions\":[1E1", "\"split_conditions\":[null",
		 AGENTPAY_TREES_BROKEN, "split_conditions has no valid number"},
		{"\"split_conditions\":[1E1", "\"split_conditions\":[0x10",
		 AGENTPAY_TREES_BROKEN, "split_conditions has no valid number"},
		{"\"split_indices\":[1", "\"split_indices\":[2", AGENTPAY_TREES_BROKEN,
		 "feature 2 of 2"},
		{"\"split_indices\":[1", "\"split_indices\":[-1", AGENTPAY_TREES_BROKEN,
		 "feature -1 of 2"},
		{"\"split_indices\":[1,0,0],", "", AGENTPAY_TREES_BROKEN,
		 "no array split_indices"},
		{"\"split_type\":[0", "\"split_type\":[1", AGENTPAY_TREES_UNSUPPORTED,
		 "splits by category"},
		{"\"num_nodes\":\"3\"", "\"num_nodes\":\"5\"", AGENTPAY_TREES_BROKEN,
		 "num_nodes of 5"},
		{"\"num_nodes\":\"3\",", "", AGENTPAY_TREES_BROKEN, "num_nodes"},
		{"\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"2\"",
		 AGENTPAY_TREES_UNSUPPORTED, "vectors"},
		{"\"default_left\":[1,0,0]",
		 "\"default_left\":[1,0,0],"
		 "\"default_left\":[1,0,0]",
		 AGENTPAY_TREES_BROKEN, "twice"},
		{"\"feature_names\":[]", "\"feature_names\":[}", AGENTPAY_TREES_BROKEN,
		 "no JSON object"},
		{"{\"learner\"", "{\"xgboost\":0,\"learner\"", AGENTPAY_TREES_BROKEN,
		 "no JSON object"},
		{"{\"learner\"", "{\"xgboost\":{},\"learner\"", AGENTPAY_TREES_BROKEN,
		 "\"learner\""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char *text = with(small, cases[i].from, cases[i].to);
		AgentpayTrees *model = load(text, strlen(text));

		if (!check(model == NULL && problem.refusal == cases[i].refusal &&
					   strstr(problem.what, cases[i].what) != NULL,
				   "%s is refused", cases[i].to))
			printf("# %s\n", model == NULL ? problem.what : "accepted");
		free(model);
		free(text);
	}
}

/* A text that is too long; a tree that is too deep. */
static void
test_limits(void)
{
	size_t len = AGENTPAY_TREES_MAX_TEXT + 1;
	char *text = calloc(1, len + 1);
	char *at = text;
	int n = 2 * (AGENTPAY_TREES_MAX_DEPTH + 1) + 1;
	static const char *const arrays[] = {
		"\"left_children\":[1,-1,-1]",
		"\"right_children\":[2,-1,-1]",
		"\"split_conditions\":[1E1,1E0,2E0]",
		"\"split_indices\":[1,0,0]",
		"\"split_type\":[0,0,0]",
		"\"default_left\":[1,0,0]",
	};
	char *model;

	check(load(text, len) == NULL &&
			  problem.refusal == AGENTPAY_TREES_TOO_LARGE,
		  "more than 96 MB are refused: %s", problem.what);

	/* a comb: each right child splits again */
	model = with(small, "\"num_nodes\":\"3\"", "\"num_nodes\":\"515\"");
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
	{
		size_t name = strcspn(arrays[i], "[") + 1;
		char *longer;

		at = text;
		memcpy(at, arrays[i], name);
		at += name;
		for (int k = 0; k < n; k++)
		{
			bool splits = k % 2 == 0 && k < n - 1;

			at += sprintf(at, "%s%d", k > 0 ? "," : "",
						  i > 1		? 0
						  : !splits ? -1
									: k + 1 + (int) i);
		}
		strcpy(at, "]");
		longer = with(model, arrays[i], text);
		free(model);
		model = longer;
	}
	check(load(model, strlen(model)) == NULL &&
			  problem.refusal == AGENTPAY_TREES_TOO_LARGE &&
			  strstr(problem.what, "deeper") != NULL,
		  "a tree that is too deep is refused: %s", problem.what);
	free(model);
	free(text);
}

/* Loads what may be broken, and asks it when it is not refused. */
static bool
survives(const char *text, size_t len)
{
	AgentpayTrees *model = load(text, len);
	double row[AGENTPAY_TREES_MAX_INPUTS];

	if (model == NULL)
		return problem.what[0] != '\0';
	for (uint32_t i = 0; i < model->n_inputs; i++)
		row[i] = i % 3 == 0 ? NAN : i;
	(void) agentpay_trees_predict(model, row);
	free(model);
	return true;
}

/* Cut anywhere, and with any byte or bit changed: the sanitizers watch. */
static void
test_damage(void)
{
	static const char bytes[] = "0123456789-+.eE,:[]{}\"\\ntf \x01\xff";
	size_t len = strlen(small);
	size_t refused = 0;
	bool survived = true;
	uint64_t random = 1;

	for (size_t cut = 0; cut < len; cut++)
	{
		/* of its own length, so that a read beyond it is seen */
		char *text = malloc(cut + 1);

		memcpy(text, small, cut);
		text[cut] = '\0';
		refused += load(text, cut) == NULL;
		free(text);
	}
	check(refused == len, "every truncation is refused");

	for (size_t at = 0; at < len; at++)
		for (size_t i = 0; i < sizeof(bytes) + 8; i++)
		{
			char *text = strdup(small);

			text[at] = i < sizeof(bytes)
						   ? bytes[i]
						   : (char) (text[at] ^ (1 << (i - sizeof(bytes))));
			survived &= survives(text, len);
			free(text);
		}
	check(survived, "every byte changed is survived");

	for (int round = 0; round < 3000; round++)
	{
		char *text = strdup(trees_binary);
		size_t size = strlen(text);

		for (int i = 0; i < 1 + round % 8; i++)
		{
			random = random * UINT64_C(6364136223846793005) +
					 1442695040888963407;
			text[(random >> 33) % size] = bytes[(random >> 20) % sizeof(bytes)];
		}
		survived &= survives(text, size);
		free(text);
	}
	check(survived, "several bytes changed are survived");
}

int
main(void)
{
	test_predictions();
	test_base_score();
	test_small();
	test_class();
	test_refusals();
	test_limits();
	test_damage();
	return tap_done();
}
