/*
 * The one place that knows Ulfius and libmicrohttpd: from a connection's bytes to a struct request, and from a struct
 * reply back. server.c puts it to work; nothing else includes the libraries (but tls, for libmicrohttpd's sessions).
 *
 * Of Ulfius (2.7.13) are used: the instance, whose start makes libmicrohttpd's daemon; the dispatcher with one default
 * endpoint, which gives an ordinary reply (a problem, a page of JSON) by struct _u_response. Routes, sessions, uploads,
 * JSON and its maps of headers, cookies and parameters are not: it answers 404 to HEAD and to a wrong method, matches
 * methods in any case, and its map loses the order of headers whose names differ in case only, by which a client could
 * put its own X-Forwarded-For behind the proxy's. Of libmicrohttpd (0.9.75 to 1.0.1): epoll with a pool of threads,
 * suspending, notifications, headers as they came.
 *
 * A handler stands before Ulfius' (adapter_on_access), because Ulfius takes in a whole body before anybody is asked,
 * and cannot let a request wait without its thread: it gets a request when the reply is there. Ulfius starts the daemon
 * by MHD_start_daemon(): adapter_start.c has a function of that name, which the dynamic linker prefers, and which puts
 * ours in front. adapter_start() fails if that did not work.
 *
 * How they misbehave, and what is done:
 * - Ulfius copies what it sends, leaks it when there is no memory for the copy, and cannot leave out a length: streams,
 *   large or shared bodies and 304 go directly to libmicrohttpd (adapter_reply.c).
 * - A stream holds all memory of its connection until its end, used or not: adapter_reply.c gives back what it does not
 *   need.
 * - libmicrohttpd sends the length of the body with a 304, where some clients then wait for it. 1.0 can leave it out;
 *   in 0.9 it is 0.
 * - libmicrohttpd 0.9 does not tell of the end of a request whose headers had no room: the connection's end does.
 * - libmicrohttpd 0.9 ends an endless body also after HEAD, by bytes which the client takes for the next answer: HEAD
 *   gets none. It sends two heads for a request without Host if it checks that itself: adapter.c does. It takes a NUL
 *   byte in the target for its end: adapter.c refuses it.
 * - libmicrohttpd 0.9 keeps a lock for ever when a thread has its share of connections: its limit is never reached, and
 *   connection.c counts. It says yes to an answer and drops it, as it stops, and asks again.
 * - Stopping to listen while its threads are busy is a race that ends in abort(): listener.c accepts.
 */
#ifndef SILODNS_API_HTTP_ADAPTER_H
#define SILODNS_API_HTTP_ADAPTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include <microhttpd.h>
#include <ulfius.h>

#include "api/http/connection.h"
#include "api/http/server.h"

struct adapter {
	/* Set before adapter_start(). */
	struct server_settings settings;
	struct server_handler handler;
	struct server_counters *counters; /* borrowed, as the next */
	struct connections *connections;
	char hsts[40];        /* a header's value; "" = none */
	atomic_bool draining; /* replies close their connections */

	/* Its own. */
	struct _u_instance ulfius;
	bool made;
	MHD_AccessHandlerCallback dispatch; /* Ulfius' handler */
};

/* From now on it answers on the connections that it is given. One start at a time. ERR_NOMEM, ERR_SYSTEM,
 * ERR_INTERNAL. */
int adapter_start(struct adapter *adapter);
/* Takes over `fd`. */
void adapter_add_connection(struct adapter *adapter, int fd, const struct sockaddr *peer, socklen_t peer_len);
/* Cuts the connections that are left; none may be suspended. Also after a start that failed. */
void adapter_stop(struct adapter *adapter);

#endif
