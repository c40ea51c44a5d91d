/*
 * The HTTP server: Ulfius on one libmicrohttpd daemon with an epoll thread pool. It knows sockets, limits and
 * time-outs; what is answered is its handler's business.
 */
#ifndef SILODNS_API_HTTP_SERVER_H
#define SILODNS_API_HTTP_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/http/reply.h"
#include "api/http/request.h"
#include "api/http/tls.h"
#include "common/base/err.h"
#include "common/net/ipaddr.h"

/* Who answers. Any thread of the pool calls these, with `arg`; they must not block. */
struct server_handler {
	void *arg;
	/* Fills the reply, or returns ERR_PENDING after suspending the request's waiter: called again, with an empty
	 * reply, once that has been resumed. */
	int (*answer)(void *arg, struct request *request, struct reply *reply);
	/* Whether these are credentials that were right before; `authorization` is the header or NULL. */
	bool (*is_known)(void *arg, const char *authorization);
	/* Whether the connections of this address are limited in number. */
	bool (*is_limited)(void *arg, const struct ipaddr *address);
};

/* What the server counts, for who makes a page of it. */
struct server_counters {
	atomic_ulong connections;
	atomic_ulong begun, ended; /* requests: since their first line; until the last byte is with the kernel */
	atomic_size_t body_bytes;  /* that requests under way hold */
};

struct server_settings {
	/* "127.0.0.1:8080", "[::]:8080" (IPv6 and IPv4), "*:8080"; borrowed by server_start() */
	const char *const *listen;
	size_t listen_count;
	unsigned threads;   /* what waits for the journal or for a password holds none */
	size_t headers_max; /* bytes of memory of a connection: request line, both sides' headers; else 431 or 414 */
	size_t body_max;    /* bytes; more gets 413 */
	size_t bodies_max;  /* bytes of all that are on their way; half of it for known credentials only */
	unsigned connections_max;
	unsigned connections_per_address_max; /* where that is limited; 0 = no limit */
	long idle_timeout_ms;                 /* rounded up to whole seconds */
	long request_timeout_ms;
	struct tls *tls; /* NULL: plain HTTP; borrowed until server_stop() */
	long hsts_ms;    /* with TLS only; 0 = none */
};

struct server;

/* Listens and answers from now on. ERR_INVALID (an address that is none), ERR_CONFLICT (in use), ERR_SYSTEM, ERR_NOMEM,
 * with a sentence for the operator. `handler` is copied, `counters` borrowed until server_stop(). */
int server_start(const struct server_settings *settings, const struct server_handler *handler,
		 struct server_counters *counters, struct server **ret_server, struct why *ret_why);

/* New connections are refused at once; connections that the kernel had already accepted, and requests under way, are
 * answered (with Connection: close) for at most `drain_ms`. */
void server_drain(struct server *server, long drain_ms);
/* After server_drain(), and when no request's waiter is suspended any more: cuts what is left. NULL is allowed. */
void server_stop(struct server *server);

unsigned long server_in_progress(const struct server_counters *counters); /* requests under way, streams included */

#endif
