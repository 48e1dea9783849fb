/*-------------------------------------------------------------------------
 * trees_load_tree.c
 *		Reads one tree of XGBoost's JSON.
 *
 * Its arrays are read into working memory, checked, and laid out anew from
 * the root, children side by side and after their parent; a node that is
 * reached twice is a cycle or shared, and refused.  Nodes that were pruned
 * away are not reached and not kept.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>

#include "scoring/trees_load_internal.h"

static bool lay_out(AgentpayTreesLoad *load, int tree, size_t n);

/* Its arrays, in the order of names[] below. */
enum
{
	LEFT,
	RIGHT,
	VALUE,
	INPUT,
	MISSING_LEFT,
	CATEGORICAL, /* missing before 1.3 */
	N_ARRAYS
};

/* Reads an element of an array into the node that it is of. */
static bool
read_element(AgentpayJsonWalk *walk, int array, AgentpayTreesFileNode *node)
{
	switch (array)
	{
		case LEFT:
			return agentpay_json_walk_int(walk, &node->left);
		case RIGHT:
			return agentpay_json_walk_int(walk, &node->right);
		case VALUE:
			return agentpay_json_walk_float(walk, &node->value);
		case INPUT:
			return agentpay_json_walk_int(walk, &node->input);
		case CATEGORICAL:
			return agentpay_json_walk_int(walk, &node->categorical);
		default: /* MISSING_LEFT: 0, 1, or a truth value */
			node->missing_left = agentpay_json_walk_kind(walk) == 't';
			return agentpay_json_walk_kind(walk) == '-'
					   ? agentpay_json_walk_int(walk, &node->missing_left)
					   : agentpay_json_walk_skip(walk);
	}
}

/* Room for one more node of a file's tree. */
static bool
grow_file(AgentpayTreesLoad *load, size_t n)
{
	size_t room = load->file_room == 0 ? 128 : load->file_room * 2;
	AgentpayTreesFileNode *grown;

	if (n < load->file_room)
		return true;
	grown = realloc(load->file, room * sizeof(AgentpayTreesFileNode));
	if (grown == NULL)
		return agentpay_trees_no_memory(load);
	load->file = grown;
	load->file_room = room;
	return true;
}

/*
 * Reads one array of a tree.  The first makes the nodes, *n of them; the
 * others have as many.
 */
static bool
load_array(AgentpayTreesLoad *load, int tree, const char *name,
		   AgentpayJsonWalk walk, int array, size_t *n)
{
	size_t count = 0;
	bool more;

	if (!agentpay_json_walk_begin(&walk, &more))
		return agentpay_trees_refuse(load, AGENTPAY_TREES_BROKEN,
									 "Tree %d has no array %s.", tree, name);
	for (; more; count++)
	{
		if (array == LEFT)
		{
			if (count == AGENTPAY_TREES_MAX_NODES)
				return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
											 "Tree %d has more than %d nodes.",
											 tree, AGENTPAY_TREES_MAX_NODES);
			if (!grow_file(load, count))
				return false;
			load->file[count] = (AgentpayTreesFileNode){.left = -1};
		}
		else if (count >= *n)
			break;
		if (!read_element(&walk, array, &load->file[count]) ||
			!agentpay_json_walk_next(&walk, &more))
			return agentpay_trees_refuse(
				load, AGENTPAY_TREES_BROKEN,
				"Tree %d, node %zu: %s has no valid number.", tree, count,
				name);
	}
	if (array == LEFT)
		*n = count;
	else if (more || count != *n)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Tree %d has %zu left_children, and %s has %s.", tree, *n, name,
			more ? "more" : "fewer");
	return true;
}

bool
agentpay_trees_load_tree(AgentpayTreesLoad *load, int tree,
						 AgentpayJsonWalk text)
{
	static const char *const names[] = {
		"left_children", "right_children", "split_conditions", "split_indices",
		"default_left",	 "split_type",	   "tree_param",
	};
	static const char *const params[] = {"num_nodes", "size_leaf_vector"};
	AgentpayJsonWalk found[N_ARRAYS + 1];
	AgentpayJsonWalk param[2];
	size_t n = 0;
	int nodes;
	int leaf_size;

	if (!agentpay_json_walk_members(text, names, N_ARRAYS + 1, found) ||
		!agentpay_json_walk_members(found[N_ARRAYS], params, 2, param) ||
		!agentpay_trees_whole_number(param[0], -1, &nodes) ||
		!agentpay_trees_whole_number(param[1], 0, &leaf_size))
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Tree %d has no tree_param, or something twice.", tree);
	if (leaf_size > 1)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_UNSUPPORTED,
			"The leaves of tree %d are vectors; numbers are "
			"evaluated.",
			tree);
	for (int i = 0; i < N_ARRAYS; i++)
		if ((i != CATEGORICAL || found[i].at != NULL) &&
			!load_array(load, tree, names[i], found[i], i, &n))
			return false;
	if (n == 0 || (size_t) nodes != n)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Tree %d has a num_nodes of %d, and %zu nodes.", tree, nodes, n);
	return lay_out(load, tree, n);
}

/* Room for n more nodes. */
static bool
grow_nodes(AgentpayTreesLoad *load, size_t n)
{
	size_t needed = load->model.n_nodes + n;
	size_t room = load->nodes_room * 2 > needed ? load->nodes_room * 2 : needed;
	AgentpayTreeNode *nodes;
	uint32_t *origins;

	if (needed <= load->nodes_room)
		return true;
	nodes = realloc(load->nodes, room * sizeof(AgentpayTreeNode));
	if (nodes == NULL)
		return agentpay_trees_no_memory(load);
	load->nodes = nodes;
	origins = realloc(load->origins, room * sizeof(uint32_t));
	if (origins == NULL)
		return agentpay_trees_no_memory(load);
	load->origins = origins;
	load->nodes_room = room;
	return true;
}

/* Places a child of node `from` of the file; false when it cannot be one. */
static bool
place(AgentpayTreesLoad *load, int tree, size_t n, uint32_t from, int child)
{
	if (child < 1 || (size_t) child >= n)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Tree %d, node %u: its child is %d, and there are %zu "
			"nodes.",
			tree, from, child, n);
	if (load->file[child].reached)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Tree %d, node %u: its child %d has another parent or "
			"is among its own.",
			tree, from, child);
	load->file[child].reached = true;
	load->origins[load->model.n_nodes++] = (uint32_t) child;
	return true;
}

/* Makes a node of what the file says of it, and places its children. */
static bool
make_node(AgentpayTreesLoad *load, int tree, size_t n, uint32_t at)
{
	uint32_t from = load->origins[at];
	const AgentpayTreesFileNode *file = &load->file[from];
	AgentpayTreeNode *node = &load->nodes[at];

	*node = (AgentpayTreeNode){.value = file->value};
	if (file->left == -1 && file->right == -1)
		return true;
	if (file->categorical != 0)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_UNSUPPORTED,
			"Tree %d, node %u splits by category; numbers are "
			"evaluated.",
			tree, from);
	if (file->input < 0 || (uint32_t) file->input >= load->model.n_inputs)
		return agentpay_trees_refuse(
			load, AGENTPAY_TREES_BROKEN,
			"Tree %d, node %u: it asks for feature %d of %u.", tree, from,
			file->input, load->model.n_inputs);
	node->split = (uint32_t) file->input |
				  (file->missing_left != 0 ? AGENTPAY_TREES_MISSING_LEFT : 0);
	node->left = load->model.n_nodes;
	return place(load, tree, n, from, file->left) &&
		   place(load, tree, n, from, file->right);
}

/* Lays out a tree of n nodes, level by level. */
static bool
lay_out(AgentpayTreesLoad *load, int tree, size_t n)
{
	uint32_t at = load->model.n_nodes;
	uint32_t depth = 0;

	if (at + n > AGENTPAY_TREES_MAX_NODES)
		return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
									 "It has more than %d nodes.",
									 AGENTPAY_TREES_MAX_NODES);
	if (!grow_nodes(load, n))
		return false;
	load->trees[tree].root = at;
	load->origins[load->model.n_nodes++] = 0;
	load->file[0].reached = true;
	for (;; depth++)
	{
		uint32_t end = load->model.n_nodes; /* of this level */

		for (; at < end; at++)
			if (!make_node(load, tree, n, at))
				return false;
		if (load->model.n_nodes == end)
			break;
		if (depth == AGENTPAY_TREES_MAX_DEPTH)
			return agentpay_trees_refuse(load, AGENTPAY_TREES_TOO_LARGE,
										 "Tree %d is deeper than %d.", tree,
										 AGENTPAY_TREES_MAX_DEPTH);
	}
	if (depth > load->model.depth)
		load->model.depth = depth;
	return true;
}
