/*-------------------------------------------------------------------------
 * http_transfer.c
 *		One call: what libcurl is told, what it hands over, what came of it.
 *
 * The callbacks run inside libcurl: they note what happened in the transfer
 * and return; they never leave by longjmp.
 *-------------------------------------------------------------------------
 */
#include "agents/http_transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

/* A connection that was verified longer ago is not used again. */
#define CONNECTION_LIFE_SECONDS 3600L
/* Shorter ones would be found where they are not. */
#define SHORTEST_SECRET 8

int64_t
agentpay_http_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* libcurl: make a socket for this address.  The place to refuse it. */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	AgentpayHttpTransfer *transfer = arg;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		!agentpay_http_address_allowed(&address->addr,
									   transfer->tls || transfer->proxied))
	{
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	transfer->connecting = true;
	return socket(address->family, address->socktype | SOCK_CLOEXEC,
				  address->protocol);
}

/*
 * libcurl: about to send over this connection, a new one or one of before.
 * It comes here again when that one turned out to be dead; then it goes on
 * only if nothing of the body was handed over.
 */
static int
on_request(void *arg, char *address, char *local_address, int port,
		   int local_port)
{
	AgentpayHttpTransfer *transfer = arg;

	(void) local_address;
	(void) port;
	(void) local_port;
	if (transfer->underway && transfer->request_at > 0)
		return CURL_PREREQFUNC_ABORT;
	if (!agentpay_http_text_allowed(address,
									transfer->tls || transfer->proxied))
	{
		transfer->refused = true;
		return CURL_PREREQFUNC_ABORT;
	}
	transfer->underway = true;
	return CURL_PREREQFUNC_OK;
}

/* libcurl: more of the request's body.  It can be read once only. */
static size_t
on_read(char *buffer, size_t size, size_t n, void *arg)
{
	AgentpayHttpTransfer *transfer = arg;
	size_t left = transfer->request_len - transfer->request_at;
	size_t take = size * n < left ? size * n : left;

	if (left == 0 && transfer->request_len > 0)
		return CURL_READFUNC_ABORT; /* a second time */
	memcpy(buffer, transfer->request + transfer->request_at, take);
	transfer->request_at += take;
	return take;
}

/* libcurl: a part of the answer's body. */
static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	AgentpayHttpTransfer *transfer = arg;
	size_t len = size * n;

	transfer->last_ns = agentpay_http_now_ns();
	if (len > transfer->body_limit - transfer->body_len)
	{
		transfer->over_limit = true;
		return 0;
	}
	if (transfer->body_len + len >= transfer->body_size)
	{
		size_t wanted = (transfer->body_len + len) * 2;
		size_t grown_size =
			(wanted < transfer->body_limit ? wanted : transfer->body_limit) + 1;
		char *grown = malloc(grown_size);

		if (grown == NULL)
		{
			transfer->out_of_memory = true;
			return 0;
		}
		/* the old one may have a key in it that was sent back */
		if (transfer->body != NULL)
		{
			memcpy(grown, transfer->body, transfer->body_len);
			explicit_bzero(transfer->body, transfer->body_len);
			free(transfer->body);
		}
		transfer->body = grown;
		transfer->body_size = grown_size;
	}
	memcpy(transfer->body + transfer->body_len, data, len);
	transfer->body_len += len;
	transfer->body[transfer->body_len] = '\0';
	return len;
}

/* Copies a header's value when its name is this one; printable ASCII only. */
static void
keep_header(const char *line, size_t len, const char *name, char *value,
			size_t size)
{
	size_t at = strlen(name);
	size_t to = 0;

	if (len <= at || strncasecmp(line, name, at) != 0 || line[at] != ':')
		return;
	for (at++; at < len && (line[at] == ' ' || line[at] == '\t'); at++)
		;
	for (; at < len && to + 1 < size && line[at] >= 0x20 && line[at] <= 0x7e;
		 at++)
		value[to++] = line[at];
	value[to] = '\0';
}

/* Whether it is a status line, other than one that announces more. */
static bool
is_final_status(const char *line, size_t len)
{
	const char *space;

	if (len < 10 || memcmp(line, "HTTP/", 5) != 0)
		return false;
	space = memchr(line, ' ', len - 1);
	return space != NULL && space[1] != '1';
}

/* libcurl: one line of the answer's head, or of its trailer. */
static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	AgentpayHttpTransfer *transfer = arg;
	size_t len = size * n;

	transfer->last_ns = agentpay_http_now_ns();
	transfer->header_len += len;
	if (transfer->header_len > transfer->header_limit)
	{
		transfer->over_limit = true;
		return 0;
	}
	if (is_final_status(data, len))
	{
		transfer->answered = true;
		transfer->retry_after[0] = transfer->request_id[0] = '\0';
		/* An agent may think as long as its time-out lets it. */
		curl_easy_setopt(transfer->easy, CURLOPT_LOW_SPEED_TIME,
						 (long) transfer->low_speed_seconds);
	}
	keep_header(data, len, "retry-after", transfer->retry_after,
				sizeof(transfer->retry_after));
	keep_header(data, len, transfer->request_id_header, transfer->request_id,
				sizeof(transfer->request_id));
	return len;
}

bool
agentpay_http_append_line(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

/* Releases a list of lines that may hold secrets. */
static void
wipe_lines(struct curl_slist *list)
{
	for (struct curl_slist *line = list; line != NULL; line = line->next)
		explicit_bzero(line->data, strlen(line->data));
	curl_slist_free_all(list);
}

/* Whether the bytes can stand in a header without ending it. */
static bool
fits_header(const char *text, bool is_name)
{
	for (const char *at = text; *at != '\0'; at++)
	{
		if ((unsigned char) *at < 0x20 || *at == 0x7f ||
			(is_name && (*at == ':' || *at == ' ' || *at == ';')))
			return false;
	}
	return !is_name || *text != '\0';
}

/* Whether it is a header that libcurl writes, and nobody else. */
static bool
is_reserved(const char *name)
{
	static const char *const names[] = {"host",		  "content-length",
										"connection", "transfer-encoding",
										"te",		  "upgrade",
										"expect"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
	{
		if (strcasecmp(name, names[i]) == 0)
			return true;
	}
	return strncasecmp(name, "proxy-", 6) == 0;
}

/* Takes over all that start() was given, except the URL. */
bool
agentpay_http_transfer_copy(AgentpayHttpTransfer *transfer,
							const AgentpayHttpRequest *request,
							const char **problem)
{
	transfer->body_limit = request->response_limit_bytes;
	transfer->header_limit = request->header_limit_bytes > 0
								 ? request->header_limit_bytes
								 : AGENTPAY_HTTP_HEADER_LIMIT_BYTES;
	transfer->result.user = request->user;
	snprintf(transfer->request_id_header, sizeof(transfer->request_id_header),
			 "%s",
			 request->request_id_header ? request->request_id_header
										: "x-request-id");
	transfer->request_len = request->body_len;
	transfer->request = malloc(request->body_len + 1);
	if (transfer->request == NULL)
		return false;
	memcpy(transfer->request, request->body, request->body_len);
	if (request->secret != NULL &&
		(transfer->secret = strdup(request->secret)) == NULL)
		return false;
	/* No "Expect: 100-continue": it costs a round trip. */
	if (!agentpay_http_append_line(&transfer->headers, "Expect:") ||
		(request->resolve != NULL &&
		 !agentpay_http_append_line(&transfer->resolve, request->resolve)))
		return false;

	for (int i = 0; i < request->n_headers; i++)
	{
		const AgentpayHttpHeader *header = &request->headers[i];
		size_t size = strlen(header->name) + strlen(header->value) + 3;
		char *line;
		bool appended;

		if (!fits_header(header->name, true) ||
			!fits_header(header->value, false))
		{
			*problem = "a control character in a header";
			return false;
		}
		if (is_reserved(header->name))
		{
			*problem = "a header that is not the caller's";
			return false;
		}
		line = malloc(size);
		if (line == NULL)
			return false;
		/* ";" is libcurl's way to send a header without a value. */
		snprintf(line, size, "%s%s%s", header->name,
				 header->value[0] == '\0' ? ";" : ": ", header->value);
		appended = agentpay_http_append_line(&transfer->headers, line);
		explicit_bzero(line, size);
		free(line);
		if (!appended)
			return false;
	}
	return true;
}

/* What no setting can change. */
static bool
set_fixed_options(AgentpayHttpTransfer *transfer)
{
	CURL *easy = transfer->easy;
	bool good = true;

#define SET(option, value) \
	(good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_SECONDS);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_PIPEWAIT, transfer->tls ? 1L : 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_PREREQFUNCTION, on_request);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->heard);
	SET(CURLOPT_READFUNCTION, on_read);
	SET(CURLOPT_READDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, transfer);
	return good;
}

/* Prepares the transfer's easy handle. */
bool
agentpay_http_transfer_prepare(AgentpayHttpTransfer *transfer,
							   const AgentpayHttpRequest *request,
							   const AgentpayHttpRoute *route)
{
	CURL *easy = transfer->easy;
	bool good = set_fixed_options(transfer) &&
				agentpay_http_trust_use(route->trust, easy) &&
				agentpay_http_transfer_set_proxy(transfer, route);
	int connect_ms = request->connect_timeout_ms > 0
						 ? request->connect_timeout_ms
						 : request->timeout_ms;

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_len);
	SET(CURLOPT_HTTPHEADER, transfer->headers);
	SET(CURLOPT_TIMEOUT_MS, (long) request->timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) connect_ms);
	SET(CURLOPT_LOW_SPEED_LIMIT, (long) request->low_speed_bytes);
	transfer->low_speed_seconds = request->low_speed_seconds;
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) request->response_limit_bytes);
	if (transfer->resolve != NULL)
		SET(CURLOPT_RESOLVE, transfer->resolve);
	if (route->no_dns_cache)
		SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
#undef SET
	return good;
}

static AgentpayHttpStatus
classify(const AgentpayHttpTransfer *transfer, CURLcode code)
{
	if (!transfer->result.sent &&
		(transfer->refused || (transfer->forbidden && !transfer->connecting)))
		return AGENTPAY_HTTP_REFUSED;
	switch (code)
	{
		case CURLE_OK:
			return AGENTPAY_HTTP_OK;
		case CURLE_OPERATION_TIMEDOUT:
			return AGENTPAY_HTTP_TIMEOUT;
		case CURLE_FILESIZE_EXCEEDED:
		case CURLE_PARTIAL_FILE:
			return AGENTPAY_HTTP_TRUNCATED;
		default:
			break;
	}
	if (transfer->out_of_memory)
		return AGENTPAY_HTTP_ERROR;
	return transfer->over_limit || transfer->answered ? AGENTPAY_HTTP_TRUNCATED
													  : AGENTPAY_HTTP_ERROR;
}

/* Retry-After, a number of seconds or a date, within our bounds. */
static int
read_retry_after(const char *text)
{
	char *end;
	long long seconds;

	if (text[0] == '\0')
		return -1;
	errno = 0;
	seconds = strtoll(text, &end, 10);
	if (end == text || *end != '\0')
	{
		time_t date = curl_getdate(text, NULL);

		if (date == -1)
			return -1;
		seconds = (long long) date - (long long) time(NULL);
	}
	if (seconds <= 0)
		return 0;
	return seconds >= AGENTPAY_HTTP_RETRY_AFTER_MAX_MS / 1000
			   ? AGENTPAY_HTTP_RETRY_AFTER_MAX_MS
			   : (int) seconds * 1000;
}

/* Says what went wrong in words that hold nothing of the peer's. */
static void
describe(AgentpayHttpTransfer *transfer, CURLcode code)
{
	char *problem = transfer->problem;
	size_t size = sizeof(transfer->problem);
	long os_error = 0;
	long proxy_status = 0;

	switch (transfer->result.status)
	{
		case AGENTPAY_HTTP_OK:
			return;
		case AGENTPAY_HTTP_KILLED:
			snprintf(problem, size, "aborted");
			return;
		case AGENTPAY_HTTP_REFUSED:
			snprintf(problem, size,
					 "the address is forbidden: link-local, a metadata "
					 "service, or http beyond loopback");
			return;
		default:
			break;
	}
	if (transfer->over_limit || code == CURLE_FILESIZE_EXCEEDED)
	{
		snprintf(problem, size, "the answer is larger than allowed");
		return;
	}
	if (code == CURLE_SEND_FAIL_REWIND || code == CURLE_ABORTED_BY_CALLBACK ||
		(code == CURLE_COULDNT_CONNECT && transfer->result.sent))
	{
		snprintf(problem, size, "the connection was closed without an answer");
		return;
	}
	if (agentpay_http_trust_describe(transfer->easy, code, transfer->heard,
									 problem, size))
		return;
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
	if (!transfer->underway && proxy_status >= 300)
	{
		snprintf(problem, size, "the proxy answered HTTP %ld", proxy_status);
		return;
	}
	if (code == CURLE_COULDNT_CONNECT)
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error);
	snprintf(problem, size, "%s%s%s%s",
			 transfer->proxied && !transfer->underway ? "by the proxy: " : "",
			 curl_easy_strerror(code), os_error != 0 ? ": " : "",
			 os_error != 0 ? strerror((int) os_error) : "");
}

/* An agent that sends back the key that it was sent does not get it stored. */
static void
blot_out(char *text, size_t len, const char *secret)
{
	size_t secret_len = secret == NULL ? 0 : strlen(secret);
	char *end = text + len;

	if (secret_len < SHORTEST_SECRET || text == NULL)
		return;
	while ((size_t) (end - text) >= secret_len)
	{
		text = memchr(text, secret[0], (size_t) (end - text) - secret_len + 1);
		if (text == NULL)
			return;
		if (memcmp(text, secret, secret_len) == 0)
			memset(text, '*', secret_len);
		text++;
	}
}

/*
 * Writes the result of a transfer that libcurl has finished with this code,
 * or that is killed before.  The handle is still there.
 */
void
agentpay_http_transfer_conclude(AgentpayHttpTransfer *transfer, CURLcode code,
								bool killed)
{
	AgentpayHttpResult *result = &transfer->result;
	long http_status = 0;
	long version = CURL_HTTP_VERSION_NONE;
	char *address = NULL;
	int64_t end_ns = agentpay_http_now_ns();

	/* Not the proxy's. */
	if (transfer->answered)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http_status);
		curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
	}
	curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &address);
	snprintf(transfer->address, sizeof(transfer->address), "%s",
			 address == NULL ? "" : address);

	/* Not what libcurl says it sent: a retry that failed resets that. */
	result->sent = transfer->answered ||
				   (transfer->underway &&
					transfer->request_at >= transfer->request_len);
	result->status = killed ? AGENTPAY_HTTP_KILLED : classify(transfer, code);
	describe(transfer, code);
	blot_out(transfer->body, transfer->body_len, transfer->secret);
	blot_out(transfer->request_id, strlen(transfer->request_id),
			 transfer->secret);
	result->problem = transfer->problem;
	result->request = transfer->request == NULL ? "" : transfer->request;
	result->request_len = transfer->request == NULL ? 0 : transfer->request_len;
	result->http_status = (int) http_status;
	result->body = transfer->body == NULL ? "" : transfer->body;
	result->body_len = transfer->body_len;
	result->retry_after_ms = read_retry_after(transfer->retry_after);
	if (result->status == AGENTPAY_HTTP_OK && transfer->last_ns > 0)
		end_ns = transfer->last_ns;
	result->latency_ms = (double) (end_ns - transfer->started_ns) / 1e6;
	result->address = transfer->address;
	result->protocol = version == CURL_HTTP_VERSION_2_0	  ? 20
					   : version == CURL_HTTP_VERSION_1_1 ? 11
					   : version == CURL_HTTP_VERSION_1_0 ? 10
														  : 0;
	result->request_id = transfer->request_id;
}

/* Wipes and frees the headers, and with them the secret. */
void
agentpay_http_transfer_wipe(AgentpayHttpTransfer *transfer)
{
	wipe_lines(transfer->headers);
	wipe_lines(transfer->proxy_headers);
	transfer->headers = transfer->proxy_headers = NULL;
	if (transfer->secret != NULL)
		explicit_bzero(transfer->secret, strlen(transfer->secret));
	free(transfer->secret);
	transfer->secret = NULL;
}
