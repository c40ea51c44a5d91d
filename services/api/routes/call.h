/*
 * A request as a handler sees it: routed, authenticated and bounded, with all that it may use. Lives as long as the
 * request. A handler fills `call->reply` (reply.h) and returns ERR_OK, or returns an error (with a reason in
 * `call->why`), which routes turns into problem+json: so every error of the hub looks the same. Or it lets the request
 * wait, without a thread: ERR_PENDING.
 */
#ifndef SILODNS_API_ROUTES_CALL_H
#define SILODNS_API_ROUTES_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "api/auth/authenticator.h"
#include "api/http/reply.h"
#include "api/http/request.h"
#include "api/journal/queue.h"
#include "api/routes/hub.h"
#include "common/base/err.h"
#include "common/net/ipaddr.h"

#define CALL_SEGMENTS_MAX 4  /* no path of the table has more */
#define CALL_SEGMENT_MAX 255 /* bytes; what is longer is cut, and still longer than any name may be */
#define CALL_NAME_MAX (2 * CALL_SEGMENT_MAX + 1)

struct call;
struct route;
typedef int handler_fn(struct call *call);

struct call {
	struct request *request; /* as it came; borrowed */
	struct reply *reply;     /* out; another one each time that the request goes on */
	struct why *why;         /* out: the reason of a failure; the request's own */
	struct hub *hub;
	const char *method;           /* "GET" also for HEAD */
	const char *subject, *second; /* what stands in place of the path's first and second {…}, valid; "": none */
	struct principal principal;   /* user_id 0 and empty name where no credentials are needed; with a reference to
					 its token */
	struct claim claim;           /* who it claimed to be, also where that was refused */
	struct forwarded_headers forwarded; /* as they came */
	struct ipaddr peer;                 /* the client, trusted proxies taken into account */
	struct ipaddr own_ip; /* for a record without one: `peer`; family 0 if that is a proxy's, it seems */

	handler_fn *finish; /* set by who returns ERR_PENDING: what goes on, with a new reply, once the request's waiter
			       has been resumed */

	/* For routes and the next functions only. */
	const struct route *route;                              /* NULL: none was found */
	char segments[CALL_SEGMENTS_MAX][CALL_SEGMENT_MAX + 1]; /* of the path, each percent-decoded */
	struct login_waiter login;
	struct ratelimit_verdict verdict; /* with ERR_RATE */
	bool limited;                     /* how often it may ask is limited */
	enum change_kind kind;            /* of `change` */
	struct pending *change;           /* owned; under way in the journal, or done */
	void *kept;                       /* owned; see call_keep_take() */
	void (*release_kept)(void *kept); /* also frees it */
};

/* The request's state from now on: released with it. ERR_NOMEM. */
int call_new(struct hub *hub, struct request *request, struct call **ret_call);

/* What the path names: "silo1", or "alice/laptop" for a token. */
void call_name(const struct call *call, char ret_name[static CALL_NAME_MAX + 1]);
/* Moves a change into the journal without waiting for it: a handler ends by returning what this returns (ERR_PENDING,
 * or an error), and once the change is decided `finish` is called in its place and finds it by call_collect(). Sets the
 * change's subject to what the path names, its actor and its peer. */
int call_submit_take(struct call *call, struct change *change, handler_fn *finish);
/* As queue_change_take(), and one line in the log. `call->why` tells the reason of a failure, and the reply has the
 * present ETag after ERR_PRECONDITION. */
int call_collect(struct call *call, struct outcome *ret_outcome);
/* A `finish` of whatever is deleted. */
handler_fn call_finish_delete;
/* Keeps what the handler wants to find when it goes on, until the request ends; what was kept before is released. */
void call_keep_take(struct call *call, void *kept, void (*release)(void *kept));

/* A query parameter that is a user's name; NULL: absent. ERR_MALFORMED, ERR_INVALID. */
int call_query_user(struct call *call, const char *name, const char **ret_user);

#endif
