/*
 * A user as the HTTP interface shows it: never the password's hash.
 */
#ifndef SILODNS_HANDLERS_USER_H
#define SILODNS_HANDLERS_USER_H

#include <jansson.h>

#include "../store.h"

json_t *user_json(const struct user *user); /* NULL: no memory */

#endif
