#include "sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "program.h"

/* --- events out of lines ------------------------------------------------------------------------------------------ */

static const char *value_of(const char *line, const char *field)
{
	size_t len = strlen(field);

	if (strncmp(line, field, len) != 0 || line[len] != ':')
		return NULL;
	return line + len + (line[len + 1] == ' ' ? 2 : 1);
}

static uint64_t number_of(const char *text)
{
	uint64_t number = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (uint64_t)(*text - '0');
	return number;
}

static void take_line(struct sse *sse, const char *line, sse_fn fn, void *arg)
{
	struct sse_event *event = &sse->event;
	const char *value;

	if (!line[0]) {
		if (event->name[0]) {
			event->data = sse->data;
			fn(arg, event);
		}
		*event = (struct sse_event){.data = ""};
		sse->data[0] = '\0';
	} else if ((value = value_of(line, "data"))) {
		strcpy(sse->data, value); /* no longer than a line */
	} else if ((value = value_of(line, "event"))) {
		strncpy(event->name, value, sizeof event->name - 1);
	} else if ((value = value_of(line, "id"))) {
		event->id = number_of(value);
	} else if ((value = value_of(line, "retry"))) {
		sse->retry_ms = (unsigned)number_of(value);
	}
}

/* --- lines out of bytes ------------------------------------------------------------------------------------------- */

/* The line that ends in `bytes`, without its end, NUL-terminated there or in sse->line; NULL: none does, and what
 * there is was kept. `*used`: bytes taken. */
static const char *complete_line(struct sse *sse, char *bytes, size_t len, size_t *used)
{
	char *end = memchr(bytes, '\n', len), *line = bytes;
	size_t more = end ? (size_t)(end - bytes) : len;

	*used = more + (end ? 1 : 0);
	if (sse->line_len + more > SSE_LINE_MAX)
		program_fail("a line is longer than %d bytes", SSE_LINE_MAX);
	if (!end || sse->line_len) {
		memcpy(sse->line + sse->line_len, bytes, more);
		sse->line_len += more;
		more = sse->line_len;
		line = sse->line;
	}
	if (!end)
		return NULL;
	sse->line_len = 0;
	if (more && line[more - 1] == '\r')
		more--;
	line[more] = '\0';
	return line;
}

static void take_text(struct sse *sse, char *bytes, size_t len, sse_fn fn, void *arg)
{
	for (size_t used; len; bytes += used, len -= used) {
		const char *line = complete_line(sse, bytes, len, &used);
		if (line)
			take_line(sse, line, fn, arg);
	}
}

/* --- the HTTP around it ------------------------------------------------------------------------------------------- */

static void take_header(struct sse *sse, const char *line)
{
	if (strncmp(line, "HTTP/1.1 ", 9) == 0 && atoi(line + 9) != 200)
		snprintf(sse->over, sizeof sse->over, "a stream was answered with: %.30s", line);
	if (strcasecmp(line, "Transfer-Encoding: chunked") == 0)
		sse->chunked = true;
	if (!line[0])
		sse->part = sse->chunked ? SSE_SIZE : SSE_IDENTITY;
}

/* A chunk's size shares no line with text, so the place for lines of text is free only between two of them: sizes are
 * read digit by digit. */
static size_t take_size(struct sse *sse, const char *bytes)
{
	char c = *bytes;

	if (c == '\n') {
		sse->part = sse->left ? SSE_DATA : SSE_DATA_END;
		if (!sse->left)
			snprintf(sse->over, sizeof sse->over, "a stream has ended");
	} else if (c != '\r') {
		const char digit[2] = {c, '\0'};
		sse->left = sse->left << 4 | strtoul(digit, NULL, 16);
	}
	return 1;
}

static size_t take_data(struct sse *sse, char *bytes, size_t len, sse_fn fn, void *arg)
{
	size_t count = len < sse->left ? len : sse->left;

	take_text(sse, bytes, count, fn, arg);
	sse->left -= count;
	if (!sse->left)
		sse->part = SSE_DATA_END;
	return count;
}

bool sse_take(struct sse *sse, char *bytes, size_t len, sse_fn fn, void *arg)
{
	const char *line;

	for (size_t used = 0; len && !sse->over[0]; bytes += used, len -= used) {
		switch (sse->part) {
		case SSE_HEAD:
			line = complete_line(sse, bytes, len, &used);
			if (line)
				take_header(sse, line);
			break;
		case SSE_SIZE:
			used = take_size(sse, bytes);
			break;
		case SSE_DATA:
			used = take_data(sse, bytes, len, fn, arg);
			break;
		case SSE_DATA_END: /* \r\n behind a chunk */
			used = 1;
			if (*bytes == '\n')
				sse->part = SSE_SIZE;
			break;
		case SSE_IDENTITY:
			used = len;
			take_text(sse, bytes, len, fn, arg);
			break;
		}
	}
	return !sse->over[0];
}
