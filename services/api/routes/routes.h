/*
 * From a request to its reply: which handler, who may, what went wrong, one line in the log. The table in routes.c is
 * the only place that knows the hub's paths. Thread-safe.
 */
#ifndef SILODNS_API_ROUTES_ROUTES_H
#define SILODNS_API_ROUTES_ROUTES_H

#include "api/http/reply.h"
#include "api/http/request.h"

/*
 * `method` and `uri` are as the request line has them. The caller has set in `request`: hub, headers, body, started_us,
 * and in `connection` the address of the connection; and `waiter`. Leaves a whole reply, or returns ERR_PENDING: then
 * the connection is suspended, and once it has been resumed this is called again: with the same request if it has a
 * `finish`, else with a new one that has `again` set.
 *
 * In this order: 429 for an address that asks too often, 400 for a path that cannot be decoded, 404, 405 (for
 * everyone), 503 for a body that there was no memory for, 413, 401 or 429 (whether or not what the path names exists),
 * 403, and then the handler's own.
 */
int routes_handle(struct request *request, const char *method, const char *uri, struct reply *reply);

#endif
