/*
 * One event of an event stream while it is being written: a few lines of text around a silo's document, which is
 * borrowed from the store by a reference and not copied. No lock: whoever owns it uses it from one thread at a time.
 */
#ifndef SILODNS_EVENT_H
#define SILODNS_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "silo_body.h"

#define EVENT_TEXT_MAX                                                                                                 \
	320 /* bytes without the document: more than any event has; what does not fit is left out whole */

/* What is written: text[0, head_len), the document without its last brace, the rest of text. */
struct event {
	char text[EVENT_TEXT_MAX];
	size_t text_len, head_len, written;
	struct silo_body *body; /* owned; NULL: none */
};

void event_release(struct event *event); /* it is empty then, and can be used again */

/* Text as it is, and a number. (These two write what each event has, and there may be a million a second: too many for
 * printf.) */
void event_say_text(struct event *event, const char *text);
void event_say_number(struct event *event, uint64_t number);
void event_say(struct event *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The event "silo", with the document and its revision. Takes the reference. The last to be said. */
void event_say_silo_take(struct event *event, struct silo_body *body);

/* Adds to `to`, of which `*used` bytes of `max` are in use, as far as it goes. True: all is written, and there is room
 * still. */
bool event_write(struct event *event, char *to, size_t max, size_t *used);
bool event_is_written(const struct event *event);

#endif
