/*
 * How long a request may take to arrive. libmicrohttpd ends connections on which nothing happens; one that sends a byte
 * now and then it would keep for hours. So each connection has a time by which its next request must be there, whole;
 * one that is late is shut down by arrivals_sweep(). Thread-safe.
 */
#ifndef SILODNS_API_HTTP_ARRIVALS_H
#define SILODNS_API_HTTP_ARRIVALS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/err.h"

struct arrivals;

/* One connection; lives in its owner's memory from arrivals_add() to arrivals_remove(). */
struct arrival {
	struct arrival *prev, *next; /* guarded by arrivals' lock, as the next */
	int fd;
	atomic_int_least64_t due_ms; /* clock_mono_ms(); 0: it is the hub's turn */
};

/* `patience_ms`: from the end of one request, or the connection's begin, to the end of the next. ERR_NOMEM. */
int arrivals_new(int64_t patience_ms, struct arrivals **ret_arrivals);
void arrivals_free(struct arrivals *arrivals); /* when no connection is left; NULL is allowed */

void arrivals_add(struct arrivals *arrivals, struct arrival *arrival, int fd);
/* Shuts down the late ones; to be called about once a second, not after libmicrohttpd's end. */
void arrivals_sweep(struct arrivals *arrivals);
void arrivals_remove(struct arrivals *arrivals, struct arrival *arrival); /* before `fd` is closed */

/* The request is there: what is left to do is the hub's. NULL is allowed, as in the next. */
void arrivals_here(struct arrival *arrival);
/* It has been answered: the next one may come. */
void arrivals_expect(struct arrivals *arrivals, struct arrival *arrival);

#endif
