/*
 * One event of an event stream while it is being written: a few lines of text around a silo's document, which is
 * borrowed from the store by a reference and not copied. No lock: whoever owns it uses it from one thread at a time.
 */
#ifndef SILODNS_API_WATCH_SSE_H
#define SILODNS_API_WATCH_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/model/document.h"

/* Bytes without the document: more than any event has; what does not fit is left out whole. */
#define EVENT_TEXT_MAX 320

/* What is written: text[0, head_len), the document without its last brace, the rest of text. */
struct sse_event {
	char text[EVENT_TEXT_MAX];
	size_t text_len, head_len, written;
	struct document *body; /* owned; NULL: none */
};

struct sse_buffer {
	char *data;
	size_t max, used;
};

void sse_release(struct sse_event *event); /* it is empty then, and can be used again */

void sse_say(struct sse_event *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sse_say_id(struct sse_event *event, uint64_t id);
/* The event "silo", with the document, of which it takes a reference, and its revision. The last to be said. */
void sse_say_silo(struct sse_event *event, struct document *body);

/* Adds to `to` as far as it goes. True: all is written, and there is room still. */
bool sse_write(struct sse_event *event, struct sse_buffer *to);
bool sse_is_written(const struct sse_event *event);

#endif
