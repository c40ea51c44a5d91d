/*
 * The connections that are open, and their limits: how many there may be, of all and of one address (IPv6: of one /64),
 * and how long a request may take to arrive. libmicrohttpd ends connections on which nothing happens; one that sends a
 * byte now and then it would keep for hours.
 *
 * A connection counts from libmicrohttpd's notification of its start to that of its end, which come in pairs: between
 * acceptance and start it may be lost without a word, when there is no memory. Thread-safe.
 */
#ifndef SILODNS_API_HTTP_CONNECTION_H
#define SILODNS_API_HTTP_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/http/server.h"

/* One of them: libmicrohttpd's "socket context". Its own thread's, unless said otherwise. */
struct connection {
	struct exchange *exchange;  /* the adapter's: a request that has no reply yet */
	bool busy;                  /* a request has begun, and its reply has not ended */
	struct tls_connection *tls; /* owned by the server; NULL: it speaks plain */

	/* For the functions below only. */
	struct connection *prev, *next; /* guarded by the lock */
	struct network *network;        /* that it counts for; NULL: for none */
	int fd;
	atomic_int_least64_t due_ms; /* clock_mono_ms() by which its next request is to be there; 0: one is */
};

struct connections;

/* All three are borrowed; `open` counts the connections, for others to read. ERR_NOMEM. */
int connections_new(const struct server_settings *settings, const struct server_handler *handler, atomic_ulong *open,
		    struct connections **ret_connections);
void connections_free(struct connections *connections); /* when none is left; NULL is allowed */

/* Whether one more of this peer would be within the limits now: for those that have not begun. */
bool connections_have_room(struct connections *connections, const struct sockaddr *peer);
/* NULL: over a limit, or no memory; `fd` is then shut down. */
struct connection *connection_begin(struct connections *connections, int fd, const struct sockaddr *peer);
void connection_end(struct connections *connections, struct connection *connection); /* NULL is allowed */

/* The request is there, whole: what is left to do is the hub's. */
void connection_has_request(struct connection *connection);
/* It has been answered: the next one may come. */
void connection_expects_request(struct connections *connections, struct connection *connection);
/* Shuts down those whose request is late, for their own threads to end them. To be called about once a second. */
void connections_sweep(struct connections *connections);

#endif
