/*-------------------------------------------------------------------------
 * http_client.c
 *		Thousands of HTTP calls at once, behind one file descriptor.
 *
 * libcurl tells which sockets it waits for, and they are kept in one epoll
 * set, so that a worker waits on its latch and on one descriptor.  What
 * concerns one call only is in http_transfer.c.
 *
 * Calls, their connections and how they go out (authorities, proxy) are a
 * pool.  A change of the options begins another: no later call goes over a
 * connection that the old options let through, and calls in flight go on.
 * A pool without calls that is not the newest is dropped.
 *
 * A request is never sent twice by libcurl itself: the body comes from a
 * read callback that cannot be rewound, so that the silent retry on a reused
 * connection that died fails instead, and the caller learns that the fate of
 * the request is unknown.
 *-------------------------------------------------------------------------
 */
#include "agents/http_client.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <curl/curl.h>

#include "agents/http_memory.h"
#include "agents/http_transfer.h"

#define EVENTS_AT_ONCE 256
#define ROUNDS_AT_ONCE 16 /* then the caller's turn */
#define IDLE_CONNECTIONS 64

typedef struct TransferList
{
	AgentpayHttpTransfer *first;
	AgentpayHttpTransfer *last;
} TransferList;

struct AgentpayHttpPool
{
	AgentpayHttpClient *client;
	AgentpayHttpPool *next; /* older ones, whose calls go on */
	uint32_t number;
	CURLM *multi;
	int64_t timer_at_ns; /* -1: none */
	int n_in_flight;
	AgentpayHttpRoute route;
};

struct AgentpayHttpClient
{
	AgentpayHttpPool *pools; /* the first is for new calls */
	uint32_t last_number;
	int epoll_fd;
	bool libcurl; /* initialised */
	int n_in_flight;
	TransferList in_flight;
	TransferList done;
};

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *arg,
					 void *socket_arg);
static int on_timer(CURLM *multi, long timeout_ms, void *arg);
static AgentpayHttpPool *
create_pool(AgentpayHttpClient *client, const AgentpayHttpOptions *options,
			const char **problem);
static void destroy_pool(AgentpayHttpPool *pool);
static void drop_drained_pools(AgentpayHttpClient *client);
static AgentpayHttpPool *find_pool(AgentpayHttpClient *client, uint32_t number);
static bool run_due_timers(AgentpayHttpClient *client);
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
	sigset_t saved;

	*problem = "out of memory";
	if (client == NULL)
		return NULL;
	client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (client->epoll_fd < 0)
	{
		*problem = "out of file descriptors";
		free(client);
		return NULL;
	}
	block_signals(&saved);
	client->libcurl = agentpay_http_memory_init();
	restore_signals(&saved);
	if (!client->libcurl ||
		!agentpay_http_client_configure(client, options, problem))
	{
		agentpay_http_client_destroy(client);
		return NULL;
	}
	return client;
}

bool
agentpay_http_client_configure(AgentpayHttpClient *client,
							   const AgentpayHttpOptions *options,
							   const char **problem)
{
	AgentpayHttpPool *pool;
	sigset_t saved;

	block_signals(&saved);
	pool = create_pool(client, options, problem);
	if (pool != NULL)
	{
		pool->next = client->pools;
		client->pools = pool;
		drop_drained_pools(client);
	}
	restore_signals(&saved);
	return pool != NULL;
}

bool
agentpay_http_client_authorities_changed(const AgentpayHttpClient *client)
{
	return agentpay_http_trust_changed(client->pools->route.trust);
}

static AgentpayHttpPool *
create_pool(AgentpayHttpClient *client, const AgentpayHttpOptions *options,
			const char **problem)
{
	AgentpayHttpPool *pool = calloc(1, sizeof(*pool));
	long idle = options->max_idle > IDLE_CONNECTIONS ? options->max_idle
													 : IDLE_CONNECTIONS;
	CURLM *multi;

	if (pool != NULL)
	{
		pool->client = client;
		pool->number = ++client->last_number;
		pool->timer_at_ns = -1;
		pool->multi = curl_multi_init();
	}
	if (pool == NULL || pool->multi == NULL ||
		!agentpay_http_route_create(&pool->route, options, problem))
	{
		*problem = "out of memory";
		destroy_pool(pool);
		return NULL;
	}
	multi = pool->multi;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
					  (long) options->max_connections);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, idle);
	return pool;
}

static void
destroy_pool(AgentpayHttpPool *pool)
{
	if (pool == NULL)
		return;
	if (pool->multi != NULL)
		curl_multi_cleanup(pool->multi);
	agentpay_http_route_free(&pool->route);
	free(pool);
}

static void
drop_drained_pools(AgentpayHttpClient *client)
{
	AgentpayHttpPool **at = &client->pools->next;

	while (*at != NULL)
	{
		AgentpayHttpPool *pool = *at;

		if (pool->n_in_flight > 0)
		{
			at = &pool->next;
			continue;
		}
		*at = pool->next;
		destroy_pool(pool);
	}
}

/* Events of a pool that was dropped meanwhile find none. */
static AgentpayHttpPool *
find_pool(AgentpayHttpClient *client, uint32_t number)
{
	AgentpayHttpPool *pool = client->pools;

	while (pool != NULL && pool->number != number)
		pool = pool->next;
	return pool;
}

void
agentpay_http_client_destroy(AgentpayHttpClient *client)
{
	AgentpayHttpTransfer *transfer;
	AgentpayHttpPool *pool;
	sigset_t saved;

	block_signals(&saved);
	while ((transfer = client->in_flight.first) != NULL)
		finish(transfer, CURLE_OK, true);
	while ((transfer = client->done.first) != NULL)
	{
		list_remove(&client->done, transfer);
		release(transfer);
	}
	while ((pool = client->pools) != NULL)
	{
		client->pools = pool->next;
		destroy_pool(pool);
	}
	if (client->libcurl)
		curl_global_cleanup();
	restore_signals(&saved);
	close(client->epoll_fd);
	free(client);
}

AgentpayHttpTransfer *
agentpay_http_client_start(AgentpayHttpClient *client,
						   const AgentpayHttpRequest *request,
						   const char **problem)
{
	AgentpayHttpTransfer *transfer;
	AgentpayHttpPool *pool = client->pools;
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
	transfer->pool = pool;
	transfer->tls = strncmp(origin, "https:", 6) == 0;
	transfer->started_ns = agentpay_http_now_ns();
	if (!agentpay_http_transfer_route(transfer, &pool->route, origin,
									  request->proxy_secret, problem))
	{
		agentpay_http_transfer_refuse(transfer, request, *problem);
		list_append(&client->done, transfer);
		restore_signals(&saved);
		return transfer;
	}
	started = agentpay_http_transfer_copy(transfer, request, problem) &&
			  (!transfer->proxied || request->proxy_secret == NULL ||
			   agentpay_http_transfer_log_in(transfer,
											 request->proxy_secret)) &&
			  (transfer->easy = curl_easy_init()) != NULL &&
			  agentpay_http_transfer_prepare(transfer, request, &pool->route) &&
			  curl_multi_add_handle(pool->multi, transfer->easy) == CURLM_OK;
	if (started)
	{
		client->n_in_flight++;
		pool->n_in_flight++;
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
	int64_t now_ns = agentpay_http_now_ns();
	long soonest = -1;

	if (client->done.first != NULL)
		return 0;
	for (AgentpayHttpPool *pool = client->pools; pool; pool = pool->next)
	{
		int64_t left_ns = pool->timer_at_ns - now_ns;
		long left = left_ns <= 0 ? 0 : (long) ((left_ns + 999999) / 1000000);

		if (pool->timer_at_ns >= 0 && (soonest < 0 || left < soonest))
			soonest = left;
	}
	return soonest;
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
		bool due;

		for (int i = 0; i < n; i++)
		{
			uint32_t seen = events[i].events;
			int what = (seen & EPOLLIN ? CURL_CSELECT_IN : 0) |
					   (seen & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
					   (seen & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
			AgentpayHttpPool *pool =
				find_pool(client, (uint32_t) (events[i].data.u64 >> 32));

			if (pool != NULL)
				curl_multi_socket_action(
					pool->multi, (curl_socket_t) (uint32_t) events[i].data.u64,
					what, &running);
		}
		due = run_due_timers(client);
		collect_finished(client);
		if (n < EVENTS_AT_ONCE && !due)
			break;
	}
	drop_drained_pools(client);
	restore_signals(&saved);
}

/* Whether any was due. */
static bool
run_due_timers(AgentpayHttpClient *client)
{
	int64_t now_ns = agentpay_http_now_ns();
	bool any = false;
	int running;

	for (AgentpayHttpPool *pool = client->pools; pool; pool = pool->next)
	{
		if (pool->timer_at_ns < 0 || pool->timer_at_ns > now_ns)
			continue;
		any = true;
		pool->timer_at_ns = -1;
		curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	return any;
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
	AgentpayHttpPool *pool = arg;
	int epoll_fd = pool->client->epoll_fd;
	struct epoll_event event = {.data.u64 = (uint64_t) pool->number << 32 |
											(uint32_t) socket};

	(void) easy;
	(void) socket_arg;
	if (what == CURL_POLL_REMOVE)
	{
		/* It may be closed already, which removed it. */
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, socket, &event);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) |
				   (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, socket, &event) == 0)
		return 0;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, socket, &event) == 0 ? 0 : -1;
}

/* libcurl: call me when so much time has passed. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	AgentpayHttpPool *pool = arg;

	(void) multi;
	pool->timer_at_ns = timeout_ms < 0 ? -1
									   : agentpay_http_now_ns() +
											 (int64_t) timeout_ms * 1000000;
	return 0;
}

/* Moves what libcurl has finished to the done list. */
static void
collect_finished(AgentpayHttpClient *client)
{
	CURLMsg *message;
	int left;

	for (AgentpayHttpPool *pool = client->pools; pool; pool = pool->next)
	{
		while ((message = curl_multi_info_read(pool->multi, &left)) != NULL)
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
}

/* Takes a transfer out of libcurl and puts it on the done list. */
static void
finish(AgentpayHttpTransfer *transfer, CURLcode code, bool killed)
{
	AgentpayHttpClient *client = transfer->client;
	AgentpayHttpPool *pool = transfer->pool;

	agentpay_http_transfer_conclude(transfer, code, killed);
	curl_multi_remove_handle(pool->multi, transfer->easy);
	list_remove(&client->in_flight, transfer);
	client->n_in_flight--;
	pool->n_in_flight--;
	transfer->pool = NULL;
	list_append(&client->done, transfer);
	curl_easy_cleanup(transfer->easy);
	transfer->easy = NULL;
	agentpay_http_transfer_wipe(transfer);
}

/* Frees a transfer that is in no list. */
static void
release(AgentpayHttpTransfer *transfer)
{
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	agentpay_http_transfer_wipe(transfer);
	curl_slist_free_all(transfer->resolve);
	if (transfer->request != NULL)
		explicit_bzero(transfer->request, transfer->request_len);
	free(transfer->request);
	free(transfer->body);
	free(transfer);
}
