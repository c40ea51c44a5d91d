/*
 * Listening sockets, and the one thread that accepts from them and sweeps up behind what was accepted. libmicrohttpd
 * could do both, but its way of stopping to listen while its threads are busy is a race that ends in abort(), drops
 * what is still in the backlog, and takes one pool of threads and one connection limit for each address.
 */
#ifndef SILODNS_API_HTTP_LISTENER_H
#define SILODNS_API_HTTP_LISTENER_H

#include <stddef.h>
#include <sys/socket.h>

#include "common/base/err.h"

struct listener;

/* Called from the listener's thread: takes over the connection `fd`. */
typedef void (*listener_fn)(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len);

/* Binds and listens, without accepting yet. Errors as server_start(). */
int listener_open(const char *const *addresses, size_t count, struct listener **ret_listener, struct why *ret_why);
/* `sweep` is called about once a second. ERR_SYSTEM. */
int listener_start(struct listener *listener, listener_fn accepted, void (*sweep)(void *arg), void *arg);
/* Hands over what the kernel has accepted so far, closes the sockets, and ends the thread. Also without start. NULL is
 * allowed. */
void listener_close(struct listener *listener);

#endif
