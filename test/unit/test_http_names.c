/*-------------------------------------------------------------------------
 * test_http_names.c
 *		The HTTP client and names that change, or that nobody answers for,
 *		against the test agent server (python3), which it starts itself.
 *
 * getaddrinfo() is this program's own: libcurl calls it in place of the C
 * library's.  Run from the top of the source tree.
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http_calls.h"
#include "tap.h"

static int port;

/* What the resolver knows: flip.test is at these addresses, and nothing is
 * heard of never.test before the end. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *addresses[2];
static int n_asked;
static volatile bool over;

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	static int (*real)(const char *, const char *, const struct addrinfo *,
					   struct addrinfo **);
	struct addrinfo numeric = *hints;
	struct addrinfo **at = result;

	numeric.ai_flags |= AI_NUMERICHOST;
	if (name != NULL && strcmp(name, "never.test") == 0)
	{
		while (!over)
			usleep(10000);
		return EAI_AGAIN;
	}
	pthread_mutex_lock(&lock);
	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (name == NULL || strcmp(name, "flip.test") != 0)
	{
		pthread_mutex_unlock(&lock);
		return real(name, service, hints, result);
	}
	n_asked++;
	for (int i = 0; i < 2 && addresses[i] != NULL; i++)
	{
		real(addresses[i], service, &numeric, at);
		while (*at != NULL)
			at = &(*at)->ai_next;
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

static void
flip_to(const char *first, const char *second)
{
	pthread_mutex_lock(&lock);
	addresses[0] = first;
	addresses[1] = second;
	pthread_mutex_unlock(&lock);
}

static void
renew(bool no_dns_cache)
{
	AgentpayHttpOptions options = {.no_dns_cache = no_dns_cache};
	const char *problem = NULL;

	if (client != NULL)
		agentpay_http_client_destroy(client);
	client = agentpay_http_client_create(&options, &problem);
}

static AgentpayHttpTransfer *
start(const char *host, const char *behaviour, int timeout_ms,
	  int low_speed_seconds)
{
	char url[256];
	AgentpayHttpRequest request = {.url = url,
								   .body = BODY,
								   .body_len = strlen(BODY),
								   .timeout_ms = timeout_ms,
								   .low_speed_bytes = 8,
								   .low_speed_seconds = low_speed_seconds,
								   .response_limit_bytes = 65536};
	const char *problem = "";
	AgentpayHttpTransfer *transfer;

	snprintf(url, sizeof(url), "http://%s:%d/%s/chat/completions", host, port,
			 behaviour);
	transfer = agentpay_http_client_start(client, &request, &problem);
	if (transfer == NULL)
		check(false, "start %s: %s", url, problem);
	return transfer;
}

static void
expect(const char *host, const char *behaviour, AgentpayHttpStatus status,
	   bool sent, const char *what)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;

	start(host, behaviour, 5000, 0);
	transfer = next(&r);
	check(transfer != NULL && r.status == status && r.sent == sent,
		  "%s: status %d, at \"%s\", \"%s\"", what, r.status, r.address,
		  r.problem);
	if (transfer != NULL)
		agentpay_http_transfer_free(transfer);
}

static void
test_flip(void)
{
	static const char *const elsewhere[] = {"169.254.169.254", "10.0.0.1",
											"0.0.0.0", "fd00:ec2::254",
											"::ffff:169.254.169.254"};

	for (int i = 0; i < 5; i++)
	{
		renew(true);
		flip_to("127.0.0.1", NULL);
		expect("flip.test", "normal", AGENTPAY_HTTP_OK, true, "the first call");
		flip_to(elsewhere[i], NULL);
		expect("flip.test", "normal", AGENTPAY_HTTP_OK, true,
			   "the second goes where the first one was checked to be");
		expect("flip.test", "reset", AGENTPAY_HTTP_ERROR, true,
			   "until that connection ends");
		n_asked = 0;
		expect("flip.test", "normal", AGENTPAY_HTTP_REFUSED, false,
			   elsewhere[i]);
		check(n_asked > 0, "the name was asked for again");
		flip_to(elsewhere[i], "127.0.0.1");
		expect("flip.test", "normal", AGENTPAY_HTTP_OK, true,
			   "of two addresses the allowed one");
	}
}

/* Calls whose name nobody resolves hold up nobody, nor their own end. */
static void
test_never(void)
{
	AgentpayHttpTransfer *transfers[20];
	AgentpayHttpResult r;
	double started;
	int good = 0;
	int timed_out = 0;

	renew(false);
	started = now_ms();
	for (int i = 0; i < 20; i++)
		transfers[i] = start("never.test", "normal", 2000, 0);
	for (int i = 0; i < 50; i++)
		start("127.0.0.1", "normal", 20000, 0);
	for (int i = 0; i < 50; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		good += r.status == AGENTPAY_HTTP_OK;
		agentpay_http_transfer_free(transfer);
	}
	check(good == 50 && now_ms() - started < 2000,
		  "50 calls are done in %.0f ms, while 20 names are looked up",
		  now_ms() - started);
	for (int i = 0; i < 20; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		timed_out += r.status == AGENTPAY_HTTP_TIMEOUT && !r.sent;
		agentpay_http_transfer_free(transfer);
	}
	check(timed_out == 20 && now_ms() - started < 4000,
		  "those time out after %.0f ms, unsent", now_ms() - started);
	for (int i = 0; i < 20; i++)
		transfers[i] = start("never.test", "normal", 60000, 0);
	agentpay_http_client_perform(client);
	started = now_ms();
	for (int i = 0; i < 10; i++)
		agentpay_http_client_abort(client, transfers[i]);
	check(now_ms() - started < 200, "10 are aborted in %.1f ms",
		  now_ms() - started);
	started = now_ms();
	agentpay_http_client_destroy(client);
	client = NULL;
	check(now_ms() - started < 500, "and the client goes in %.1f ms",
		  now_ms() - started);
}

/* An answer may be long in coming, but not long on its way. */
static void
test_low_speed(void)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;

	renew(false);
	start("127.0.0.1", "delay-3500", 20000, 1);
	transfer = next(&r);
	check(r.status == AGENTPAY_HTTP_OK && r.latency_ms >= 3500,
		  "an agent that thinks for %.0f ms is waited for", r.latency_ms);
	agentpay_http_transfer_free(transfer);
	start("127.0.0.1", "drip", 20000, 1);
	transfer = next(&r);
	check(r.status == AGENTPAY_HTTP_TIMEOUT && r.latency_ms < 15000 && r.sent,
		  "one that sends a byte a second is not: %.0f ms", r.latency_ms);
	agentpay_http_transfer_free(transfer);
}

int
main(void)
{
	pid_t server;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	server = start_agent_server(&port);
	if (!check(port > 0, "the server is there"))
		return tap_done();
	test_flip();
	test_never();
	test_low_speed();
	over = true;
	agentpay_http_client_destroy(client);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	return tap_done();
}
