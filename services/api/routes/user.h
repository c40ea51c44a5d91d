/*
 * A user as the HTTP interface shows it: never the password's hash.
 */
#ifndef SILODNS_API_ROUTES_USER_H
#define SILODNS_API_ROUTES_USER_H

#include <jansson.h>

#include "api/store/store.h"

json_t *user_json(const struct user *user); /* NULL: no memory */

#endif
