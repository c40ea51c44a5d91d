#include "common/net/http_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/net/http_transfer.h"

#define EVENTS_MAX 8 /* at a time; a request has one or two descriptors */

struct http_stream {
	CURLM *multi;
	CURL *easy;
	int epoll_fd;
	struct http_transfer transfer;
	struct http_answer head;
	http_stream_fn fn;
	void *arg;
	int64_t timer_ms; /* when libcurl wants to be called; -1 = no time */
};

static int on_data(void *arg, const char *data, size_t len)
{
	struct http_stream *stream = arg;
	if (stream->head.status == 0)
		http_transfer_head(&stream->transfer, &stream->head);
	return stream->fn(stream->arg, &stream->head, data, len);
}

/* libcurl says for which of its sockets it waits, and for what. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http_stream *stream = arg;
	struct epoll_event event = {.data.fd = fd};
	(void)easy;
	(void)socket_arg;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(stream->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* it may be closed already */
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (epoll_ctl(stream->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
		return 0;
	return errno == ENOENT && epoll_ctl(stream->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_stream *stream = arg;
	(void)multi;
	stream->timer_ms = timeout_ms < 0 ? -1 : clock_mono_ms() + timeout_ms;
	return 0;
}

static bool set_multi(struct http_stream *stream)
{
	return curl_multi_setopt(stream->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
	       curl_multi_setopt(stream->multi, CURLMOPT_SOCKETDATA, stream) == CURLM_OK &&
	       curl_multi_setopt(stream->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
	       curl_multi_setopt(stream->multi, CURLMOPT_TIMERDATA, stream) == CURLM_OK;
}

DEFINE_CLEANUP(cleanup_stream, struct http_stream *, http_stream_close)

int http_stream_open(struct http *http, const struct http_request *request, http_stream_fn fn, void *arg,
		     struct http_stream **ret_stream, struct why *ret_why)
{
	_cleanup_(cleanup_stream) struct http_stream *stream = calloc(1, sizeof(*stream));
	if (!stream)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	*stream = (struct http_stream){.fn = fn, .arg = arg, .timer_ms = -1};
	stream->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (stream->epoll_fd < 0)
		return why_set(ret_why, ERR_SYSTEM, "", "epoll: %s", strerror(errno));
	stream->multi = curl_multi_init();
	stream->easy = curl_easy_init();
	if (!stream->multi || !stream->easy || !set_multi(stream))
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	stream->transfer =
		(struct http_transfer){.http = http, .easy = stream->easy, .sink = on_data, .sink_arg = stream};
	int err = http_transfer_prepare(&stream->transfer, request, ret_why);
	if (err < 0)
		return err;
	if (curl_multi_add_handle(stream->multi, stream->easy) != CURLM_OK)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	*ret_stream = TAKE_PTR(stream);
	return 0;
}

void http_stream_close(struct http_stream *stream)
{
	if (!stream)
		return;
	if (stream->multi && stream->easy)
		(void)curl_multi_remove_handle(stream->multi, stream->easy);
	curl_easy_cleanup(stream->easy);
	curl_multi_cleanup(stream->multi);
	http_transfer_release(&stream->transfer);
	cleanup_close(&stream->epoll_fd);
	free(stream);
}

int http_stream_fd(const struct http_stream *stream)
{
	return stream->epoll_fd;
}

int64_t http_stream_wait_ms(const struct http_stream *stream)
{
	if (stream->timer_ms < 0)
		return -1;
	int64_t left = stream->timer_ms - clock_mono_ms();
	return left > 0 ? left : 0;
}

static CURLMcode act(struct http_stream *stream)
{
	struct epoll_event events[EVENTS_MAX];
	CURLMcode code = CURLM_OK;
	int running;
	int count = epoll_wait(stream->epoll_fd, events, EVENTS_MAX, 0);
	for (int i = 0; i < count && code == CURLM_OK; i++) {
		int what = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
			   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
			   (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
		code = curl_multi_socket_action(stream->multi, events[i].data.fd, what, &running);
	}
	if (code == CURLM_OK && http_stream_wait_ms(stream) == 0) {
		stream->timer_ms = -1; /* libcurl sets the next one */
		code = curl_multi_socket_action(stream->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	return code;
}

int http_stream_step(struct http_stream *stream, bool *ret_over, struct why *ret_why)
{
	int left;
	CURLMcode code = act(stream);
	if (code != CURLM_OK)
		return why_set(ret_why, ERR_INTERNAL, "", "libcurl: %s", curl_multi_strerror(code));
	const CURLMsg *message = curl_multi_info_read(stream->multi, &left);
	if (!message || message->msg != CURLMSG_DONE) {
		*ret_over = false;
		return 0;
	}
	int err = http_transfer_result(&stream->transfer, message->data.result, ret_why);
	if (err < 0)
		return err;
	http_transfer_head(&stream->transfer, &stream->head);
	*ret_over = true;
	return 0;
}

const struct http_answer *http_stream_head(const struct http_stream *stream)
{
	return &stream->head;
}

bool http_stream_sent(const struct http_stream *stream)
{
	return http_transfer_sent(&stream->transfer);
}
