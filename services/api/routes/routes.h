/*
 * From a request to its reply: which handler, who may, what went wrong, one line in the log. The table in routes.c is
 * the only place that knows the hub's paths. Thread-safe.
 */
#ifndef SILODNS_API_ROUTES_ROUTES_H
#define SILODNS_API_ROUTES_ROUTES_H

#include "api/http/reply.h"
#include "api/http/request.h"

/*
 * A server_handler's `answer`; `hub` is a struct hub. Leaves a whole reply, or returns ERR_PENDING: then the request's
 * waiter is suspended, and once it has been resumed this is called again with the same request and an empty reply.
 *
 * In this order: 429 for an address that asks too often, 400 for a path that cannot be decoded, 404, 405 (for
 * everyone), 503 for a body that there was no memory for, 413, 415, 401 or 429 (whether or not what the path names
 * exists), 403, and then the handler's own.
 */
int routes_handle(void *hub, struct request *request, struct reply *reply);

#endif
