#include "api/auth/authenticator.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>
#include <utlist.h>

#include "api/auth/basic.h"
#include "api/auth/password.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define CONFIRMED_MAX_US 1000000 /* a database that is about to count as away is waited for no longer */

/* One that is under way. Whoever comes with the same credentials waits for it: after a start of the hub, all clients
 * of a user come at once, and there is no need to verify one password a hundred times. */
struct verification {
	struct verification *prev, *next;
	struct authenticator *auth;
	struct login_key key;
	struct login_waiter *waiters;
};

struct authenticator {
	struct store *store;
	struct ratelimit *limits;
	struct password_verifier *verifier;
	struct login_cache *cache;
	pthread_mutex_t lock; /* guards all below, and the waiters; taken before the verifier's */
	atomic_bool draining;
	struct verification *under_way;
	struct login_waiter *unconfirmed;
};

static bool resume_confirmed(void *arg);

int authenticator_new(struct store *store, struct ratelimit *limits, struct authenticator **ret_authenticator)
{
	struct authenticator *auth = calloc(1, sizeof *auth);

	if (!auth)
		return ERR_NOMEM;
	auth->store = store;
	auth->limits = limits;
	auth->cache = login_cache_new();
	pthread_mutex_init(&auth->lock, NULL);
	int err = auth->cache ? password_verifier_start(resume_confirmed, auth, &auth->verifier) : ERR_NOMEM;
	if (err) {
		authenticator_free(auth);
		return err;
	}
	*ret_authenticator = auth;
	return ERR_OK;
}

void authenticator_drain(struct authenticator *auth)
{
	atomic_store(&auth->draining, true);
	resume_confirmed(auth);
	password_verifier_drain(auth->verifier);
}

void authenticator_free(struct authenticator *auth)
{
	if (!auth)
		return;
	password_verifier_stop(auth->verifier);
	pthread_mutex_destroy(&auth->lock);
	login_cache_free(auth->cache);
	free(auth);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

/* With the lock held, as the other functions here but where it is said. */
static int wait_in(struct login_waiter **list, struct login_waiter *waiter)
{
	DL_APPEND(*list, waiter);
	waiter->waiter.suspend(waiter->waiter.handle);
	return ERR_PENDING;
}

static void resume(struct login_waiter **list, struct login_waiter *waiter)
{
	DL_DELETE(*list, waiter);
	waiter->waiter.resume(waiter->waiter.handle); /* from here on it may be gone */
}

/* Whether the memory is as good as it can be for somebody who came at `since_us`. Needs no lock. */
static bool is_confirmed(struct authenticator *auth, int64_t since_us)
{
	return store_is_confirmed(auth->store, since_us) || store_age_ms(auth->store) || atomic_load(&auth->draining) ||
	       clock_mono_us() - since_us > CONFIRMED_MAX_US;
}

/* The verifier's thread, or that which drains: takes the lock. True: somebody still waits. */
static bool resume_confirmed(void *arg)
{
	struct authenticator *auth = arg;
	struct login_waiter *waiter, *next;

	pthread_mutex_lock(&auth->lock);
	DL_FOREACH_SAFE (auth->unconfirmed, waiter, next)
		if (is_confirmed(auth, waiter->asked_us))
			resume(&auth->unconfirmed, waiter);
	bool waits = auth->unconfirmed != NULL;
	pthread_mutex_unlock(&auth->lock);
	return waits;
}

/* Before credentials are refused that were looked for in a memory that was not confirmed. Takes the lock. */
static int await_confirmation(struct authenticator *auth, struct login_waiter *waiter, struct why *why)
{
	pthread_mutex_lock(&auth->lock);
	int err = atomic_load(&auth->draining) ? why_set(why, ERR_UNAVAILABLE, "", "the hub is stopping")
					       : wait_in(&auth->unconfirmed, waiter);
	pthread_mutex_unlock(&auth->lock);
	password_verifier_wake(auth->verifier);
	return err;
}

/* The verifier's thread: takes the lock. */
static void on_verified(void *arg, int err, bool right)
{
	struct verification *verification = arg;
	struct authenticator *auth = verification->auth;
	struct login_waiter *waiter;

	pthread_mutex_lock(&auth->lock);
	if (!err)
		login_cache_put(auth->cache, &verification->key, right);
	DL_DELETE(auth->under_way, verification);
	while ((waiter = verification->waiters)) {
		waiter->err = err;
		waiter->right = right;
		waiter->settled = true;
		resume(&verification->waiters, waiter);
	}
	pthread_mutex_unlock(&auth->lock);
	free(verification);
}

static int begin_verification(struct authenticator *auth, const struct user *user,
			      const struct credentials *credentials, const struct login_key *key,
			      const struct authenticator_call *call, struct verification **ret_verification)
{
	struct verification *verification = calloc(1, sizeof *verification);
	bool good = !call->limited || ratelimit_is_good(auth->limits, call->peer, call->now_us);

	if (!verification)
		return ERR_NOMEM;
	verification->auth = auth;
	verification->key = *key;
	int err = password_verify(auth->verifier, user->id ? user->password_hash : NULL, credentials->password,
				  credentials->password_len, good, on_verified, verification);
	if (err) {
		free(verification);
		return err;
	}
	DL_APPEND(auth->under_way, verification);
	*ret_verification = verification;
	return ERR_OK;
}

static int await_verification(struct authenticator *auth, const struct user *user,
			      const struct credentials *credentials, const struct login_key *key,
			      const struct authenticator_call *call)
{
	struct verification *verification;
	int err = ERR_OK;

	DL_FOREACH (auth->under_way, verification)
		if (login_key_equal(&verification->key, key))
			break;
	if (!verification)
		err = begin_verification(auth, user, credentials, key, call, &verification);
	if (err)
		return err;
	call->login->key = *key;
	call->login->settled = false;
	return wait_in(&verification->waiters, call->login);
}

/* --- passwords ---------------------------------------------------------------------------------------------------- */

/* ERR_RATE: unknown so far, and `known_only`. Takes the lock. */
static int check_password(struct authenticator *auth, const struct user *user, const struct credentials *credentials,
			  const struct login_key *key, const struct authenticator_call *call, bool known_only,
			  bool *ret_right)
{
	struct login_waiter *waiter = call->login;
	int err;

	pthread_mutex_lock(&auth->lock);
	if (waiter->settled && login_key_equal(&waiter->key, key)) {
		err = waiter->err;
		*ret_right = waiter->right;
	} else if (login_cache_find(auth->cache, key, ret_right)) {
		err = ERR_OK;
	} else {
		err = known_only ? ERR_RATE : await_verification(auth, user, credentials, key, call);
	}
	pthread_mutex_unlock(&auth->lock);
	return err;
}

static int refuse_locked_out(const struct authenticator_call *call, struct why *why)
{
	return why_set(why, ERR_RATE, "", "too many wrong passwords or tokens from this address; try again in %lu s",
		       call->verdict.retry_s);
}

/* Whether the password is right, as far as may be asked. */
static int verify(struct authenticator *auth, const char *header, const struct user *user,
		  const struct credentials *credentials, struct authenticator_call *call, struct why *why)
{
	enum ratelimit_login may = LIMITS_LOGIN_OPEN;
	struct login_key key;
	uint64_t attempt;
	bool right = false;

	if (call->limited)
		may = ratelimit_login(auth->limits, call->peer, credentials->user, call->now_us, &call->verdict);
	if (may == LIMITS_LOGIN_LOCKED)
		return refuse_locked_out(call, why);
	login_cache_key(auth->cache, basic_encoded(header), user, &key);
	memcpy(&attempt, key.header, sizeof attempt);
	int err = check_password(auth, user, credentials, &key, call, may == LIMITS_LOGIN_KNOWN, &right);
	if (!err && !right && !call->login->confirmed)
		return await_confirmation(auth, call->login, why);
	if (call->limited && (err == ERR_RATE || (!err && !right)))
		call->locked_out =
			ratelimit_login_failed(auth->limits, call->peer, credentials->user, attempt, call->now_us);
	if (err == ERR_RATE)
		return refuse_locked_out(call, why);
	if (err)
		return why_set(why, err, "", "too many passwords are being verified; try again in a moment");
	if (!right)
		return why_set(why, ERR_UNAUTHORIZED, "", "unknown user or wrong password");
	if (call->limited && call->login->settled)
		ratelimit_login_succeeded(auth->limits, call->peer, call->now_us);
	return ERR_OK;
}

static void set_principal(const struct user *user, struct token *token, struct principal *ret_principal)
{
	memset(ret_principal, 0, sizeof *ret_principal);
	ret_principal->user_id = user->id;
	ret_principal->role = user->role;
	ret_principal->user_revision = user->revision;
	memcpy(ret_principal->name, user->name, sizeof user->name);
	ret_principal->token = token;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* None that is known is ever refused for others: so this needs no look at who is locked out before. */
static int refuse_unknown_token(struct authenticator *auth, const unsigned char hash[static TOKEN_HASH_BYTES],
				struct authenticator_call *call, struct why *why)
{
	uint64_t attempt;

	memcpy(&attempt, hash, sizeof attempt);
	if (call->limited && ratelimit_login(auth->limits, call->peer, LIMITS_NO_USER, call->now_us, &call->verdict) !=
				     LIMITS_LOGIN_OPEN)
		return refuse_locked_out(call, why);
	if (!call->login->confirmed)
		return await_confirmation(auth, call->login, why);
	if (call->limited)
		call->locked_out =
			ratelimit_login_failed(auth->limits, call->peer, LIMITS_NO_USER, attempt, call->now_us);
	return why_set(why, ERR_UNAUTHORIZED, "", "there is no such token (any more)");
}

/* `user_name` is what stands before it in Basic, NULL in Bearer. */
static int check_token(struct authenticator *auth, const unsigned char hash[static TOKEN_HASH_BYTES],
		       const char *user_name, struct authenticator_call *call, struct principal *ret_principal,
		       struct why *why)
{
	_cleanup_(token_cleanup) struct token *token = NULL;
	int64_t now_us = clock_wall_us();
	struct user user;

	if (store_token_and_owner(auth->store, hash, &token, &user))
		return refuse_unknown_token(auth, hash, call, why);
	snprintf(call->claim.user, sizeof call->claim.user, "%s", user.name);
	snprintf(call->claim.token, sizeof call->claim.token, "%s", token_name(token));
	if (user_name && user_name[0] && strcmp(user_name, "token") != 0 && strcmp(user_name, user.name) != 0)
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "this token is somebody else's: the user name is its owner's, \"token\", or empty");
	int err = token_check_use(token, call->peer, now_us, why);
	if (err)
		return err;
	token_touch(token, now_us);
	set_principal(&user, TAKE_PTR(token), ret_principal);
	return ERR_OK;
}

/* RFC 6750, 2.1. False: it is no Bearer, or no token. */
static bool hash_bearer(const char *authorization, unsigned char ret_hash[static TOKEN_HASH_BYTES])
{
	if (strncasecmp(authorization, "Bearer ", 7) != 0)
		return false;
	authorization += 6 + strspn(authorization + 6, " ");
	return token_hash_secret(authorization, strlen(authorization), ret_hash);
}

/* Who has come with this very header before. Not who is locked out, or may be: that one goes the long way. */
static bool is_recognised(struct authenticator *auth, const char *authorization, struct authenticator_call *call,
			  struct principal *ret_principal)
{
	const char *encoded = basic_encoded(authorization);
	struct user user;

	if (!encoded || !login_cache_user(auth->cache, auth->store, encoded, &user) ||
	    (call->limited &&
	     ratelimit_login(auth->limits, call->peer, user.name, call->now_us, &call->verdict) != LIMITS_LOGIN_OPEN))
		return false;
	if (call->limited && call->login->settled)
		ratelimit_login_succeeded(auth->limits, call->peer, call->now_us);
	snprintf(call->claim.user, sizeof call->claim.user, "%s", user.name);
	set_principal(&user, NULL, ret_principal);
	return true;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

int authenticator_check(struct authenticator *auth, const char *authorization, struct authenticator_call *call,
			struct principal *ret_principal, struct why *ret_why)
{
	unsigned char hash[TOKEN_HASH_BYTES];
	_cleanup_(basic_wipe) struct credentials credentials = {.user = "", .password = ""};
	struct user user = {0};

	memset(&call->claim, 0, sizeof call->claim);
	if (!store_is_loaded(auth->store))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "the hub has not loaded its state from the database yet");
	bool bearer = authorization && hash_bearer(authorization, hash);
	if (authorization && !bearer && is_recognised(auth, authorization, call, ret_principal))
		return ERR_OK;
	call->login->asked_us = call->now_us;
	call->login->confirmed = is_confirmed(auth, call->now_us); /* asked before the memory is looked at */
	if (bearer)
		return check_token(auth, hash, NULL, call, ret_principal, ret_why);
	int err = basic_parse(authorization, &credentials, ret_why);
	if (err)
		return err;
	/* No password has this form (password_check): a token that is none any more costs no Argon2. */
	if (token_hash_secret(credentials.password, credentials.password_len, hash))
		return check_token(auth, hash, credentials.user, call, ret_principal, ret_why);
	store_user(auth->store, credentials.user, &user); /* unknown: id 0, and the same cost */
	snprintf(call->claim.user, sizeof call->claim.user, "%s", user.name);
	err = verify(auth, authorization, &user, &credentials, call, ret_why);
	if (err)
		return err;
	set_principal(&user, NULL, ret_principal);
	return ERR_OK;
}

static bool is_token(struct authenticator *auth, const unsigned char hash[static TOKEN_HASH_BYTES])
{
	_cleanup_(token_cleanup) struct token *token = NULL;

	return !store_token(auth->store, hash, &token);
}

bool authenticator_is_known(struct authenticator *auth, const char *authorization)
{
	unsigned char hash[TOKEN_HASH_BYTES];
	_cleanup_(basic_wipe) struct credentials credentials = {.user = "", .password = ""};
	struct user user;

	if (!authorization)
		return false;
	if (hash_bearer(authorization, hash))
		return is_token(auth, hash);
	const char *encoded = basic_encoded(authorization);
	return (encoded && login_cache_user(auth->cache, auth->store, encoded, &user)) ||
	       (!basic_parse(authorization, &credentials, NULL) &&
		token_hash_secret(credentials.password, credentials.password_len, hash) && is_token(auth, hash));
}

struct password_verifier *authenticator_verifier(struct authenticator *auth)
{
	return auth->verifier;
}
