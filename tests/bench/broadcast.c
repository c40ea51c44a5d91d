/*
 * The ceiling of fan-out: one thread that, for every PUT, sends the new document to all open streams by one send()
 * after the other. Nothing is kept, asked or checked; no HTTP library. Speaks as much of the hub's language as the load
 * generator needs. Until SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/program.h"

#define STREAMS_MAX 20000
#define REQUEST_MAX 2048

struct broadcast {
	int listener, epoll;
	int streams[STREAMS_MAX];
	size_t count;
	unsigned long revision;
};

static void add(struct broadcast *b, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &event))
		program_fail("epoll: %s", strerror(errno));
}

static void start(struct broadcast *b, long port)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;

	b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (b->listener < 0 || b->epoll < 0 || setsockopt(b->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
	    bind(b->listener, (const struct sockaddr *)&address, sizeof address) || listen(b->listener, 4096))
		program_fail("cannot listen on port %ld: %s", port, strerror(errno));
	add(b, b->listener);
}

static void accept_all(struct broadcast *b)
{
	const int on = 1;
	int fd;

	while ((fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		add(b, fd);
	}
}

static void open_stream(struct broadcast *b, int fd)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
				   "event: synced\ndata: {}\n\n";

	if (b->count == STREAMS_MAX)
		program_fail("too many streams");
	b->streams[b->count++] = fd;
	client_send_all(fd, head, sizeof head - 1);
}

static void tell_all(struct broadcast *b, int writer, const char *document)
{
	char text[REQUEST_MAX + 128];
	unsigned long revision = ++b->revision;
	int len = snprintf(text, sizeof text, "id: %lu\nevent: silo\ndata: %.*s,\"revision\":%lu}\n\n", revision,
			   (int)strlen(document) - 1, document, revision);

	for (size_t i = 0; i < b->count; i++)
		client_send_all(b->streams[i], text, (size_t)len);
	len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(document),
		       document);
	client_send_all(writer, text, (size_t)len);
}

/* A request comes in one piece: the load generator sends it so. */
static void take_request(struct broadcast *b, int fd)
{
	char request[REQUEST_MAX + 1];
	ssize_t len = recv(fd, request, REQUEST_MAX, 0);

	if (len < 0 && errno == EAGAIN)
		return;
	if (len <= 0) { /* the load generator has ended, all of it */
		for (size_t i = 0; i < b->count; i++)
			if (b->streams[i] == fd)
				b->streams[i--] = b->streams[--b->count];
		close(fd);
		return;
	}
	request[len] = '\0';
	const char *body = strstr(request, "\r\n\r\n");
	if (!body)
		program_fail("a request came in pieces");
	if (strncmp(request, "PUT ", 4) == 0)
		tell_all(b, fd, body + 4);
	else
		open_stream(b, fd);
}

int main(int argc, char **argv)
{
	static struct broadcast b;
	struct epoll_event events[512];
	long port = 0;
	const struct flag flags[] = {{.name = "port", .number = &port}};

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	program_raise_descriptor_limit();
	start(&b, port);
	for (;;) {
		int count = epoll_wait(b.epoll, events, 512, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == b.listener)
				accept_all(&b);
			else
				take_request(&b, events[i].data.fd);
		}
	}
}
