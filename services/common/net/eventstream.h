/*
 * Reads an event stream (text/event-stream, HTML Living Standard, 9.2.6 "Interpreting an event stream") as it comes, in
 * pieces of any size. Pure: no input or output of its own. One owner.
 *
 * Stricter than the standard in its limits only: a line, and the data of one event, is at most `max` bytes, a type or
 * an id EVENTSTREAM_NAME_MAX. What is longer is an error; nothing is ever cut. After an error the stream stays failed.
 */
#ifndef SILODNS_NET_EVENTSTREAM_H
#define SILODNS_NET_EVENTSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

#define EVENTSTREAM_NAME_MAX 64          /* bytes of a type or an id */
#define EVENTSTREAM_RETRY_MAX_MS 3600000 /* a longer one is taken as this */

struct eventstream_name {
	char text[EVENTSTREAM_NAME_MAX + 1];
	size_t len; /* a type may have a NUL inside, an id has not */
};

struct eventstream {
	struct buf line; /* not ended yet */
	struct buf data; /* of the event that is being read, each line with its newline */
	struct eventstream_name type, id;
	struct eventstream_name last_id; /* of the latest event, "" = none; also events without data set it */
	int64_t retry_ms;                /* as the sender last said, -1 = it has not */
	bool begun;                      /* the first line is over: no byte order mark any more */
	bool after_cr;                   /* a LF now belongs to the line end before */
	int err;
};

struct eventstream_event {
	const char *type; /* "message" if none was given */
	size_t type_len;
	const char *data; /* followed by a NUL */
	size_t len;
};

/* Borrows the event. A negative return ends the reading and is returned by eventstream_feed(). */
typedef int (*eventstream_fn)(void *arg, const struct eventstream_event *event);

void eventstream_init(struct eventstream *stream, size_t max);
void eventstream_release(struct eventstream *stream);

/* Reads on, and calls `fn` for each event that is complete. At the stream's end an incomplete one is simply left.
 * ERR_TOO_LARGE, ERR_NOMEM, or what `fn` returned. */
int eventstream_feed(struct eventstream *stream, const char *data, size_t len, eventstream_fn fn, void *arg);

#endif
