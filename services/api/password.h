/*
 * Passwords: rules, Argon2id hashing and verification (libsodium; 19 MiB, 2 passes). Hashing costs tens of
 * milliseconds, so verification runs in one thread of low priority behind a short queue: a flood of log-ins cannot
 * starve other requests. Thread-safe.
 */
#ifndef SILODNS_PASSWORD_H
#define SILODNS_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "store.h"

#define PASSWORD_LEN_MIN 8
#define PASSWORD_LEN_MAX 256

/* ERR_INVALID and a reason; field "password". */
int password_check(const char *password, size_t len, struct why *ret_why);
/* 1 to 64 of letters, digits, '.', '_', '@', '-', first a letter or digit. ERR_INVALID, field "name". */
int user_name_check(const char *name, size_t len, struct why *ret_why);

/* Runs in the calling thread. ERR_NOMEM. */
int password_hash(const char *password, size_t len, char ret_hash[static PASSWORD_HASH_MAX]);

struct password_verifier;
int password_verifier_start(struct password_verifier **ret_verifier);
void password_verifier_stop(struct password_verifier *verifier);
size_t password_waiting(struct password_verifier *verifier); /* those being verified or hashed, too */
uint64_t password_verified(
	struct password_verifier *verifier); /* verifications since the start, whatever came of them */
/* Blocks until verified. `hash` NULL: takes as long, and is false. ERR_BUSY when the queue is full. */
int password_verify(struct password_verifier *verifier, const char *hash, const char *password, size_t len,
		    bool *ret_ok);

/* As password_hash(), but in the verifying thread: each takes 19 MiB. Blocks. ERR_BUSY, ERR_NOMEM. */
int password_hash_in_turn(struct password_verifier *verifier, const char *password, size_t len,
			  char ret_hash[static PASSWORD_HASH_MAX]);

/* Whether a hash was made with other parameters than those of today. */
bool password_is_stale(const char *hash);
/* Makes a new hash of a password that was found to be right, whose `hash` is stale, and hands it to `fn`, all in the
 * verifying thread, when its turn comes. Nobody waits: what there is no room for is not done, and the next log-in will
 * see to it. Everything is copied; the password is wiped. `fn` must not block. */
typedef void (*password_rehashed_fn)(void *arg, const struct user *user, const char *new_hash);
void password_rehash_later(struct password_verifier *verifier, const struct user *user, const char *password,
			   size_t len, password_rehashed_fn fn, void *arg);

/* `len` characters of a-z, 2-9 without look-alikes; for generated passwords. `ret_text` has room for len + 1. */
void password_random(size_t len, char *ret_text);

#endif
