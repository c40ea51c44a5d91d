/*
 * Who is this? A token (Bearer, or in place of the password in Basic) is looked up by its hash. A password is verified
 * once, by the verifier, and then recognised by a keyed hash of its header (login_cache), until the user's stored hash
 * changes. A wrong one is recognised in the same way. Unknown users cost as much as known ones.
 *
 * Another hub may have made the user, token or password a moment ago: before credentials are refused that do not match
 * this hub's memory, that has been confirmed since they came (store_is_confirmed), as long as the database answers.
 *
 * What somebody may do is decided where the state is known: role checks in the routes, ownership in
 * handlers (reading) and journal (writing). Thread-safe.
 */
#ifndef SILODNS_API_AUTH_AUTHENTICATOR_H
#define SILODNS_API_AUTH_AUTHENTICATOR_H

#include <stdint.h>

#include "api/auth/ratelimit.h"
#include "api/auth/verifier.h"
#include "api/model/principal.h"
#include "api/store/store.h"
#include "common/base/err.h"

struct authenticator;

/* `limits` is borrowed. */
int authenticator_new(struct store *store, struct ratelimit *limits, struct authenticator **ret_authenticator);
void authenticator_free(struct authenticator *authenticator);

/* Who asks, from where. */
struct authenticator_call {
	const struct ipaddr *peer;
	bool limited;   /* whether wrong passwords count */
	int64_t now_us; /* clock_mono_us() */
	struct login_waiter *login;
	struct ratelimit_verdict verdict; /* out, with ERR_RATE */
	bool locked_out;                  /* out: from now on */
	struct claim claim;               /* out, in every case */
};

/* `authorization` is the header's value or NULL. ERR_UNAUTHORIZED with a reason for the caller (that never tells
 * whether the user exists, and of a token something only to who has it), ERR_FORBIDDEN for a token that may not be used
 * from there, ERR_RATE while locked out, ERR_BUSY when too many passwords are being verified, ERR_NOMEM,
 * ERR_UNAVAILABLE while the store is not loaded, or while the hub stops for credentials that it does not know;
 * ERR_PENDING: the waiter is suspended, ask again when it has been resumed. `ret_principal->token` is a reference of
 * the caller's. */
int authenticator_check(struct authenticator *authenticator, const char *authorization, struct authenticator_call *call,
			struct principal *ret_principal, struct why *ret_why);

/* Whether these are credentials that have been verified, without verifying any. */
bool authenticator_is_known(struct authenticator *authenticator, const char *authorization);

/* Where requests wait, and new passwords are hashed: to be drained before the server stops. Borrowed. */
struct verifier *authenticator_verifier(struct authenticator *authenticator);

#endif
