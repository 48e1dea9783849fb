/*
 * The tree of events against a plain array of the same events: every answer is
 * computed a second time by looking at each event.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/event_tree.h"
#include "tap.h"

#define ARENA_BYTES (32 << 20)
#define EVENTS_MAX 60000

static AgentpayArena arena;
static AgentpayEvent events[EVENTS_MAX]; /* in the order of their times */
static int n_events;
static uint64_t seed;

static uint64_t
random64(void)
{
	/* xorshift64* (S. Vigna) */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 2685821657736338717ull;
}

static int
position_after(int64_t time)
{
	int i = n_events;

	while (i > 0 && events[i - 1].time > time)
		i--;
	return i;
}

static void
plain_add(const AgentpayEvent *event)
{
	int at = position_after(event->time);

	memmove(&events[at + 1], &events[at],
			sizeof(AgentpayEvent) * (n_events - at));
	events[at] = *event;
	n_events++;
}

static void
plain_remove(int at)
{
	memmove(&events[at], &events[at + 1],
			sizeof(AgentpayEvent) * (n_events - at - 1));
	n_events--;
}

static bool
is_about(double a, double b)
{
	return a == b || fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b));
}

/* Whether the tree says the same of (after, until] as the array. */
static bool
is_right(const AgentpayEventTree *tree, int64_t after, int64_t until)
{
	AgentpayEventSum sum;
	int64_t count = 0;
	__int128 total = 0;
	__int128 squares = 0;
	int64_t min = 0;
	int64_t max = 0;
	long double real = 0;
	long double real_squares = 0;
	double real_min = 0;
	double real_max = 0;
	int64_t last = 0;
	int64_t tree_last = 0;
	bool has_last = false;

	for (int i = 0; i < n_events; i++)
	{
		AgentpayEventValue value = events[i].value;

		if (events[i].time <= until)
		{
			last = events[i].time;
			has_last = true;
		}
		if (events[i].time <= after || events[i].time > until)
			continue;
		count++;
		total += value.integer;
		if (tree->kind == AGENTPAY_EVENT_INTEGER)
			squares += (__int128) value.integer * value.integer;
		real += value.real;
		real_squares += (long double) value.real * value.real;
		if (count == 1 || value.integer < min)
			min = value.integer;
		if (count == 1 || value.integer > max)
			max = value.integer;
		if (count == 1 || value.real < real_min)
			real_min = value.real;
		if (count == 1 || value.real > real_max)
			real_max = value.real;
	}
	if (agentpay_event_tree_last(&arena, tree, until, &tree_last) != has_last ||
		(has_last && tree_last != last))
		return false;
	agentpay_event_tree_sum(&arena, tree, after, until, &sum);
	if (sum.count != count)
		return false;
	if (tree->kind == AGENTPAY_EVENT_INTEGER && count > 0)
		return sum.of.integer.sum == total &&
			   sum.of.integer.squares == squares && sum.of.integer.min == min &&
			   sum.of.integer.max == max;
	if (tree->kind == AGENTPAY_EVENT_FLOAT && count > 0)
		return is_about(sum.of.real.sum + sum.of.real.compensation,
						(double) real) &&
			   fabs(sum.of.real.deviation -
					(double) (real_squares - real * real / count)) <
				   1e-6 * (1 + (double) real_squares) &&
			   sum.of.real.min == real_min && sum.of.real.max == real_max;
	return true;
}

static AgentpayEvent
random_event(AgentpayEventKind kind, int64_t around, int64_t spread)
{
	AgentpayEvent event = {0};

	event.time = around + (int64_t) (random64() % (spread + 1));
	event.tag = random64() % 5;
	if (kind == AGENTPAY_EVENT_INTEGER)
		event.value.integer = (int64_t) (random64() % 2000001) - 1000000;
	else if (kind == AGENTPAY_EVENT_FLOAT)
		event.value.real = (double) (random64() % 2000001) / 997 - 1000;
	else if (kind == AGENTPAY_EVENT_IDENTITY)
		event.value.identity[0] = event.value.identity[1] = random64() % 7;
	return event;
}

static bool
all_right(const AgentpayEventTree *tree, int64_t now, int tries)
{
	bool right = is_right(tree, INT64_MIN, INT64_MAX) &&
				 tree->n_events == n_events;

	for (int i = 0; i < tries && right; i++)
	{
		int64_t after = (int64_t) (random64() % (uint64_t) (now + 20)) - 10;
		int64_t until = after + (int64_t) (random64() % (uint64_t) (now + 1));

		right = is_right(tree, after, until);
	}
	return right;
}

/* Adds, mostly in order, and removes; compares every few steps. */
static bool
random_steps(AgentpayEventKind kind, int steps, int64_t spread, int every)
{
	AgentpayEventTree tree;
	int64_t now = 100;
	bool right = true;

	agentpay_event_tree_init(&tree, kind);
	n_events = 0;
	for (int step = 0; step < steps && right; step++)
	{
		uint64_t what = random64() % 100;

		if (what < 85 || n_events == 0)
		{
			int64_t back = what < 5 ? (int64_t) (random64() % now) : spread;
			AgentpayEvent event = random_event(kind, now - back, spread);

			if (now - back < 0)
				event.time = now;
			plain_add(&event);
			right = agentpay_event_tree_add(&arena, &tree, &event);
			now += random64() % 3;
		}
		else if (what < 97)
		{
			int at = random64() % n_events;
			AgentpayEvent event = events[at];

			plain_remove(at);
			right = agentpay_event_tree_remove(&arena, &tree, &event);
			/* what is not there is not removed */
			event.tag = 77;
			right &= !agentpay_event_tree_remove(&arena, &tree, &event);
		}
		else if (what < 99)
		{
			uint32_t tag = random64() % 5;
			int64_t from = random64() % now;
			int64_t until = from + random64() % 200;
			int64_t removed = 0;

			for (int i = n_events - 1; i >= 0; i--)
				if (events[i].tag == tag && events[i].time >= from &&
					events[i].time <= until)
				{
					plain_remove(i);
					removed++;
				}
			right = agentpay_event_tree_remove_tag(&arena, &tree, tag, from,
												   until) == removed;
		}
		else
		{
			int64_t forgotten = INT64_MIN;

			agentpay_event_tree_trim(&arena, &tree, now / 4, &forgotten);
			right = forgotten <= now / 4;
			while (n_events > 0 && n_events > tree.n_events &&
				   events[0].time <= forgotten)
				plain_remove(0);
			right &= n_events == tree.n_events;
		}
		if (step % every == 0 || !right)
			right = right && all_right(&tree, now, 20);
	}
	right = right && all_right(&tree, now, 200);
	agentpay_event_tree_free(&arena, &tree);
	return right && tree.bytes == 0 && tree.n_events == 0;
}

static void
test_random(void)
{
	static const char *const names[] = {"plain", "integer", "float",
										"identity"};

	for (int kind = 0; kind < 4; kind++)
	{
		char name[100];

		snprintf(name, sizeof(name), "%s events, times all different",
				 names[kind]);
		check(random_steps(kind, 20000, 0, 199), "%s", name);
		snprintf(name, sizeof(name), "%s events, many of the same time",
				 names[kind]);
		check(random_steps(kind, 5000, 3, 37), "%s", name);
		snprintf(name, sizeof(name), "%s events in any order", names[kind]);
		check(random_steps(kind, 10000, 5000, 199), "%s", name);
	}
	check(arena.shared->used == 0, "every block was given back");
}

/* What an event takes when all come in order, as the last of the reach. */
static void
test_memory(void)
{
	AgentpayEventTree tree;
	AgentpayEventSum sum;
	double worst = 0;

	agentpay_event_tree_init(&tree, AGENTPAY_EVENT_INTEGER);
	for (int64_t i = 1; i <= 1000000; i++)
	{
		AgentpayEvent event = {.time = i, .value.integer = i};
		double bytes;

		if (!agentpay_event_tree_add(&arena, &tree, &event))
			break;
		bytes = (double) tree.bytes / i;
		if (i >= 200 && bytes > worst)
			worst = bytes;
	}
	check(tree.n_events == 1000000, "a million events of one key");
	printf("# %.1f bytes an event, at most %.1f from 200 events on\n",
		   (double) tree.bytes / tree.n_events, worst);
	check(worst <= 40, "at most 40 bytes an event from 200 events on");
	agentpay_event_tree_sum(&arena, &tree, 250000, 750000, &sum);
	/* sum of 250001 .. 750000 */
	check(sum.count == 500000 &&
			  sum.of.integer.sum == (__int128) 500000 * (250001 + 750000) / 2,
		  "the sum of half of them");
	agentpay_event_tree_free(&arena, &tree);
	check(arena.shared->used == 0, "and they are given back");
}

/* When the arena is full, an addition fails and changes nothing. */
static void
test_full(void)
{
	size_t bytes = 64 * 1024;
	void *memory = malloc(agentpay_arena_size(bytes));
	AgentpayArena whole = arena;
	AgentpayEventTree tree;
	int64_t added = 0;
	bool right = true;

	agentpay_arena_open(&arena, memory, bytes, true);
	agentpay_event_tree_init(&tree, AGENTPAY_EVENT_INTEGER);
	n_events = 0;
	for (;;)
	{
		AgentpayEvent event = random_event(AGENTPAY_EVENT_INTEGER, 0, 1000);

		if (!agentpay_event_tree_add(&arena, &tree, &event))
			break;
		plain_add(&event);
		added++;
	}
	for (int i = 0; i < 100; i++)
	{
		AgentpayEvent event = random_event(AGENTPAY_EVENT_INTEGER, 0, 1000);

		if (agentpay_event_tree_add(&arena, &tree, &event))
			plain_add(&event);
		right = right && all_right(&tree, 1000, 5);
	}
	check(added > 500 && right, "a full arena refuses and forgets nothing");
	agentpay_event_tree_free(&arena, &tree);
	check(arena.shared->used == 0 && agentpay_arena_alloc(&arena, 4096) != 0,
		  "what was given back is whole again");
	free(memory);
	arena = whole;
}

static void
test_special(void)
{
	AgentpayEventTree tree;
	AgentpayEventSum sum;
	double values[] = {1e100, 1, -1e100, NAN, INFINITY};

	agentpay_event_tree_init(&tree, AGENTPAY_EVENT_FLOAT);
	for (int i = 0; i < 5; i++)
	{
		AgentpayEvent event = {.time = i, .value.real = values[i]};

		agentpay_event_tree_add(&arena, &tree, &event);
	}
	agentpay_event_tree_sum(&arena, &tree, -1, 2, &sum);
	check(sum.of.real.sum + sum.of.real.compensation == 1 &&
			  sum.of.real.special == 0,
		  "1e100, 1 and -1e100 add up to 1");
	agentpay_event_tree_sum(&arena, &tree, -1, 4, &sum);
	check(isnan(sum.of.real.max) && sum.of.real.min == -1e100 &&
			  sum.of.real.special == 2,
		  "NaN is greater than infinity");
	agentpay_event_tree_free(&arena, &tree);
}

int
main(void)
{
	void *memory = malloc(agentpay_arena_size(ARENA_BYTES));

	seed = 20261126;
	agentpay_arena_open(&arena, memory, ARENA_BYTES, true);
	test_random();
	test_memory();
	test_full();
	test_special();
	free(memory);
	return tap_done();
}
