/*
 * A reply under construction, and problem+json. One owner, one request; zero-initialised it is an empty reply.
 */
#ifndef SILODNS_API_HTTP_REPLY_H
#define SILODNS_API_HTTP_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/waiter.h"

#define REPLY_HEADERS_MAX 12       /* as many as a CORS preflight over a rate limit has by TLS, in the end */
#define REPLY_HEADER_VALUE_MAX 384 /* bytes, with the final NUL */

struct reply_header {
	const char *name;
	char value[REPLY_HEADER_VALUE_MAX];
};

/* Fields are for the server and tests; handlers use the functions. */
struct reply {
	int status;               /* 0: 200 */
	const char *content_type; /* NULL: no body */
	const char *body;
	size_t body_len;
	void *body_owner; /* what `release_body` gets when the body is not needed any more */
	void (*release_body)(void *owner);
	const struct stream_class *stream_class; /* not NULL: the body is `stream`, which is owned */
	void *stream;
	size_t header_count;
	struct reply_header headers[REPLY_HEADERS_MAX]; /* last: not looked at beyond the count */
};

/* An empty reply, without zeroing the room for its headers. */
void reply_init(struct reply *reply);

void reply_status(struct reply *reply, int status);
/* `name` is a literal; the value is copied. The same name again replaces. ERR_TOO_LARGE: a value too long, or too many
 * headers. */
int reply_header(struct reply *reply, const char *name, const char *value);
int reply_etag(struct reply *reply, uint64_t revision);
/* Copies the body; Content-Length is exact. ERR_NOMEM. */
int reply_body(struct reply *reply, const char *content_type, const void *body, size_t len);
/* The same without a copy: `body` is from malloc(). */
void reply_body_take(struct reply *reply, const char *content_type, char *body, size_t len);
/* The same of a buffer, which is empty afterwards; its error. */
int reply_body_buf(struct reply *reply, const char *content_type, struct buf *text);
/* The same of memory that somebody else owns; `release` is called with `owner`, by any thread. */
void reply_body_shared(struct reply *reply, const char *content_type, const char *body, size_t len, void *owner,
		       void (*release)(void *owner));
/* A body without a length that goes on until the stream says STREAM_END. */
void reply_stream_take(struct reply *reply, const char *content_type, const struct stream_class *class, void *stream);
int reply_json_take(struct reply *reply, int status, json_t *json); /* NULL json: ERR_NOMEM */
/* Whole problem+json reply for `err`, with Retry-After, WWW-Authenticate, … as the error wants; headers set before
 * (Allow, ETag) stay. Falls back to a fixed text without memory. */
void reply_problem(struct reply *reply, int err, const struct why *why);

void reply_release(struct reply *reply);

#endif
