/*
 * One HTTP request as it came, free of the server library's types: head and body. What whoever answers it makes of it
 * is its `state`. One owner at a time.
 */
#ifndef SILODNS_API_HTTP_REQUEST_H
#define SILODNS_API_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/waiter.h"
#include "common/net/ipaddr.h"

struct reply;

#define REQUEST_PARAMS_MAX 72 /* query parameters */

struct request_header {
	const char *name;  /* borrowed */
	size_t name_len;   /* tells most names apart, sooner than comparing them */
	const char *value; /* borrowed, or `joined` */
	char *joined;      /* owned; NULL unless the header came more than once */
};

struct request_param {
	const char *name, *value;
};

struct request {
	const char *method; /* as it came */
	const char *path;   /* as it came, without query; need not end where it ends */
	size_t path_len;
	struct ipaddr connection; /* where it comes from: the client or a proxy */
	const char *body;         /* NULL if none; need not end in NUL */
	size_t body_len;
	bool body_refused;           /* there was one, for which there is no memory now */
	int64_t started_us;          /* clock_mono_us() */
	const struct waiter *waiter; /* its connection: who answers may suspend it, and goes on when it is resumed */
	int err;                     /* what is wrong with its head, which `why` tells: it is to be refused */
	struct why why;              /* why a function below failed; for the handler's reasons, too */

	void *state; /* the handler's own, NULL at first: what it wants to find when it goes on */
	void (*release_state)(void *state);

	/* For the functions below only. */
	const char *query;            /* after the '?', as it came, or NULL */
	struct request_param *params; /* owned: in one piece with the decoded text behind them; NULL: not parsed yet */
	size_t param_count;
	struct request_header *headers; /* owned */
	size_t header_count, header_capacity;
};

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

/* Milliseconds since the request came. */
double request_ms(const struct request *request);

/* --- for those that make requests: the server and tests --- */

/* Name and value are borrowed as long as the request lives. In the order of arrival: that matters to X-Forwarded-For.
 * ERR_NOMEM. */
int request_add_header(struct request *request, const char *name, const char *value);
/* Path and query of the request line's target, which is borrowed; scheme and authority of the absolute form (RFC 9112,
 * 3.2.2) are left out. */
void request_set_target(struct request *request, const char *target);
void request_release(struct request *request); /* what it owns */

/* Decodes the percent escapes of `len` bytes into `ret_text` (room for `size` bytes with the final NUL; what does not
 * fit is left out). ERR_MALFORMED: an escape that is none. */
int percent_decode(const char *text, size_t len, char *ret_text, size_t size, size_t *ret_len);
/* Digits, the first not 0; 0 if it is anything else, or more than 19 of them. */
uint64_t positive_number(const char *text, size_t len);

#endif
