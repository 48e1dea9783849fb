/*-------------------------------------------------------------------------
 * http_memory.c
 *		The memory of libcurl, wiped when it is freed.
 *
 * libcurl copies headers into its own buffers before it sends them, keys
 * among them.  Nothing that it frees keeps its content.  What it still holds,
 * and what other libraries copy from it, is not reached (docs/security.md).
 *
 * Called from libcurl's resolver threads, too: no state, no locks.
 *-------------------------------------------------------------------------
 */
#include "agents/http_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

/* Before each piece, its size; as large as the strictest alignment. */
#define PREFIX 16

static void *
wiped_malloc(size_t size)
{
	char *piece = size > SIZE_MAX - PREFIX ? NULL : malloc(size + PREFIX);

	if (piece == NULL)
		return NULL;
	memcpy(piece, &size, sizeof(size));
	return piece + PREFIX;
}

static size_t
size_of(const void *pointer)
{
	size_t size;

	memcpy(&size, (const char *) pointer - PREFIX, sizeof(size));
	return size;
}

static void
wiped_free(void *pointer)
{
	if (pointer == NULL)
		return;
	explicit_bzero(pointer, size_of(pointer));
	free((char *) pointer - PREFIX);
}

/* realloc() may leave the old content behind, so it is never used. */
static void *
wiped_realloc(void *pointer, size_t size)
{
	void *moved = wiped_malloc(size);

	if (moved == NULL || pointer == NULL)
		return moved;
	memcpy(moved, pointer, size < size_of(pointer) ? size : size_of(pointer));
	wiped_free(pointer);
	return moved;
}

static char *
wiped_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = wiped_malloc(size);

	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}

static void *
wiped_calloc(size_t n, size_t size)
{
	void *piece;

	if (size > 0 && n > SIZE_MAX / size)
		return NULL;
	piece = wiped_malloc(n * size);
	if (piece != NULL)
		memset(piece, 0, n * size);
	return piece;
}

bool
agentpay_http_memory_init(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiped_malloc, wiped_free,
								wiped_realloc, wiped_strdup,
								wiped_calloc) == CURLE_OK;
}
