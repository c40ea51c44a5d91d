#include "api/auth/authenticator.h"

#include <stdlib.h>
#include <string.h>

#include "api/auth/credentials.h"
#include "api/auth/login_cache.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

struct authenticator {
	struct store *store;
	struct ratelimit *limits;
	struct verifier *verifier;
	struct login_cache *cache;
};

int authenticator_new(struct store *store, struct ratelimit *limits, struct authenticator **ret_authenticator)
{
	struct authenticator *auth = calloc(1, sizeof *auth);

	if (!auth)
		return ERR_NOMEM;
	auth->store = store;
	auth->limits = limits;
	auth->cache = login_cache_new();
	int err = auth->cache ? verifier_start(store, auth->cache, &auth->verifier) : ERR_NOMEM;
	if (err)
		authenticator_free(auth);
	else
		*ret_authenticator = auth;
	return err;
}

void authenticator_free(struct authenticator *auth)
{
	if (!auth)
		return;
	verifier_stop(auth->verifier);
	login_cache_free(auth->cache);
	free(auth);
}

struct verifier *authenticator_verifier(struct authenticator *auth)
{
	return auth->verifier;
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

/* Whether `user` may try from there. */
static enum ratelimit_login ask_limits(struct authenticator *auth, const char *user, struct authenticator_call *call)
{
	return call->limited ? ratelimit_login(auth->limits, call->peer, user, call->now_us, &call->verdict)
			     : LIMITS_LOGIN_OPEN;
}

static int refuse_locked_out(const struct authenticator_call *call, struct why *why)
{
	return why_set(why, ERR_RATE, "", "too many wrong passwords or tokens from this address; try again in %lu s",
		       call->verdict.retry_s);
}

/* `guess` are bytes that are the same for the same guess only. */
static void count_guess(struct authenticator *auth, const char *user,
			const unsigned char guess[static sizeof(uint64_t)], struct authenticator_call *call)
{
	uint64_t attempt;

	memcpy(&attempt, guess, sizeof attempt);
	if (call->limited)
		call->locked_out = ratelimit_login_failed(auth->limits, call->peer, user, attempt, call->now_us);
}

/* Credentials that the memory does not know, which has to be confirmed before that counts. */
static int refuse(struct authenticator *auth, const char *user, const unsigned char guess[static sizeof(uint64_t)],
		  struct authenticator_call *call, const char *reason, struct why *why)
{
	if (!call->login->confirmed)
		return verifier_await_confirmation(auth->verifier, call->login, why);
	count_guess(auth, user, guess, call);
	return why_set(why, ERR_UNAUTHORIZED, "", "%s", reason);
}

/* --- who it is --------------------------------------------------------------------------------------------------- */

static int check_password(struct authenticator *auth, const char *header, const struct user *user,
			  const struct credentials *credentials, struct authenticator_call *call, struct why *why)
{
	enum ratelimit_login may = ask_limits(auth, credentials->user, call);
	struct login_waiter *waiter = call->login;
	struct login_key key;
	bool right = false;
	int err = ERR_OK;

	if (may == LIMITS_LOGIN_LOCKED)
		return refuse_locked_out(call, why);
	login_cache_key(auth->cache, credentials_encoded(header), user, &key);
	if (waiter->settled && login_key_equal(&waiter->key, &key)) {
		err = waiter->err;
		right = waiter->right;
	} else if (may == LIMITS_LOGIN_OPEN) {
		bool good = !call->limited || ratelimit_is_good(auth->limits, call->peer, call->now_us);
		err = verifier_verify(auth->verifier, user, credentials, &key, good, waiter, &right);
	} else if (!login_cache_find(auth->cache, &key, &right)) {
		count_guess(auth, credentials->user, key.header, call);
		return refuse_locked_out(call, why);
	}
	if (err == ERR_BUSY)
		return why_set(why, err, "", "too many passwords are being verified; try again in a moment");
	if (err)
		return err;
	return right ? ERR_OK
		     : refuse(auth, credentials->user, key.header, call, "unknown user or wrong password", why);
}

/* None that is known is ever refused for others: only an unknown one asks who is locked out. */
static int check_token(struct authenticator *auth, const struct credentials *credentials,
		       struct authenticator_call *call, struct user *ret_owner, struct token **ret_token,
		       struct why *why)
{
	int64_t now_us = clock_wall_us();

	if (store_token_and_owner(auth->store, credentials->token_hash, ret_token, ret_owner))
		return ask_limits(auth, LIMITS_NO_USER, call) == LIMITS_LOGIN_OPEN
			       ? refuse(auth, LIMITS_NO_USER, credentials->token_hash, call,
					"there is no such token (any more)", why)
			       : refuse_locked_out(call, why);
	if (credentials->user[0] && strcmp(credentials->user, "token") != 0 &&
	    strcmp(credentials->user, ret_owner->name) != 0)
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "this token is somebody else's: the user name is its owner's, \"token\", or empty");
	int err = token_check_use(*ret_token, call->peer, now_us, why);
	if (!err)
		token_touch(*ret_token, now_us);
	return err;
}

/* Both are set as far as there are any, also if that is not enough. */
static int check_credentials(struct authenticator *auth, const char *authorization, struct authenticator_call *call,
			     struct user *ret_user, struct token **ret_token, struct why *why)
{
	_cleanup_(credentials_wipe) struct credentials credentials;

	memset(ret_user, 0, sizeof *ret_user);
	call->login->asked_us = call->now_us;
	/* Before the memory is looked at. */
	call->login->confirmed = verifier_is_confirmed(auth->verifier, call->now_us);
	int err = credentials_parse(authorization, &credentials, why);
	if (err)
		return err;
	if (credentials.is_token)
		return check_token(auth, &credentials, call, ret_user, ret_token, why);
	store_user(auth->store, credentials.user, ret_user); /* unknown: id 0, and the same cost */
	return check_password(auth, authorization, ret_user, &credentials, call, why);
}

/* Who has come with this very header before. Not who is locked out, or may be: that one goes the long way. */
static bool is_recognised(struct authenticator *auth, const char *authorization, struct authenticator_call *call,
			  struct user *ret_user)
{
	const char *encoded = authorization ? credentials_encoded(authorization) : NULL;

	return encoded && login_cache_user(auth->cache, auth->store, encoded, ret_user) &&
	       ask_limits(auth, ret_user->name, call) == LIMITS_LOGIN_OPEN;
}

int authenticator_check(struct authenticator *auth, const char *authorization, struct authenticator_call *call,
			struct principal *ret_principal, struct why *ret_why)
{
	_cleanup_(token_cleanup) struct token *token = NULL;
	struct user user;

	memset(&call->claim, 0, sizeof call->claim);
	if (!store_is_loaded(auth->store))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "the hub has not loaded its state from the database yet");
	int err = is_recognised(auth, authorization, call, &user)
			  ? ERR_OK
			  : check_credentials(auth, authorization, call, &user, &token, ret_why);
	memcpy(call->claim.user, user.name, sizeof user.name);
	if (token)
		snprintf(call->claim.token, sizeof call->claim.token, "%s", token_name(token));
	if (err)
		return err;
	if (call->limited && call->login->settled)
		ratelimit_login_succeeded(auth->limits, call->peer, call->now_us);
	*ret_principal = (struct principal){.user_id = user.id, .role = user.role, .user_revision = user.revision};
	memcpy(ret_principal->name, user.name, sizeof user.name);
	ret_principal->token = TAKE_PTR(token);
	return ERR_OK;
}

bool authenticator_is_known(struct authenticator *auth, const char *authorization)
{
	_cleanup_(credentials_wipe) struct credentials credentials;
	_cleanup_(token_cleanup) struct token *token = NULL;
	const char *encoded = authorization ? credentials_encoded(authorization) : NULL;
	struct user user;

	return (encoded && login_cache_user(auth->cache, auth->store, encoded, &user)) ||
	       (!credentials_parse(authorization, &credentials, NULL) && credentials.is_token &&
		!store_token(auth->store, credentials.token_hash, &token));
}
