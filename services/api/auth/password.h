/*
 * Passwords: rules, and their hashes (Argon2id). Thread-safe.
 */
#ifndef SILODNS_API_AUTH_PASSWORD_H
#define SILODNS_API_AUTH_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#include "api/model/user.h"
#include "common/base/err.h"

#define PASSWORD_LEN_MIN 8
#define PASSWORD_LEN_MAX 256
/* OWASP's second choice for Argon2id: 19 MiB, 2 passes, 1 lane. */
#define PASSWORD_OPSLIMIT 2
#define PASSWORD_MEMLIMIT (19u << 20)

/* ERR_INVALID and a reason; field "password". */
int password_check(const char *password, size_t len, struct why *ret_why);

/* Takes tens of milliseconds of the calling thread: a running hub leaves it to the verifier. ERR_NOMEM. */
int password_hash(const char *password, size_t len, char ret_hash[static PASSWORD_HASH_MAX]);

/* As password_hash(). ERR_NOMEM: it may be the right one. */
int password_verify(const char *hash, const char *password, size_t len, bool *ret_right);

/* `len` characters of a-z, 2-9 without look-alikes; for generated passwords. `ret_text` has room for len + 1. */
void password_random(size_t len, char *ret_text);

#endif
