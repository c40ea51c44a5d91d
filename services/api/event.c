#include "event.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static size_t body_len(const struct event *event)
{
	return event->body ? event->body->len - 1 : 0;
}

bool event_is_written(const struct event *event)
{
	return event->written == event->text_len + body_len(event);
}

void event_release(struct event *event)
{
	silo_body_unref(event->body);
	event->body = NULL;
	event->text_len = event->head_len = event->written = 0;
}

static size_t copy_part(const char *part, size_t len, size_t from, char *to, size_t max)
{
	size_t count = len - from < max ? len - from : max;

	memcpy(to, part + from, count);
	return count;
}

/* Writes on; once all is written, the document is let go. */
static size_t write_on(struct event *event, char *to, size_t max)
{
	size_t head = event->head_len, body = body_len(event), at = event->written, count;

	if (at < head)
		count = copy_part(event->text, head, at, to, max);
	else if (at < head + body)
		count = copy_part(event->body->json, body, at - head, to, max);
	else
		count = copy_part(event->text + head, event->text_len - head, at - head - body, to, max);
	event->written += count;
	if (event_is_written(event))
		event_release(event);
	return count;
}

bool event_write(struct event *event, char *to, size_t max, size_t *used)
{
	while (!event_is_written(event) && *used < max)
		*used += write_on(event, to + *used, max - *used);
	return event_is_written(event) && *used < max;
}

void event_say_text(struct event *event, const char *text)
{
	size_t len = strlen(text);

	if (len < sizeof event->text - event->text_len) {
		memcpy(event->text + event->text_len, text, len);
		event->text_len += len;
	}
	event->head_len = event->text_len;
}

void event_say_number(struct event *event, uint64_t number)
{
	char digits[21], *at = digits + sizeof digits - 1;

	*at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	event_say_text(event, at);
}

void event_say(struct event *event, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int len = vsnprintf(event->text + event->text_len, sizeof event->text - event->text_len, format, args);
	va_end(args);
	if (len > 0 && (size_t)len < sizeof event->text - event->text_len)
		event->text_len += (size_t)len;
	event->head_len = event->text_len;
}

void event_say_silo_take(struct event *event, struct silo_body *body)
{
	event_say_text(event, "event: silo\ndata: ");
	size_t head = event->text_len;
	event_say_text(event, ",\"revision\":");
	event_say_number(event, body->revision);
	event_say_text(event, "}\n\n");
	event->head_len = head;
	event->body = body;
}
