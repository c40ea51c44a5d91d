#include "common/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int buf_reserve(struct buf *b, size_t more)
{
	if (b->err)
		return b->err;
	if (more > b->max || b->len > b->max - more)
		return b->err = ERR_TOO_LARGE;
	size_t needed = b->len + more + 1;
	if (needed <= b->capacity)
		return ERR_OK;
	size_t capacity = b->capacity > b->max / 2 ? b->max + 1 : b->capacity * 2;
	if (capacity < needed)
		capacity = needed;
	if (capacity < 64 && b->max >= 64)
		capacity = 64;
	char *data = realloc(b->data, capacity);
	if (!data)
		return b->err = ERR_NOMEM;
	b->data = data;
	b->capacity = capacity;
	return ERR_OK;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	if (buf_reserve(b, len))
		return b->err;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return ERR_OK;
}

int buf_append_str(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

int buf_append_fmt(struct buf *b, const char *fmt, ...)
{
	va_list args, again;

	va_start(args, fmt);
	va_copy(again, args);
	int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len >= 0 && !buf_reserve(b, (size_t)len)) {
		vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again);
		b->len += (size_t)len;
	} else if (len < 0) {
		b->err = ERR_INTERNAL;
	}
	va_end(again);
	return b->err;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->err = ERR_OK;
	if (b->data)
		b->data[0] = '\0';
}

char *buf_take(struct buf *b, size_t *ret_len)
{
	if (b->err || buf_append(b, "", 0))
		return NULL;
	char *data = b->data;
	if (ret_len)
		*ret_len = b->len;
	*b = BUF_INIT(b->max);
	return data;
}

void buf_release(struct buf *b)
{
	if (!b)
		return;
	free(b->data);
	*b = BUF_INIT(b->max);
}
