/*-------------------------------------------------------------------------
 * event_tree_blocks.c
 *		The blocks of a tree of events: made, split, filled, given back.
 *
 * Blocks start small, since most keys have few events, and double as long as
 * they are the only one of their level.  What a branch knows of a child is
 * computed from the child, never by subtraction.
 *-------------------------------------------------------------------------
 */
#include "scoring/event_tree_internal.h"

static AgentpayRef
make_branch(AgentpayArena *arena, AgentpayEventTree *tree, size_t bytes);
static bool grow_root_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
						   AgentpayTreeLeaf *leaf);
static bool split_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
					   AgentpayTreePath *path, bool at_end);
static bool make_branch_room(AgentpayArena *arena, AgentpayEventTree *tree,
							 AgentpayTreePath *path, int level);
static bool grow_root_branch(AgentpayArena *arena, AgentpayEventTree *tree,
							 AgentpayTreeBranch *branch);
static bool split_branch(AgentpayArena *arena, AgentpayEventTree *tree,
						 AgentpayTreePath *path, int level);
static bool
add_level(AgentpayArena *arena, AgentpayEventTree *tree, bool above_leaf);
static void sum_branch(AgentpayEventKind kind, const AgentpayTreeBranch *branch,
					   AgentpayEventSum *sum);
static void remove_child(AgentpayArena *arena, AgentpayEventTree *tree,
						 AgentpayTreePath *path, int level);

AgentpayRef
agentpay_tree_make_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
						size_t bytes)
{
	AgentpayRef ref = agentpay_arena_alloc(arena, bytes);
	AgentpayTreeLeaf *leaf;

	if (ref == 0)
		return 0;
	bytes = agentpay_arena_block_size(arena, ref);
	leaf = agentpay_arena_at(arena, ref);
	leaf->n = 0;
	leaf->room = (bytes - sizeof(AgentpayTreeLeaf)) /
				 (sizeof(int64_t) + value_size(tree->kind) + sizeof(uint32_t));
	tree->bytes += bytes;
	return ref;
}

static AgentpayRef
make_branch(AgentpayArena *arena, AgentpayEventTree *tree, size_t bytes)
{
	AgentpayRef ref = agentpay_arena_alloc(arena, bytes);
	AgentpayTreeBranch *branch;

	if (ref == 0)
		return 0;
	bytes = agentpay_arena_block_size(arena, ref);
	branch = agentpay_arena_at(arena, ref);
	branch->n = 0;
	branch->room = (bytes - sizeof(AgentpayTreeBranch)) /
				   sizeof(AgentpayTreeChild);
	tree->bytes += bytes;
	return ref;
}

void
agentpay_tree_drop_block(AgentpayArena *arena, AgentpayEventTree *tree,
						 AgentpayRef ref)
{
	tree->bytes -= agentpay_arena_block_size(arena, ref);
	agentpay_arena_free(arena, ref);
}

/* The leaf where an event of that time goes: behind those of the same. */
void
agentpay_tree_find_leaf(const AgentpayArena *arena,
						const AgentpayEventTree *tree, int64_t time,
						AgentpayTreePath *path)
{
	AgentpayRef ref = tree->root;

	path->levels = tree->levels;
	for (int level = 0; level < tree->levels; level++)
	{
		AgentpayTreeBranch *branch = agentpay_arena_at(arena, ref);
		int i = branch->n - 1;

		/* mostly the last one */
		while (i > 0 && branch->children[i - 1].last > time)
			i--;
		path->branches[level] = branch;
		path->at[level] = i;
		ref = branch->children[i].ref;
	}
	path->leaf_ref = ref;
	path->leaf = agentpay_arena_at(arena, ref);
}

/*
 * Makes some room on the way to a full leaf, one step at a time; the path has
 * to be found anew.  False when the arena is full.
 */
bool
agentpay_tree_make_room(AgentpayArena *arena, AgentpayEventTree *tree,
						AgentpayTreePath *path, int64_t time)
{
	AgentpayTreeLeaf *leaf = path->leaf;
	size_t bytes = agentpay_arena_block_size(arena, path->leaf_ref);
	bool at_end = times(leaf)[leaf->n - 1] <= time;

	for (int level = 0; level < path->levels; level++)
		at_end &= path->at[level] == path->branches[level]->n - 1;
	if (path->levels == 0)
		return bytes < LEAF_BYTES_MAX ? grow_root_leaf(arena, tree, leaf)
									  : add_level(arena, tree, true);
	if (path->branches[path->levels - 1]->n ==
		path->branches[path->levels - 1]->room)
		return make_branch_room(arena, tree, path, path->levels - 1);
	return split_leaf(arena, tree, path, at_end);
}

static bool
grow_root_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
			   AgentpayTreeLeaf *leaf)
{
	AgentpayRef old = tree->root;
	AgentpayRef ref =
		agentpay_tree_make_leaf(arena, tree,
								agentpay_arena_block_size(arena, old) * 2);
	AgentpayTreeLeaf *larger;

	if (ref == 0)
		return false;
	larger = agentpay_arena_at(arena, ref);
	agentpay_tree_move_events(tree->kind, larger, 0, leaf, 0, leaf->n);
	larger->n = leaf->n;
	agentpay_tree_drop_block(arena, tree, old);
	tree->root = ref;
	return true;
}

/* A new neighbour behind the leaf, empty at the end, else with its half. */
static bool
split_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
		   AgentpayTreePath *path, bool at_end)
{
	AgentpayTreeBranch *parent = path->branches[path->levels - 1];
	int at = path->at[path->levels - 1];
	AgentpayTreeLeaf *leaf = path->leaf;
	int keep = at_end ? leaf->n - 1 : leaf->n / 2;
	AgentpayRef ref = agentpay_tree_make_leaf(arena, tree, LEAF_BYTES_MAX);
	AgentpayTreeLeaf *next;

	if (ref == 0)
		return false;
	next = agentpay_arena_at(arena, ref);
	agentpay_tree_move_events(tree->kind, next, 0, leaf, keep, leaf->n - keep);
	next->n = leaf->n - keep;
	leaf->n = keep;
	memmove(&parent->children[at + 2], &parent->children[at + 1],
			sizeof(AgentpayTreeChild) * (parent->n - at - 1));
	parent->n++;
	parent->children[at + 1].ref = ref;
	agentpay_tree_refresh_child(arena, tree, &parent->children[at], true);
	agentpay_tree_refresh_child(arena, tree, &parent->children[at + 1], true);
	return true;
}

static bool
make_branch_room(AgentpayArena *arena, AgentpayEventTree *tree,
				 AgentpayTreePath *path, int level)
{
	if (level == 0)
	{
		size_t bytes = agentpay_arena_block_size(arena, tree->root);

		return bytes < BRANCH_BYTES_MAX
				   ? grow_root_branch(arena, tree, path->branches[0])
				   : add_level(arena, tree, false);
	}
	if (path->branches[level - 1]->n == path->branches[level - 1]->room)
		return make_branch_room(arena, tree, path, level - 1);
	return split_branch(arena, tree, path, level);
}

static bool
grow_root_branch(AgentpayArena *arena, AgentpayEventTree *tree,
				 AgentpayTreeBranch *branch)
{
	AgentpayRef old = tree->root;
	AgentpayRef ref = make_branch(arena, tree,
								  agentpay_arena_block_size(arena, old) * 2);
	AgentpayTreeBranch *larger;

	if (ref == 0)
		return false;
	larger = agentpay_arena_at(arena, ref);
	memcpy(larger->children, branch->children,
		   sizeof(AgentpayTreeChild) * branch->n);
	larger->n = branch->n;
	agentpay_tree_drop_block(arena, tree, old);
	tree->root = ref;
	return true;
}

static bool
split_branch(AgentpayArena *arena, AgentpayEventTree *tree,
			 AgentpayTreePath *path, int level)
{
	AgentpayTreeBranch *parent = path->branches[level - 1];
	AgentpayTreeBranch *branch = path->branches[level];
	int at = path->at[level - 1];
	bool at_end = path->at[level] == branch->n - 1;
	int keep = at_end ? branch->n - 1 : branch->n / 2;
	AgentpayRef ref = make_branch(arena, tree, BRANCH_BYTES_MAX);
	AgentpayTreeBranch *next;

	if (ref == 0)
		return false;
	next = agentpay_arena_at(arena, ref);
	next->n = branch->n - keep;
	memcpy(next->children, &branch->children[keep],
		   sizeof(AgentpayTreeChild) * next->n);
	branch->n = keep;
	memmove(&parent->children[at + 2], &parent->children[at + 1],
			sizeof(AgentpayTreeChild) * (parent->n - at - 1));
	parent->n++;
	parent->children[at + 1].ref = ref;
	agentpay_tree_refresh_child(arena, tree, &parent->children[at], false);
	agentpay_tree_refresh_child(arena, tree, &parent->children[at + 1], false);
	return true;
}

/* A branch above the root, which becomes its only child. */
static bool
add_level(AgentpayArena *arena, AgentpayEventTree *tree, bool above_leaf)
{
	AgentpayRef ref;
	AgentpayTreeBranch *branch;

	if (tree->levels == LEVELS_MAX)
		return false;
	ref = make_branch(arena, tree, FIRST_BRANCH_BYTES);
	if (ref == 0)
		return false;
	branch = agentpay_arena_at(arena, ref);
	branch->n = 1;
	branch->children[0].ref = tree->root;
	agentpay_tree_refresh_child(arena, tree, &branch->children[0], above_leaf);
	tree->root = ref;
	tree->levels++;
	return true;
}

void
agentpay_tree_move_events(AgentpayEventKind kind, AgentpayTreeLeaf *to,
						  int to_at, const AgentpayTreeLeaf *from, int from_at,
						  int n)
{
	size_t size = value_size(kind);

	if (n == 0)
		return;
	memmove(times(to) + to_at, times(from) + from_at, sizeof(int64_t) * n);
	memmove(values(to) + to_at * size, values(from) + from_at * size, size * n);
	memmove(tags(kind, to) + to_at, tags(kind, from) + from_at,
			sizeof(uint32_t) * n);
}

void
agentpay_tree_set_event(AgentpayEventKind kind, AgentpayTreeLeaf *leaf, int at,
						const AgentpayEvent *event)
{
	size_t size = value_size(kind);

	times(leaf)[at] = event->time;
	memcpy(values(leaf) + at * size, &event->value, size);
	tags(kind, leaf)[at] = event->tag;
}

void
agentpay_tree_get_event(AgentpayEventKind kind, const AgentpayTreeLeaf *leaf,
						int at, AgentpayEvent *event)
{
	size_t size = value_size(kind);

	event->time = times(leaf)[at];
	memset(&event->value, 0, sizeof(event->value));
	memcpy(&event->value, values(leaf) + at * size, size);
	event->tag = tags(kind, leaf)[at];
}

/* Of the events [from, until) of a leaf. */
void
agentpay_tree_sum_leaf(AgentpayEventKind kind, const AgentpayTreeLeaf *leaf,
					   int from, int until, AgentpayEventSum *sum)
{
	if (kind == AGENTPAY_EVENT_PLAIN || kind == AGENTPAY_EVENT_IDENTITY)
	{
		if (until > from)
			sum->count += until - from;
		return;
	}
	if (kind == AGENTPAY_EVENT_INTEGER)
	{
		agentpay_event_sum_integers((int64_t *) values(leaf) + from,
									until - from, sum);
		return;
	}
	for (int i = from; i < until; i++)
	{
		AgentpayEventValue value;

		memcpy(&value, values(leaf) + i * sizeof(int64_t), sizeof(int64_t));
		agentpay_event_sum_add(kind, sum, &value);
	}
}

static void
sum_branch(AgentpayEventKind kind, const AgentpayTreeBranch *branch,
		   AgentpayEventSum *sum)
{
	for (int i = 0; i < branch->n; i++)
		agentpay_event_sum_join(kind, sum, &branch->children[i].sum);
}

/* Computes what a parent knows of a child from the child. */
void
agentpay_tree_refresh_child(AgentpayArena *arena, AgentpayEventTree *tree,
							AgentpayTreeChild *child, bool is_leaf)
{
	memset(&child->sum, 0, sizeof(child->sum));
	if (is_leaf)
	{
		AgentpayTreeLeaf *leaf = agentpay_arena_at(arena, child->ref);

		agentpay_tree_sum_leaf(tree->kind, leaf, 0, leaf->n, &child->sum);
		if (leaf->n > 0)
			child->last = times(leaf)[leaf->n - 1];
	}
	else
	{
		AgentpayTreeBranch *branch = agentpay_arena_at(arena, child->ref);

		sum_branch(tree->kind, branch, &child->sum);
		if (branch->n > 0)
			child->last = branch->children[branch->n - 1].last;
	}
}

/* After events went from the path's leaf: sums anew, empty blocks go. */
void
agentpay_tree_refresh_path(AgentpayArena *arena, AgentpayEventTree *tree,
						   AgentpayTreePath *path)
{
	if (path->levels == 0 && path->leaf->n == 0)
	{
		agentpay_tree_drop_block(arena, tree, tree->root);
		tree->root = 0;
		return;
	}
	for (int level = path->levels - 1; level >= 0; level--)
	{
		AgentpayTreeChild *child =
			&path->branches[level]->children[path->at[level]];

		agentpay_tree_refresh_child(arena, tree, child,
									level == path->levels - 1);
		if (child->sum.count == 0)
			remove_child(arena, tree, path, level);
	}
	/* a root with one child is none */
	while (tree->root != 0 && tree->levels > 0)
	{
		AgentpayTreeBranch *branch = agentpay_arena_at(arena, tree->root);
		AgentpayRef root = tree->root;

		if (branch->n > 1)
			break;
		tree->root = branch->n == 1 ? branch->children[0].ref : 0;
		tree->levels = branch->n == 1 ? tree->levels - 1 : 0;
		agentpay_tree_drop_block(arena, tree, root);
	}
}

/* Gives back the child that was taken at that level; it is empty. */
static void
remove_child(AgentpayArena *arena, AgentpayEventTree *tree,
			 AgentpayTreePath *path, int level)
{
	AgentpayTreeBranch *branch = path->branches[level];
	int at = path->at[level];

	agentpay_tree_drop_block(arena, tree, branch->children[at].ref);
	memmove(&branch->children[at], &branch->children[at + 1],
			sizeof(AgentpayTreeChild) * (branch->n - at - 1));
	branch->n--;
}
