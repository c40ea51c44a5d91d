/*
 * Errors as data: every failure that crosses a function's border is one negative `enum err`, and everything that is
 * known about it (its name in logs and in problem+json, its HTTP status, whether trying again may help) is one row of a
 * const table. Thread-safe: the table is read-only.
 */
#ifndef SILODNS_BASE_ERR_H
#define SILODNS_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

enum err {
	ERR_OK = 0,
	ERR_NOMEM = -1,            /* allocation failed */
	ERR_SYSTEM = -2,           /* a system call failed; errno says why */
	ERR_MALFORMED = -3,        /* not the syntax that was asked for (bad JSON, bad escape): 400 */
	ERR_INVALID = -4,          /* well-formed, but a value is refused: 422 */
	ERR_TOO_LARGE = -5,        /* over a stated limit: 413 */
	ERR_UNAUTHORIZED = -6,     /* no or wrong credentials: 401 */
	ERR_FORBIDDEN = -7,        /* known, but not allowed: 403 */
	ERR_NOT_FOUND = -8,        /* 404 */
	ERR_METHOD = -9,           /* 405 */
	ERR_CONFLICT = -10,        /* refused by the state it would meet: 409 */
	ERR_PRECONDITION = -11,    /* If-Match or If-None-Match does not hold: 412 */
	ERR_QUOTA = -12,           /* the user's quota is used up: 403 */
	ERR_RATE = -13,            /* too many requests: 429 */
	ERR_UNAVAILABLE = -14,     /* the database or the hub is away; nothing was changed: 503 */
	ERR_BUSY = -15,            /* a queue is full; nothing was changed: 503 */
	ERR_UNKNOWN_OUTCOME = -16, /* sent, but it is not known whether it landed: 503 */
	ERR_TIMEOUT = -17,         /* the other side did not answer in time */
	ERR_NETWORK = -18,         /* could not reach, or lost, the other side */
	ERR_TLS = -19,             /* certificate or handshake refused */
	ERR_PROTOCOL = -20,        /* the other side answered something that makes no sense */
	ERR_NOT_MODIFIED = -21,    /* what the caller has is still current: 304 */
	ERR_DETECT = -22,          /* no address could be detected */
	ERR_DOUBTFUL = -23,        /* an address was detected, but must not be published */
	ERR_DEADLOCK = -24,        /* the database chose this transaction as a victim: run it again */
	ERR_STOPPED = -25,         /* asked to stop meanwhile */
	ERR_INTERNAL = -26,        /* a bug, or a dependency that broke its promise: 500 */
	ERR_PENDING = -27,         /* no failure: the answer comes later, and somebody sees to it */
	ERR_ENCODING = -28,        /* a body in a form that is not read, such as compressed: 415 */
	ERR_LAST_ = -29
};

struct err_info {
	const char *name;  /* in logs and problem+json: kebab-case, never changes */
	const char *title; /* a short sentence for people */
	int http_status;
	bool retryable; /* the same request may succeed later without anybody changing anything */
};

/* Never NULL: an unknown code gets the row of ERR_INTERNAL. */
const struct err_info *err_info(int err);
const char *err_name(int err);

/*
 * Why a value was refused: the field ("dnsrecords[3].ip", "SILODNS_PORT"; empty when it is the whole thing) and one
 * sentence, lower-case, without full stop, that says what is wrong and what would be right. It is the one output that
 * is written on failure (and only then).
 */
struct why {
	char field[96];
	char text[256];
};

/* Fills `why` (which may be NULL) and returns `err`, so that a check can end with `return why_set(…)`. A text that
 * does not fit ends in "…". Control characters from untrusted input are replaced by '?'. */
int why_set(struct why *why, int err, const char *field, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
