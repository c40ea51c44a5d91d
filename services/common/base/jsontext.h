/*
 * What jansson (2.14) leaves out about memory. A string that is longer than its buffer, and cannot grow, it reads
 * without the character that had no room: as another string, or, where that was the closing quote, past the end of the
 * buffer. And json_pack() leaves out an optional member ("s:o*") that there was no memory for. So whatever is read is
 * read by jsontext_parse(). Thread-safe.
 */
#ifndef SILODNS_BASE_JSONTEXT_H
#define SILODNS_BASE_JSONTEXT_H

#include <stdbool.h>

#include <jansson.h>

#include "common/base/err.h"

/* json_loadb(), and ERR_NOMEM or ERR_MALFORMED if it fails; `ret_error` may be NULL, or is then filled. A byte order
 * mark of UTF-8 before the text is left out (RFC 8259, 8.1). */
int jsontext_parse(const char *text, size_t len, size_t flags, json_t **ret_json, json_error_t *ret_error);

/* A body that somebody sent, which is to be an object in which no member stands twice. ERR_MALFORMED, ERR_INVALID (no
 * object), ERR_NOMEM, with a reason that quotes `example` and nothing of the text. */
int jsontext_parse_object(const char *text, size_t len, const char *example, json_t **ret_object, struct why *ret_why);

/* A member that is a string without a NUL in it; NULL, if it is not there or something else. It is the object's. */
const char *jsontext_member(const json_t *object, const char *name);

/* Of strings; NULL: no memory. */
json_t *jsontext_list(char *const *items, size_t count);

/* Sets a member, if it is wanted: to `value_take`, which is NULL if there was no memory for it. 0 or ERR_NOMEM. */
int jsontext_set(json_t *object, const char *name, bool wanted, json_t *value_take);

#endif
