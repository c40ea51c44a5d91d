#include "api/watch/sse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static size_t body_len(const struct sse_event *event)
{
	return event->body ? event->body->len - 1 : 0;
}

bool sse_is_written(const struct sse_event *event)
{
	return event->written == event->text_len + body_len(event);
}

void sse_release(struct sse_event *event)
{
	document_unref(event->body);
	event->body = NULL;
	event->text_len = event->head_len = event->written = 0;
}

bool sse_write(struct sse_event *event, struct sse_buffer *to)
{
	const struct {
		const char *at;
		size_t len;
	} parts[] = {{event->text, event->head_len},
		     {event->body ? event->body->json : "", body_len(event)},
		     {event->text + event->head_len, event->text_len - event->head_len}};
	size_t written = event->written;

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		size_t skip = written < parts[i].len ? written : parts[i].len;
		size_t left = parts[i].len - skip, room = to->max - to->used, count = left < room ? left : room;
		memcpy(to->data + to->used, parts[i].at + skip, count);
		to->used += count;
		event->written += count;
		written -= skip;
	}
	if (!sse_is_written(event))
		return false;
	sse_release(event); /* the document is let go */
	return to->used < to->max;
}

static void put_text(struct sse_event *event, const char *text)
{
	size_t len = strlen(text);

	if (len < sizeof event->text - event->text_len) {
		memcpy(event->text + event->text_len, text, len);
		event->text_len += len;
	}
	event->head_len = event->text_len;
}

static void put_number(struct sse_event *event, uint64_t number)
{
	char digits[21], *at = digits + sizeof digits - 1;

	*at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	put_text(event, at);
}

void sse_say(struct sse_event *event, const char *format, ...)
{
	char text[EVENT_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	put_text(event, text);
}

/* (There may be a million a second of these two: too many for printf.) */
void sse_say_id(struct sse_event *event, uint64_t id)
{
	put_text(event, "id: ");
	put_number(event, id);
	put_text(event, "\n");
}

void sse_say_silo(struct sse_event *event, struct document *body)
{
	put_text(event, "event: silo\ndata: ");
	size_t head = event->text_len;
	put_text(event, ",\"revision\":");
	put_number(event, body->revision);
	put_text(event, "}\n\n");
	event->head_len = head;
	event->body = document_ref(body);
}
