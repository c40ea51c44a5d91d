/*
 * Who is this? A token (Bearer, or in place of the password in Basic) is looked up by its hash. A password is verified
 * once by Argon2id in the `password` room's own thread, also for all who come with it meanwhile, then recognised by a
 * keyed hash, until the user's stored hash changes; so the cost is not paid on every request. A wrong one is recognised
 * in the same way. Unknown users cost as much as known ones. Nobody blocks: the request waits, suspended, and is then
 * looked at again. What somebody may do is decided where the state is known: role checks in the routes, ownership in
 * handlers (reading) and journal (writing). Thread-safe.
 */
#ifndef SILODNS_API_AUTH_AUTHENTICATOR_H
#define SILODNS_API_AUTH_AUTHENTICATOR_H

#include <stdint.h>

#include "api/auth/ratelimit.h"
#include "api/model/principal.h"
#include "api/store/store.h"
#include "common/base/err.h"
#include "common/base/waiter.h"

struct authenticator;

/* `limits` is borrowed. */
int authenticator_new(struct store *store, struct ratelimit *limits, struct authenticator **ret_access);
/* From now on nothing waits any more: before the server stops. */
void authenticator_drain(struct authenticator *access);
void authenticator_free(struct authenticator *access);

#define ACCESS_DIGEST_BYTES 32

/* A request that waits until its password has been verified; zero-initialised, and lives as long as the request. */
struct login_waiter {
	struct waiter waiter; /* set by the server */
	/* access' own, guarded by its lock. */
	struct login_waiter *prev, *next;
	unsigned char digest[ACCESS_DIGEST_BYTES];
	bool settled, ok;
	int err;
};

/* Who asks, from where. */
struct authenticator_call {
	const struct ipaddr *peer;
	bool limited;                     /* whether wrong passwords count */
	int64_t now_us;                   /* clock_mono_us() */
	struct login_waiter *login;       /* NULL: blocks instead */
	struct ratelimit_verdict verdict; /* out, with ERR_RATE */
	bool locked_out;                  /* out: from now on */
	struct claim claim;               /* out, in every case */
};

/* `authorization` is the header's value or NULL. ERR_UNAUTHORIZED with a reason for the caller (that never tells
 * whether the user exists, and of a token something only to who has it), ERR_FORBIDDEN for a token that may not be used
 * from there, ERR_RATE while locked out, ERR_BUSY when too many passwords are being verified,
 * ERR_UNAVAILABLE while the store is not loaded; ERR_PENDING: the waiter's line is suspended, ask again when it has
 * been resumed. `ret_principal->token` is a reference of the caller's. */
int authenticator_check(struct authenticator *access, const char *authorization, struct authenticator_call *call,
			struct principal *ret_principal, struct why *ret_why);

/* Whether these are credentials that have been verified, without verifying any. */
bool authenticator_is_known(struct authenticator *access, const char *authorization);

/* Who is to be told of a password that was right and whose hash is of other parameters than today's: see password.h. */
void authenticator_on_rehash(struct authenticator *access,
			     void (*fn)(void *arg, const char *old_hash, const char *new_hash), void *arg);

uint64_t authenticator_verified(
	struct authenticator *access); /* passwords verified by Argon2id since the start, right or wrong */
size_t authenticator_waiting(struct authenticator *access); /* passwords that wait to be verified or hashed */

/* See password_hash_begin(). */
struct password_hashing;
int authenticator_hash_password(struct authenticator *access, const char *password, size_t len,
				const struct waiter *waiter, struct password_hashing **ret_hashing);

#endif
