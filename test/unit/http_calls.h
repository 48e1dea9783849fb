/*-------------------------------------------------------------------------
 * http_calls.h
 *		What the tests of the HTTP client share: the body that they send, the
 *		server that they start, and how they wait.
 *
 * Each function is inline, since no test needs all of them.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TEST_HTTP_CALLS_H
#define AGENTPAY_TEST_HTTP_CALLS_H

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "agents/http_client.h"

#define DEADLINE_MS 30000
#define KB 1024
#define BODY                                             \
	"{\"model\":\"m\",\"messages\":[{\"role\":\"user\"," \
	"\"content\":\"{\\\"amount\\\":5}\"}]}"

/* The client of the test, which makes it. */
static AgentpayHttpClient *client;

static inline double
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static inline long
resident_kb(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

/* Starts the test agent server and reads its port from its output. */
static inline pid_t
start_agent_server(int *port)
{
	int out[2];
	char line[32] = "";
	pid_t pid;

	if (pipe(out) != 0)
		exit(1);
	pid = fork();
	if (pid == 0)
	{
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execlp("python3", "python3", "test/server/agent_server.py",
			   (char *) NULL);
		_exit(1);
	}
	close(out[1]);
	if (read(out[0], line, sizeof(line) - 1) > 0)
		*port = atoi(line);
	return pid;
}

/* Waits as a worker would, then lets the client work. */
static inline void
wait_and_perform(void)
{
	struct pollfd fd = {agentpay_http_client_fd(client), POLLIN, 0};
	long timeout_ms = agentpay_http_client_timeout_ms(client);

	poll(&fd, 1, timeout_ms < 0 || timeout_ms > 1000 ? 1000 : (int) timeout_ms);
	agentpay_http_client_perform(client);
}

/* The next result, to be released; NULL when none comes in time. */
static inline AgentpayHttpTransfer *
next(AgentpayHttpResult *result)
{
	double deadline = now_ms() + DEADLINE_MS;
	AgentpayHttpTransfer *transfer;

	while ((transfer = agentpay_http_client_next_done(client, result)) ==
			   NULL &&
		   now_ms() < deadline)
		wait_and_perform();
	if (transfer == NULL)
		memset(result, 0, sizeof(*result));
	return transfer;
}

#endif /* AGENTPAY_TEST_HTTP_CALLS_H */
