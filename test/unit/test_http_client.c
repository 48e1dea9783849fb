/*-------------------------------------------------------------------------
 * test_http_client.c
 *		The HTTP client against the test agent server (python3), which it
 *		starts itself.  Run from the top of the source tree.
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE /* gettid() */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http_calls.h"
#include "tap.h"

static int port;

static AgentpayHttpTransfer *
start_url(const char *url, int timeout_ms, const char *resolve)
{
	AgentpayHttpHeader headers[] = {{"Content-Type", "application/json"},
									{"Authorization", "Bearer sk-1"}};
	AgentpayHttpRequest request = {.url = url,
								   .headers = headers,
								   .n_headers = 2,
								   .body = BODY,
								   .body_len = strlen(BODY),
								   .timeout_ms = timeout_ms,
								   .response_limit_bytes = 256 * KB,
								   .resolve = resolve};
	const char *problem = "";
	AgentpayHttpTransfer *transfer =
		agentpay_http_client_start(client, &request, &problem);

	if (transfer == NULL)
		check(false, "start %s: %s", url, problem);
	return transfer;
}

static AgentpayHttpTransfer *
start(const char *behaviour, int timeout_ms)
{
	char url[256];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/%s/chat/completions", port,
			 behaviour);
	return start_url(url, timeout_ms, NULL);
}

/* One call from start to end.  The caller releases the transfer. */
static AgentpayHttpTransfer *
call(const char *behaviour, int timeout_ms, AgentpayHttpResult *result)
{
	start(behaviour, timeout_ms);
	return next(result);
}

static void
expect(const char *behaviour, int timeout_ms, AgentpayHttpStatus status,
	   int http_status, bool sent)
{
	double started = now_ms();
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer = call(behaviour, timeout_ms, &r);
	double took = now_ms() - started;

	check(r.status == status && r.http_status == http_status && r.sent == sent,
		  "%s: status %d, HTTP %d, sent %d, \"%s\"", behaviour, r.status,
		  r.http_status, r.sent, r.problem);
	if (status == AGENTPAY_HTTP_TIMEOUT)
		check(took >= timeout_ms * 0.9 && took < timeout_ms + 400,
			  "%s: %d ms took %.0f ms", behaviour, timeout_ms, took);
	agentpay_http_transfer_free(transfer);
}

static void
test_plain(void)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer = call("normal", 5000, &r);

	check(r.status == AGENTPAY_HTTP_OK && r.http_status == 200 && r.sent,
		  "a good answer is ok");
	check(r.body_len == strlen(r.body) && strstr(r.body, "chatcmpl-") != NULL,
		  "with its body");
	check(strcmp(r.address, "127.0.0.1") == 0 &&
			  strncmp(r.request_id, "req-", 4) == 0 && r.latency_ms > 0 &&
			  r.latency_ms < 5000 && r.retry_after_ms == -1,
		  "its address, its request id, its latency %.1f ms", r.latency_ms);
	agentpay_http_transfer_free(transfer);

	transfer = call("delay-300", 5000, &r);
	check(r.latency_ms >= 300 && r.latency_ms < 1500,
		  "latency counts the wait: %.1f ms", r.latency_ms);
	agentpay_http_transfer_free(transfer);
}

static void
test_faults(void)
{
	long before;
	long grown;

	expect("hang", 300, AGENTPAY_HTTP_TIMEOUT, 0, true);
	expect("slow-headers", 300, AGENTPAY_HTTP_TIMEOUT, 0, true);
	expect("drip", 300, AGENTPAY_HTTP_TIMEOUT, 200, true);
	expect("reset", 5000, AGENTPAY_HTTP_ERROR, 0, true);
	/* On a connection that is reused libcurl would send it again. */
	expect("normal", 5000, AGENTPAY_HTTP_OK, 200, true);
	expect("reset", 5000, AGENTPAY_HTTP_ERROR, 0, true);
	expect("close", 5000, AGENTPAY_HTTP_TRUNCATED, 200, true);
	before = resident_kb();
	expect("huge", 20000, AGENTPAY_HTTP_TRUNCATED, 200, true);
	expect("huge-length", 20000, AGENTPAY_HTTP_TRUNCATED, 200, true);
	expect("gzip-bomb", 20000, AGENTPAY_HTTP_TRUNCATED, 200, true);
	expect("te-bomb", 20000, AGENTPAY_HTTP_TRUNCATED, 200, true);
	expect("endless-headers", 20000, AGENTPAY_HTTP_TRUNCATED, 200, true);
	grown = resident_kb() - before;
	check(grown < 4 * KB, "memory stays flat: %ld kB more", grown);
	expect("redirect", 5000, AGENTPAY_HTTP_OK, 307, true);
	expect("500", 5000, AGENTPAY_HTTP_OK, 500, true);
}

/* What the server's journal says of requests to a behaviour. */
static int
count_in_journal(const char *path)
{
	char command[256];
	FILE *pipe_;
	int n = -1;

	snprintf(command, sizeof(command),
			 "python3 -c \"import urllib.request as u;"
			 "print(u.build_opener(u.ProxyHandler({})).open("
			 "'http://127.0.0.1:%d/journal').read().decode()"
			 ".count('\\\"/%s/'))\"",
			 port, path);
	pipe_ = popen(command, "r");
	if (pipe_ != NULL)
	{
		if (fscanf(pipe_, "%d", &n) != 1)
			n = -1;
		pclose(pipe_);
	}
	return n;
}

static void
test_retry_after(void)
{
	static const struct
	{
		const char *behaviour;
		int expected_ms;
	} cases[] = {
		{"429--1", 0},
		{"429-7", 7000},
		{"429-1000000000", 60000},
		{"503-date", 60000},
		{"503-soon", -1},
		{"503", -1},
		{"429-99999999999999999999", 60000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		AgentpayHttpResult r;
		AgentpayHttpTransfer *transfer = call(cases[i].behaviour, 5000, &r);

		check(r.retry_after_ms == cases[i].expected_ms, "%s: wait %d ms",
			  cases[i].behaviour, r.retry_after_ms);
		agentpay_http_transfer_free(transfer);
	}
}

static bool
is_allowed(const char *text, bool tls)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return agentpay_http_address_allowed((struct sockaddr *) &in, tls);
	if (inet_pton(AF_INET6, text, &in6.sin6_addr) != 1)
		check(false, "%s is an address", text);
	return agentpay_http_address_allowed((struct sockaddr *) &in6, tls);
}

static void
test_addresses(void)
{
	static const char *const never[] = {
		"169.254.169.254",
		"169.254.0.1",
		"0.0.0.0",
		"224.0.0.1",
		"255.255.255.255",
		"100.100.100.200",
		"168.63.129.16",
		"192.0.0.192",
		"fe80::1",
		"febf::1",
		"fd00:ec2::254",
		"fd20:ce::254",
		"::",
		"::7f00:1",
		"ff02::1",
		"::ffff:169.254.169.254",
		"64:ff9b::a9fe:a9fe",
		"64:ff9b::7f00:1",
		"2002:a9fe:a9fe::1",
		"2002:7f00:1::",
		"fd00:ec2::23",
		"fd00:ec2::253",
		"fd00:c1::a9fe:a9fe",
		"fec0::1",
		"::ffff:0:169.254.169.254",
		"64:ff9b:1::a9fe:a9fe",
		"64:ff9b:1:a9fe:a9:fe00::",
		"64:ff9b:1::808:808",
		"2001:0:a9fe:a9fe::1",
		"2001:db8::5efe:a9fe:a9fe",
		"2001:db8::200:5efe:100.100.100.200",
	};
	static const char *const tls_only[] = {
		"8.8.8.8",		   "10.1.2.3",
		"192.168.0.1",	   "2001:db8::1",
		"fd00:ec1::254",   "::ffff:8.8.8.8",
		"2002:808:808::1", "2001:db8::5efe:808:808",
	};
	static const char *const always[] = {"127.0.0.1", "127.8.9.1", "::1",
										 "::ffff:127.0.0.1"};

	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		check(!is_allowed(never[i], true) && !is_allowed(never[i], false),
			  "%s is refused", never[i]);
	for (size_t i = 0; i < sizeof(tls_only) / sizeof(*tls_only); i++)
		check(is_allowed(tls_only[i], true) && !is_allowed(tls_only[i], false),
			  "%s is for TLS only", tls_only[i]);
	for (size_t i = 0; i < sizeof(always) / sizeof(*always); i++)
		check(is_allowed(always[i], true) && is_allowed(always[i], false),
			  "%s is allowed", always[i]);
}

static void
expect_refused(const char *url, const char *resolve, const char *what)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;

	start_url(url, 5000, resolve);
	transfer = next(&r);
	check(r.status == AGENTPAY_HTTP_REFUSED && !r.sent, "%s: status %d, \"%s\"",
		  what, r.status, r.problem);
	agentpay_http_transfer_free(transfer);
}

static void
test_refusals(void)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;
	char url[128];
	char resolve[128];

	expect_refused("https://169.254.169.254/x", NULL, "metadata by address");
	expect_refused("https://[fd00:ec2::254]/x", NULL, "metadata by IPv6");
	expect_refused("https://0xa9fea9fe/x", NULL, "metadata in hexadecimal");
	expect_refused("http://10.0.0.1/x", NULL, "http beyond loopback");

	/* A name that is fine at first, and then points elsewhere. */
	snprintf(url, sizeof(url), "http://agent.example:%d/normal/x", port);
	snprintf(resolve, sizeof(resolve), "agent.example:%d:127.0.0.1", port);
	start_url(url, 5000, resolve);
	transfer = next(&r);
	check(r.status == AGENTPAY_HTTP_OK, "the name's first address is called");
	agentpay_http_transfer_free(transfer);
	agentpay_http_client_destroy(client); /* with its idle connection */
	client = agentpay_http_client_create(&(AgentpayHttpOptions){0},
										 &(const char *){NULL});
	snprintf(resolve, sizeof(resolve), "agent.example:%d:127.0.0.1", port);
	start_url(url, 5000, resolve);
	start("reset", 5000);
	agentpay_http_transfer_free(next(&r));
	agentpay_http_transfer_free(next(&r));
	snprintf(url, sizeof(url), "http://agent.example:%d/normal/x", port + 1);
	snprintf(resolve, sizeof(resolve), "agent.example:%d:169.254.169.254",
			 port + 1);
	expect_refused(url, resolve, "the name's next address");
}

static void
test_urls(void)
{
	static const char *const bad[] = {
		"",
		"example",
		"file:///etc/passwd",
		"ftp://a/",
		"http:///a",
		"https:/a",
		"https://",
		"https://user@a/",
		"https://u:p@a/",
		"https://a/#b",
		"https://a b/",
		"https://a\r\nb/",
		"https://a\\b/",
		"https://a:99999/",
		"javascript:x",
		"https://\xC3\xA9/",
		"https://169.254.169.254./",
		"https://1.2.3.4.5/",
		"https://a.0x7f/",
	};
	static const char *const good[][2] = {
		{"https://API.Example/v1", "https://api.example"},
		{"HTTPS://a:443/", "https://a"},
		{"https://a:8443/", "https://a:8443"},
		{"http://127.0.0.1:80", "http://127.0.0.1"},
		{"http://[::1]:8080/x", "http://[::1]:8080"},
		{"http://0x7f.1/", "http://127.0.0.1"},
	};
	char origin[256];
	const char *problem = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		check(!agentpay_http_origin(bad[i], origin, sizeof(origin), &problem),
			  "URL number %zu is refused: %s", i, problem);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		check(agentpay_http_origin(good[i][0], origin, sizeof(origin),
								   &problem) &&
				  strcmp(origin, good[i][1]) == 0,
			  "%s is of %s", good[i][0], origin);
	check(!agentpay_http_origin("https://abcdef/", origin, 8, &problem),
		  "an origin that does not fit is refused");
}

static void
test_headers(void)
{
	static const AgentpayHttpHeader bad[] = {
		{"X", "a\r\nY: b"},
		{"X", "a\nb"},
		{"X\r\nY", "a"},
		{"", "a"},
		{"X:", "a"},
		{"X Y", "a"},
		{"X", "a\x7f"},
		{"Host", "a"},
		{"content-length", "0"},
		{"Transfer-Encoding", "chunked"},
		{"Proxy-Authorization", "a"},
	};
	AgentpayHttpRequest request = {.url = "http://127.0.0.1:1/",
								   .n_headers = 1,
								   .body = "",
								   .timeout_ms = 1000,
								   .response_limit_bytes = 1};
	const char *problem = "";

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
	{
		request.headers = &bad[i];
		check(agentpay_http_client_start(client, &request, &problem) == NULL,
			  "header number %zu is refused: %s", i, problem);
	}
	check(agentpay_http_client_in_flight(client) == 0, "none was started");
}

/* A listening socket whose queue is full drops further connections. */
static void
test_black_hole(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
							 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(in);
	int hole = socket(AF_INET, SOCK_STREAM, 0);
	int fillers[4];
	char url[64];
	int good = 0;
	bool hole_last = false;
	AgentpayHttpResult r;

	bind(hole, (struct sockaddr *) &in, sizeof(in));
	listen(hole, 0);
	getsockname(hole, (struct sockaddr *) &in, &size);
	for (int i = 0; i < 4; i++)
	{
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void) !connect(fillers[i], (struct sockaddr *) &in, sizeof(in));
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/x", ntohs(in.sin_port));
	start_url(url, 1500, NULL);
	for (int i = 0; i < 50; i++)
		start("normal", 5000);
	for (int i = 0; i < 51; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		good += r.status == AGENTPAY_HTTP_OK;
		hole_last = r.status == AGENTPAY_HTTP_TIMEOUT && !r.sent;
		agentpay_http_transfer_free(transfer);
	}
	check(good == 50 && hole_last,
		  "a black hole times out, 50 other calls are done before");
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(hole);
}

static void
test_proxy_variables(void)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	expect("normal", 5000, AGENTPAY_HTTP_OK, 200, true);
	unsetenv("http_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("ALL_PROXY");
}

static void
test_abort(void)
{
	AgentpayHttpTransfer *transfers[100];
	AgentpayHttpResult r;
	double started = now_ms();
	double took;
	int killed = 0;

	for (int i = 0; i < 100; i++)
		transfers[i] = start("hang", 60000);
	while (now_ms() < started + 300)
		wait_and_perform();
	started = now_ms();
	for (int i = 0; i < 100; i++)
		agentpay_http_client_abort(client, transfers[i]);
	took = now_ms() - started;
	check(took < 100, "100 transfers aborted in %.1f ms", took);
	for (int i = 0; i < 100; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		killed += r.status == AGENTPAY_HTTP_KILLED && r.sent;
		agentpay_http_transfer_free(transfer);
	}
	check(killed == 100, "all are killed, and known to be sent");
	check(agentpay_http_client_in_flight(client) == 0, "none is left");

	/* Before anything was sent: not begun, then while it is resolved (some
	 * resolvers know at once that there is no such name). */
	for (int i = 0; i < 2; i++)
	{
		transfers[0] = start_url("https://agent.invalid/x", 60000, NULL);
		if (i == 1)
			agentpay_http_client_perform(client);
		started = now_ms();
		agentpay_http_client_abort(client, transfers[0]);
		took = now_ms() - started;
		transfers[1] = next(&r);
		check((r.status == AGENTPAY_HTTP_KILLED ||
			   (i == 1 && r.status == AGENTPAY_HTTP_ERROR)) &&
				  !r.sent && took < 100,
			  "one that %s is aborted in %.1f ms, unsent",
			  i == 0 ? "has not begun" : "is being resolved", took);
		if (i == 0)
			agentpay_http_transfer_free(transfers[1]);
	}
	agentpay_http_transfer_free(transfers[1]);
}

static void
test_thousands(void)
{
	const int n = 2000;
	int good = 0;
	double started = now_ms();
	AgentpayHttpResult r;

	for (int i = 0; i < n; i++)
		start("delay-2000", 25000);
	check(agentpay_http_client_in_flight(client) == n, "%d in flight", n);
	for (int i = 0; i < n; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		good += r.status == AGENTPAY_HTTP_OK && r.http_status == 200;
		agentpay_http_transfer_free(transfer);
		if (transfer == NULL)
			break;
	}
	check(good == n, "%d of %d answered in %.0f ms, peak memory %ld kB", good,
		  n, now_ms() - started, resident_kb());
}

/* A signal for the process runs in no thread of libcurl's. */
static volatile sig_atomic_t n_signals;
static volatile sig_atomic_t n_foreign;
static pid_t main_thread;

static void
on_signal(int number)
{
	(void) number;
	n_signals++;
	n_foreign += gettid() != main_thread;
}

static void
test_signals(void)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;
	int failed = 0;
	struct sigaction action = {.sa_handler = on_signal};

	main_thread = gettid();
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < 20; i++)
	{
		sigset_t usr1;

		start_url("https://agent.invalid/x", 5000, NULL);
		agentpay_http_client_perform(client);
		/* Only another thread could take it now. */
		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		pthread_sigmask(SIG_BLOCK, &usr1, NULL);
		kill(getpid(), SIGUSR1);
		transfer = next(&r);
		pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
		failed += r.status == AGENTPAY_HTTP_ERROR && !r.sent;
		agentpay_http_transfer_free(transfer);
	}
	check(failed == 20, "a name that does not exist is an error");
	check(n_signals == 20 && n_foreign == 0,
		  "20 signals during name resolution, %d in another thread",
		  (int) n_foreign);
	signal(SIGUSR1, SIG_DFL);
}

int
main(void)
{
	struct rlimit files;
	const char *problem = NULL;
	pid_t server = start_agent_server(&port);

	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	client = agentpay_http_client_create(&(AgentpayHttpOptions){0}, &problem);
	if (!check(client != NULL && port > 0, "client and server are there"))
		return tap_done();

	test_plain();
	test_faults();
	check(count_in_journal("reset") == 2,
		  "a request that was reset is not sent again");
	test_retry_after();
	test_addresses();
	test_refusals();
	test_urls();
	test_headers();
	test_black_hole();
	test_proxy_variables();
	test_signals();
	test_abort();
	test_thousands();

	start("hang", 60000);
	agentpay_http_client_perform(client);
	agentpay_http_client_destroy(client);
	check(true, "a client with a call in flight is destroyed");
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	return tap_done();
}
