/*-------------------------------------------------------------------------
 * bare_client.c
 *		The same calls as a dispatcher's, by libcurl's multi interface alone:
 *		the floor of `make bench-agents`.
 *
 * bare_client URL BODY_FILE CALLS CONCURRENCY: POSTs the file's content so many
 * times, so many at once, over connections that are kept, reads each answer
 * whole, and prints the seconds that it took,
 * and those that it was on a processor.  Handles are reused, sockets
 * are in one epoll set: there is no faster way with libcurl that we know.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include <curl/curl.h>

#define MAX_ANSWER_BYTES (64 * 1024)
#define EVENTS_AT_ONCE 256

typedef struct Call
{
	CURL *easy;
	size_t answer_len;
	char answer[MAX_ANSWER_BYTES];
} Call;

static int epoll_fd;
static double timer_at = -1;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static double
seconds(const struct timeval *time)
{
	return time->tv_sec + time->tv_usec / 1e6;
}

static void
fail(const char *problem)
{
	fprintf(stderr, "bare_client: %s\n", problem);
	exit(1);
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	Call *call = arg;
	size_t len = size * n;

	if (len > MAX_ANSWER_BYTES - call->answer_len)
		return 0;
	memcpy(call->answer + call->answer_len, data, len);
	call->answer_len += len;
	return len;
}

static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *known)
{
	struct epoll_event event = {.data.fd = socket};

	(void) easy;
	(void) arg;
	(void) known;
	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, socket, &event);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) |
				   (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, socket, &event) != 0)
		return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, socket, &event);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	(void) multi;
	(void) arg;
	timer_at = timeout_ms < 0 ? -1 : now() + timeout_ms / 1000.0;
	return 0;
}

static char *
read_file(const char *name, long *len)
{
	FILE *file = fopen(name, "r");
	char *text;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 ||
		(*len = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET) != 0)
		fail("the body could not be read");
	text = malloc(*len + 1);
	if (text == NULL || fread(text, 1, *len, file) != (size_t) *len)
		fail("the body could not be read");
	fclose(file);
	return text;
}

/* Handles of which each makes one call at a time. */
static Call *
make_calls(const char *url, const char *body, long body_len, int n)
{
	Call *calls = calloc(n, sizeof(Call));
	struct curl_slist *headers = NULL;

	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	if (calls == NULL || headers == NULL)
		fail("out of memory");
	for (int i = 0; i < n; i++)
	{
		CURL *easy = curl_easy_init();

		if (easy == NULL)
			fail("out of memory");
		curl_easy_setopt(easy, CURLOPT_URL, url);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, body_len);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
		curl_easy_setopt(easy, CURLOPT_WRITEDATA, &calls[i]);
		curl_easy_setopt(easy, CURLOPT_PRIVATE, &calls[i]);
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 20000L);
		curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
		calls[i].easy = easy;
	}
	return calls;
}

/* Takes what is done; starts as many again, up to *left.  Returns how many. */
static long
turn(CURLM *multi, long *left)
{
	CURLMsg *message;
	int queued;
	long done = 0;

	while ((message = curl_multi_info_read(multi, &queued)) != NULL)
	{
		CURL *easy = message->easy_handle;
		Call *call = NULL;
		long status = 0;

		if (message->msg != CURLMSG_DONE)
			continue;
		if (message->data.result != CURLE_OK)
			fail(curl_easy_strerror(message->data.result));
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &call);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (status != 200 || call->answer_len == 0)
			fail("an answer that was not the one expected");
		call->answer_len = 0;
		done++;
		curl_multi_remove_handle(multi, easy);
		if (*left > 0)
		{
			(*left)--;
			curl_multi_add_handle(multi, easy);
		}
	}
	return done;
}

int
main(int argc, char **argv)
{
	long calls_wanted = argc == 5 ? atol(argv[3]) : 0;
	int concurrency = argc == 5 ? atoi(argv[4]) : 0;
	struct epoll_event events[EVENTS_AT_ONCE];
	long body_len;
	long left;
	long done = 0;
	int running;
	double started;
	struct rusage used;
	char *body;
	Call *calls;
	CURLM *multi;

	if (calls_wanted < 1 || concurrency < 1 || concurrency > calls_wanted)
		fail("usage: bare_client URL BODY_FILE CALLS CONCURRENCY");
	body = read_file(argv[2], &body_len);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
		(multi = curl_multi_init()) == NULL ||
		(epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		fail("out of memory");
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) concurrency);
	calls = make_calls(argv[1], body, body_len, concurrency);
	started = now();
	left = calls_wanted - concurrency;
	for (int i = 0; i < concurrency; i++)
		curl_multi_add_handle(multi, calls[i].easy);
	while (done < calls_wanted)
	{
		double wait = timer_at < 0 ? 1 : timer_at - now();
		int n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE,
						   wait <= 0 ? 0 : (int) (wait * 1000) + 1);

		for (int i = 0; i < n; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 events[i].events & EPOLLIN
										 ? CURL_CSELECT_IN
										 : CURL_CSELECT_OUT,
									 &running);
		if (timer_at >= 0 && timer_at <= now())
		{
			timer_at = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		done += turn(multi, &left);
	}
	getrusage(RUSAGE_SELF, &used);
	printf("%.6f %.6f\n", now() - started,
		   seconds(&used.ru_utime) + seconds(&used.ru_stime));
	return 0;
}
