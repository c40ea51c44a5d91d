/*
 * Who asks, how often, and may it: what a request must pass before its handler sees it. Thread-safe.
 */
#ifndef SILODNS_API_ROUTES_ADMIT_H
#define SILODNS_API_ROUTES_ADMIT_H

#include "api/routes/call.h"

/* READ, UPDATE: any user, and a token with this verb. ACCOUNT: the user that the path names, an admin, and a token with
 * the verb admin, of an admin. */
enum who { ANYONE, READ, UPDATE, ACCOUNT, ADMIN, ADMIN_OR_ANYONE /* as the settings say */ };

/* Which pages of other origins may read the hub (SILODNS_CORS_ORIGINS). They may GET and HEAD, with an Authorization
 * header of their own: never by credentials that a browser keeps, and never to change anything. Before anything else is
 * done about a request, and each time it goes on: whatever is replied, errors too, has these headers, 5 at most. A
 * preflight that is granted is answered: its status is set. */
void admit_origin(const struct conf_list *origins, const struct request *request, struct reply *reply);
/* Finds out whose address counts, and counts the request. ERR_RATE. */
int admit_address(struct call *call);
/* Before the body is looked at: its size and form, then whose credentials these are, then what they may. ERR_BUSY,
 * ERR_TOO_LARGE, ERR_ENCODING, ERR_UNAUTHORIZED, ERR_RATE, ERR_FORBIDDEN; ERR_PENDING: ask again. */
int admit_user(struct call *call, enum who who);

#endif
