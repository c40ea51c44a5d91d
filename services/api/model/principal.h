/*
 * Who asks: a user, and the token by which it came. A value; found by the authenticator, looked at by whoever decides.
 */
#ifndef SILODNS_API_MODEL_PRINCIPAL_H
#define SILODNS_API_MODEL_PRINCIPAL_H

#include <stdint.h>

#include "api/model/token.h"
#include "api/model/user.h"

struct principal {
	uint32_t user_id; /* 0: the command line on the hub itself, which may do everything */
	enum role role;
	uint64_t user_revision; /* of the user's last change, as it was then */
	char name[USER_NAME_MAX + 1];
	struct token *token; /* by which it came; NULL: its password. Borrowed, unless said otherwise */
};

/* Who it claims to be, as far as there is such a user and token: for the audit. Names of nobody are left out: a
 * password may have been typed in place of one. */
struct claim {
	char user[USER_NAME_MAX + 1], token[TOKEN_NAME_MAX + 1];
};

#endif
