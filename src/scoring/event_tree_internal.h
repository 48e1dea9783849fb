/*-------------------------------------------------------------------------
 * event_tree_internal.h
 *		The blocks of a tree of events: event_tree.c adds and reads events,
 *		event_tree_blocks.c makes, fills and gives back blocks.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EVENT_TREE_INTERNAL_H
#define AGENTPAY_EVENT_TREE_INTERNAL_H

#include <string.h>

#include "scoring/event_tree.h"

#define LEAF_BYTES_MAX 1024
#define BRANCH_BYTES_MAX AGENTPAY_ARENA_BLOCK_MAX
#define FIRST_LEAF_BYTES 128
#define FIRST_BRANCH_BYTES 256
#define LEVELS_MAX 10

typedef struct AgentpayTreeLeaf
{
	uint16_t n;
	uint16_t room;
	uint32_t unused;
	char data[]; /* int64 times, values, uint32 tags */
} AgentpayTreeLeaf;

typedef struct AgentpayTreeChild
{
	AgentpayEventSum sum;
	int64_t last; /* the latest time */
	AgentpayRef ref;
} AgentpayTreeChild;

typedef struct AgentpayTreeBranch
{
	uint16_t n;
	uint16_t room;
	/* keeps the sums aligned */
	uint64_t unused;
	AgentpayTreeChild children[];
} AgentpayTreeBranch;

/* The way from the root to a leaf. */
typedef struct AgentpayTreePath
{
	int levels;
	AgentpayTreeBranch *branches[LEVELS_MAX];
	int at[LEVELS_MAX]; /* the child that was taken */
	AgentpayTreeLeaf *leaf;
	AgentpayRef leaf_ref;
} AgentpayTreePath;

extern AgentpayRef
agentpay_tree_make_leaf(AgentpayArena *arena, AgentpayEventTree *tree,
						size_t bytes);
extern void agentpay_tree_drop_block(AgentpayArena *arena,
									 AgentpayEventTree *tree, AgentpayRef ref);
/* The leaf where an event of that time goes: behind those of the same. */
extern void agentpay_tree_find_leaf(const AgentpayArena *arena,
									const AgentpayEventTree *tree, int64_t time,
									AgentpayTreePath *path);
/*
 * Makes some room on the way to a full leaf, one step at a time; the path has
 * to be found anew.  False when the arena is full.
 */
extern bool
agentpay_tree_make_room(AgentpayArena *arena, AgentpayEventTree *tree,
						AgentpayTreePath *path, int64_t time);
extern void
agentpay_tree_move_events(AgentpayEventKind kind, AgentpayTreeLeaf *to,
						  int to_at, const AgentpayTreeLeaf *from, int from_at,
						  int n);
extern void
agentpay_tree_set_event(AgentpayEventKind kind, AgentpayTreeLeaf *leaf, int at,
						const AgentpayEvent *event);
extern void
agentpay_tree_get_event(AgentpayEventKind kind, const AgentpayTreeLeaf *leaf,
						int at, AgentpayEvent *event);
/* Of the events [from, until) of a leaf. */
extern void
agentpay_tree_sum_leaf(AgentpayEventKind kind, const AgentpayTreeLeaf *leaf,
					   int from, int until, AgentpayEventSum *sum);
/* Computes what a parent knows of a child from the child. */
extern void
agentpay_tree_refresh_child(AgentpayArena *arena, AgentpayEventTree *tree,
							AgentpayTreeChild *child, bool is_leaf);
/* After events went from the path's leaf: sums anew, empty blocks go. */
extern void
agentpay_tree_refresh_path(AgentpayArena *arena, AgentpayEventTree *tree,
						   AgentpayTreePath *path);

static inline size_t
value_size(AgentpayEventKind kind)
{
	static const size_t sizes[] = {0, 8, 8, 16};

	return sizes[kind];
}

static inline int64_t *
times(const AgentpayTreeLeaf *leaf)
{
	return (int64_t *) leaf->data;
}

static inline char *
values(const AgentpayTreeLeaf *leaf)
{
	return (char *) leaf->data + leaf->room * sizeof(int64_t);
}

static inline uint32_t *
tags(AgentpayEventKind kind, const AgentpayTreeLeaf *leaf)
{
	return (uint32_t *) (values(leaf) + leaf->room * value_size(kind));
}

/* The first one that is greater; most often it is asked for the end. */
static inline int
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
#endif /* AGENTPAY_EVENT_TREE_INTERNAL_H */
