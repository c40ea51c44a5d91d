/*
 * The body of a reply, into the response that Ulfius sends. What is large goes out from where it is: Ulfius copies what
 * it is given, and leaks it when there is no memory for the copy.
 */
#ifndef SILODNS_API_HTTP_DELIVER_H
#define SILODNS_API_HTTP_DELIVER_H

#include <ulfius.h>

#include "api/http/reply.h"

/* What libmicrohttpd will ask for a body piece by piece, and close; if Ulfius comes to handing it over. */
struct source;

/* Takes the body out of the reply. `line`: of the connection, for a stream. `*ret_source` stays NULL if there is none,
 * and becomes so again when it is closed. */
int deliver_body(struct reply *reply, const struct waiter *waiter, struct _u_response *response,
		 struct source **ret_source);

/* Ulfius has returned. `source` may be NULL; closes it if it is not with libmicrohttpd (`taken`). */
void deliver_end(struct source *source, bool taken);

#endif
