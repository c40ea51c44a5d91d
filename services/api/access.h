/*
 * Who is this? A token (Bearer, or in place of the password in Basic) is looked up by its hash. A password is verified
 * once by Argon2id in the `password` room's own thread, also for all who come with it meanwhile, then recognised by a
 * keyed hash, until the user's stored hash changes; so the cost is not paid on every request. A wrong one is recognised
 * in the same way. Unknown users cost as much as known ones. Nobody blocks: the request waits, suspended, and is then
 * looked at again. What somebody may do is decided where the state is known: role checks in the routes, ownership in
 * handlers (reading) and journal (writing). Thread-safe.
 */
#ifndef SILODNS_ACCESS_H
#define SILODNS_ACCESS_H

#include <stdint.h>

#include "err.h"
#include "limits.h"
#include "store.h"
#include "stream.h"

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

struct access;

/* `limits` is borrowed. */
int access_new(struct store *store, struct limits *limits, struct access **ret_access);
/* From now on nothing waits any more: before the server stops. */
void access_drain(struct access *access);
void access_free(struct access *access);

#define ACCESS_DIGEST_BYTES 32

/* A request that waits until its password has been verified; zero-initialised, and lives as long as the request. */
struct access_waiter {
	struct line line; /* set by the server */
	/* access' own, guarded by its lock. */
	struct access_waiter *prev, *next;
	unsigned char digest[ACCESS_DIGEST_BYTES];
	bool settled, ok;
	int err;
};

/* Who asks, from where. */
struct access_call {
	const struct ipaddr *peer;
	bool limited;                  /* whether wrong passwords count */
	int64_t now_us;                /* clock_mono_us() */
	struct access_waiter *waiter;  /* NULL: blocks instead */
	struct limits_verdict verdict; /* out, with ERR_RATE */
	bool locked_out;               /* out: from now on */
	struct claim claim;            /* out, in every case */
};

/* `authorization` is the header's value or NULL. ERR_UNAUTHORIZED with a reason for the caller (that never tells
 * whether the user exists, and of a token something only to who has it), ERR_FORBIDDEN for a token that may not be used
 * from there, ERR_RATE while locked out, ERR_BUSY when too many passwords are being verified,
 * ERR_UNAVAILABLE while the store is not loaded; ERR_PENDING: the waiter's line is suspended, ask again when it has
 * been resumed. `ret_principal->token` is a reference of the caller's. */
int access_check(struct access *access, const char *authorization, struct access_call *call,
		 struct principal *ret_principal, struct why *ret_why);

/* Whether these are credentials that have been verified, without verifying any. */
bool access_is_known(struct access *access, const char *authorization);

/* Who is to be told of a password that was right and whose hash is of other parameters than today's: see password.h. */
void access_on_rehash(struct access *access, void (*fn)(void *arg, const char *old_hash, const char *new_hash),
		      void *arg);

uint64_t access_verified(struct access *access); /* passwords verified by Argon2id since the start, right or wrong */
size_t access_waiting(struct access *access);    /* passwords that wait to be verified or hashed */

/* See password_hash_begin(). */
struct password_hashing;
int access_hash_password(struct access *access, const char *password, size_t len, const struct line *line,
			 struct password_hashing **ret_hashing);

#endif
