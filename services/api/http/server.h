/*
 * The HTTP server: Ulfius on one libmicrohttpd daemon with an epoll thread pool. It knows sockets, limits, time-outs
 * and the end of the process; what is answered is routes' business.
 */
#ifndef SILODNS_API_HTTP_SERVER_H
#define SILODNS_API_HTTP_SERVER_H

#include <stddef.h>

#include "api/hub.h"
#include "common/base/err.h"

struct server_settings {
	const char *const
		*listen; /* "127.0.0.1:8080", "[::]:8080" (IPv6 and IPv4), "*:8080"; borrowed by server_start() */
	size_t listen_count;
	unsigned threads;   /* what waits for the journal or for a password holds none */
	size_t headers_max; /* bytes of memory of one connection: request line, headers and the reply's headers must
			       fit, or the request gets 431 or 414 */
	size_t body_max;    /* bytes; more gets 413 */
	unsigned connections_max;
	unsigned connections_per_address_max; /* but for exempt addresses and trusted proxies; 0 = no limit */
	size_t bodies_max; /* bytes of all bodies that are on their way; half of it for credentials that are known only
			    */
	long idle_timeout_ms; /* rounded up to whole seconds */
	long request_timeout_ms;
	long hsts_ms; /* with TLS only; 0 = none */
};

struct server; /* speaks TLS only, if its hub has `tls` */

/* Listens and answers from now on. ERR_INVALID (an address that is none), ERR_CONFLICT (in use), ERR_SYSTEM, ERR_NOMEM,
 * with a sentence for the operator. `hub` is borrowed until server_stop(). */
int server_start(struct hub *hub, const struct server_settings *settings, struct server **ret_server,
		 struct why *ret_why);

/*
 * Readiness fails and new connections are refused at once; connections that the kernel had already accepted, and
 * requests under way, are answered (with Connection: close) for at most `drain_ms`. NULL is allowed.
 */
void server_stop(struct server *server, long drain_ms);

#endif
