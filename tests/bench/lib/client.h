/*
 * One HTTP/1.1 connection of a load generator: one request at a time, sent whole, and its answer's status and ETag. It
 * is kept as long as the server keeps it. Not blocking; for one thread.
 *
 * A connection that breaks ends the program, as most servers here are not meant to break any; who knows better uses
 * client_try_send() and client_try_receive(), and opens it again.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_ANSWER_MAX 4096

struct client {
	int fd;            /* -1: closed */
	int status;        /* of the last answer */
	uint64_t revision; /* its ETag's; 0 without one */
	const char *body;  /* of the last answer, ends in NUL; until the next client_send() */
	bool ends;         /* the server closes the connection behind that answer */
	unsigned answers;  /* over this connection */

	char answer[CLIENT_ANSWER_MAX + 1];
	size_t len, head_len, body_len;
};

struct client_server {
	const char *address; /* IPv4 */
	long port;
};

/* A socket without delay that does not block and is connected soon: client_send_all() waits for it. */
int client_connect(const struct client_server *server);
/* `owner` is told when there is something to read: as event.data.ptr of epoll_wait(2). */
void client_listen(int epoll, int fd, void *owner);
void client_open(struct client *client, const struct client_server *server);
void client_close(struct client *client); /* one that is closed may be closed */

/* All of it: waits while the socket has no room. False: the connection has broken (errno). */
bool client_try_send_all(int fd, const char *data, size_t len);
void client_send_all(int fd, const char *data, size_t len);
bool client_try_send(struct client *client, const char *request, size_t len);
void client_send(struct client *client, const char *request, size_t len);

enum client_got { CLIENT_PART, CLIENT_ANSWER, CLIENT_BROKEN /* errno; 0: the server has closed it */ };
/* Reads what is there. */
enum client_got client_try_receive(struct client *client);
/* True: the answer is complete. */
bool client_receive(struct client *client);

#endif
