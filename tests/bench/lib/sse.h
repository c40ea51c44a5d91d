/*
 * One event stream as it is read: an HTTP/1.1 answer, chunked or not, of text/event-stream, in pieces of any size. One
 * per connection; zero-initialised it is before the answer's first byte. Not thread-safe.
 */
#ifndef BENCH_SSE_H
#define BENCH_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SSE_LINE_MAX 1024

struct sse_event {
	char name[16];    /* "" if none was given */
	uint64_t id;      /* 0: none */
	const char *data; /* "" if none; ends in NUL */
};

enum sse_part { SSE_HEAD, SSE_SIZE, SSE_DATA, SSE_DATA_END, SSE_IDENTITY };

struct sse {
	enum sse_part part;
	bool chunked;
	size_t left;       /* of the chunk */
	unsigned retry_ms; /* after which the server wants to see the client again; 0: it has said nothing */
	char over[64];     /* "" while there may be more to come, else why not */
	size_t line_len;   /* of the line that is not complete yet */
	char line[SSE_LINE_MAX + 1], data[SSE_LINE_MAX + 1];
	struct sse_event event;
};

typedef void (*sse_fn)(void *arg, const struct sse_event *event);

/* Calls back for every event that is complete by now. `bytes` are written over. False: nothing more will come, since
 * the stream has ended, or was refused (sse->over). */
bool sse_take(struct sse *sse, char *bytes, size_t len, sse_fn fn, void *arg);

#endif
