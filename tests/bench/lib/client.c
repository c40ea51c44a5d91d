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
#include <sys/socket.h>
#include <unistd.h>

#include "program.h"

int client_connect(unsigned port)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address))
		program_fail("cannot connect to port %u: %s", port, strerror(errno));
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) || fcntl(fd, F_SETFL, O_NONBLOCK))
		program_fail("cannot set up a socket: %s", strerror(errno));
	return fd;
}

void client_open(struct client *client, unsigned port)
{
	client->fd = client_connect(port);
	client->len = client->head_len = client->body_len = 0;
}

void client_close(struct client *client)
{
	close(client->fd);
}

void client_send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			struct pollfd room = {.fd = fd, .events = POLLOUT};
			poll(&room, 1, 1000);
			continue;
		}
		if (sent < 0)
			program_fail("cannot send: %s", strerror(errno));
		data += sent;
		len -= (size_t)sent;
	}
}

void client_send(struct client *client, const char *request, size_t len)
{
	client->len = client->head_len = client->body_len = 0;
	client_send_all(client->fd, request, len);
}

static void parse_header(struct client *client, const char *line)
{
	static const char length[] = "Content-Length:", etag[] = "ETag: \"";

	if (strncasecmp(line, length, sizeof length - 1) == 0)
		client->body_len = strtoul(line + sizeof length - 1, NULL, 10);
	else if (strncasecmp(line, etag, sizeof etag - 1) == 0)
		client->revision = strtoull(line + sizeof etag - 1, NULL, 10);
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

bool client_receive(struct client *client)
{
	ssize_t got = recv(client->fd, client->answer + client->len, CLIENT_ANSWER_MAX - client->len, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0)
		program_fail("the server closed a connection: %s", got ? strerror(errno) : "end of file");
	client->len += (size_t)got;
	client->answer[client->len] = '\0';
	if (!client->head_len)
		parse_head(client);
	if (!client->head_len || client->len < client->head_len + client->body_len)
		return false;
	client->body = client->answer + client->head_len;
	return true;
}
