/*
 * One event per line on stderr, as logfmt (default) or JSON: time, level, program, message, then typed fields. There is
 * no printf-style entry on purpose: a field has a name and a type, so a value is always escaped, and secrets have no
 * formatter. A line is written by one write(2), so lines of several threads and processes do not mix. Fields over 512
 * bytes are cut and end in "…". Thread-safe after log_init().
 */
#ifndef SILODNS_BASE_LOG_H
#define SILODNS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

enum log_type { LOG_TYPE_STR, LOG_TYPE_I64, LOG_TYPE_U64, LOG_TYPE_BOOL, LOG_TYPE_ERR, LOG_TYPE_MS };

struct log_field {
	const char *key;
	enum log_type type;
	union {
		const char *str;
		int64_t i64;
		uint64_t u64;
		bool boolean;
		double ms;
	};
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_STR, .str = (v)}) /* NULL is written as "" */
#define LOG_I64(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_I64, .i64 = (int64_t)(v)})
#define LOG_U64(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_U64, .u64 = (uint64_t)(v)})
#define LOG_BOOL(k, v) ((struct log_field){.key = (k), .type = LOG_TYPE_BOOL, .boolean = (v)})
#define LOG_ERR(v) ((struct log_field){.key = "error", .type = LOG_TYPE_ERR, .i64 = (v)}) /* the err's name */
#define LOG_MS(k, v)                                                                                                   \
	((struct log_field){.key = (k), .type = LOG_TYPE_MS, .ms = (v)}) /* milliseconds, three decimals               \
									  */

/* `program` is borrowed for ever. Call once, before any thread starts. Before it, lines go out as logfmt at info level.
 */
void log_init(const char *program, enum log_level level, enum log_format format);
/* The same by the texts of settings, which are checked: "debug", "info", "warn", "error"; "logfmt", "json". */
void log_init_texts(const char *program, const char *level, const char *format);
/* For rows of settings (conf.h). ERR_INVALID with a reason. */
int log_level_check(const char *text, struct why *ret_why);
int log_format_check(const char *text, struct why *ret_why);

/* Whether such an event would be written: for those that would have to gather its fields first. */
bool log_is_wanted(enum log_level level);
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);

#define LOG_FIELDS_(...) ((const struct log_field[]){__VA_ARGS__})
#define LOG_AT_(level, message, ...)                                                                                   \
	log_write((level), (message), LOG_FIELDS_(__VA_ARGS__),                                                        \
		  sizeof(LOG_FIELDS_(__VA_ARGS__)) / sizeof(struct log_field))
/* At least one field each: log_info("listening", LOG_U64("port", port)). */
#define log_debug(message, ...) LOG_AT_(LOG_LEVEL_DEBUG, message, __VA_ARGS__)
#define log_info(message, ...) LOG_AT_(LOG_LEVEL_INFO, message, __VA_ARGS__)
#define log_warn(message, ...) LOG_AT_(LOG_LEVEL_WARN, message, __VA_ARGS__)
#define log_error(message, ...) LOG_AT_(LOG_LEVEL_ERROR, message, __VA_ARGS__)

#endif
