/*
 * JSON in, by jansson, which does not say whether it was for want of memory that it could not read a text: with some of
 * its allocations it takes the text to blame.
 */
#ifndef SILODNS_JSONTEXT_H
#define SILODNS_JSONTEXT_H

#include <errno.h>

#include <jansson.h>

#include "err.h"

/* json_loadb(), and ERR_NOMEM or ERR_MALFORMED if it fails; `ret_error` is then filled. */
static inline int jsontext_parse(const char *text, size_t len, size_t flags, json_t **ret_json, json_error_t *ret_error)
{
	errno = 0;
	json_t *json = json_loadb(text, len, flags, ret_error);
	if (!json)
		return errno == ENOMEM ? ERR_NOMEM : ERR_MALFORMED;
	*ret_json = json;
	return ERR_OK;
}

#endif
