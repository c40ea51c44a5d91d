/*
 * Authorization headers whose password was right: recognised by a keyed hash of their text (SipHash-2-4, 128 bits), so
 * that nothing has to be decoded, nor hashed at length, for each request of a client that is known. An entry counts
 * only as long as its user is as it was then: whatever changes of a user, its password above all, makes another
 * revision. A look into this memory tells no password. Thread-safe.
 */
#ifndef SILODNS_API_AUTH_LOGIN_CACHE_H
#define SILODNS_API_AUTH_LOGIN_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/store/store.h"

struct login_cache;

struct login_cache *login_cache_new(void);         /* NULL: out of memory */
void login_cache_free(struct login_cache *recall); /* NULL is allowed */

/* False: not known, or the user is another by now. */
bool login_cache_user(struct login_cache *recall, struct store *store, const char *header, struct user *ret_user);
void login_cache_put(struct login_cache *recall, const char *header, const struct user *user);

#endif
