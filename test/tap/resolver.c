/*-------------------------------------------------------------------------
 * resolver.c
 *		Names for a server under test: preloaded, it answers getaddrinfo().
 *
 * The file that AGENTPAY_TEST_NAMES names has lines "name address", or
 * "name never": of such a name nothing is heard.  Other names are the C
 * library's.  The file is read at each question.
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*Resolver)(const char *, const char *, const struct addrinfo *,
						struct addrinfo **);

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	Resolver real;
	const char *path = getenv("AGENTPAY_TEST_NAMES");
	FILE *file = name == NULL || path == NULL ? NULL : fopen(path, "re");
	char known[256];
	char address[256];
	char found[256] = "";

	*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	while (file != NULL && fscanf(file, "%255s %255s", known, address) == 2)
	{
		if (strcmp(known, name) == 0)
			strcpy(found, address);
	}
	if (file != NULL)
		fclose(file);
	while (strcmp(found, "never") == 0)
		sleep(1);
	return real(found[0] == '\0' ? name : found, service, hints, result);
}
