/*
 * Authorization headers whose password was verified, right or wrong: recognised by a keyed hash of
 * credentials_encoded() (SipHash-2-4, 128 bits), so that nothing has to be decoded, nor hashed at length, for each
 * request of a client that is known. An entry counts only as long as its user's stored hash is as it was then. A look
 * into this memory tells no password. Of four places that a header may have, one is for wrong ones: a flood of these
 * drives out no right one. Thread-safe.
 */
#ifndef SILODNS_API_AUTH_LOGIN_CACHE_H
#define SILODNS_API_AUTH_LOGIN_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/store/store.h"

#define LOGIN_KEY_HEADER_BYTES 16

/* A header, and the user for whom it is verified. */
struct login_key {
	unsigned char header[LOGIN_KEY_HEADER_BYTES];
	uint64_t password_hash; /* a hash of it */
	uint64_t user_id;       /* 0: there is no such user */
};

struct login_cache;

struct login_cache *login_cache_new(void);        /* NULL: out of memory */
void login_cache_free(struct login_cache *cache); /* NULL is allowed */

void login_cache_key(const struct login_cache *cache, const char *header, const struct user *user,
		     struct login_key *ret_key);
bool login_key_equal(const struct login_key *a, const struct login_key *b);

/* Whose right password this header is; false: not known, or not any more. */
bool login_cache_user(struct login_cache *cache, struct store *store, const char *header, struct user *ret_user);
/* Whether it is known, and then whether it is right. */
bool login_cache_find(struct login_cache *cache, const struct login_key *key, bool *ret_right);
void login_cache_put(struct login_cache *cache, const struct login_key *key, bool right);

#endif
