/*
 * Who waits without a thread, and how it is woken: a suspended connection, say. Whoever lets somebody wait (the
 * journal, a password's verification, a watch) knows only this, and not what waits. The struct is copied; its handle is
 * borrowed until the last resume().
 */
#ifndef SILODNS_BASE_WAITER_H
#define SILODNS_BASE_WAITER_H

#include <stddef.h>
#include <sys/types.h>

struct waiter {
	void *handle;
	void (*suspend)(void *handle); /* only by the thread that serves it */
	void (*resume)(void *handle);  /* any thread; only while it is suspended */
};

/* A body that comes into being over time: what a reply has in place of a finished body. The server knows only streams,
 * and whoever makes one knows only a waiter. */
#define STREAM_END ((ssize_t)-1)

struct stream_class {
	/* Before the first read(). */
	void (*attach)(void *stream, const struct waiter *waiter);
	/* Bytes written, up to `max`; STREAM_END; 0 only after suspending the waiter. Must not block. */
	ssize_t (*read)(void *stream, char *ret_data, size_t max);
	/* The connection is gone, or was never attached; the last call. */
	void (*close)(void *stream);
};

#endif
