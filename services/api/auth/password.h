/*
 * Passwords: rules, Argon2id hashing and verification (libsodium; 19 MiB, 2 passes). Hashing costs tens of
 * milliseconds, so it is done by one thread of low priority behind a queue of bounded length, and nobody blocks for it:
 * a flood of log-ins cannot starve other requests. After the password of somebody who is not `good` (below) it rests
 * for as long as that took. Thread-safe.
 */
#ifndef SILODNS_API_AUTH_PASSWORD_H
#define SILODNS_API_AUTH_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#include "api/model/user.h"
#include "common/base/err.h"
#include "common/base/waiter.h"

#define PASSWORD_LEN_MIN 8
#define PASSWORD_LEN_MAX 256

/* ERR_INVALID and a reason; field "password". */
int password_check(const char *password, size_t len, struct why *ret_why);

/* Runs in the calling thread. ERR_NOMEM. */
int password_hash(const char *password, size_t len, char ret_hash[static PASSWORD_HASH_MAX]);

struct password_verifier;
/* After password_verifier_wake() the thread calls `turn` every few milliseconds, between its other work, as long as
 * that returns true. */
int password_verifier_start(bool (*turn)(void *arg), void *arg, struct password_verifier **ret_verifier);
void password_verifier_wake(struct password_verifier *verifier);
/* From now on everything is refused with ERR_BUSY, also what waits; at the return nothing is under way. NULL is
 * allowed. */
void password_verifier_drain(struct password_verifier *verifier);
void password_verifier_stop(struct password_verifier *verifier);
size_t password_waiting(struct password_verifier *verifier);    /* those being verified or hashed, too */
uint64_t password_verified(struct password_verifier *verifier); /* verifications since the start, right or wrong */
/* A password that was right, and whose hash was made with other parameters than today's, is hashed anew once whoever
 * waited has been answered, and `fn` is told, in the verifying thread: it must not block. Set once, before the first
 * verification. */
void password_on_rehash(struct password_verifier *verifier,
			void (*fn)(void *arg, const char *old_hash, const char *new_hash), void *arg);

/* Called once from the verifying thread, or from that which drains. */
typedef void (*password_verified_fn)(void *arg, int err, bool ok);

/*
 * Verifies `password` in its turn; both texts are copied. `hash` NULL: takes as long, and is false. Whoever is `good`
 * goes before all others. ERR_BUSY (too many wait, good ones may be twice as many), ERR_NOMEM: then `done` is not
 * called.
 */
int password_verify(struct password_verifier *verifier, const char *hash, const char *password, size_t len, bool good,
		    password_verified_fn done, void *arg);

/*
 * As password_hash(), but in the verifying thread, for each takes 19 MiB; goes first. ERR_PENDING: the line is
 * suspended, and resumed once password_hash_result() says what became of it: ERR_NOMEM, ERR_BUSY (the hub stops), or
 * the hash, which lives as long as the hashing. ERR_BUSY, ERR_NOMEM: there is no hashing.
 */
struct password_hashing;
int password_hash_begin(struct password_verifier *verifier, const char *password, size_t len,
			const struct waiter *waiter, struct password_hashing **ret_hashing);
int password_hash_result(const struct password_hashing *hashing, const char **ret_hash);
void password_hashing_free(void *hashing); /* not while the line is suspended; NULL is allowed */

/* `len` characters of a-z, 2-9 without look-alikes; for generated passwords. `ret_text` has room for len + 1. */
void password_random(size_t len, char *ret_text);

#endif
