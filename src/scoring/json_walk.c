/*-------------------------------------------------------------------------
 * json_walk.c
 *		Walks over a JSON text without building a tree of it.
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scoring/json_walk.h"

static void
skip_space(AgentpayJsonWalk *walk)
{
	while (walk->at < walk->end && (*walk->at == ' ' || *walk->at == '\n' ||
									*walk->at == '\t' || *walk->at == '\r'))
		walk->at++;
}

/* The next byte that is no space, or 0 at the end. */
static char
peek(AgentpayJsonWalk *walk)
{
	skip_space(walk);
	return walk->at < walk->end ? *walk->at : '\0';
}

static bool
take(AgentpayJsonWalk *walk, char byte)
{
	if (peek(walk) != byte)
		return false;
	walk->at++;
	return true;
}

static bool
is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

char
agentpay_json_walk_kind(const AgentpayJsonWalk *value)
{
	AgentpayJsonWalk walk = *value;
	char first = walk.at == NULL ? '\0' : peek(&walk);

	if (is_digit(first))
		return '-';
	return first != '\0' && strchr("{[\"-tfn", first) != NULL ? first : '\0';
}

bool
agentpay_json_walk_members(AgentpayJsonWalk object, const char *const *names,
						   int n_names, AgentpayJsonWalk *found)
{
	for (int i = 0; i < n_names; i++)
		found[i] = (AgentpayJsonWalk){NULL, NULL};
	if (object.at == NULL || !take(&object, '{'))
		return false;
	if (take(&object, '}'))
		return true;
	do
	{
		const char *name;
		size_t len;
		AgentpayJsonWalk value;

		if (!agentpay_json_walk_string(&object, &name, &len) ||
			!take(&object, ':'))
			return false;
		value = object;
		if (!agentpay_json_walk_skip(&object))
			return false;
		value.end = object.at;
		for (int i = 0; i < n_names; i++)
		{
			if (strlen(names[i]) != len || memcmp(names[i], name, len) != 0)
				continue;
			if (found[i].at != NULL)
				return false;
			found[i] = value;
		}
	} while (take(&object, ','));
	return take(&object, '}');
}

bool
agentpay_json_walk_begin(AgentpayJsonWalk *array, bool *more)
{
	if (array->at == NULL || !take(array, '['))
		return false;
	*more = !take(array, ']');
	return true;
}

bool
agentpay_json_walk_next(AgentpayJsonWalk *array, bool *more)
{
	*more = take(array, ',');
	return *more || take(array, ']');
}

bool
agentpay_json_walk_string(AgentpayJsonWalk *walk, const char **string,
						  size_t *len)
{
	if (walk->at == NULL || !take(walk, '"'))
		return false;
	*string = walk->at;
	for (; walk->at < walk->end; walk->at++)
	{
		if (*walk->at == '\\')
		{
			/* whatever follows is no end of the string */
			if (++walk->at == walk->end)
				return false;
		}
		else if (*walk->at == '"')
		{
			*len = (size_t) (walk->at++ - *string);
			return true;
		}
	}
	return false;
}

/* Skips a number or a word: up to what ends it. */
static bool
skip_scalar(AgentpayJsonWalk *walk)
{
	const char *start = walk->at;

	if (agentpay_json_walk_kind(walk) == '\0')
		return false;
	while (walk->at < walk->end && *walk->at != ',' && *walk->at != ']' &&
		   *walk->at != '}' && *walk->at != ' ' && *walk->at != '\n' &&
		   *walk->at != '\t' && *walk->at != '\r' && *walk->at != '"')
		walk->at++;
	return walk->at > start;
}

bool
agentpay_json_walk_skip(AgentpayJsonWalk *walk)
{
	char closers[AGENTPAY_JSON_WALK_DEPTH];
	int depth = 0;

	if (walk->at == NULL)
		return false;
	do
	{
		char first = peek(walk);
		const char *string;
		size_t len;

		if (first == '{' || first == '[')
		{
			if (depth == AGENTPAY_JSON_WALK_DEPTH)
				return false;
			closers[depth++] = first == '{' ? '}' : ']';
			walk->at++;
		}
		else if (depth > 0 && first == closers[depth - 1])
		{
			depth--;
			walk->at++;
		}
		else if (depth > 0 && (first == ',' || first == ':'))
			walk->at++;
		else if (first == '"' ? !agentpay_json_walk_string(walk, &string, &len)
							  : !skip_scalar(walk))
			return false;
	} while (depth > 0);
	return true;
}

/* The length of the JSON number at the walk; 0 when there is none. */
static size_t
number_length(const AgentpayJsonWalk *walk)
{
	const char *at = walk->at;

	if (at < walk->end && *at == '-')
		at++;
	if (at == walk->end || !is_digit(*at))
		return 0;
	/* strtof() would read 0x1p3 */
	if (*at == '0' && at + 1 < walk->end && (at[1] == 'x' || at[1] == 'X'))
		return 0;
	while (at < walk->end && (is_digit(*at) || *at == '.' || *at == 'e' ||
							  *at == 'E' || *at == '+' || *at == '-'))
		at++;
	return (size_t) (at - walk->at);
}

bool
agentpay_json_walk_int(AgentpayJsonWalk *walk, int *value)
{
	size_t len;
	bool negative;
	long sum = 0;

	if (walk->at == NULL)
		return false;
	skip_space(walk);
	len = number_length(walk);
	negative = len > 0 && *walk->at == '-';
	for (size_t i = negative; i < len; i++)
	{
		if (!is_digit(walk->at[i]) || sum > INT_MAX / 10)
			return false;
		sum = sum * 10 + (walk->at[i] - '0');
	}
	if (len == 0 || sum > INT_MAX)
		return false;
	*value = (int) (negative ? -sum : sum);
	walk->at += len;
	return true;
}

bool
agentpay_json_walk_float(AgentpayJsonWalk *walk, float *value)
{
	size_t len;
	char *stop;

	if (walk->at == NULL)
		return false;
	skip_space(walk);
	len = number_length(walk);
	if (len == 0)
		return false;
	*value = strtof(walk->at, &stop);
	if (stop != walk->at + len || !isfinite(*value))
		return false;
	walk->at = stop;
	return true;
}
