/*-------------------------------------------------------------------------
 * event_tree.h
 *		Events in the order of their times, in blocks of an arena: what a
 *		window of them adds up to is known after a few blocks.
 *
 * A B+-tree.  A leaf has some 50 events; a branch has, for each of its
 * children, what that one's events add up to.  Events mostly come in the
 * order of their times, so a leaf that is full gets a new neighbour at its
 * end rather than being split.  Blocks that become empty are given back;
 * others are never joined.
 *
 * Knows no PostgreSQL.  Locking: the caller's.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_EVENT_TREE_H
#define AGENTPAY_EVENT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "scoring/arena.h"
#include "scoring/event_sum.h"

typedef struct AgentpayEvent
{
	int64_t time;
	AgentpayEventValue value;
	uint32_t tag; /* who wrote it; 0: nobody knows */
} AgentpayEvent;

/* In shared memory. */
typedef struct AgentpayEventTree
{
	AgentpayRef root; /* 0: empty */
	uint8_t levels;	  /* of branches above the leaves */
	uint8_t kind;	  /* AgentpayEventKind */
	int64_t n_events;
	uint64_t bytes; /* of its blocks */
} AgentpayEventTree;

extern void
agentpay_event_tree_init(AgentpayEventTree *tree, AgentpayEventKind kind);

/*
 * Adds an event behind those of the same time.  False when the arena is full;
 * then nothing has changed.
 */
extern bool
agentpay_event_tree_add(AgentpayArena *arena, AgentpayEventTree *tree,
						const AgentpayEvent *event);

/* Takes out one event that is equal; false when there is none. */
extern bool
agentpay_event_tree_remove(AgentpayArena *arena, AgentpayEventTree *tree,
						   const AgentpayEvent *event);

/* Takes out the events in [from, until] with that tag; returns how many. */
extern int64_t
agentpay_event_tree_remove_tag(AgentpayArena *arena, AgentpayEventTree *tree,
							   uint32_t tag, int64_t from, int64_t until);

/*
 * Gives back leaves all of whose events have a time of at most until; the
 * latest of these times is put into *forgotten, which keeps its value when
 * none is given back.
 */
extern void
agentpay_event_tree_trim(AgentpayArena *arena, AgentpayEventTree *tree,
						 int64_t until, int64_t *forgotten);
extern void
agentpay_event_tree_free(AgentpayArena *arena, AgentpayEventTree *tree);

/* What the events in (after, until] add up to. */
extern void
agentpay_event_tree_sum(const AgentpayArena *arena,
						const AgentpayEventTree *tree, int64_t after,
						int64_t until, AgentpayEventSum *sum);

/* The latest time that is not after until; false when there is none. */
extern bool agentpay_event_tree_last(const AgentpayArena *arena,
									 const AgentpayEventTree *tree,
									 int64_t until, int64_t *time);

/* Shows visit() the events in (after, until], in order. */
extern void
agentpay_event_tree_walk(const AgentpayArena *arena,
						 const AgentpayEventTree *tree, int64_t after,
						 int64_t until,
						 void (*visit)(const AgentpayEvent *event, void *arg),
						 void *arg);

#endif /* AGENTPAY_EVENT_TREE_H */
