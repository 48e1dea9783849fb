/*-------------------------------------------------------------------------
 * json_path.c
 *		Where in a JSON text a value stands.
 *-------------------------------------------------------------------------
 */
#include "agents/json_path.h"

#include <stdlib.h>
#include <string.h>

#define NAME_BYTES \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

typedef struct Step
{
	char name[AGENTPAY_JSON_PATH_MAX_NAME + 1];
	long index; /* -1: it is no index */
	bool is_name;
} Step;

/* The number, -1 when the text is none that an array may have. */
static long
read_index(const char *text, size_t len)
{
	if (len == 0 || len > 6 || strspn(text, "0123456789") < len ||
		(len > 1 && text[0] == '0'))
		return -1;
	return strtol(text, NULL, 10);
}

/* One step of a pointer, behind its slash; NULL when it is none. */
static const char *
read_pointer_step(const char *at, Step *step)
{
	size_t len = 0;

	for (; *at != '\0' && *at != '/'; at++)
	{
		char c = *at;

		if (c == '~')
		{
			at++;
			if (*at != '0' && *at != '1')
				return NULL;
			c = *at == '0' ? '~' : '/';
		}
		if (len == AGENTPAY_JSON_PATH_MAX_NAME)
			return NULL;
		step->name[len++] = c;
	}
	step->name[len] = '\0';
	step->index = read_index(step->name, len);
	step->is_name = true;
	return at;
}

/* One step of a JSONPath: .name, [0] or ['name']. */
static const char *
read_path_step(const char *at, Step *step)
{
	const char *start = at + 1;
	size_t len;

	step->index = -1;
	step->is_name = true;
	if (*at == '.')
	{
		len = strspn(start, NAME_BYTES);
		at = start + len;
	}
	else if (*at == '[' && (*start == '\'' || *start == '"'))
	{
		char quote = *start++;

		len = 0;
		while (start[len] != '\0' && start[len] != quote && start[len] != '\\')
			len++;
		if (start[len] != quote || start[len + 1] != ']')
			return NULL;
		at = start + len + 2;
	}
	else if (*at == '[')
	{
		len = strspn(start, "0123456789");
		step->index = read_index(start, len);
		step->is_name = false;
		return step->index >= 0 && start[len] == ']' ? start + len + 1 : NULL;
	}
	else
		return NULL;
	if (len == 0 || len > AGENTPAY_JSON_PATH_MAX_NAME)
		return NULL;
	memcpy(step->name, start, len);
	step->name[len] = '\0';
	return at;
}

/* Reads all steps; their number, -1 when the text is no path. */
static int
read_steps(const char *path, Step *steps)
{
	bool is_pointer = *path != '$';
	const char *at = is_pointer ? path : path + 1;
	int n = 0;

	while (at != NULL && *at != '\0')
	{
		if (n == AGENTPAY_JSON_PATH_MAX_STEPS || (is_pointer && *at != '/'))
			return -1;
		at = is_pointer ? read_pointer_step(at + 1, &steps[n])
						: read_path_step(at, &steps[n]);
		n++;
	}
	return at == NULL ? -1 : n;
}

bool
agentpay_json_path_valid(const char *path)
{
	Step steps[AGENTPAY_JSON_PATH_MAX_STEPS];

	return read_steps(path, steps) >= 0;
}

bool
agentpay_json_path_writable(const char *path)
{
	Step steps[AGENTPAY_JSON_PATH_MAX_STEPS];
	int n = read_steps(path, steps);

	for (int i = 0; i < n; i++)
	{
		if (steps[i].index > 0)
			return false;
	}
	return n >= 0;
}

bool
agentpay_json_path_get(json_object *root, const char *path, json_object **value)
{
	Step steps[AGENTPAY_JSON_PATH_MAX_STEPS];
	int n = read_steps(path, steps);

	*value = root;
	for (int i = 0; i < n; i++)
	{
		json_object *inner = NULL;
		bool found = false;

		if (json_object_is_type(*value, json_type_array))
		{
			found = steps[i].index >= 0 &&
					(size_t) steps[i].index < json_object_array_length(*value);
			if (found)
				inner = json_object_array_get_idx(*value, steps[i].index);
		}
		else if (json_object_is_type(*value, json_type_object))
			found = steps[i].is_name &&
					json_object_object_get_ex(*value, steps[i].name, &inner);
		*value = inner;
		if (!found)
			return false;
	}
	return n >= 0;
}

void
agentpay_json_path_wrap(AgentpayJsonWriter *out, const char *path,
						const char *value)
{
	Step steps[AGENTPAY_JSON_PATH_MAX_STEPS];
	int n = read_steps(path, steps);

	for (int i = 0; i < n; i++)
	{
		if (steps[i].index < 0)
		{
			agentpay_json_write(out, "{");
			agentpay_json_write_string(out, steps[i].name);
			agentpay_json_write(out, ":");
		}
		else
			agentpay_json_write(out, "[");
	}
	agentpay_json_write(out, value);
	for (int i = n - 1; i >= 0; i--)
		agentpay_json_write(out, steps[i].index < 0 ? "}" : "]");
}
