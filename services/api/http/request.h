/*
 * One HTTP request as a handler sees it, free of the server library's types: already routed, authenticated and bounded.
 * Valid until the handler returns, or the one that finishes for it. A handler fills the reply (reply.h) and returns
 * ERR_OK, or returns an error (with a reason in `request->why`), which routes turns into problem+json: so every error
 * of the hub looks the same.
 */
#ifndef SILODNS_API_HTTP_REQUEST_H
#define SILODNS_API_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/auth/authenticator.h"
#include "api/http/reply.h"
#include "api/hub.h"
#include "api/journal/journal.h"
#include "common/base/err.h"
#include "common/net/ipaddr.h"

#define REQUEST_SUBJECT_MAX 255
#define REQUEST_PARAMS_MAX 72 /* query parameters */

struct request_header {
	const char *name;  /* borrowed */
	size_t name_len;   /* tells most names apart, sooner than comparing them */
	const char *value; /* borrowed, or `joined` */
	char *joined;      /* owned; NULL unless the header came more than once */
};

struct request_param {
	const char *name, *value; /* into request->query_text */
};

struct request;
typedef int (*handler_fn)(struct request *request, struct reply *reply);

struct request {
	struct hub *hub;
	const char *method; /* "GET" also for HEAD */
	const char *path;   /* for the log: as it came, without query; need not end where it ends */
	size_t path_len;
	char subject[REQUEST_SUBJECT_MAX +
		     1];                      /* the path's {id} or {name}, percent-decoded; "" if the route has none */
	size_t subject_len;                   /* may hold any byte, NUL included: check before use */
	char second[REQUEST_SUBJECT_MAX + 1]; /* the same of a second {…} */
	size_t second_len;
	struct principal principal; /* user_id 0 and empty name where no credentials are needed; with a reference to
				       its token */
	struct claim claim;         /* who it claimed to be, also where that was refused */
	struct ipaddr peer;         /* the client, trusted proxies taken into account */
	struct ipaddr connection;   /* where the connection comes from: the client or a proxy */
	const char *body;           /* NULL if none; need not end in NUL */
	size_t body_len;
	bool body_refused;                /* there was one, for which there is no memory now */
	int64_t started_us;               /* clock_mono_us() */
	struct why why;                   /* out: the reason of a failure */
	const struct waiter *waiter;      /* its connection, for request_submit() */
	struct ratelimit_verdict verdict; /* out: with ERR_RATE */

	handler_fn finish; /* set by who suspends its line: what goes on when that is resumed. NULL: it does not wait */

	/* For the next functions only. */
	struct item *change; /* owned; under way in the journal, or done */

	void *kept;                       /* owned: what a handler wants to find when it goes on; request_keep_take() */
	void (*release_kept)(void *kept); /* also frees it */

	/* For routes only. */
	const char *route_path, *route_method; /* literals; NULL: none was found */
	struct login_waiter *login;            /* NULL: may not wait without a thread */
	bool again;                            /* it has waited, and is looked at again */
	bool limited;                          /* how often it may ask is limited */

	/* For the functions below only. */
	const char *query; /* after the '?', as it came, or NULL */
	char *query_text;  /* owned: decoded */
	struct request_param params[REQUEST_PARAMS_MAX];
	size_t param_count;
	struct request_header *headers; /* owned */
	size_t header_count, header_capacity;
};

/* Hands a change to the journal without waiting for it: a handler ends by returning what this returns (ERR_PENDING, or
 * an error), and once the change is decided `finish` is called in its place, with a new reply, and finds it by
 * request_collect(). Sets the change's actor and peer, and its subject unless it has one. */
int request_submit(struct request *request, struct change *change, handler_fn finish);
/* As journal_submit(); `request->why` tells the reason of a failure. */
int request_collect(struct request *request, struct outcome *ret_outcome);
/* Until the request ends; what was kept before is released. */
void request_keep_take(struct request *request, void *kept, void (*release)(void *kept));

/* The header's value or NULL; a header given twice: the values joined by ", " as RFC 9110 5.3 allows. */
const char *request_header(const struct request *request, const char *name);
/* A query parameter, percent-decoded; NULL if absent. ERR_MALFORMED if it is given twice or holds a NUL byte. */
int request_query(struct request *request, const char *name, const char **ret_value);
/* One that is a whole number from 1 to `max` (at most 10^18); `*ret_value` stays as it is if it is absent.
 * ERR_MALFORMED, ERR_INVALID. */
int request_query_number(struct request *request, const char *name, uint64_t max, uint64_t *ret_value);
/* One that is a moment (clock_parse()), in microseconds since 1970; `*ret_us` stays as it is if it is absent.
 * ERR_INVALID. */
int request_query_time(struct request *request, const char *name, int64_t *ret_us);
/* The next value of a parameter that may be given several times; `*at` is 0 at first, and is for this function.
 * NULL: no more. Only after request_query_only(). */
const char *request_query_next(const struct request *request, const char *name, size_t *at);
/* "Link: <?…>; rel=\"next\"": the same query with this value of `name`. Relative, so that it works below a proxy's
 * sub-path. Every parameter has been checked, and none may hold what needs an escape. */
int request_link_next(const struct request *request, struct reply *reply, const char *name, const char *value);
/* Refuses query parameters that are not in `known` (ends in NULL; NULL = none are known). ERR_MALFORMED. */
int request_query_only(struct request *request, const char *const *known);

/* If-Match, or If-None-Match, for changes: entity tags other than the hub's own simply do not match. Both given, not a
 * list of tags, or more than PRECONDITION_TAGS_MAX: ERR_MALFORMED. */
int request_precondition(struct request *request, struct precondition *ret_precondition);
/* For reads: does If-None-Match name `revision`? (Weak comparison, RFC 9110 13.1.2.) */
bool request_has_revision(const struct request *request, uint64_t revision);

/* Milliseconds since the request came. */
double request_ms(const struct request *request);

/* --- for those that make requests: the server and tests --- */

/* Name and value are borrowed as long as the request lives. In the order of arrival: that matters to X-Forwarded-For.
 * ERR_NOMEM. */
int request_add_header(struct request *request, const char *name, const char *value);
void request_release(struct request *request); /* what it owns */

/* Decodes the percent escapes of `len` bytes into `ret_text` (room for `size` bytes with the final NUL; what does not
 * fit is left out). ERR_MALFORMED: an escape that is none. */
int percent_decode(const char *text, size_t len, char *ret_text, size_t size, size_t *ret_len);

#endif
