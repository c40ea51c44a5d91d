/*
 * A growing byte buffer that is born with its maximum. Zero-terminated at every moment (data[len] == 0 once anything
 * was written). After a failure it stays failed (`err`), so a run of appends is checked once at its end. One owner.
 */
#ifndef SILODNS_BASE_BUF_H
#define SILODNS_BASE_BUF_H

#include <stddef.h>

#include "common/base/err.h"

struct buf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t capacity;
	size_t max; /* bytes, without the final NUL */
	int err;    /* 0, ERR_NOMEM or ERR_TOO_LARGE */
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})

int buf_append(struct buf *b, const void *data, size_t len); /* returns b->err */
int buf_append_str(struct buf *b, const char *text);
int buf_append_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b);                  /* keeps memory, forgets the failure */
char *buf_take(struct buf *b, size_t *ret_len); /* hands the memory over (NULL only if failed); free() it */
void buf_release(struct buf *b);

#endif
