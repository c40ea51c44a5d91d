#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "program.h"

int client_connect(const struct client_server *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server->port)};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (inet_pton(AF_INET, server->address, &address.sin_addr) != 1)
		program_fail("\"%s\" is no IPv4 address", server->address);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
		program_fail("cannot set up a socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
		program_fail("cannot connect to %s:%ld: %s", server->address, server->port, strerror(errno));
	return fd;
}

void client_listen(int epoll, int fd, void *owner)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		program_fail("epoll: %s", strerror(errno));
}

void client_open(struct client *client, const struct client_server *server)
{
	client->fd = client_connect(server);
	client->ends = false;
	client->answers = 0;
	client->len = client->head_len = client->body_len = 0;
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
}

bool client_try_send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			struct pollfd room = {.fd = fd, .events = POLLOUT};
			poll(&room, 1, 1000);
			continue;
		}
		if (sent < 0)
			return false;
		data += sent;
		len -= (size_t)sent;
	}
	return true;
}

void client_send_all(int fd, const char *data, size_t len)
{
	if (!client_try_send_all(fd, data, len))
		program_fail("cannot send: %s", strerror(errno));
}

bool client_try_send(struct client *client, const char *request, size_t len)
{
	client->len = client->head_len = client->body_len = 0;
	return client_try_send_all(client->fd, request, len);
}

void client_send(struct client *client, const char *request, size_t len)
{
	client->len = client->head_len = client->body_len = 0;
	client_send_all(client->fd, request, len);
}

static void parse_header(struct client *client, const char *line)
{
	static const char length[] = "Content-Length:", etag[] = "ETag: \"", close[] = "Connection: close\r";

	if (strncasecmp(line, length, sizeof length - 1) == 0)
		client->body_len = strtoul(line + sizeof length - 1, NULL, 10);
	else if (strncasecmp(line, etag, sizeof etag - 1) == 0)
		client->revision = strtoull(line + sizeof etag - 1, NULL, 10);
	else if (strncasecmp(line, close, sizeof close - 1) == 0)
		client->ends = true;
}

static void parse_head(struct client *client)
{
	const char *end = memmem(client->answer, client->len, "\r\n\r\n", 4);

	if (!end)
		return;
	client->head_len = (size_t)(end - client->answer) + 4;
	client->revision = 0;
	client->status = atoi(client->answer + strlen("HTTP/1.1 "));
	for (const char *line = memchr(client->answer, '\n', client->head_len); line && line < end;
	     line = memchr(line, '\n', (size_t)(end - line) + 4))
		parse_header(client, ++line);
	if (client->status == 304 || client->status == 204) /* RFC 9112, 6.3: no body, whatever the headers say */
		client->body_len = 0;
	if (client->head_len + client->body_len > CLIENT_ANSWER_MAX)
		program_fail("an answer is longer than %d bytes", CLIENT_ANSWER_MAX);
}

enum client_got client_try_receive(struct client *client)
{
	ssize_t got = recv(client->fd, client->answer + client->len, CLIENT_ANSWER_MAX - client->len, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return CLIENT_PART;
	if (got == 0)
		errno = 0;
	if (got <= 0)
		return CLIENT_BROKEN;
	client->len += (size_t)got;
	client->answer[client->len] = '\0';
	if (!client->head_len)
		parse_head(client);
	if (!client->head_len || client->len < client->head_len + client->body_len)
		return CLIENT_PART;
	client->body = client->answer + client->head_len;
	client->answers++;
	return CLIENT_ANSWER;
}

bool client_receive(struct client *client)
{
	enum client_got got = client_try_receive(client);

	if (got == CLIENT_BROKEN)
		program_fail("the server closed a connection: %s", errno ? strerror(errno) : "end of file");
	return got == CLIENT_ANSWER;
}
