/*-------------------------------------------------------------------------
 * secret.c
 *		What file:/path or env:NAME refers to.
 *
 * Past stdio, whose buffers keep what went through them.  Only regular
 * files: to open a FIFO would wait for its writer, and with it every call.
 *-------------------------------------------------------------------------
 */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The bytes read, at most size; 0 also when it cannot be read. */
static size_t
read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat state;
	size_t len = 0;

	if (fd < 0)
		return 0;
	if (fstat(fd, &state) == 0 && S_ISREG(state.st_mode))
	{
		while (len < size)
		{
			ssize_t got = read(fd, buffer + len, size - len);

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				break;
			len += (size_t) got;
		}
	}
	close(fd);
	return len;
}

bool
agentpay_secret_read(const char *reference, char *buffer, size_t size,
					 const char **problem)
{
	const char *value;
	size_t len = 0;

	if (strncmp(reference, "file:", 5) == 0)
		len = read_file(reference + 5, buffer, size);
	else if (strncmp(reference, "env:", 4) == 0 &&
			 (value = getenv(reference + 4)) != NULL)
	{
		len = strnlen(value, size);
		memcpy(buffer, value, len);
	}
	*problem = NULL;
	if (len >= size)
		*problem = "the secret is too long";
	else if (memchr(buffer, '\0', len) != NULL)
		*problem = "the secret is no text";
	else
	{
		while (len > 0 && (buffer[len - 1] == '\n' || buffer[len - 1] == '\r'))
			len--;
		if (len == 0)
			*problem = "the secret could not be read, or is empty";
		buffer[len] = '\0';
	}
	if (*problem != NULL)
		explicit_bzero(buffer, size);
	return *problem == NULL;
}
