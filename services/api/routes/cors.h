/*
 * Which pages of other origins may read the hub (the Fetch standard's CORS protocol; SILODNS_CORS_ORIGINS). They may
 * GET and HEAD, with an Authorization header of their own: never by credentials that a browser keeps, and never to
 * change anything. Thread-safe.
 */
#ifndef SILODNS_API_ROUTES_CORS_H
#define SILODNS_API_ROUTES_CORS_H

#include "api/http/reply.h"
#include "api/http/request.h"
#include "common/conf/conf.h"

/* Before anything else is done about a request, and each time it goes on: whatever is replied, errors too, has these
 * headers. A preflight that is granted is answered: its status is set. At most 5 headers. */
void cors_apply(const struct conf_list *origins, const struct request *request, struct reply *reply);

#endif
