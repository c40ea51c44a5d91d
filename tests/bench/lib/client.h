/*
 * One keep-alive HTTP/1.1 connection of a load generator, to a port of 127.0.0.1: one request at a time, sent whole,
 * and its answer's status and ETag. Not blocking once connected; for one thread. A connection that breaks ends the
 * program: no server here is meant to break any.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_ANSWER_MAX 4096

struct client {
	int fd;
	int status;        /* of the last answer */
	uint64_t revision; /* its ETag's; 0 without one */
	const char *body;  /* of the last answer, ends in NUL; until the next client_send() */

	char answer[CLIENT_ANSWER_MAX + 1];
	size_t len, head_len, body_len;
};

/* A connected socket without delay that does not block. */
int client_connect(unsigned port);
void client_open(struct client *client, unsigned port);
void client_close(struct client *client);

/* All of it: waits while the socket has no room. */
void client_send_all(int fd, const char *data, size_t len);
void client_send(struct client *client, const char *request, size_t len);
/* Reads what is there. True: the answer is complete. */
bool client_receive(struct client *client);

#endif
