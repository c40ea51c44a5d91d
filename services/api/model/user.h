/*
 * A user: a name, a password's hash, a role, and how many silos it may own. A value without a lock; the store keeps the
 * users.
 */
#ifndef SILODNS_API_MODEL_USER_H
#define SILODNS_API_MODEL_USER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define USER_NAME_MAX 64
#define PASSWORD_HASH_MAX 128 /* crypto_pwhash_STRBYTES */

enum role { ROLE_COMMON, ROLE_ADMIN };

struct user {
	uint32_t id; /* never 0, never used again */
	enum role role;
	uint32_t quota;    /* silos that it may own; no limit for an admin */
	uint32_t silos;    /* silos that it owns; kept by the store */
	uint64_t revision; /* of its last change */
	char name[USER_NAME_MAX + 1];
	char password_hash[PASSWORD_HASH_MAX];
};

/* 1 to 64 of letters, digits, '.', '_', '@', '-', first a letter or digit. ERR_INVALID, field "name". */
int user_name_check(const char *name, size_t len, struct why *ret_why);

#endif
