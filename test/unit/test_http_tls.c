/*-------------------------------------------------------------------------
 * test_http_tls.c
 *		The HTTP client over TLS, HTTP/2 and proxies, against
 *		test/server/tls_server.py, which it starts itself.
 *
 * What is expected of a certificate is what its name in certificates.py says;
 * what the servers have seen they tell themselves.  Run from the top of the
 * source tree.
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <json-c/json.h>
#include <netinet/in.h>

#include "http_calls.h"
#include "tap.h"

#define SECRET "sk-sentinel-0123456789"
#define LOGIN "user:pass word"

static char directory[64];
static char ca_file[128];

/* The port of a listener; 0 when the server is not there yet. */
static int
port_of(const char *name)
{
	char path[128];
	char line_name[64];
	int port;
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/ports", directory);
	file = fopen(path, "r");
	while (file != NULL && fscanf(file, "%63s %d", line_name, &port) == 2)
	{
		if (strcmp(name, line_name) == 0)
			found = port;
	}
	if (file != NULL)
		fclose(file);
	return found;
}

static pid_t
start_server(void)
{
	double deadline = now_ms() + DEADLINE_MS;
	pid_t pid;

	strcpy(directory, "/tmp/agentpay_tls_XXXXXX");
	if (mkdtemp(directory) == NULL)
		exit(1);
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", directory);
	pid = fork();
	if (pid == 0)
	{
		execlp("/usr/bin/python3", "python3", "test/server/tls_server.py",
			   directory, (char *) NULL);
		_exit(1);
	}
	while (port_of("control") == 0 && now_ms() < deadline)
		usleep(20000);
	return pid;
}

/* What a listener has seen, to be put. */
static json_object *
seen(const char *name)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
							 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
							 .sin_port = htons(port_of("control"))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	size_t size = 1 << 24;
	char *text = calloc(1, size);
	size_t len = 0;
	ssize_t got;
	json_object *all;
	json_object *one = NULL;

	if (connect(fd, (struct sockaddr *) &in, sizeof(in)) == 0 &&
		write(fd, "GET / HTTP/1.1\r\n\r\n", 18) == 18)
	{
		while (len < size - 1 &&
			   (got = read(fd, text + len, size - 1 - len)) > 0)
			len += (size_t) got;
	}
	close(fd);
	all = strstr(text, "\r\n\r\n") == NULL
			  ? NULL
			  : json_tokener_parse(strstr(text, "\r\n\r\n") + 4);
	free(text);
	json_object_get(json_object_object_get_ex(all, name, &one) ? one : NULL);
	json_object_put(all);
	return one;
}

static int
count(const char *name, const char *what)
{
	json_object *all = seen(name);
	json_object *one = NULL;
	int n = json_object_object_get_ex(all, what, &one)
				? json_object_get_int(one)
				: -1;

	json_object_put(all);
	return n;
}

static AgentpayHttpOptions
options_of(const char *proxy)
{
	static char url[64];

	if (proxy != NULL)
		snprintf(url, sizeof(url), "%s://localhost:%d",
				 strcmp(proxy, "proxy-tls") == 0 ||
						 strcmp(proxy, "proxy-bad") == 0
					 ? "https"
					 : "http",
				 port_of(proxy));
	return (AgentpayHttpOptions){.ca_file = ca_file,
								 .max_idle = 1000,
								 .proxy = proxy == NULL ? NULL : url};
}

/* Another client, with nothing left of the one before. */
static void
renew(const AgentpayHttpOptions *options)
{
	const char *problem = NULL;

	if (client != NULL)
		agentpay_http_client_destroy(client);
	client = agentpay_http_client_create(options, &problem);
	if (client == NULL)
		check(false, "a client: %s", problem);
}

static AgentpayHttpRequest
request_to(const char *url, const AgentpayHttpHeader *headers)
{
	return (AgentpayHttpRequest){.url = url,
								 .headers = headers,
								 .n_headers = 1,
								 .body = BODY,
								 .body_len = strlen(BODY),
								 .timeout_ms = 20000,
								 .response_limit_bytes = 256 * KB,
								 .secret = SECRET,
								 .proxy_secret = LOGIN};
}

static AgentpayHttpTransfer *
start_at(const char *host, const char *listener, const char *behaviour,
		 int timeout_ms)
{
	AgentpayHttpHeader header = {"Authorization", "Bearer " SECRET};
	char url[256];
	AgentpayHttpRequest request;
	const char *problem = "";
	AgentpayHttpTransfer *transfer;

	snprintf(url, sizeof(url), "https://%s:%d/%s/chat/completions", host,
			 port_of(listener), behaviour);
	request = request_to(url, &header);
	request.timeout_ms = timeout_ms;
	transfer = agentpay_http_client_start(client, &request, &problem);
	if (transfer == NULL)
		check(false, "start %s: %s", url, problem);
	return transfer;
}

/* One call; the caller frees the transfer. */
static AgentpayHttpTransfer *
call(const char *host, const char *listener, const char *behaviour,
	 AgentpayHttpResult *result)
{
	if (start_at(host, listener, behaviour, 20000) == NULL)
	{
		memset(result, 0, sizeof(*result));
		result->problem = "";
		return NULL;
	}
	return next(result);
}

static void
end(AgentpayHttpTransfer *transfer)
{
	if (transfer != NULL)
		agentpay_http_transfer_free(transfer);
}

/* Why a request goes nowhere; "" when it does. */
static const char *
why_not(const char *url)
{
	static char why[256];
	AgentpayHttpHeader header = {"Authorization", "Bearer " SECRET};
	AgentpayHttpRequest request = request_to(url, &header);
	const char *problem = "";
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer =
		agentpay_http_client_start(client, &request, &problem);

	if (transfer == NULL)
		return problem;
	transfer = next(&r);
	snprintf(why, sizeof(why), "%s",
			 r.status == AGENTPAY_HTTP_REFUSED && !r.sent ? r.problem : "");
	end(transfer);
	return why;
}

static void
expect_refused(const char *listener, const char *problem)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer = call("localhost", listener, "normal", &r);

	check(r.status == AGENTPAY_HTTP_ERROR && !r.sent && r.http_status == 0 &&
			  strcmp(r.problem, problem) == 0,
		  "%s: \"%s\"", listener, r.problem);
	end(transfer);
	check(count(listener, "requests") == 0, "%s has not seen the request",
		  listener);
}

static void
expect_answer(const char *host, const char *listener, int protocol)
{
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer = call(host, listener, "normal", &r);

	check(r.status == AGENTPAY_HTTP_OK && r.http_status == 200 &&
			  r.protocol == protocol && strcmp(r.address, "127.0.0.1") == 0,
		  "%s of %s answers by protocol %d: \"%s\"", listener, host, r.protocol,
		  r.problem);
	end(transfer);
}

static void
test_certificates(void)
{
	expect_answer("localhost", "good", 20);
	expect_answer("127.0.0.1", "good", 20);
	expect_answer("localhost", "http1", 11);
	expect_answer("localhost", "tls12", 20);
	expect_answer("localhost", "tls13", 20);
	expect_answer("localhost", "chained", 20);
	expect_refused("expired",
				   "the certificate is refused: certificate has expired");
	expect_refused("not-yet",
				   "the certificate is refused: certificate is not yet valid");
	expect_refused("wrong-host", "the certificate is for another host");
	expect_refused("wrong-purpose", "the certificate is refused: "
									"unsuitable certificate purpose");
	expect_refused("unknown-ca", "the certificate is refused: unable to get "
								 "local issuer certificate");
	expect_refused("self-signed",
				   "the certificate is refused: self-signed certificate");
	expect_refused("no-authority",
				   "the certificate is refused: invalid CA certificate");
	expect_refused("tls10",
				   "no TLS: the other side does not speak 1.2 or later");
	expect_refused("tls11",
				   "no TLS: the other side does not speak 1.2 or later");
	expect_refused("plain", "no TLS: the other side speaks something else");
}

/* That the old versions would have answered somebody else. */
static void
test_old_servers(void)
{
	static const char *const names[] = {"tls10", "tls11"};

	for (int i = 0; i < 2; i++)
	{
		char command[512];

		snprintf(command, sizeof(command),
				 "/usr/bin/python3 -W ignore -c \"import ssl, socket\n"
				 "c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
				 "c.load_verify_locations('%s')\n"
				 "c.set_ciphers('ALL:@SECLEVEL=0')\n"
				 "c.minimum_version = ssl.TLSVersion.TLSv1\n"
				 "s = c.wrap_socket(socket.create_connection("
				 "('127.0.0.1', %d)), server_hostname='localhost')\n"
				 "assert s.version() == '%s'\"",
				 ca_file, port_of(names[i]), i == 0 ? "TLSv1" : "TLSv1.1");
		check(system(command) == 0, "%s answers who does not mind", names[i]);
	}
}

/* The system's authorities hold beside those of the file, and alone. */
static void
test_authorities(void)
{
	AgentpayHttpOptions options = options_of(NULL);
	const char *problem = "";
	char other[128];
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;
	bool good;

	options.ca_file = NULL;
	renew(&options);
	transfer = call("localhost", "good", "normal", &r);
	check(r.status == AGENTPAY_HTTP_ERROR && !r.sent,
		  "an authority of our own is none without ca_file: \"%s\"", r.problem);
	end(transfer);

	options.ca_file = "/nowhere/ca.pem";
	good = agentpay_http_client_configure(client, &options, &problem);
	check(good && strstr(problem, "ca_file") != NULL,
		  "a file that is not there: \"%s\"", problem);
	snprintf(other, sizeof(other), "%s/good.key", directory);
	options.ca_file = other;
	good = agentpay_http_client_configure(client, &options, &problem);
	check(good && strstr(problem, "ca_file") != NULL,
		  "a file without a certificate: \"%s\"", problem);
	transfer = call("localhost", "good", "normal", &r);
	check(r.status == AGENTPAY_HTTP_ERROR && !r.sent,
		  "and verification goes on: \"%s\"", r.problem);
	end(transfer);

	/* Connections that an authority let through are not used without it. */
	options.ca_file = ca_file;
	check(agentpay_http_client_configure(client, &options, &problem) &&
			  problem == NULL,
		  "the right file");
	transfer = call("localhost", "good", "normal", &r);
	check(r.status == AGENTPAY_HTTP_OK, "is believed");
	end(transfer);
	start_at("localhost", "good", "delay-3000", 20000);
	wait_and_perform();
	snprintf(other, sizeof(other), "%s/other.pem", directory);
	options.ca_file = other;
	agentpay_http_client_configure(client, &options, &problem);
	start_at("localhost", "good", "normal", 20000);
	transfer = next(&r);
	check(r.status == AGENTPAY_HTTP_ERROR,
		  "once it is another one, no more: \"%s\"", r.problem);
	end(transfer);
	transfer = next(&r);
	check(r.status == AGENTPAY_HTTP_OK,
		  "a call that was under way comes to its end");
	end(transfer);
	transfer = call("localhost", "unknown-ca", "normal", &r);
	check(r.status == AGENTPAY_HTTP_OK, "and the other one is believed");
	end(transfer);
	options.ca_file = ca_file;
	renew(&options);
}

/* n calls at once; how many were answered well. */
static int
many(const char *listener, const char *behaviour, int n)
{
	int good = 0;
	AgentpayHttpResult r;

	for (int i = 0; i < n; i++)
		start_at("localhost", listener, behaviour, 30000);
	for (int i = 0; i < n; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		if (r.status == AGENTPAY_HTTP_OK && r.http_status == 200)
			good++;
		else
			printf("# %s: status %d, HTTP %d, \"%s\"\n", listener, r.status,
				   r.http_status, transfer == NULL ? "no answer" : r.problem);
		end(transfer);
		if (transfer == NULL)
			break;
	}
	return good;
}

static void
test_multiplexing(void)
{
	AgentpayHttpOptions options = options_of(NULL);
	int before;
	int seen_now;

	renew(&options);
	before = count("good", "connections");
	check(many("good", "delay-1500", 80) == 80, "80 calls at once over HTTP/2");
	seen_now = count("good", "connections") - before;
	check(seen_now == 1 && count("good", "high_water") == 80,
		  "in %d connection, %d streams at once", seen_now,
		  count("good", "high_water"));
	many("good", "normal", 80);
	seen_now = count("good", "connections") - before;
	check(seen_now == 1, "and 80 more: still %d connection", seen_now);

	/* what the server allows is known once it has answered */
	many("few", "normal", 1);
	seen_now = many("few", "delay-100", 12);
	check(seen_now == 12 && count("few", "high_water") <= 4,
		  "no more streams than the server allows: %d, %d answered",
		  count("few", "high_water"), seen_now);

	before = count("http1", "connections");
	check(many("http1", "delay-300", 100) == 100, "100 at once over HTTP/1.1");
	seen_now = count("http1", "connections") - before;
	check(seen_now == 100, "take %d connections", seen_now);
	check(many("http1", "normal", 100) == 100 &&
			  many("http1", "normal", 100) == 100,
		  "200 more");
	seen_now = count("http1", "connections") - before;
	check(seen_now == 100, "use those again: %d", seen_now);
}

static void
test_http2_faults(void)
{
	static const struct
	{
		const char *behaviour;
		int timeout_ms;
		AgentpayHttpStatus status;
	} cases[] = {
		{"hang", 300, AGENTPAY_HTTP_TIMEOUT},
		{"drip", 300, AGENTPAY_HTTP_TIMEOUT},
		{"huge", 20000, AGENTPAY_HTTP_TRUNCATED},
		{"reset", 5000, AGENTPAY_HTTP_ERROR},
		{"refused", 5000, AGENTPAY_HTTP_ERROR},
		{"goaway", 5000, AGENTPAY_HTTP_OK},
		{"normal", 5000, AGENTPAY_HTTP_OK},
		{"endless-headers", 20000, AGENTPAY_HTTP_TRUNCATED},
		{"normal", 5000, AGENTPAY_HTTP_OK},
	};
	long before = resident_kb();
	int requests = count("good", "requests");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		AgentpayHttpResult r;
		AgentpayHttpTransfer *transfer;

		start_at("localhost", "good", cases[i].behaviour, cases[i].timeout_ms);
		transfer = next(&r);
		check((r.status == cases[i].status ||
			   /* the session is broken off before any of it is shown */
			   (strcmp(cases[i].behaviour, "endless-headers") == 0 &&
				r.status == AGENTPAY_HTTP_ERROR)) &&
				  r.sent,
			  "HTTP/2 %s: status %d, \"%s\"", cases[i].behaviour, r.status,
			  r.problem);
		end(transfer);
	}
	requests = count("good", "requests") - requests;
	check(requests == (int) (sizeof(cases) / sizeof(*cases)),
		  "each was sent once: %d", requests);
	before = resident_kb() - before;
	/* of 10 GB; how many chunks libcurl holds depends on the load */
	check(before < 16 * KB, "memory stays flat: %ld kB more", before);
}

/* A stream that is cut off leaves the others alone. */
static void
test_http2_abort(void)
{
	AgentpayHttpTransfer *hanging[20];
	AgentpayHttpTransfer *slow;
	AgentpayHttpResult r;
	int cancelled = count("good", "cancelled");
	double deadline = now_ms() + DEADLINE_MS;
	int requests = count("good", "requests");
	int killed = 0;
	int answered = 0;

	slow = start_at("localhost", "good", "delay-1000", 20000);
	for (int i = 0; i < 20; i++)
		hanging[i] = start_at("localhost", "good", "hang", 60000);
	while (count("good", "requests") < requests + 21 && now_ms() < deadline)
		wait_and_perform();
	for (int i = 0; i < 20; i++)
		agentpay_http_client_abort(client, hanging[i]);
	for (int i = 0; i < 21; i++)
	{
		AgentpayHttpTransfer *transfer = next(&r);

		killed += r.status == AGENTPAY_HTTP_KILLED && r.sent;
		answered += r.status == AGENTPAY_HTTP_OK && transfer == slow;
		end(transfer);
	}
	check(killed == 20, "20 streams are aborted");
	check(answered == 1, "the one beside them is answered");
	check(count("good", "cancelled") - cancelled == 20,
		  "the server was told so: %d", count("good", "cancelled") - cancelled);
}

/* What comes back has the key blotted out. */
static void
test_echo(void)
{
	static const char *const listeners[] = {"good", "http1"};

	for (int i = 0; i < 2; i++)
	{
		AgentpayHttpResult r;
		AgentpayHttpTransfer *transfer = call("localhost", listeners[i], "echo",
											  &r);

		check(r.status == AGENTPAY_HTTP_OK && r.body_len > 0 &&
				  strstr(r.body, "**********************") != NULL &&
				  strstr(r.body, SECRET) == NULL &&
				  strstr(r.request_id, SECRET) == NULL &&
				  strchr(r.request_id, '*') != NULL,
			  "%s sends the key back: \"%s\"", listeners[i], r.request_id);
		end(transfer);
	}
}

static void
check_tunnel(const char *proxy, const char *target, int port)
{
	json_object *all = seen(proxy);
	json_object *journal = NULL;
	json_object *last;
	json_object *path = NULL;
	char wanted[128];
	const char *text;

	snprintf(wanted, sizeof(wanted), "%s:%d", target, port);
	json_object_object_get_ex(all, "journal", &journal);
	last = json_object_array_length(journal) == 0
			   ? NULL
			   : json_object_array_get_idx(journal,
										   json_object_array_length(journal) -
											   1);
	json_object_object_get_ex(last, "path", &path);
	text = json_object_to_json_string(last);
	check(path != NULL && strcmp(json_object_get_string(path), wanted) == 0,
		  "%s was asked for %s", proxy, json_object_get_string(path));
	check(strstr(text, "sk-sentinel") == NULL &&
			  strstr(text, "\"authorization\"") == NULL,
		  "and told nothing of the agent's: %s", text);
	json_object_put(all);
}

static void
test_proxy(void)
{
	static const char *const proxies[] = {"proxy", "proxy-tls", "proxy-login"};
	AgentpayHttpOptions options;
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;
	int tunnels;

	for (int i = 0; i < 3; i++)
	{
		options = options_of(proxies[i]);
		renew(&options);
		/* No resolver of ours knows this name: the proxy does. */
		transfer = call("llm.agent.test", "good", "normal", &r);
		check(r.status == AGENTPAY_HTTP_OK && r.http_status == 200 &&
				  r.protocol == 20 && r.retry_after_ms == -1,
			  "%s leads to the agent, by HTTP/2: \"%s\"", proxies[i],
			  r.problem);
		end(transfer);
		check_tunnel(proxies[i], "llm.agent.test", port_of("good"));
		tunnels = count(proxies[i], "requests");
		end(call("llm.agent.test", "good", "normal", &r));
		check(count(proxies[i], "requests") == tunnels,
			  "the tunnel is used again");
		transfer = call("llm.agent.test", "wrong-host", "normal", &r);
		check(r.status == AGENTPAY_HTTP_ERROR && !r.sent &&
				  strcmp(r.problem, "the certificate is for another host") == 0,
			  "%s: the agent's certificate counts: \"%s\"", proxies[i],
			  r.problem);
		end(transfer);
		tunnels = count(proxies[i], "requests");
		expect_answer("localhost", "good", 20);
		expect_answer("127.0.0.1", "http1", 11);
		check(count(proxies[i], "requests") == tunnels,
			  "this machine is called without it");
	}
}

static void
test_proxy_faults(void)
{
	static const struct
	{
		const char *proxy;
		AgentpayHttpStatus status;
		const char *problem;
	} cases[] = {
		{"proxy-refuse", AGENTPAY_HTTP_ERROR, "the proxy answered HTTP 403"},
		{"proxy-hang", AGENTPAY_HTTP_TIMEOUT, "by the proxy: "},
		{"proxy-bad", AGENTPAY_HTTP_ERROR,
		 "the proxy's certificate is for another host"},
	};
	AgentpayHttpOptions options;
	AgentpayHttpResult r;
	AgentpayHttpTransfer *transfer;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		options = options_of(cases[i].proxy);
		renew(&options);
		start_at("llm.agent.test", "good", "normal", 500);
		transfer = next(&r);
		check(r.status == cases[i].status && !r.sent && r.http_status == 0 &&
				  strncmp(r.problem, cases[i].problem,
						  strlen(cases[i].problem)) == 0,
			  "%s: \"%s\"", cases[i].proxy, r.problem);
		end(transfer);
	}
	options = options_of("proxy");
	renew(&options);
	transfer = call("unknown.example", "good", "normal", &r);
	check(r.status == AGENTPAY_HTTP_ERROR && !r.sent &&
			  strcmp(r.problem, "the proxy answered HTTP 502") == 0,
		  "a name that it does not know: \"%s\"", r.problem);
	end(transfer);
	options.proxy = "https://127.0.0.1:1";
	renew(&options);
	transfer = call("llm.agent.test", "good", "normal", &r);
	check(r.status == AGENTPAY_HTTP_ERROR && !r.sent, "no proxy there: \"%s\"",
		  r.problem);
	end(transfer);
	options.proxy = "https://169.254.169.254:80";
	renew(&options);
	transfer = call("llm.agent.test", "good", "normal", &r);
	check(r.status == AGENTPAY_HTTP_REFUSED && !r.sent,
		  "a proxy at a forbidden address: \"%s\"", r.problem);
	end(transfer);
}

/* Refused before a proxy hears of it; without a proxy, at its address. */
static void
test_proxy_refusals(void)
{
	static const char *const hosts[] = {
		"169.254.169.254", "[fd00:ec2::254]",		   "0xa9fea9fe",
		"2852039166",	   "0251.0376.0251.0376",	   "169.254.43518",
		"100.100.100.200", "metadata.google.internal", "metadata.goog",
		"METADATA",		   "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
		"168.63.129.16",   "[2002:a9fe:a9fe::]",
	};
	static const char *const forbidden =
		"the host is forbidden: link-local or a metadata service";
	AgentpayHttpOptions options = options_of("proxy");
	char url[128];
	int tunnels;

	renew(&options);
	tunnels = count("proxy", "requests");
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++)
	{
		snprintf(url, sizeof(url), "https://%s/x", hosts[i]);
		check(strcmp(why_not(url), forbidden) == 0, "%s goes to no proxy",
			  hosts[i]);
	}
	check(strcmp(why_not("https://169.254.169.254./x"), "not a URL") == 0,
		  "nor does a number with a dot after it");
	check(strcmp(why_not("http://llm.agent.test/x"), "http beyond loopback") ==
			  0,
		  "nothing goes to a proxy in clear");
	options.proxy = "http://192.0.2.1:3128";
	renew(&options);
	check(strcmp(why_not("https://llm.agent.test/x"),
				 "the proxy's credentials would go out in clear") == 0,
		  "nor do its credentials");
	options.proxy = "invalid";
	renew(&options);
	check(strcmp(why_not("https://llm.agent.test/x"),
				 "agentpay.egress_proxy is not valid") == 0,
		  "a proxy that is none");
	check(count("proxy", "requests") == tunnels, "and the proxy heard nothing");
}

static void
test_environment(void)
{
	static const char *const names[] = {"http_proxy", "https_proxy",
										"HTTPS_PROXY", "ALL_PROXY",
										"all_proxy"};
	AgentpayHttpOptions options = options_of(NULL);
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", port_of("proxy-refuse"));
	for (int i = 0; i < 5; i++)
		setenv(names[i], url, 1);
	setenv("SSL_CERT_FILE", "/nowhere", 1);
	renew(&options);
	expect_answer("localhost", "good", 20);
	options = options_of("proxy");
	setenv("no_proxy", "*", 1);
	setenv("NO_PROXY", ".agent.test", 1);
	renew(&options);
	expect_answer("llm.agent.test", "good", 20);
	check(count("proxy-refuse", "connections") == 1,
		  "the environment's proxy heard nothing");
	for (int i = 0; i < 5; i++)
		unsetenv(names[i]);
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	unsetenv("SSL_CERT_FILE");
}

int
main(void)
{
	AgentpayHttpOptions options;
	char command[128];
	pid_t server;

	setvbuf(stdout, NULL, _IOLBF, 0);
	server = start_server();
	signal(SIGPIPE, SIG_IGN);
	if (!check(port_of("control") > 0, "the servers are there"))
		return tap_done();
	options = options_of(NULL);
	renew(&options);

	test_certificates();
	test_old_servers();
	test_authorities();
	test_multiplexing();
	test_http2_faults();
	test_http2_abort();
	test_echo();
	test_proxy();
	test_proxy_faults();
	test_proxy_refusals();
	test_environment();

	agentpay_http_client_destroy(client);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	check(system(command) == 0, "and all is tidied up");
	return tap_done();
}
