/*-------------------------------------------------------------------------
 * http_client.c
 *		Thousands of HTTP calls at once, behind one file descriptor.
 *
 * libcurl tells which sockets it waits for, and they are kept in one epoll
 * set, so that a worker waits on its latch and on one descriptor.  Callbacks
 * note what happened in the transfer and return; they never leave by longjmp.
 *
 * A request is never sent twice by libcurl itself: the body comes from a
 * read callback that cannot be rewound, so that the silent retry on a reused
 * connection that died fails instead, and the caller learns that the fate of
 * the request is unknown.
 *-------------------------------------------------------------------------
 */
#include "agents/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#define EVENTS_AT_ONCE 256
#define ROUNDS_AT_ONCE 16 /* then the caller's turn */
#define IDLE_CONNECTIONS 64

struct AgentpayHttpTransfer
{
	AgentpayHttpClient *client;
	AgentpayHttpTransfer *next; /* in the client's list of its state */
	AgentpayHttpTransfer *previous;
	CURL *easy;					/* NULL once finished */
	struct curl_slist *headers; /* NULL once finished */
	char *request;				/* NULL once finished */
	size_t request_len;
	size_t request_at; /* read by libcurl so far */
	bool tls;

	char *body;
	size_t body_len;
	size_t body_size;
	size_t body_limit;
	size_t header_len;
	size_t header_limit;
	bool over_limit;
	bool out_of_memory;
	bool forbidden;	 /* an address was refused */
	bool connecting; /* an address was not */
	bool answered;	 /* a status line came */

	int64_t started_ns;
	int64_t last_ns; /* a byte came */
	struct curl_slist *resolve;
	char retry_after[64];
	char request_id[128];
	char address[64];
	char problem[128];
	AgentpayHttpResult result;
};

typedef struct TransferList
{
	AgentpayHttpTransfer *first;
	AgentpayHttpTransfer *last;
} TransferList;

struct AgentpayHttpClient
{
	CURLM *multi;
	int epoll_fd;
	int64_t timer_at_ns; /* -1: none */
	int n_in_flight;
	TransferList in_flight;
	TransferList done;
	char *ca_file;
};

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *arg,
					 void *socket_arg);
static int on_timer(CURLM *multi, long timeout_ms, void *arg);
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static size_t on_read(char *buffer, size_t size, size_t n, void *arg);
static size_t on_body(char *data, size_t size, size_t n, void *arg);
static size_t on_header(char *data, size_t size, size_t n, void *arg);
static bool
copy_request(AgentpayHttpTransfer *transfer, const AgentpayHttpRequest *request,
			 const char **problem);
static bool
set_options(AgentpayHttpTransfer *transfer, const AgentpayHttpRequest *request);
static void collect_finished(AgentpayHttpClient *client);
static void finish(AgentpayHttpTransfer *transfer, CURLcode code, bool killed);
static void release(AgentpayHttpTransfer *transfer);

/*
 * libcurl's resolver threads inherit the mask, so that no signal handler of
 * the process ever runs in one of them.
 */
static void
block_signals(sigset_t *saved)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
list_append(TransferList *list, AgentpayHttpTransfer *transfer)
{
	transfer->next = NULL;
	transfer->previous = list->last;
	if (list->last != NULL)
		list->last->next = transfer;
	else
		list->first = transfer;
	list->last = transfer;
}

static void
list_remove(TransferList *list, AgentpayHttpTransfer *transfer)
{
	if (transfer->previous != NULL)
		transfer->previous->next = transfer->next;
	else
		list->first = transfer->next;
	if (transfer->next != NULL)
		transfer->next->previous = transfer->previous;
	else
		list->last = transfer->previous;
	transfer->next = transfer->previous = NULL;
}

AgentpayHttpClient *
agentpay_http_client_create(const AgentpayHttpOptions *options,
							const char **problem)
{
	AgentpayHttpClient *client = calloc(1, sizeof(*client));
	long idle = options->max_connections > IDLE_CONNECTIONS
					? options->max_connections
					: IDLE_CONNECTIONS;
	sigset_t saved;

	*problem = "out of memory";
	if (client == NULL)
		return NULL;
	client->timer_at_ns = -1;
	client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (client->epoll_fd < 0)
	{
		*problem = "out of file descriptors";
		free(client);
		return NULL;
	}
	if (options->ca_file != NULL)
		client->ca_file = strdup(options->ca_file);

	block_signals(&saved);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
	{
		client->multi = curl_multi_init();
		if (client->multi == NULL)
			curl_global_cleanup();
	}
	if (client->multi != NULL)
	{
		CURLM *multi = client->multi;

		curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
		curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
		curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
						  (long) options->max_connections);
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, idle);
	}
	restore_signals(&saved);

	if (client->multi == NULL ||
		(options->ca_file != NULL && client->ca_file == NULL))
	{
		agentpay_http_client_destroy(client);
		return NULL;
	}
	return client;
}

void
agentpay_http_client_destroy(AgentpayHttpClient *client)
{
	AgentpayHttpTransfer *transfer;
	sigset_t saved;

	block_signals(&saved);
	while ((transfer = client->in_flight.first) != NULL)
		finish(transfer, CURLE_OK, true);
	while ((transfer = client->done.first) != NULL)
	{
		list_remove(&client->done, transfer);
		release(transfer);
	}
	if (client->multi != NULL)
	{
		curl_multi_cleanup(client->multi);
		curl_global_cleanup();
	}
	restore_signals(&saved);
	close(client->epoll_fd);
	free(client->ca_file);
	free(client);
}

AgentpayHttpTransfer *
agentpay_http_client_start(AgentpayHttpClient *client,
						   const AgentpayHttpRequest *request,
						   const char **problem)
{
	AgentpayHttpTransfer *transfer;
	char origin[512];
	sigset_t saved;
	bool started;

	if (!agentpay_http_origin(request->url, origin, sizeof(origin), problem))
		return NULL;
	*problem = "a limit that is not positive";
	if (request->timeout_ms <= 0 || request->response_limit_bytes == 0)
		return NULL;
	*problem = "out of memory";
	transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL)
		return NULL;

	block_signals(&saved);
	transfer->client = client;
	transfer->tls = strncmp(origin, "https:", 6) == 0;
	transfer->started_ns = now_ns();
	started = copy_request(transfer, request, problem) &&
			  (transfer->easy = curl_easy_init()) != NULL &&
			  set_options(transfer, request) &&
			  curl_multi_add_handle(client->multi, transfer->easy) == CURLM_OK;
	if (started)
	{
		client->n_in_flight++;
		list_append(&client->in_flight, transfer);
	}
	else
	{
		release(transfer);
		transfer = NULL;
	}
	restore_signals(&saved);
	return transfer;
}

int
agentpay_http_client_fd(const AgentpayHttpClient *client)
{
	return client->epoll_fd;
}

long
agentpay_http_client_timeout_ms(const AgentpayHttpClient *client)
{
	int64_t left_ns;

	if (client->done.first != NULL)
		return 0;
	if (client->timer_at_ns < 0)
		return -1;
	left_ns = client->timer_at_ns - now_ns();
	return left_ns <= 0 ? 0 : (long) ((left_ns + 999999) / 1000000);
}

void
agentpay_http_client_perform(AgentpayHttpClient *client)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int running;
	sigset_t saved;

	block_signals(&saved);
	for (int round = 0; round < ROUNDS_AT_ONCE; round++)
	{
		int n = epoll_wait(client->epoll_fd, events, EVENTS_AT_ONCE, 0);
		bool due = client->timer_at_ns >= 0 && client->timer_at_ns <= now_ns();

		for (int i = 0; i < n; i++)
		{
			uint32_t seen = events[i].events;
			int what = (seen & EPOLLIN ? CURL_CSELECT_IN : 0) |
					   (seen & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
					   (seen & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

			curl_multi_socket_action(client->multi, events[i].data.fd, what,
									 &running);
		}
		if (due)
		{
			client->timer_at_ns = -1;
			curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0,
									 &running);
		}
		collect_finished(client);
		if (n < EVENTS_AT_ONCE && !due)
			break;
	}
	restore_signals(&saved);
}

int
agentpay_http_client_in_flight(const AgentpayHttpClient *client)
{
	return client->n_in_flight;
}

AgentpayHttpTransfer *
agentpay_http_client_next_done(AgentpayHttpClient *client,
							   AgentpayHttpResult *result)
{
	AgentpayHttpTransfer *transfer = client->done.first;

	if (transfer == NULL)
		return NULL;
	list_remove(&client->done, transfer);
	transfer->client = NULL;
	*result = transfer->result;
	return transfer;
}

void
agentpay_http_client_abort(AgentpayHttpClient *client,
						   AgentpayHttpTransfer *transfer)
{
	sigset_t saved;

	if (transfer->client != client || transfer->easy == NULL)
		return;
	block_signals(&saved);
	finish(transfer, CURLE_OK, true);
	restore_signals(&saved);
}

void
agentpay_http_transfer_free(AgentpayHttpTransfer *transfer)
{
	sigset_t saved;

	block_signals(&saved);
	release(transfer);
	restore_signals(&saved);
}

/* libcurl: wait for this on that socket. */
static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg,
		  void *socket_arg)
{
	AgentpayHttpClient *client = arg;
	struct epoll_event event = {.data.fd = socket};

	(void) easy;
	(void) socket_arg;
	if (what == CURL_POLL_REMOVE)
	{
		/* It may be closed already, which removed it. */
		(void) epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, socket, &event);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) |
				   (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, socket, &event) == 0)
		return 0;
	return epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, socket, &event) == 0 ? 0
																		   : -1;
}

/* libcurl: call me when so much time has passed. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	AgentpayHttpClient *client = arg;

	(void) multi;
	client->timer_at_ns = timeout_ms < 0
							  ? -1
							  : now_ns() + (int64_t) timeout_ms * 1000000;
	return 0;
}

/* libcurl: make a socket for this address.  The place to refuse it. */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	AgentpayHttpTransfer *transfer = arg;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		!agentpay_http_address_allowed(&address->addr, transfer->tls))
	{
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	transfer->connecting = true;
	return socket(address->family, address->socktype | SOCK_CLOEXEC,
				  address->protocol);
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

	transfer->last_ns = now_ns();
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
		char *grown = realloc(transfer->body, grown_size);

		if (grown == NULL)
		{
			transfer->out_of_memory = true;
			return 0;
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

/* libcurl: one line of the answer's head, or of its trailer. */
static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	AgentpayHttpTransfer *transfer = arg;
	size_t len = size * n;

	transfer->last_ns = now_ns();
	transfer->header_len += len;
	if (transfer->header_len > transfer->header_limit)
	{
		transfer->over_limit = true;
		return 0;
	}
	if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		transfer->answered = true;
		transfer->retry_after[0] = transfer->request_id[0] = '\0';
	}
	keep_header(data, len, "retry-after", transfer->retry_after,
				sizeof(transfer->retry_after));
	keep_header(data, len, "x-request-id", transfer->request_id,
				sizeof(transfer->request_id));
	return len;
}

/* Appends to a list of libcurl's; false when out of memory. */
static bool
append_line(struct curl_slist **list, const char *line)
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

static bool
copy_request(AgentpayHttpTransfer *transfer, const AgentpayHttpRequest *request,
			 const char **problem)
{
	transfer->body_limit = request->response_limit_bytes;
	transfer->header_limit = request->header_limit_bytes > 0
								 ? request->header_limit_bytes
								 : AGENTPAY_HTTP_HEADER_LIMIT_BYTES;
	transfer->result.user = request->user;
	transfer->request_len = request->body_len;
	transfer->request = malloc(request->body_len + 1);
	if (transfer->request == NULL)
		return false;
	memcpy(transfer->request, request->body, request->body_len);
	/* No "Expect: 100-continue": it costs a round trip. */
	if (!append_line(&transfer->headers, "Expect:") ||
		(request->resolve != NULL &&
		 !append_line(&transfer->resolve, request->resolve)))
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
		line = malloc(size);
		if (line == NULL)
			return false;
		/* ";" is libcurl's way to send a header without a value. */
		snprintf(line, size, "%s%s%s", header->name,
				 header->value[0] == '\0' ? ";" : ": ", header->value);
		appended = append_line(&transfer->headers, line);
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
	SET(CURLOPT_PROXY, ""); /* whatever the environment says */
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_PIPEWAIT, transfer->tls ? 1L : 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_READFUNCTION, on_read);
	SET(CURLOPT_READDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, transfer);
	return good;
}

static bool
set_options(AgentpayHttpTransfer *transfer, const AgentpayHttpRequest *request)
{
	CURL *easy = transfer->easy;
	bool good = set_fixed_options(transfer);
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
	SET(CURLOPT_LOW_SPEED_TIME, (long) request->low_speed_seconds);
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) request->response_limit_bytes);
	if (transfer->resolve != NULL)
		SET(CURLOPT_RESOLVE, transfer->resolve);
	if (transfer->client->ca_file != NULL)
		SET(CURLOPT_CAINFO, transfer->client->ca_file);
#undef SET
	return good;
}

/* Moves what libcurl has finished to the done list. */
static void
collect_finished(AgentpayHttpClient *client)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		AgentpayHttpTransfer *transfer = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
						  (char **) &transfer);
		finish(transfer, code, false);
	}
}

static AgentpayHttpStatus
classify(const AgentpayHttpTransfer *transfer, CURLcode code)
{
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
	if (transfer->forbidden && !transfer->connecting)
		return AGENTPAY_HTTP_REFUSED;
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
	if (code == CURLE_SEND_FAIL_REWIND || code == CURLE_ABORTED_BY_CALLBACK)
	{
		snprintf(problem, size, "the connection was closed without an answer");
		return;
	}
	if (code == CURLE_COULDNT_CONNECT)
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error);
	snprintf(problem, size, "%s%s%s", curl_easy_strerror(code),
			 os_error != 0 ? ": " : "",
			 os_error != 0 ? strerror((int) os_error) : "");
}

/*
 * Takes a transfer out of libcurl and puts it on the done list.  What it
 * sent, and with it the secret, is wiped.
 */
static void
finish(AgentpayHttpTransfer *transfer, CURLcode code, bool killed)
{
	AgentpayHttpClient *client = transfer->client;
	AgentpayHttpResult *result = &transfer->result;
	long request_size = 0;
	long http_status = 0;
	char *address = NULL;
	int64_t end_ns = now_ns();

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http_status);
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_size);
	curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &address);
	snprintf(transfer->address, sizeof(transfer->address), "%s",
			 address == NULL ? "" : address);

	result->status = killed ? AGENTPAY_HTTP_KILLED : classify(transfer, code);
	/* Not what libcurl says it sent: a retry that failed resets that. */
	result->sent = transfer->answered ||
				   (request_size > 0 &&
					transfer->request_at >= transfer->request_len);
	describe(transfer, code);
	result->problem = transfer->problem;
	result->http_status = (int) http_status;
	result->body = transfer->body == NULL ? "" : transfer->body;
	result->body_len = transfer->body_len;
	result->retry_after_ms = read_retry_after(transfer->retry_after);
	if (result->status == AGENTPAY_HTTP_OK && transfer->last_ns > 0)
		end_ns = transfer->last_ns;
	result->latency_ms = (double) (end_ns - transfer->started_ns) / 1e6;
	result->address = transfer->address;
	result->request_id = transfer->request_id;

	curl_multi_remove_handle(client->multi, transfer->easy);
	list_remove(&client->in_flight, transfer);
	client->n_in_flight--;
	list_append(&client->done, transfer);
	curl_easy_cleanup(transfer->easy);
	transfer->easy = NULL;
	wipe_lines(transfer->headers);
	transfer->headers = NULL;
	explicit_bzero(transfer->request, transfer->request_len);
	free(transfer->request);
	transfer->request = NULL;
}

/* Frees a transfer that is in no list. */
static void
release(AgentpayHttpTransfer *transfer)
{
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	wipe_lines(transfer->headers);
	curl_slist_free_all(transfer->resolve);
	if (transfer->request != NULL)
		explicit_bzero(transfer->request, transfer->request_len);
	free(transfer->request);
	free(transfer->body);
	free(transfer);
}
