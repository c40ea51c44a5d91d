#include "api/auth/authenticator.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>
#include <utlist.h>

#include "api/auth/basic.h"
#include "api/auth/login_cache.h"
#include "api/auth/password.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define VERIFIED_MAX 4096 /* remembered credentials; a power of two */

/* What was verified once: the keyed hash of user, password and stored hash. So a changed password is another entry, and
 * a look into this memory tells no password. Direct-mapped caches: a collision costs one more verification. */
struct verified {
	unsigned char digest[ACCESS_DIGEST_BYTES];
};

_Static_assert(ACCESS_DIGEST_BYTES == crypto_generichash_BYTES, "a digest is the library's");

/* One that is under way. Whoever comes with the same credentials waits for it: after a start of the hub, all clients
 * of a user come at once, and there is no need to verify one password a hundred times. */
struct verification {
	struct verification *prev, *next;
	struct authenticator *access;
	struct verified wanted;
	struct login_waiter *waiters;
};

struct authenticator {
	struct store *store;
	struct ratelimit *limits;
	struct password_verifier *verifier;
	struct login_cache *recall;
	unsigned char key[crypto_generichash_KEYBYTES];
	pthread_mutex_t lock; /* guards all below, and the waiters; taken before the verifier's */
	pthread_cond_t settled;
	struct verification *under_way;
	struct verified verified[VERIFIED_MAX], refused[VERIFIED_MAX];
};

int authenticator_new(struct store *store, struct ratelimit *limits, struct authenticator **ret_access)
{
	struct authenticator *access = calloc(1, sizeof *access);

	if (!access)
		return ERR_NOMEM;
	access->store = store;
	access->limits = limits;
	randombytes_buf(access->key, sizeof access->key);
	randombytes_buf(access->verified, sizeof access->verified); /* zeros would be a digest, too */
	randombytes_buf(access->refused, sizeof access->refused);
	access->recall = login_cache_new();
	int err = access->recall ? password_verifier_start(&access->verifier) : ERR_NOMEM;
	if (err) {
		login_cache_free(access->recall);
		free(access);
		return err;
	}
	pthread_mutex_init(&access->lock, NULL);
	pthread_cond_init(&access->settled, NULL);
	*ret_access = access;
	return ERR_OK;
}

void authenticator_drain(struct authenticator *access)
{
	password_verifier_drain(access->verifier);
}

void authenticator_free(struct authenticator *access)
{
	if (!access)
		return;
	password_verifier_stop(access->verifier);
	pthread_cond_destroy(&access->settled);
	pthread_mutex_destroy(&access->lock);
	login_cache_free(access->recall);
	sodium_memzero(access, sizeof *access);
	free(access);
}

static void digest(const struct authenticator *access, const struct user *user, const struct credentials *credentials,
		   struct verified *ret_digest)
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, access->key, sizeof access->key, sizeof ret_digest->digest);
	/* The name as it was claimed, so that names of nobody are told apart as others are. */
	crypto_generichash_update(&state, (const unsigned char *)credentials->user, strlen(credentials->user) + 1);
	crypto_generichash_update(&state, (const unsigned char *)user->password_hash, sizeof user->password_hash);
	crypto_generichash_update(&state, (const unsigned char *)credentials->password, credentials->password_len);
	crypto_generichash_final(&state, ret_digest->digest, sizeof ret_digest->digest);
	sodium_memzero(&state, sizeof state);
}

/* With the lock held, as all up to check_password(). */
static struct verified *slot_of(struct verified cache[static VERIFIED_MAX], const struct verified *wanted)
{
	uint32_t slot;

	memcpy(&slot, wanted->digest, sizeof slot);
	return &cache[slot % VERIFIED_MAX];
}

static bool is_in(struct verified cache[static VERIFIED_MAX], const struct verified *wanted)
{
	return sodium_memcmp(slot_of(cache, wanted), wanted, sizeof *wanted) == 0;
}

static struct verification *find_under_way(struct authenticator *access, const struct verified *wanted)
{
	struct verification *at;

	DL_FOREACH (access->under_way, at)
		if (sodium_memcmp(&at->wanted, wanted, sizeof *wanted) == 0)
			break;
	return at;
}

/* The verifier's thread: takes the lock. */
static void on_verified(void *arg, int err, bool ok)
{
	struct verification *verification = arg;
	struct authenticator *access = verification->access;
	struct login_waiter *waiter;

	pthread_mutex_lock(&access->lock);
	if (!err)
		*slot_of(ok ? access->verified : access->refused, &verification->wanted) = verification->wanted;
	DL_DELETE(access->under_way, verification);
	while ((waiter = verification->waiters)) {
		DL_DELETE(verification->waiters, waiter);
		waiter->err = err;
		waiter->ok = ok;
		waiter->settled = true;
		if (waiter->waiter.resume)
			waiter->waiter.resume(waiter->waiter.handle); /* from here on it may be gone */
	}
	pthread_cond_broadcast(&access->settled);
	pthread_mutex_unlock(&access->lock);
	sodium_memzero(verification, sizeof *verification);
	free(verification);
}

static int begin_verification(struct authenticator *access, const struct user *user,
			      const struct credentials *credentials, const struct verified *wanted,
			      const struct authenticator_call *call, struct verification **ret_verification)
{
	struct verification *verification = calloc(1, sizeof *verification);
	bool good = !call->limited || ratelimit_is_good(access->limits, call->peer, call->now_us);

	if (!verification)
		return ERR_NOMEM;
	verification->access = access;
	verification->wanted = *wanted;
	int err = password_verify(access->verifier, user->id ? user->password_hash : NULL, credentials->password,
				  credentials->password_len, good, on_verified, verification);
	if (err) {
		free(verification);
		return err;
	}
	DL_APPEND(access->under_way, verification);
	*ret_verification = verification;
	return ERR_OK;
}

static int find_out(struct authenticator *access, const struct user *user, const struct credentials *credentials,
		    const struct verified *wanted, const struct authenticator_call *call)
{
	struct verification *verification = find_under_way(access, wanted);
	struct login_waiter *waiter = call->login;
	int err = verification ? ERR_OK : begin_verification(access, user, credentials, wanted, call, &verification);

	if (err)
		return err;
	memcpy(waiter->digest, wanted, sizeof *wanted);
	waiter->settled = false;
	DL_APPEND(verification->waiters, waiter);
	if (waiter->waiter.suspend)
		waiter->waiter.suspend(waiter->waiter.handle);
	return ERR_PENDING;
}

/* ERR_RATE: unknown so far, and `known_only`. */
static int check_locked(struct authenticator *access, const struct user *user, const struct credentials *credentials,
			const struct verified *wanted, const struct authenticator_call *call, bool known_only,
			bool *ret_ok)
{
	struct login_waiter *waiter = call->login;

	if (waiter->settled && sodium_memcmp(waiter->digest, wanted, sizeof *wanted) == 0) {
		*ret_ok = waiter->ok;
		return waiter->err;
	}
	*ret_ok = is_in(access->verified, wanted);
	if (*ret_ok || is_in(access->refused, wanted))
		return ERR_OK;
	return known_only ? ERR_RATE : find_out(access, user, credentials, wanted, call);
}

/* Takes the lock. */
static int check_password(struct authenticator *access, const struct user *user, const struct credentials *credentials,
			  const struct verified *wanted, const struct authenticator_call *call, bool known_only,
			  bool *ret_ok)
{
	struct login_waiter own = {.settled = false};
	struct authenticator_call blocking = *call;
	bool blocks = !call->login;

	blocking.login = &own;
	pthread_mutex_lock(&access->lock);
	int err = check_locked(access, user, credentials, wanted, blocks ? &blocking : call, known_only, ret_ok);
	if (blocks && err == ERR_PENDING) {
		while (!own.settled)
			pthread_cond_wait(&access->settled, &access->lock);
		err = own.err;
		*ret_ok = own.ok;
	}
	pthread_mutex_unlock(&access->lock);
	return err;
}

static int refuse_locked_out(const struct authenticator_call *call, struct why *why)
{
	return why_set(why, ERR_RATE, "", "too many wrong passwords or tokens from this address; try again in %lu s",
		       call->verdict.retry_s);
}

/* Whether the password is right, as far as may be asked. */
static int verify(struct authenticator *access, const struct user *user, const struct credentials *credentials,
		  struct authenticator_call *call, struct why *why)
{
	enum ratelimit_login may = LIMITS_LOGIN_OPEN;
	struct verified wanted;
	uint64_t attempt;
	bool ok = false;

	if (call->limited)
		may = ratelimit_login(access->limits, call->peer, credentials->user, call->now_us, &call->verdict);
	if (may == LIMITS_LOGIN_LOCKED)
		return refuse_locked_out(call, why);
	digest(access, user, credentials, &wanted);
	memcpy(&attempt, wanted.digest + sizeof attempt, sizeof attempt);
	int err = check_password(access, user, credentials, &wanted, call, may == LIMITS_LOGIN_KNOWN, &ok);
	if (call->limited && (err == ERR_RATE || (!err && !ok)))
		call->locked_out =
			ratelimit_login_failed(access->limits, call->peer, credentials->user, attempt, call->now_us);
	if (err == ERR_RATE)
		return refuse_locked_out(call, why);
	if (err)
		return why_set(why, err, "", "too many passwords are being verified; try again in a moment");
	if (!ok)
		return why_set(why, ERR_UNAUTHORIZED, "", "unknown user or wrong password");
	if (call->limited && call->login && call->login->settled)
		ratelimit_login_succeeded(access->limits, call->peer, call->now_us);
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

static void token_cleanup(struct token **token)
{
	token_unref(*token);
}

/* None that is known is ever refused for others: so this needs no look at who is locked out before. */
static int refuse_unknown_token(struct authenticator *access, const unsigned char hash[static TOKEN_HASH_BYTES],
				struct authenticator_call *call, struct why *why)
{
	uint64_t attempt;

	memcpy(&attempt, hash, sizeof attempt);
	if (call->limited && ratelimit_login(access->limits, call->peer, LIMITS_NO_USER, call->now_us,
					     &call->verdict) != LIMITS_LOGIN_OPEN)
		return refuse_locked_out(call, why);
	if (call->limited)
		call->locked_out =
			ratelimit_login_failed(access->limits, call->peer, LIMITS_NO_USER, attempt, call->now_us);
	return why_set(why, ERR_UNAUTHORIZED, "", "there is no such token (any more)");
}

/* `user_name` is what stands before it in Basic, NULL in Bearer. */
static int check_token(struct authenticator *access, const unsigned char hash[static TOKEN_HASH_BYTES],
		       const char *user_name, struct authenticator_call *call, struct principal *ret_principal,
		       struct why *why)
{
	_cleanup_(token_cleanup) struct token *token = NULL;
	int64_t now_us = clock_wall_us();
	struct user user;

	if (store_token(access->store, hash, &token) || store_user_by_id(access->store, token->owner, &user))
		return refuse_unknown_token(access, hash, call, why);
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
static bool is_recalled(struct authenticator *access, const char *authorization, struct authenticator_call *call,
			struct principal *ret_principal)
{
	struct user user;

	if (!login_cache_user(access->recall, access->store, authorization, &user) ||
	    (call->limited &&
	     ratelimit_login(access->limits, call->peer, user.name, call->now_us, &call->verdict) != LIMITS_LOGIN_OPEN))
		return false;
	snprintf(call->claim.user, sizeof call->claim.user, "%s", user.name);
	set_principal(&user, NULL, ret_principal);
	return true;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

int authenticator_check(struct authenticator *access, const char *authorization, struct authenticator_call *call,
			struct principal *ret_principal, struct why *ret_why)
{
	unsigned char hash[TOKEN_HASH_BYTES];
	_cleanup_(basic_wipe) struct credentials credentials = {.user = "", .password = ""};
	struct user user = {0};

	memset(&call->claim, 0, sizeof call->claim);
	if (!store_is_loaded(access->store))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "the hub has not loaded its state from the database yet");
	if (authorization && hash_bearer(authorization, hash))
		return check_token(access, hash, NULL, call, ret_principal, ret_why);
	if (authorization && is_recalled(access, authorization, call, ret_principal))
		return ERR_OK;
	int err = basic_parse(authorization, &credentials, ret_why);
	if (err)
		return err;
	/* No password has this form (password_check): a token that is none any more costs no Argon2. */
	if (token_hash_secret(credentials.password, credentials.password_len, hash))
		return check_token(access, hash, credentials.user, call, ret_principal, ret_why);
	store_user(access->store, credentials.user, &user); /* unknown: id 0, and the same cost */
	snprintf(call->claim.user, sizeof call->claim.user, "%s", user.name);
	err = verify(access, &user, &credentials, call, ret_why);
	if (err)
		return err;
	login_cache_put(access->recall, authorization, &user);
	set_principal(&user, NULL, ret_principal);
	return ERR_OK;
}

static bool is_token(struct authenticator *access, const unsigned char hash[static TOKEN_HASH_BYTES])
{
	_cleanup_(token_cleanup) struct token *token = NULL;

	return !store_token(access->store, hash, &token);
}

bool authenticator_is_known(struct authenticator *access, const char *authorization)
{
	unsigned char hash[TOKEN_HASH_BYTES];
	_cleanup_(basic_wipe) struct credentials credentials = {.user = "", .password = ""};
	struct user user = {0};
	struct verified wanted;

	if (authorization && hash_bearer(authorization, hash))
		return is_token(access, hash);
	if (!authorization || basic_parse(authorization, &credentials, NULL))
		return false;
	if (token_hash_secret(credentials.password, credentials.password_len, hash))
		return is_token(access, hash);
	store_user(access->store, credentials.user, &user);
	digest(access, &user, &credentials, &wanted);
	pthread_mutex_lock(&access->lock);
	bool known = is_in(access->verified, &wanted);
	pthread_mutex_unlock(&access->lock);
	return known;
}

int authenticator_hash_password(struct authenticator *access, const char *password, size_t len,
				const struct waiter *waiter, struct password_hashing **ret_hashing)
{
	return password_hash_begin(access->verifier, password, len, waiter, ret_hashing);
}

void authenticator_on_rehash(struct authenticator *access,
			     void (*fn)(void *arg, const char *old_hash, const char *new_hash), void *arg)
{
	password_on_rehash(access->verifier, fn, arg);
}

uint64_t authenticator_verified(struct authenticator *access)
{
	return password_verified(access->verifier);
}

size_t authenticator_waiting(struct authenticator *access)
{
	return password_waiting(access->verifier);
}
