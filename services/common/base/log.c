#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "common/base/clock.h"

#define FIELD_MAX 512
#define TEXT_MAX (FIELD_MAX + sizeof("…"))
#define LINE_SIZE PIPE_BUF /* what write(2) puts into a pipe in one piece (pipe(7)) */

static const char truncated_mark[] = " truncated=true\n";
static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"logfmt", "json"};

static struct {
	const char *program;
	enum log_level level;
	enum log_format format;
} state = {.program = "silodns", .level = LOG_LEVEL_INFO};

void log_init(const char *program, enum log_level level, enum log_format format)
{
	state.program = program;
	state.level = level;
	state.format = format;
}

static int index_of(const char *const *names, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], text) == 0)
			return (int)i;
	return ERR_INVALID;
}

int log_level_check(const char *text, struct why *ret_why)
{
	return index_of(level_names, sizeof(level_names) / sizeof(level_names[0]), text) >= 0
		       ? ERR_OK
		       : why_set(ret_why, ERR_INVALID, "", "\"%s\" is none of debug, info, warn, error", text);
}

int log_format_check(const char *text, struct why *ret_why)
{
	return index_of(format_names, sizeof(format_names) / sizeof(format_names[0]), text) >= 0
		       ? ERR_OK
		       : why_set(ret_why, ERR_INVALID, "", "\"%s\" is neither logfmt nor json", text);
}

void log_init_texts(const char *program, const char *level, const char *format)
{
	int at = index_of(level_names, sizeof(level_names) / sizeof(level_names[0]), level);
	int as = index_of(format_names, sizeof(format_names) / sizeof(format_names[0]), format);

	log_init(program, at < 0 ? LOG_LEVEL_INFO : (enum log_level)at,
		 as < 0 ? LOG_FORMAT_LOGFMT : (enum log_format)as);
}

/* Bytes of the character at `s` as RFC 3629 has it; 0 if it is none, or one that a terminal obeys (DEL, C1 controls).
 */
static size_t utf8_len(const unsigned char *s)
{
	static const unsigned minimum[] = {0, 0, 0xa0, 0x800, 0x10000};
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	if (len < 2)
		return s[0] == 0x7f ? 0 : len;
	unsigned code = s[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	return code < minimum[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : len;
}

static void clean(const char *text, char ret_text[static TEXT_MAX])
{
	size_t len = 0;
	for (const char *s = text ? text : ""; *s;) {
		bool plain = (unsigned char)*s < 0x7f; /* nearly all there is */
		size_t n = plain ? 1 : utf8_len((const unsigned char *)s), size = n ? n : strlen("\uFFFD");
		if (len + size > FIELD_MAX) {
			memcpy(ret_text + len, "…", strlen("…"));
			len += strlen("…");
			break;
		}
		if (plain)
			ret_text[len] = *s;
		else
			memcpy(ret_text + len, n ? s : "\uFFFD", size);
		len += size;
		s += n ? n : 1;
	}
	ret_text[len] = '\0';
}

static void format_value(const struct log_field *field, char ret_text[static TEXT_MAX])
{
	switch (field->type) {
	case LOG_TYPE_STR:
		clean(field->str, ret_text);
		return;
	case LOG_TYPE_I64:
		snprintf(ret_text, TEXT_MAX, "%" PRId64, field->i64);
		return;
	case LOG_TYPE_U64:
		snprintf(ret_text, TEXT_MAX, "%" PRIu64, field->u64);
		return;
	case LOG_TYPE_BOOL:
		snprintf(ret_text, TEXT_MAX, "%s", field->boolean ? "true" : "false");
		return;
	case LOG_TYPE_ERR:
		snprintf(ret_text, TEXT_MAX, "%s", err_name((int)field->i64));
		return;
	case LOG_TYPE_MS:
		snprintf(ret_text, TEXT_MAX, "%.3f", field->ms);
		return;
	}
	ret_text[0] = '\0';
}

struct line {
	char data[LINE_SIZE];
	size_t len;
	bool full;
};

static void put(struct line *line, const char *data, size_t len)
{
	if (line->full || len > sizeof(line->data) - sizeof(truncated_mark) - line->len) {
		line->full = true;
		return;
	}
	memcpy(line->data + line->len, data, len);
	line->len += len;
}

static void put_quoted(struct line *line, const char *text)
{
	put(line, "\"", 1);
	for (const char *s = text; *s; s++) {
		char escape[8] = {*s}; /* what stands for itself, as nearly all does */
		if (*s == '"' || *s == '\\')
			snprintf(escape, sizeof(escape), "\\%c", *s);
		else if (*s == '\n')
			snprintf(escape, sizeof(escape), "\\n");
		else if (*s == '\t')
			snprintf(escape, sizeof(escape), "\\t");
		else if ((unsigned char)*s < ' ')
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)*s);
		put(line, escape, strlen(escape));
	}
	put(line, "\"", 1);
}

static bool is_bare(const char *text)
{
	if (!*text)
		return false;
	for (const char *s = text; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\')
			return false;
	return true;
}

/* A field that does not fit is left out whole. */
static void put_field(struct line *line, const char *key, const char *text)
{
	size_t before = line->len;
	if (before)
		put(line, " ", 1);
	put(line, key, strlen(key));
	put(line, "=", 1);
	if (is_bare(text))
		put(line, text, strlen(text));
	else
		put_quoted(line, text);
	if (line->full)
		line->len = before;
}

static void format_logfmt(struct line *line, const char *time, enum log_level level, const char *message,
			  const struct log_field *fields, size_t count)
{
	char text[TEXT_MAX];
	put_field(line, "time", time);
	put_field(line, "level", level_names[level]);
	put_field(line, "program", state.program);
	put_field(line, "msg", message);
	for (size_t i = 0; i < count; i++) {
		format_value(&fields[i], text);
		put_field(line, fields[i].key, text);
	}
	const char *end = line->full ? truncated_mark : "\n";
	memcpy(line->data + line->len, end, strlen(end));
	line->len += strlen(end);
}

static json_t *json_value(const struct log_field *field)
{
	char text[TEXT_MAX];
	json_t *value = NULL;
	format_value(field, text);
	if (field->type == LOG_TYPE_I64)
		value = json_integer(field->i64);
	else if (field->type == LOG_TYPE_U64 && field->u64 <= INT64_MAX)
		value = json_integer((json_int_t)field->u64);
	else if (field->type == LOG_TYPE_BOOL)
		value = json_boolean(field->boolean);
	else if (field->type == LOG_TYPE_MS)
		value = json_real(strtod(text, NULL)); /* NULL for what JSON has no number for */
	return value ? value : json_string(text);
}

/* False: out of memory. */
static bool format_json(struct line *line, const char *time, enum log_level level, const char *message,
			const struct log_field *fields, size_t count)
{
	const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(15), max = sizeof(line->data) - 1;
	json_t *root = json_pack("{ss ss ss ss}", "time", time, "level", level_names[level], "program", state.program,
				 "msg", message);
	bool ok = root != NULL;
	for (size_t i = 0; ok && i < count; i++)
		ok = json_object_set_new(root, fields[i].key, json_value(&fields[i])) == 0;
	while (ok && (line->len = json_dumpb(root, line->data, max, flags)) > max && count > 0) {
		json_object_del(root, fields[--count].key);
		ok = json_object_set_new(root, "truncated", json_true()) == 0;
	}
	json_decref(root);
	if (!ok || line->len == 0 || line->len > max)
		return false;
	line->data[line->len++] = '\n';
	return true;
}

bool log_is_wanted(enum log_level level)
{
	return level >= state.level;
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	struct line line; /* a page: not worth clearing */
	char time[CLOCK_TEXT_MAX], text[TEXT_MAX];
	int saved = errno;
	line.len = 0;
	line.full = false;
	if (!log_is_wanted(level))
		return;
	clock_format(clock_wall_us(), time);
	clean(message, text);
	if (state.format != LOG_FORMAT_JSON || !format_json(&line, time, level, text, fields, count)) {
		line.len = 0;
		format_logfmt(&line, time, level, text, fields, count);
	}
	while (write(STDERR_FILENO, line.data, line.len) < 0 && errno == EINTR)
		;
	errno = saved;
}
