/*
 * A body that comes into being over time: what a reply has in place of a finished body, and the line it goes out on. So
 * neither side knows the other: the server only knows streams, whoever makes one only knows a line.
 */
#ifndef SILODNS_STREAM_H
#define SILODNS_STREAM_H

#include <stddef.h>
#include <sys/types.h>

#define STREAM_END ((ssize_t)-1)

/* A connection that can wait without a thread. After suspend() nothing is read from the stream until resume(). */
struct line {
	void *handle;
	void (*suspend)(void *handle); /* only by the thread that the connection is served by */
	void (*resume)(void *handle);  /* any thread; only while it is suspended */
};

struct stream_class {
	/* Before the first read(). */
	void (*attach)(void *stream, const struct line *line);
	/* Bytes written, up to `max`; STREAM_END; 0 only after suspending the line. Must not block. */
	ssize_t (*read)(void *stream, char *ret_data, size_t max);
	/* The connection is gone, or was never attached; the last call. */
	void (*close)(void *stream);
};

#endif
