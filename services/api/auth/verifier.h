/*
 * Who waits to be logged in, without blocking a thread of the server: until a password has been verified or hashed, or
 * until the memory in which its user or token was not found has been confirmed. A waiter is suspended, and resumed when
 * it is to be looked at again.
 *
 * Argon2 costs tens of milliseconds, so one thread of low priority does it, behind a queue of bounded length: a flood
 * of log-ins cannot starve other requests. Whoever is `good` goes first; after the password of anybody else the thread
 * rests, but for good ones, for as long as that took. All who come with the same credentials meanwhile wait for one
 * verification, whose result goes into the login_cache. Thread-safe.
 */
#ifndef SILODNS_API_AUTH_VERIFIER_H
#define SILODNS_API_AUTH_VERIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/auth/credentials.h"
#include "api/auth/login_cache.h"
#include "api/model/user.h"
#include "api/store/store.h"
#include "common/base/err.h"
#include "common/base/waiter.h"

/* A request that waits; zero-initialised, and lives as long as the request. */
struct login_waiter {
	struct waiter waiter; /* set by the server */
	int64_t asked_us;     /* clock_mono_us() */
	bool confirmed;       /* the memory was, since `asked_us`, before it was looked at */
	/* The verifier's own, guarded by its lock until the waiter is resumed. */
	struct login_waiter *prev, *next;
	struct login_key key; /* of what was verified; zeros for a new password */
	bool settled, right;
	int err;
};

struct verifier;

/* Both are borrowed. ERR_NOMEM, ERR_SYSTEM. */
int verifier_start(struct store *store, struct login_cache *cache, struct verifier **ret_verifier);
/* From now on nobody waits: who does is resumed, passwords with ERR_BUSY. At the return nothing is under way. */
void verifier_drain(struct verifier *verifier);
void verifier_stop(struct verifier *verifier); /* drains; NULL is allowed */
/* A password that was right, and whose hash was made with other parameters than today's, is hashed anew once whoever
 * waited has been answered, and `fn` is told, in the verifier's thread: it must not block. Set once, before the first
 * verification. */
void verifier_on_rehash(struct verifier *verifier, void (*fn)(void *arg, const char *old_hash, const char *new_hash),
			void *arg);

/* Passwords that wait, those being verified or hashed, too; and verified since the start, right or wrong. */
void verifier_count(struct verifier *verifier, size_t *ret_waiting, uint64_t *ret_verified);

/* Verifies a password; of a user with the id 0, that takes as long, and is false. ERR_OK: it is known already, and
 * `ret_right` set. ERR_PENDING: the waiter's `err` and `right` will be; ERR_BUSY, too many wait (good ones may be twice
 * as many); ERR_NOMEM. */
int verifier_verify(struct verifier *verifier, const struct user *user, const struct credentials *credentials,
		    const struct login_key *key, bool good, struct login_waiter *waiter, bool *ret_right);

/* As password_hash(), as somebody good. ERR_PENDING: the waiter's `err` will be ERR_NOMEM, ERR_BUSY (the hub stops), or
 * ERR_OK: then `ret_hash` is set, which must last until the waiter is resumed. Or ERR_BUSY, ERR_NOMEM. */
int verifier_hash(struct verifier *verifier, const char *password, size_t len, struct login_waiter *waiter,
		  char ret_hash[static PASSWORD_HASH_MAX]);

/* Whether the memory is as good as it can be for somebody who came at `since_us`: confirmed since then, or the database
 * is away, or about to count as that. */
bool verifier_is_confirmed(const struct verifier *verifier, int64_t since_us);
/* Until that is so. ERR_PENDING, or ERR_UNAVAILABLE: the hub stops. */
int verifier_await_confirmation(struct verifier *verifier, struct login_waiter *waiter, struct why *ret_why);

#endif
