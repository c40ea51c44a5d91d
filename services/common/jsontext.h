/*
 * What jansson (2.14) leaves out about memory. A text that it has no memory for it takes for malformed, or, worse,
 * reads as another one: it drops the characters of a string that is longer than 15 bytes and cannot grow, and says
 * nothing. And json_pack() leaves out an optional member ("s:o*") that there was no memory for. So whatever is read is
 * read by jsontext_parse(). Thread-safe.
 */
#ifndef SILODNS_JSONTEXT_H
#define SILODNS_JSONTEXT_H

#include <stdbool.h>

#include <jansson.h>

#include "err.h"

/* json_loadb(), and ERR_NOMEM or ERR_MALFORMED if it fails; `ret_error` may be NULL, or is then filled. */
int jsontext_parse(const char *text, size_t len, size_t flags, json_t **ret_json, json_error_t *ret_error);

/* A member that is a string without a NUL in it; NULL, if it is not there or something else. It is the object's. */
const char *jsontext_member(const json_t *object, const char *name);

/* Of strings; NULL: no memory. */
json_t *jsontext_list(char *const *items, size_t count);

/* Sets a member, if it is wanted: to `value_take`, which is NULL if there was no memory for it. 0 or ERR_NOMEM. */
int jsontext_set(json_t *object, const char *name, bool wanted, json_t *value_take);

#endif
