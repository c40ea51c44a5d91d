#include "common/net/eventstream.h"

#include <ctype.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

struct field {
	const char *name, *value;
	size_t name_len, value_len;
};

void eventstream_init(struct eventstream *stream, size_t max)
{
	*stream = (struct eventstream){.line = BUF_INIT(max), .data = BUF_INIT(max + 1), .retry_ms = -1};
}

void eventstream_release(struct eventstream *stream)
{
	if (!stream)
		return;
	buf_release(&stream->line);
	buf_release(&stream->data);
}

static int set_name(struct eventstream_name *name, const struct field *field)
{
	if (field->value_len > EVENTSTREAM_NAME_MAX)
		return ERR_TOO_LARGE;
	memcpy(name->text, field->value, field->value_len);
	name->text[field->value_len] = '\0';
	name->len = field->value_len;
	return 0;
}

static void take_retry(struct eventstream *stream, const struct field *field)
{
	int64_t ms = 0;
	for (size_t i = 0; i < field->value_len; i++) {
		if (!isdigit((unsigned char)field->value[i]))
			return;
		ms = ms * 10 + (field->value[i] - '0');
		if (ms > EVENTSTREAM_RETRY_MAX_MS)
			ms = EVENTSTREAM_RETRY_MAX_MS;
	}
	if (field->value_len > 0)
		stream->retry_ms = ms;
}

static bool is_named(const struct field *field, const char *name)
{
	return strlen(name) == field->name_len && memcmp(name, field->name, field->name_len) == 0;
}

static int take_field(struct eventstream *stream, const struct field *field)
{
	if (is_named(field, "data")) {
		buf_append(&stream->data, field->value, field->value_len);
		return buf_append(&stream->data, "\n", 1);
	}
	if (is_named(field, "event"))
		return set_name(&stream->type, field);
	if (is_named(field, "id") && !memchr(field->value, '\0', field->value_len))
		return set_name(&stream->id, field);
	if (is_named(field, "retry"))
		take_retry(stream, field);
	return 0; /* unknown fields are ignored */
}

static struct field split_line(const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	if (!colon)
		return (struct field){.name = line, .name_len = len, .value = line + len};
	size_t name_len = (size_t)(colon - line), start = name_len + 1;
	if (start < len && line[start] == ' ')
		start++;
	return (struct field){.name = line, .name_len = name_len, .value = line + start, .value_len = len - start};
}

static int dispatch(struct eventstream *stream, eventstream_fn fn, void *arg)
{
	static const char unnamed[] = "message";
	bool named = stream->type.len > 0;
	struct eventstream_event event = {.type = named ? stream->type.text : unnamed,
					  .type_len = named ? stream->type.len : strlen(unnamed),
					  .data = stream->data.data};
	int err = 0;
	stream->last_id = stream->id;
	if (stream->data.len > 0) {
		event.len = stream->data.len - 1;
		stream->data.data[event.len] = '\0'; /* the last line's newline is none of the data's */
		err = fn(arg, &event);
	}
	buf_clear(&stream->data);
	stream->type = (struct eventstream_name){0};
	return err;
}

static int end_line(struct eventstream *stream, eventstream_fn fn, void *arg)
{
	const char *line = stream->line.len ? stream->line.data : "";
	size_t len = stream->line.len, mark = strlen(BYTE_ORDER_MARK);
	int err = 0;
	if (!stream->begun && len >= mark && memcmp(line, BYTE_ORDER_MARK, mark) == 0) {
		line += mark;
		len -= mark;
	}
	stream->begun = true;
	if (len == 0)
		err = dispatch(stream, fn, arg);
	else if (line[0] != ':') {
		struct field field = split_line(line, len);
		err = take_field(stream, &field);
	}
	buf_clear(&stream->line);
	return err;
}

/* Bytes before the first CR or LF. */
static size_t line_length(const char *data, size_t len)
{
	size_t n = 0;
	while (n < len && data[n] != '\r' && data[n] != '\n')
		n++;
	return n;
}

int eventstream_feed(struct eventstream *stream, const char *data, size_t len, eventstream_fn fn, void *arg)
{
	while (len > 0 && stream->err == 0) {
		bool second_half = stream->after_cr && data[0] == '\n';
		size_t n = second_half ? 0 : line_length(data, len);
		stream->err = buf_append(&stream->line, data, n);
		stream->after_cr = n < len && data[n] == '\r';
		if (stream->err == 0 && n < len && !second_half)
			stream->err = end_line(stream, fn, arg);
		n += n < len; /* the line's end */
		data += n;
		len -= n;
	}
	return stream->err;
}
