/*-------------------------------------------------------------------------
 * test_secret.c
 *		What file:/path and env:NAME refer to.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "tap.h"

static char directory[] = "/tmp/agentpay_secret_XXXXXX";

/* Reads a file of these bytes; the secret, or the problem in brackets. */
static const char *
read_bytes(const char *bytes, size_t len, size_t size)
{
	static char result[256];
	char reference[128];
	char buffer[64];
	const char *problem = NULL;
	FILE *file;

	snprintf(reference, sizeof(reference), "file:%s/key", directory);
	file = fopen(reference + 5, "w");
	fwrite(bytes, 1, len, file);
	fclose(file);
	memset(buffer, 'x', sizeof(buffer));
	if (agentpay_secret_read(reference, buffer, size, &problem))
		snprintf(result, sizeof(result), "%s", buffer);
	else
		snprintf(result, sizeof(result), "[%s]%s", problem,
				 memchr(buffer, 's', size) == NULL ? "" : " not wiped");
	return result;
}

static bool
is(const char *bytes, size_t len, size_t size, const char *expected)
{
	const char *got = read_bytes(bytes, len, size);

	return check(strcmp(got, expected) == 0, "%zu bytes in %zu: %s", len, size,
				 got);
}

int
main(void)
{
	char buffer[64];
	char path[128];
	const char *problem = NULL;

	if (mkdtemp(directory) == NULL)
		return 1;
	is("sk-1", 4, 64, "sk-1");
	is("sk-1\n", 5, 64, "sk-1");
	is("sk-1\r\n\r\n", 8, 64, "sk-1");
	is("s1\ts2\n", 6, 64, "s1\ts2");
	is("sssss", 5, 6, "sssss");
	is("ssssss", 6, 6, "[the secret is too long]");
	is("sssssss", 7, 6, "[the secret is too long]");
	is("s\0s", 3, 64, "[the secret is no text]");
	is("", 0, 64, "[the secret could not be read, or is empty]");
	is("\n", 1, 64, "[the secret could not be read, or is empty]");

	check(!agentpay_secret_read("file:/nowhere/key", buffer, sizeof(buffer),
								&problem),
		  "no file");
	snprintf(path, sizeof(path), "file:%s", directory);
	check(!agentpay_secret_read(path, buffer, sizeof(buffer), &problem),
		  "a directory");
	snprintf(path, sizeof(path), "file:%s/fifo", directory);
	mkfifo(path + 5, 0600);
	alarm(10); /* to open it would wait for its writer */
	check(!agentpay_secret_read(path, buffer, sizeof(buffer), &problem),
		  "a FIFO does not hold us up");
	alarm(0);
	unlink(path + 5);

	setenv("AGENTPAY_TEST_KEY", "sk-2\n", 1);
	check(agentpay_secret_read("env:AGENTPAY_TEST_KEY", buffer, sizeof(buffer),
							   &problem) &&
			  strcmp(buffer, "sk-2") == 0,
		  "a variable");
	check(!agentpay_secret_read("env:AGENTPAY_TEST_NO_KEY", buffer,
								sizeof(buffer), &problem),
		  "none of that name");
	check(!agentpay_secret_read("sk-3", buffer, sizeof(buffer), &problem),
		  "no reference");
	snprintf(path, sizeof(path), "%s/key", directory);
	unlink(path);
	check(rmdir(directory) == 0, "all is tidied up");
	return tap_done();
}
