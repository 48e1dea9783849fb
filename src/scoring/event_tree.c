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

#include "scoring/event_tree.h"

#define LEAF_BYTES_MAX 1024
#define BRANCH_BYTES_MAX AGENTPAY_ARENA_BLOCK_MAX
#define FIRST_LEAF_BYTES 128
#define FIRST_BRANCH_BYTES 256
#define LEVELS_MAX 10

typedef struct Leaf
{
	uint16_t n;
	uint16_t room;
	uint32_t unused;
	char data[]; /* int64 times, values, uint32 tags */
} Leaf;

typedef struct Child
{
	AgentpayEventSum sum;
	int64_t last; /* the latest time */
	AgentpayRef ref;
} Child;

typedef struct Branch
{
	uint16_t n;
	uint16_t room;
	/* keeps the sums aligned */
	uint64_t unused;
	Child children[];
} Branch;

/* The way from the root to a leaf. */
typedef struct Path
{
	int levels;
	Branch *branches[LEVELS_MAX];
	int at[LEVELS_MAX]; /* the child that was taken */
	Leaf *leaf;
	AgentpayRef leaf_ref;
} Path;

static size_t value_size(AgentpayEventKind kind);
static int64_t *times(const Leaf *leaf);
static char *values(const Leaf *leaf);
static uint32_t *tags(AgentpayEventKind kind, const Leaf *leaf);
static AgentpayRef
make_leaf(AgentpayArena *arena, AgentpayEventTree *tree, size_t bytes);
static AgentpayRef
make_branch(AgentpayArena *arena, AgentpayEventTree *tree, size_t bytes);
static void
drop_block(AgentpayArena *arena, AgentpayEventTree *tree, AgentpayRef ref);
static void find_leaf(const AgentpayArena *arena, const AgentpayEventTree *tree,
					  int64_t time, Path *path);
static bool make_room(AgentpayArena *arena, AgentpayEventTree *tree, Path *path,
					  int64_t time);
static bool
grow_root_leaf(AgentpayArena *arena, AgentpayEventTree *tree, Leaf *leaf);
static bool split_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
					   Path *path, bool at_end);
static bool make_branch_room(AgentpayArena *arena, AgentpayEventTree *tree,
							 Path *path, int level);
static bool
grow_root_branch(AgentpayArena *arena, AgentpayEventTree *tree, Branch *branch);
static bool split_branch(AgentpayArena *arena, AgentpayEventTree *tree,
						 Path *path, int level);
static bool
add_level(AgentpayArena *arena, AgentpayEventTree *tree, bool above_leaf);
static void move_events(AgentpayEventKind kind, Leaf *to, int to_at,
						const Leaf *from, int from_at, int n);
static void set_event(AgentpayEventKind kind, Leaf *leaf, int at,
					  const AgentpayEvent *event);
static void get_event(AgentpayEventKind kind, const Leaf *leaf, int at,
					  AgentpayEvent *event);
static void sum_leaf(AgentpayEventKind kind, const Leaf *leaf, int from,
					 int until, AgentpayEventSum *sum);
static void
sum_branch(AgentpayEventKind kind, const Branch *branch, AgentpayEventSum *sum);
static void refresh_child(AgentpayArena *arena, AgentpayEventTree *tree,
						  Child *child, bool is_leaf);
static void
refresh_path(AgentpayArena *arena, AgentpayEventTree *tree, Path *path);
static void remove_child(AgentpayArena *arena, AgentpayEventTree *tree,
						 Path *path, int level);
static int first_after(const int64_t *sorted, int n, int64_t time);

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
	Path path;
	int at;

	if (tree->root == 0)
	{
		tree->root = make_leaf(arena, tree, FIRST_LEAF_BYTES);
		tree->levels = 0;
		if (tree->root == 0)
			return false;
	}
	find_leaf(arena, tree, event->time, &path);
	while (path.leaf->n == path.leaf->room)
	{
		if (!make_room(arena, tree, &path, event->time))
			return false;
		find_leaf(arena, tree, event->time, &path);
	}
	at = first_after(times(path.leaf), path.leaf->n, event->time);
	move_events(kind, path.leaf, at + 1, path.leaf, at, path.leaf->n - at);
	set_event(kind, path.leaf, at, event);
	path.leaf->n++;
	tree->n_events++;
	for (int level = 0; level < path.levels; level++)
	{
		Child *child = &path.branches[level]->children[path.at[level]];

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
	Path path;

	if (tree->root == 0)
		return false;
	/* from the last one of that time back */
	find_leaf(arena, tree, event->time, &path);
	for (;;)
	{
		Leaf *leaf = path.leaf;
		int level;

		for (int i = first_after(times(leaf), leaf->n, event->time) - 1; i >= 0;
			 i--)
		{
			if (times(leaf)[i] != event->time)
				return false;
			if (tags(kind, leaf)[i] != event->tag ||
				memcmp(values(leaf) + i * size, &event->value, size) != 0)
				continue;
			move_events(kind, leaf, i, leaf, i + 1, leaf->n - i - 1);
			leaf->n--;
			tree->n_events--;
			refresh_path(arena, tree, &path);
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
			Child *child = &path.branches[level]->children[path.at[level]];

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
		Leaf *leaf = agentpay_arena_at(arena, ref);

		for (int i = 0; i < leaf->n; i++)
		{
			if (tags(kind, leaf)[i] == tag && times(leaf)[i] >= from &&
				times(leaf)[i] <= until)
			{
				removed++;
				continue;
			}
			if (kept < i)
				move_events(kind, leaf, kept, leaf, i, 1);
			kept++;
		}
		leaf->n = kept;
	}
	else
	{
		Branch *branch = agentpay_arena_at(arena, ref);
		int64_t before = INT64_MIN;

		for (int i = 0; i < branch->n; i++)
		{
			Child *child = &branch->children[i];
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
				refresh_child(arena, tree, child, level == 1);
			}
			if (child->sum.count == 0)
			{
				drop_block(arena, tree, child->ref);
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
		Path path;
		Child *child;

		path.levels = 0;
		for (AgentpayRef ref = tree->root; path.levels < tree->levels;)
		{
			Branch *branch = agentpay_arena_at(arena, ref);

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
		refresh_path(arena, tree, &path);
	}
}

/* Gives back all blocks below ref, and itself. */
static void
free_below(AgentpayArena *arena, AgentpayEventTree *tree, AgentpayRef ref,
		   int level)
{
	if (level > 0)
	{
		Branch *branch = agentpay_arena_at(arena, ref);

		for (int i = 0; i < branch->n; i++)
			free_below(arena, tree, branch->children[i].ref, level - 1);
	}
	drop_block(arena, tree, ref);
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
	const Branch *branch;
	int i = 0;
	int64_t before = INT64_MIN; /* times of the child are at least this */

	if (level == 0)
	{
		const Leaf *leaf = agentpay_arena_at(arena, ref);

		sum_leaf(kind, leaf, first_after(times(leaf), leaf->n, after),
				 first_after(times(leaf), leaf->n, until), sum);
		return;
	}
	branch = agentpay_arena_at(arena, ref);
	while (i < branch->n && branch->children[i].last <= after)
		before = branch->children[i++].last;
	for (; i < branch->n && before <= until; i++)
	{
		const Child *child = &branch->children[i];

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
	const Leaf *leaf;
	bool found = false;
	int at;

	if (ref == 0)
		return false;
	for (int level = tree->levels; level > 0; level--)
	{
		const Branch *branch = agentpay_arena_at(arena, ref);
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
	const Branch *branch;
	int64_t before = INT64_MIN;

	if (level == 0)
	{
		const Leaf *leaf = agentpay_arena_at(arena, ref);
		int end = first_after(times(leaf), leaf->n, until);

		for (int i = first_after(times(leaf), leaf->n, after); i < end; i++)
		{
			AgentpayEvent event;

			get_event(kind, leaf, i, &event);
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

/* ── blocks ─────────────────────────────────────────────────────────────── */

static size_t
value_size(AgentpayEventKind kind)
{
	static const size_t sizes[] = {0, 8, 8, 16};

	return sizes[kind];
}

static int64_t *
times(const Leaf *leaf)
{
	return (int64_t *) leaf->data;
}

static char *
values(const Leaf *leaf)
{
	return (char *) leaf->data + leaf->room * sizeof(int64_t);
}

static uint32_t *
tags(AgentpayEventKind kind, const Leaf *leaf)
{
	return (uint32_t *) (values(leaf) + leaf->room * value_size(kind));
}

static AgentpayRef
make_leaf(AgentpayArena *arena, AgentpayEventTree *tree, size_t bytes)
{
	AgentpayRef ref = agentpay_arena_alloc(arena, bytes);
	Leaf *leaf;

	if (ref == 0)
		return 0;
	bytes = agentpay_arena_block_size(arena, ref);
	leaf = agentpay_arena_at(arena, ref);
	leaf->n = 0;
	leaf->room = (bytes - sizeof(Leaf)) /
				 (sizeof(int64_t) + value_size(tree->kind) + sizeof(uint32_t));
	tree->bytes += bytes;
	return ref;
}

static AgentpayRef
make_branch(AgentpayArena *arena, AgentpayEventTree *tree, size_t bytes)
{
	AgentpayRef ref = agentpay_arena_alloc(arena, bytes);
	Branch *branch;

	if (ref == 0)
		return 0;
	bytes = agentpay_arena_block_size(arena, ref);
	branch = agentpay_arena_at(arena, ref);
	branch->n = 0;
	branch->room = (bytes - sizeof(Branch)) / sizeof(Child);
	tree->bytes += bytes;
	return ref;
}

static void
drop_block(AgentpayArena *arena, AgentpayEventTree *tree, AgentpayRef ref)
{
	tree->bytes -= agentpay_arena_block_size(arena, ref);
	agentpay_arena_free(arena, ref);
}

/* The leaf where an event of that time goes: behind those of the same. */
static void
find_leaf(const AgentpayArena *arena, const AgentpayEventTree *tree,
		  int64_t time, Path *path)
{
	AgentpayRef ref = tree->root;

	path->levels = tree->levels;
	for (int level = 0; level < tree->levels; level++)
	{
		Branch *branch = agentpay_arena_at(arena, ref);
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
static bool
make_room(AgentpayArena *arena, AgentpayEventTree *tree, Path *path,
		  int64_t time)
{
	Leaf *leaf = path->leaf;
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
grow_root_leaf(AgentpayArena *arena, AgentpayEventTree *tree, Leaf *leaf)
{
	AgentpayRef old = tree->root;
	AgentpayRef ref = make_leaf(arena, tree,
								agentpay_arena_block_size(arena, old) * 2);
	Leaf *larger;

	if (ref == 0)
		return false;
	larger = agentpay_arena_at(arena, ref);
	move_events(tree->kind, larger, 0, leaf, 0, leaf->n);
	larger->n = leaf->n;
	drop_block(arena, tree, old);
	tree->root = ref;
	return true;
}

/* A new neighbour behind the leaf, empty at the end, else with its half. */
static bool
split_leaf(AgentpayArena *arena, AgentpayEventTree *tree, Path *path,
		   bool at_end)
{
	Branch *parent = path->branches[path->levels - 1];
	int at = path->at[path->levels - 1];
	Leaf *leaf = path->leaf;
	int keep = at_end ? leaf->n - 1 : leaf->n / 2;
	AgentpayRef ref = make_leaf(arena, tree, LEAF_BYTES_MAX);
	Leaf *next;

	if (ref == 0)
		return false;
	next = agentpay_arena_at(arena, ref);
	move_events(tree->kind, next, 0, leaf, keep, leaf->n - keep);
	next->n = leaf->n - keep;
	leaf->n = keep;
	memmove(&parent->children[at + 2], &parent->children[at + 1],
			sizeof(Child) * (parent->n - at - 1));
	parent->n++;
	parent->children[at + 1].ref = ref;
	refresh_child(arena, tree, &parent->children[at], true);
	refresh_child(arena, tree, &parent->children[at + 1], true);
	return true;
}

static bool
make_branch_room(AgentpayArena *arena, AgentpayEventTree *tree, Path *path,
				 int level)
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
grow_root_branch(AgentpayArena *arena, AgentpayEventTree *tree, Branch *branch)
{
	AgentpayRef old = tree->root;
	AgentpayRef ref = make_branch(arena, tree,
								  agentpay_arena_block_size(arena, old) * 2);
	Branch *larger;

	if (ref == 0)
		return false;
	larger = agentpay_arena_at(arena, ref);
	memcpy(larger->children, branch->children, sizeof(Child) * branch->n);
	larger->n = branch->n;
	drop_block(arena, tree, old);
	tree->root = ref;
	return true;
}

static bool
split_branch(AgentpayArena *arena, AgentpayEventTree *tree, Path *path,
			 int level)
{
	Branch *parent = path->branches[level - 1];
	Branch *branch = path->branches[level];
	int at = path->at[level - 1];
	bool at_end = path->at[level] == branch->n - 1;
	int keep = at_end ? branch->n - 1 : branch->n / 2;
	AgentpayRef ref = make_branch(arena, tree, BRANCH_BYTES_MAX);
	Branch *next;

	if (ref == 0)
		return false;
	next = agentpay_arena_at(arena, ref);
	next->n = branch->n - keep;
	memcpy(next->children, &branch->children[keep], sizeof(Child) * next->n);
	branch->n = keep;
	memmove(&parent->children[at + 2], &parent->children[at + 1],
			sizeof(Child) * (parent->n - at - 1));
	parent->n++;
	parent->children[at + 1].ref = ref;
	refresh_child(arena, tree, &parent->children[at], false);
	refresh_child(arena, tree, &parent->children[at + 1], false);
	return true;
}

/* A branch above the root, which becomes its only child. */
static bool
add_level(AgentpayArena *arena, AgentpayEventTree *tree, bool above_leaf)
{
	AgentpayRef ref;
	Branch *branch;

	if (tree->levels == LEVELS_MAX)
		return false;
	ref = make_branch(arena, tree, FIRST_BRANCH_BYTES);
	if (ref == 0)
		return false;
	branch = agentpay_arena_at(arena, ref);
	branch->n = 1;
	branch->children[0].ref = tree->root;
	refresh_child(arena, tree, &branch->children[0], above_leaf);
	tree->root = ref;
	tree->levels++;
	return true;
}

/* ── events and sums ────────────────────────────────────────────────────── */

static void
move_events(AgentpayEventKind kind, Leaf *to, int to_at, const Leaf *from,
			int from_at, int n)
{
	size_t size = value_size(kind);

	if (n == 0)
		return;
	memmove(times(to) + to_at, times(from) + from_at, sizeof(int64_t) * n);
	memmove(values(to) + to_at * size, values(from) + from_at * size, size * n);
	memmove(tags(kind, to) + to_at, tags(kind, from) + from_at,
			sizeof(uint32_t) * n);
}

static void
set_event(AgentpayEventKind kind, Leaf *leaf, int at,
		  const AgentpayEvent *event)
{
	size_t size = value_size(kind);

	times(leaf)[at] = event->time;
	memcpy(values(leaf) + at * size, &event->value, size);
	tags(kind, leaf)[at] = event->tag;
}

static void
get_event(AgentpayEventKind kind, const Leaf *leaf, int at,
		  AgentpayEvent *event)
{
	size_t size = value_size(kind);

	event->time = times(leaf)[at];
	memset(&event->value, 0, sizeof(event->value));
	memcpy(&event->value, values(leaf) + at * size, size);
	event->tag = tags(kind, leaf)[at];
}

/* Of the events [from, until) of a leaf. */
static void
sum_leaf(AgentpayEventKind kind, const Leaf *leaf, int from, int until,
		 AgentpayEventSum *sum)
{
	if (kind == AGENTPAY_EVENT_PLAIN || kind == AGENTPAY_EVENT_IDENTITY)
	{
		if (until > from)
			sum->count += until - from;
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
sum_branch(AgentpayEventKind kind, const Branch *branch, AgentpayEventSum *sum)
{
	for (int i = 0; i < branch->n; i++)
		agentpay_event_sum_join(kind, sum, &branch->children[i].sum);
}

/* Computes what a parent knows of a child from the child. */
static void
refresh_child(AgentpayArena *arena, AgentpayEventTree *tree, Child *child,
			  bool is_leaf)
{
	memset(&child->sum, 0, sizeof(child->sum));
	if (is_leaf)
	{
		Leaf *leaf = agentpay_arena_at(arena, child->ref);

		sum_leaf(tree->kind, leaf, 0, leaf->n, &child->sum);
		if (leaf->n > 0)
			child->last = times(leaf)[leaf->n - 1];
	}
	else
	{
		Branch *branch = agentpay_arena_at(arena, child->ref);

		sum_branch(tree->kind, branch, &child->sum);
		if (branch->n > 0)
			child->last = branch->children[branch->n - 1].last;
	}
}

/* After events went from the path's leaf: sums anew, empty blocks go. */
static void
refresh_path(AgentpayArena *arena, AgentpayEventTree *tree, Path *path)
{
	if (path->levels == 0 && path->leaf->n == 0)
	{
		drop_block(arena, tree, tree->root);
		tree->root = 0;
		return;
	}
	for (int level = path->levels - 1; level >= 0; level--)
	{
		Child *child = &path->branches[level]->children[path->at[level]];

		refresh_child(arena, tree, child, level == path->levels - 1);
		if (child->sum.count == 0)
			remove_child(arena, tree, path, level);
	}
	/* a root with one child is none */
	while (tree->root != 0 && tree->levels > 0)
	{
		Branch *branch = agentpay_arena_at(arena, tree->root);
		AgentpayRef root = tree->root;

		if (branch->n > 1)
			break;
		tree->root = branch->n == 1 ? branch->children[0].ref : 0;
		tree->levels = branch->n == 1 ? tree->levels - 1 : 0;
		drop_block(arena, tree, root);
	}
}

/* Gives back the child that was taken at that level; it is empty. */
static void
remove_child(AgentpayArena *arena, AgentpayEventTree *tree, Path *path,
			 int level)
{
	Branch *branch = path->branches[level];
	int at = path->at[level];

	drop_block(arena, tree, branch->children[at].ref);
	memmove(&branch->children[at], &branch->children[at + 1],
			sizeof(Child) * (branch->n - at - 1));
	branch->n--;
}

/* The first one that is greater; most often it is asked for the end. */
static int
first_after(const int64_t *sorted, int n, int64_t time)
{
	int low = 0;

	if (n == 0 || sorted[n - 1] <= time)
		return n;
	while (low < n)
	{
		int middle = (low + n) / 2;

		if (sorted[middle] <= time)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}
