/*-------------------------------------------------------------------------
 * json_walk.h
 *		Walks over a JSON text without building a tree of it.
 *
 * A model has millions of numbers, and json-c spends some 60 bytes on each:
 * here a value is a place in the text, and only what is asked for is read.
 * What is skipped is checked for its shape (brackets, strings), not for every
 * rule of JSON.  Pure: libc only, no recursion, no allocation.
 *
 * The text is followed by a NUL byte, so that strtof() ends there.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_JSON_WALK_H
#define AGENTPAY_JSON_WALK_H

#include <stdbool.h>
#include <stddef.h>

#define AGENTPAY_JSON_WALK_DEPTH 64

/* A place in the text; after a value was found: that value. */
typedef struct AgentpayJsonWalk
{
	const char *at; /* NULL: there is none */
	const char *end;
} AgentpayJsonWalk;

/* The kind of value that begins here: one of {["-tfn, '-' for any number; 0
 * when there is none. */
extern char agentpay_json_walk_kind(const AgentpayJsonWalk *value);

/*
 * Finds members of an object by name, in one pass.  found[i] is the value of
 * names[i], or nowhere.  False: it is no object, its text is broken, or it has
 * one of the names twice.
 */
extern bool
agentpay_json_walk_members(AgentpayJsonWalk object, const char *const *names,
						   int n_names, AgentpayJsonWalk *found);

/*
 * Steps through an array: begin, then each element until *more is false.
 * Whoever steps reads the element, which moves the walk beyond it.  False: it
 * is no array, or its text is broken.
 */
extern bool agentpay_json_walk_begin(AgentpayJsonWalk *array, bool *more);
extern bool agentpay_json_walk_next(AgentpayJsonWalk *array, bool *more);

/* Reads a value, and moves beyond it.  False: it is something else. */
extern bool agentpay_json_walk_skip(AgentpayJsonWalk *walk);
extern bool agentpay_json_walk_int(AgentpayJsonWalk *walk, int *value);
extern bool agentpay_json_walk_float(AgentpayJsonWalk *walk, float *value);
/* What stands between the quotes, escapes as they are. */
extern bool agentpay_json_walk_string(AgentpayJsonWalk *walk,
									  const char **string, size_t *len);

#endif /* AGENTPAY_JSON_WALK_H */
