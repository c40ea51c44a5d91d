/*
 * A scripted HTTP server in a thread of the test: it keeps every request as it came and answers with the bytes that the
 * test told it, in order. Unscripted requests get no answer.
 */
#ifndef TEST_FAKE_SERVER_H
#define TEST_FAKE_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/http.h"

#define FAKE_MAX 16
#define FAKE_REQUEST_MAX (1 << 21)

enum fake_end {
	FAKE_KEEP,  /* the connection stays open */
	FAKE_CLOSE, /* and is closed after the bytes */
	FAKE_SHUT   /* and the listener as well: new connections are refused */
};

struct fake_answer {
	char *data;
	size_t len;
	enum fake_end end;
};

struct fake_server {
	int listener, wake[2], port, connections[FAKE_MAX];
	pthread_t thread;
	pthread_mutex_t lock;
	struct fake_answer answers[FAKE_MAX];
	char *requests[FAKE_MAX];
	int answer_count, request_count, connection_count;
	const char *greeting; /* sent to every new connection at once */
};

static inline void fake_send(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

/* A whole request, or NULL when the client has gone. */
static inline char *fake_receive(int fd)
{
	char *text = malloc(FAKE_REQUEST_MAX);
	size_t len = 0, body = 0;
	for (;;) {
		ssize_t n = recv(fd, text + len, FAKE_REQUEST_MAX - 1 - len, 0);
		if (n <= 0) {
			free(text);
			return NULL;
		}
		len += (size_t)n;
		text[len] = '\0';
		const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");
		if (!end)
			continue;
		body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
		if (len >= (size_t)(end + 4 - text) + body)
			return text;
	}
}

/* False: the connection is to be closed. */
static inline bool fake_answer(struct fake_server *server, int fd)
{
	struct fake_answer answer = {.end = FAKE_KEEP};
	char *request = fake_receive(fd);
	if (!request)
		return false;
	pthread_mutex_lock(&server->lock);
	int i = server->request_count++;
	server->requests[i] = request;
	if (i < server->answer_count)
		answer = server->answers[i];
	pthread_mutex_unlock(&server->lock);
	if (answer.end == FAKE_SHUT) {
		close(server->listener);
		server->listener = -1;
	}
	if (answer.len)
		fake_send(fd, answer.data, answer.len);
	return answer.end == FAKE_KEEP;
}

static inline void fake_accept(struct fake_server *server)
{
	int fd = accept(server->listener, NULL, NULL);
	if (fd < 0)
		return;
	if (server->greeting)
		fake_send(fd, server->greeting, strlen(server->greeting));
	for (int i = 0; i < FAKE_MAX; i++)
		if (server->connections[i] < 0) {
			server->connections[i] = fd;
			break;
		}
	pthread_mutex_lock(&server->lock);
	server->connection_count++;
	pthread_mutex_unlock(&server->lock);
}

static inline void *fake_serve(void *arg)
{
	struct fake_server *server = arg;
	for (;;) {
		struct pollfd fds[FAKE_MAX + 2] = {{server->wake[0], POLLIN, 0}, {server->listener, POLLIN, 0}};
		for (int i = 0; i < FAKE_MAX; i++)
			fds[i + 2] = (struct pollfd){server->connections[i], POLLIN, 0};
		if (poll(fds, FAKE_MAX + 2, -1) < 0 || fds[0].revents)
			return NULL;
		if (fds[1].revents)
			fake_accept(server);
		for (int i = 0; i < FAKE_MAX; i++)
			if (fds[i + 2].revents && !fake_answer(server, server->connections[i])) {
				close(server->connections[i]);
				server->connections[i] = -1;
			}
	}
}

static inline struct fake_server *fake_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct fake_server *server = calloc(1, sizeof(*server));
	for (int i = 0; i < FAKE_MAX; i++)
		server->connections[i] = -1;
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->listener < 0 || bind(server->listener, (struct sockaddr *)&address, len) < 0 ||
	    listen(server->listener, FAKE_MAX) < 0 ||
	    getsockname(server->listener, (struct sockaddr *)&address, &len) < 0 || pipe(server->wake) < 0)
		abort();
	server->port = ntohs(address.sin_port);
	pthread_mutex_init(&server->lock, NULL);
	if (pthread_create(&server->thread, NULL, fake_serve, server) != 0)
		abort();
	return server;
}

static inline void fake_stop(struct fake_server *server)
{
	if (write(server->wake[1], "x", 1) != 1)
		abort();
	pthread_join(server->thread, NULL);
	for (int i = 0; i < FAKE_MAX; i++) {
		if (server->connections[i] >= 0)
			close(server->connections[i]);
		free(server->answers[i].data);
		free(server->requests[i]);
	}
	if (server->listener >= 0)
		close(server->listener);
	close(server->wake[0]);
	close(server->wake[1]);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

/* The next answer: exactly these bytes. */
static inline void fake_say(struct fake_server *server, enum fake_end end, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline void fake_say(struct fake_server *server, enum fake_end end, const char *fmt, ...)
{
	va_list args;
	pthread_mutex_lock(&server->lock);
	struct fake_answer *answer = &server->answers[server->answer_count++];
	va_start(args, fmt);
	int len = vasprintf(&answer->data, fmt, args);
	va_end(args);
	answer->len = len < 0 ? 0 : (size_t)len;
	answer->end = end;
	pthread_mutex_unlock(&server->lock);
}

/* The next answer: a whole one with this status line's end ("200 OK"), these header lines (each ended by \r\n) and
 * body. */
static inline void fake_reply(struct fake_server *server, const char *status, const char *headers, const char *body)
{
	fake_say(server, FAKE_KEEP, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body),
		 body);
}

static inline int fake_request_count(struct fake_server *server)
{
	pthread_mutex_lock(&server->lock);
	int count = server->request_count;
	pthread_mutex_unlock(&server->lock);
	return count;
}

static inline int fake_connection_count(struct fake_server *server)
{
	pthread_mutex_lock(&server->lock);
	int count = server->connection_count;
	pthread_mutex_unlock(&server->lock);
	return count;
}

/* The latest request as it came; "" = none. Valid until fake_stop(). */
static inline const char *fake_request(struct fake_server *server)
{
	pthread_mutex_lock(&server->lock);
	const char *request = server->request_count ? server->requests[server->request_count - 1] : "";
	pthread_mutex_unlock(&server->lock);
	return request;
}

static struct fake_server *server; /* the test's */

/* `line` stands as a whole header line in the latest request. */
static inline bool sent(const char *line)
{
	char whole[256];
	snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
	return strstr(fake_request(server), whole) != NULL;
}

/* Until there is something to read at `fd`, or `ms` have passed (a second at most). Fails after `deadline`. */
static inline void fake_await(int fd, int64_t ms, int64_t deadline)
{
	struct pollfd readable = {fd, POLLIN, 0};
	assert_true(clock_mono_ms() < deadline);
	assert_true(poll(&readable, 1, ms < 0 || ms > 1000 ? 1000 : (int)ms) >= 0);
}

/* Of a group of tests: libcurl. */
static inline int http_set_up(void **state)
{
	return http_global_init();
}

static inline int http_tear_down(void **state)
{
	http_global_release();
	return 0;
}

#endif
