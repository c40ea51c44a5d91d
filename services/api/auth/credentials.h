/*
 * The Authorization header: "Basic" (RFC 7617) with a user's name and a password, or a token in its place; or "Bearer"
 * (RFC 6750, 2.1) with a token, which is the same as that token of nobody's name in Basic.
 */
#ifndef SILODNS_API_AUTH_CREDENTIALS_H
#define SILODNS_API_AUTH_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "api/auth/password.h"
#include "api/model/token.h"
#include "common/base/err.h"

#define CREDENTIALS_MAX (USER_NAME_MAX + 1 + PASSWORD_LEN_MAX) /* "user:password" */

struct credentials {
	char text[CREDENTIALS_MAX + 1]; /* "user\0password" */
	const char *user, *password;    /* into it; the password of Bearer is "" */
	size_t password_len;
	bool is_token; /* then only this counts of the password: */
	unsigned char token_hash[TOKEN_HASH_BYTES];
};

/* What stands behind "Basic", in any case and with any number of spaces; NULL: the header is another one. */
const char *credentials_encoded(const char *authorization);
/* `authorization` is the header's value or NULL. ERR_UNAUTHORIZED with a reason that repeats nothing of it. */
int credentials_parse(const char *authorization, struct credentials *ret_credentials, struct why *ret_why);
void credentials_wipe(struct credentials *credentials); /* for _cleanup_() */

#endif
