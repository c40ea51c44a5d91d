/*
 * The Authorization header's "Basic" (RFC 7617): a user's name and a password, or a token in its place.
 */
#ifndef SILODNS_API_AUTH_BASIC_H
#define SILODNS_API_AUTH_BASIC_H

#include <stddef.h>

#include "api/auth/password.h"
#include "api/store/store.h"
#include "common/base/err.h"

#define CREDENTIALS_MAX (USER_NAME_MAX + 1 + PASSWORD_LEN_MAX) /* "user:password" */

struct credentials {
	char text[CREDENTIALS_MAX + 1]; /* "user\0password" */
	const char *user, *password;    /* into it */
	size_t password_len;
};

/* What stands behind "Basic", in any case and with any number of spaces; NULL: the header is another one. */
const char *basic_encoded(const char *authorization);
/* `authorization` is the header's value or NULL. ERR_UNAUTHORIZED with a reason that repeats nothing of it. */
int basic_parse(const char *authorization, struct credentials *ret_credentials, struct why *ret_why);
void basic_wipe(struct credentials *credentials);

#endif
