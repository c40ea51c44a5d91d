/*
 * A body that comes into being over time: what a reply has in place of a finished body. The server knows only streams,
 * and whoever makes one knows only a waiter.
 */
#ifndef SILODNS_BASE_STREAM_H
#define SILODNS_BASE_STREAM_H

#include <stddef.h>
#include <sys/types.h>

#include "common/base/waiter.h"

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
