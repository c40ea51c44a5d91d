/*
 * A GET whose answer comes in pieces and may never end, beside http_send() and on the same limits, credentials and TLS.
 * Nothing here waits: the caller waits until a descriptor is readable or a time has come, and calls http_stream_step().
 * There is a time-out for the connection, none in total; how long a silence may last is the caller's to say. One
 * thread.
 */
#ifndef SILODNS_NET_HTTP_STREAM_H
#define SILODNS_NET_HTTP_STREAM_H

#include "common/net/http.h"

struct http_stream; /* opaque */

/* Gets each piece of the answer's body; `head` has status and headers (and no body). A negative return ends the stream
 * and is what http_stream_step() returns. */
typedef int (*http_stream_fn)(void *arg, const struct http_answer *head, const char *data, size_t len);

/* Begins. `http` is borrowed until http_stream_close(), and may be used for http_send() meanwhile; the request's
 * strings are not needed any more. Errors as http_send() before anything is sent, and ERR_SYSTEM. */
int http_stream_open(struct http *http, const struct http_request *request, http_stream_fn fn, void *arg,
		     struct http_stream **ret_stream, struct why *ret_why);
/* At once, also while a name is looked up or a connection made. NULL is allowed. Not from `fn`. */
void http_stream_close(struct http_stream *stream);

/* Readable when there is something to do; the same for the stream's whole life. */
int http_stream_fd(const struct http_stream *stream);
/* Milliseconds until http_stream_step() is to be called whatever the descriptor says; -1 = never. */
int64_t http_stream_wait_ms(const struct http_stream *stream);

/* Does what can be done now. 0: goes on, or with `*ret_over` the answer has come to its proper end. Else an error of
 * http_send(), and the stream is over. */
int http_stream_step(struct http_stream *stream, bool *ret_over, struct why *ret_why);

/* Status and headers; status 0 = not there yet. */
const struct http_answer *http_stream_head(const struct http_stream *stream);
/* The connection is there, and (some of) the request has gone out. */
bool http_stream_sent(const struct http_stream *stream);

#endif
