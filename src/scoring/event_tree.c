/*-------------------------------------------------------------------------
 * event_tree.c
 *		Events in the order of their times, in blocks of an arena.
 *
 * A leaf holds arrays: times, values (as many bytes as the kind needs), tags.
 * Blocks start small, since most keys have few events, and double as long as
 * they are the only one of their level.
 *
 * An addition first makes all blocks that it needs, so that a full arena
 * leaves the tree as it was.
 *-------------------------------------------------------------------------
 */
#include <assert.h>
#include <string.h>

#include "scoring/event_tree_internal.h"

static int64_t
remove_tag(AgentpayArena *arena, AgentpayEventTree *tree, AgentpayRef ref,
		   int level, uint32_t tag, int64_t from, int64_t until);
static void free_below(AgentpayArena *arena, AgentpayEventTree *tree,
					   AgentpayRef ref, int level);
static void
sum_below(const AgentpayArena *arena, AgentpayEventKind kind, AgentpayRef ref,
		  int level, int64_t after, int64_t until, AgentpayEventSum *sum);
static void
walk_below(const AgentpayArena *arena, AgentpayEventKind kind, AgentpayRef ref,
		   int level, int64_t after, int64_t until,
		   void (*visit)(const AgentpayEvent *event, void *arg), void *arg);

void
agentpay_event_tree_init(AgentpayEventTree *tree, AgentpayEventKind kind)
{
	memset(tree, 0, sizeof(*tree));
	tree->kind = kind;
}

bool
agentpay_event_tree_add(AgentpayArena *arena, AgentpayEventTree *tree,
						const AgentpayEvent *event)
{
	AgentpayEventKind kind = tree->kind;
	AgentpayTreePath path;
	int at;

	if (tree->root == 0)
	{
		tree->root = agentpay_tree_make_leaf(arena, tree, FIRST_LEAF_BYTES);
		tree->levels = 0;
		if (tree->root == 0)
			return false;
	}
	agentpay_tree_find_leaf(arena, tree, event->time, &path);
	while (path.leaf->n == path.leaf->room)
	{
		if (!agentpay_tree_make_room(arena, tree, &path, event->time))
			return false;
		agentpay_tree_find_leaf(arena, tree, event->time, &path);
	}
	at = first_after(times(path.leaf), path.leaf->n, event->time);
	agentpay_tree_move_events(kind, path.leaf, at + 1, path.leaf, at,
							  path.leaf->n - at);
	agentpay_tree_set_event(kind, path.leaf, at, event);
	path.leaf->n++;
	tree->n_events++;
	for (int level = 0; level < path.levels; level++)
	{
		AgentpayTreeChild *child =
			&path.branches[level]->children[path.at[level]];

		agentpay_event_sum_add(kind, &child->sum, &event->value);
		if (child->last < event->time)
			child->last = event->time;
	}
	return true;
}

bool
agentpay_event_tree_remove(AgentpayArena *arena, AgentpayEventTree *tree,
						   const AgentpayEvent *event)
{
	AgentpayEventKind kind = tree->kind;
	size_t size = value_size(kind);
	AgentpayTreePath path;

	if (tree->root == 0)
		return false;
	/* from the last one of that time back */
	agentpay_tree_find_leaf(arena, tree, event->time, &path);
	for (;;)
	{
		AgentpayTreeLeaf *leaf = path.leaf;
		int level;

		for (int i = first_after(times(leaf), leaf->n, event->time) - 1; i >= 0;
			 i--)
		{
			if (times(leaf)[i] != event->time)
				return false;
			if (tags(kind, leaf)[i] != event->tag ||
				memcmp(values(leaf) + i * size, &event->value, size) != 0)
				continue;
			agentpay_tree_move_events(kind, leaf, i, leaf, i + 1,
									  leaf->n - i - 1);
			leaf->n--;
			tree->n_events--;
			agentpay_tree_refresh_path(arena, tree, &path);
			return true;
		}
		/* the leaf before */
		for (level = path.levels - 1; level >= 0 && path.at[level] == 0;
			 level--)
			;
		if (level < 0)
			return false;
		path.at[level]--;
		for (; level < path.levels; level++)
		{
			AgentpayTreeChild *child =
				&path.branches[level]->children[path.at[level]];

			if (level == path.levels - 1)
			{
				path.leaf_ref = child->ref;
				path.leaf = agentpay_arena_at(arena, child->ref);
				break;
			}
			path.branches[level + 1] = agentpay_arena_at(arena, child->ref);
			path.at[level + 1] = path.branches[level + 1]->n - 1;
		}
	}
}

/* Removes from one subtree; a leaf or branch left empty has n = 0. */
static int64_t
remove_tag(AgentpayArena *arena, AgentpayEventTree *tree, AgentpayRef ref,
		   int level, uint32_t tag, int64_t from, int64_t until)
{
	AgentpayEventKind kind = tree->kind;
	int64_t removed = 0;
	int kept = 0;

	if (level == 0)
	{
		AgentpayTreeLeaf *leaf = agentpay_arena_at(arena, ref);

		for (int i = 0; i < leaf->n; i++)
		{
			if (tags(kind, leaf)[i] == tag && times(leaf)[i] >= from &&
				times(leaf)[i] <= until)
			{
				removed++;
				continue;
			}
			if (kept < i)
				agentpay_tree_move_events(kind, leaf, kept, leaf, i, 1);
			kept++;
		}
		leaf->n = kept;
	}
	else
	{
		AgentpayTreeBranch *branch = agentpay_arena_at(arena, ref);
		int64_t before = INT64_MIN;

		for (int i = 0; i < branch->n; i++)
		{
			AgentpayTreeChild *child = &branch->children[i];
			int64_t last = child->last;
			int64_t here = 0;

			/* its times lie from the one before's last to its own */
			if (last >= from && before <= until)
				here = remove_tag(arena, tree, child->ref, level - 1, tag, from,
								  until);
			before = last;
			if (here > 0)
			{
				removed += here;
				agentpay_tree_refresh_child(arena, tree, child, level == 1);
			}
			if (child->sum.count == 0)
			{
				agentpay_tree_drop_block(arena, tree, child->ref);
				continue;
			}
			if (kept < i)
				branch->children[kept] = *child;
			kept++;
		}
		branch->n = kept;
	}
	return removed;
}

int64_t
agentpay_event_tree_remove_tag(AgentpayArena *arena, AgentpayEventTree *tree,
							   uint32_t tag, int64_t from, int64_t until)
{
	int64_t removed;

	if (tree->root == 0)
		return 0;
	removed = remove_tag(arena, tree, tree->root, tree->levels, tag, from,
						 until);
	tree->n_events -= removed;
	if (tree->n_events == 0)
		agentpay_event_tree_free(arena, tree);
	return removed;
}

void
agentpay_event_tree_trim(AgentpayArena *arena, AgentpayEventTree *tree,
						 int64_t until, int64_t *forgotten)
{
	while (tree->root != 0 && tree->levels > 0)
	{
		AgentpayTreePath path;
		AgentpayTreeChild *child;

		path.levels = 0;
		for (AgentpayRef ref = tree->root; path.levels < tree->levels;)
		{
			AgentpayTreeBranch *branch = agentpay_arena_at(arena, ref);

			path.branches[path.levels] = branch;
			path.at[path.levels++] = 0;
			ref = branch->children[0].ref;
		}
		child = &path.branches[path.levels - 1]->children[0];
		if (child->last > until)
			return;
		*forgotten = child->last;
		tree->n_events -= child->sum.count;
		path.leaf_ref = child->ref;
		path.leaf = agentpay_arena_at(arena, child->ref);
		path.leaf->n = 0;
		agentpay_tree_refresh_path(arena, tree, &path);
	}
}

/* Gives back all blocks below ref, and itself. */
static void
free_below(AgentpayArena *arena, AgentpayEventTree *tree, AgentpayRef ref,
		   int level)
{
	if (level > 0)
	{
		AgentpayTreeBranch *branch = agentpay_arena_at(arena, ref);

		for (int i = 0; i < branch->n; i++)
			free_below(arena, tree, branch->children[i].ref, level - 1);
	}
	agentpay_tree_drop_block(arena, tree, ref);
}

void
agentpay_event_tree_free(AgentpayArena *arena, AgentpayEventTree *tree)
{
	if (tree->root != 0)
		free_below(arena, tree, tree->root, tree->levels);
	tree->root = 0;
	tree->levels = 0;
	tree->n_events = 0;
}

/* Adds those of one subtree whose times lie in (before, last]. */
static void
sum_below(const AgentpayArena *arena, AgentpayEventKind kind, AgentpayRef ref,
		  int level, int64_t after, int64_t until, AgentpayEventSum *sum)
{
	const AgentpayTreeBranch *branch;
	int i = 0;
	int64_t before = INT64_MIN; /* times of the child are at least this */

	if (level == 0)
	{
		const AgentpayTreeLeaf *leaf = agentpay_arena_at(arena, ref);

		agentpay_tree_sum_leaf(kind, leaf,
							   first_after(times(leaf), leaf->n, after),
							   first_after(times(leaf), leaf->n, until), sum);
		return;
	}
	branch = agentpay_arena_at(arena, ref);
	while (i < branch->n && branch->children[i].last <= after)
		before = branch->children[i++].last;
	for (; i < branch->n && before <= until; i++)
	{
		const AgentpayTreeChild *child = &branch->children[i];

		/* all of it, if it begins after the start and ends before the end */
		if (before > after && child->last <= until)
			agentpay_event_sum_join(kind, sum, &child->sum);
		else
			sum_below(arena, kind, child->ref, level - 1, after, until, sum);
		before = child->last;
	}
}

void
agentpay_event_tree_sum(const AgentpayArena *arena,
						const AgentpayEventTree *tree, int64_t after,
						int64_t until, AgentpayEventSum *sum)
{
	memset(sum, 0, sizeof(*sum));
	if (tree->root != 0)
		sum_below(arena, tree->kind, tree->root, tree->levels, after, until,
				  sum);
}

bool
agentpay_event_tree_last(const AgentpayArena *arena,
						 const AgentpayEventTree *tree, int64_t until,
						 int64_t *time)
{
	AgentpayRef ref = tree->root;
	const AgentpayTreeLeaf *leaf;
	bool found = false;
	int at;

	if (ref == 0)
		return false;
	for (int level = tree->levels; level > 0; level--)
	{
		const AgentpayTreeBranch *branch = agentpay_arena_at(arena, ref);
		int i = 0;

		/* what ends before until is a candidate, the next may begin before */
		while (i < branch->n - 1 && branch->children[i].last <= until)
		{
			*time = branch->children[i].last;
			found = true;
			i++;
		}
		ref = branch->children[i].ref;
	}
	leaf = agentpay_arena_at(arena, ref);
	at = first_after(times(leaf), leaf->n, until);
	if (at > 0)
		*time = times(leaf)[at - 1];
	return at > 0 || found;
}

/* In the order of the times. */
static void
walk_below(const AgentpayArena *arena, AgentpayEventKind kind, AgentpayRef ref,
		   int level, int64_t after, int64_t until,
		   void (*visit)(const AgentpayEvent *event, void *arg), void *arg)
{
	const AgentpayTreeBranch *branch;
	int64_t before = INT64_MIN;

	if (level == 0)
	{
		const AgentpayTreeLeaf *leaf = agentpay_arena_at(arena, ref);
		int end = first_after(times(leaf), leaf->n, until);

		for (int i = first_after(times(leaf), leaf->n, after); i < end; i++)
		{
			AgentpayEvent event;

			agentpay_tree_get_event(kind, leaf, i, &event);
			visit(&event, arg);
		}
		return;
	}
	branch = agentpay_arena_at(arena, ref);
	for (int i = 0; i < branch->n && before <= until; i++)
	{
		if (branch->children[i].last > after)
			walk_below(arena, kind, branch->children[i].ref, level - 1, after,
					   until, visit, arg);
		before = branch->children[i].last;
	}
}

void
agentpay_event_tree_walk(const AgentpayArena *arena,
						 const AgentpayEventTree *tree, int64_t after,
						 int64_t until,
						 void (*visit)(const AgentpayEvent *event, void *arg),
						 void *arg)
{
	if (tree->root != 0)
		walk_below(arena, tree->kind, tree->root, tree->levels, after, until,
				   visit, arg);
}
