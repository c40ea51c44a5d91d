#include "access.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>
#include <utlist.h>

#include "cleanup.h"
#include "lifecycle.h"
#include "password.h"

#define CREDENTIALS_MAX (USER_NAME_MAX + 1 + PASSWORD_LEN_MAX) /* "user:password" */
#define VERIFIED_MAX 4096                                      /* remembered credentials; a power of two */

/* What was verified once: the keyed hash of user, password and stored hash. So a changed password is another entry, and
 * a look into this memory tells no password. A direct-mapped cache: a collision costs one more verification. */
struct verified {
	unsigned char digest[crypto_generichash_BYTES];
};

/* One that is under way. Whoever comes with the same credentials waits for it: after a start of the hub, all clients
 * of a user come at once, and there is no need to verify one password a hundred times. */
struct verification {
	struct verification *prev, *next;
	struct verified wanted;
	unsigned holders; /* who still looks at it */
	bool done, ok;
	int err;
};

struct access {
	struct store *store;
	struct password_verifier *verifier;
	unsigned char key[crypto_generichash_KEYBYTES];
	password_rehashed_fn rehashed; /* NULL: nobody is told; set at the start */
	void *rehashed_arg;
	pthread_mutex_t lock; /* guards all below, and what a struct verification holds */
	pthread_cond_t settled;
	struct verification *under_way;
	struct verified verified[VERIFIED_MAX];
};

int access_new(struct store *store, struct access **ret_access)
{
	struct access *access = calloc(1, sizeof *access);

	if (!access)
		return ERR_NOMEM;
	access->store = store;
	randombytes_buf(access->key, sizeof access->key);
	randombytes_buf(access->verified, sizeof access->verified); /* zeros would be a digest, too */
	int err = password_verifier_start(&access->verifier);
	if (err) {
		free(access);
		return err;
	}
	pthread_mutex_init(&access->lock, NULL);
	pthread_cond_init(&access->settled, NULL);
	*ret_access = access;
	return ERR_OK;
}

void access_free(struct access *access)
{
	if (!access)
		return;
	password_verifier_stop(access->verifier);
	pthread_cond_destroy(&access->settled);
	pthread_mutex_destroy(&access->lock);
	sodium_memzero(access, sizeof *access);
	free(access);
}

struct credentials {
	char text[CREDENTIALS_MAX + 1]; /* "user\0password" */
	const char *user, *password;
	size_t password_len;
};

static void credentials_wipe(struct credentials *credentials)
{
	sodium_memzero(credentials, sizeof *credentials);
}

/* RFC 7617: "Basic" SP base64(user-id ":" password), UTF-8. */
static int parse_basic(const char *authorization, struct credentials *ret_credentials, struct why *why)
{
	struct credentials *c = ret_credentials;
	size_t len;

	authorization += strspn(authorization + 5, " ") + 5;
	if (sodium_base642bin((unsigned char *)c->text, sizeof c->text - 1, authorization, strlen(authorization), NULL,
			      &len, NULL, sodium_base64_VARIANT_ORIGINAL))
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "the credentials in the Authorization header are not base64, or are too long");
	c->text[len] = '\0';
	char *colon = memchr(c->text, ':', len);
	if (!colon || memchr(c->text, '\0', len))
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "the credentials in the Authorization header are not of the form user:password");
	*colon = '\0';
	c->user = c->text;
	c->password = colon + 1;
	c->password_len = len - (size_t)(c->password - c->text);
	return ERR_OK;
}

static void digest(const struct access *access, const struct user *user, const struct credentials *credentials,
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

static struct verified *slot_of(struct access *access, const struct verified *wanted)
{
	uint32_t slot;

	memcpy(&slot, wanted->digest, sizeof slot);
	return &access->verified[slot % VERIFIED_MAX];
}

/* With the lock held, as the next two. */
static struct verification *find_under_way(struct access *access, const struct verified *wanted)
{
	struct verification *at;

	DL_FOREACH (access->under_way, at)
		if (sodium_memcmp(&at->wanted, wanted, sizeof *wanted) == 0)
			break;
	return at;
}

static void let_go(struct verification *verification)
{
	if (--verification->holders)
		return;
	sodium_memzero(verification, sizeof *verification);
	free(verification);
}

/* What somebody else finds out. */
static int await(struct access *access, struct verification *verification, bool *ret_ok)
{
	verification->holders++;
	while (!verification->done)
		pthread_cond_wait(&access->settled, &access->lock);
	int err = verification->err;
	*ret_ok = verification->ok;
	let_go(verification);
	return err;
}

/* Lets go of the lock while the password is being verified. */
static int find_out(struct access *access, const struct user *user, const struct credentials *credentials,
		    struct verification *verification, bool *ret_ok)
{
	bool ok = false;

	pthread_mutex_unlock(&access->lock);
	int err = password_verify(access->verifier, user->id ? user->password_hash : NULL, credentials->password,
				  credentials->password_len, &ok);
	if (!err && ok && access->rehashed && password_is_stale(user->password_hash))
		password_rehash_later(access->verifier, user, credentials->password, credentials->password_len,
				      access->rehashed, access->rehashed_arg);
	pthread_mutex_lock(&access->lock);
	if (!err && ok)
		*slot_of(access, &verification->wanted) = verification->wanted;
	DL_DELETE(access->under_way, verification);
	verification->err = err;
	verification->ok = *ret_ok = ok;
	verification->done = true;
	pthread_cond_broadcast(&access->settled);
	let_go(verification);
	return err;
}

static int verify_locked(struct access *access, const struct user *user, const struct credentials *credentials,
			 const struct verified *wanted, bool *ret_ok)
{
	*ret_ok = sodium_memcmp(slot_of(access, wanted), wanted, sizeof *wanted) == 0;
	if (*ret_ok)
		return ERR_OK;
	struct verification *verification = find_under_way(access, wanted);
	if (verification)
		return await(access, verification, ret_ok);
	verification = calloc(1, sizeof *verification);
	if (!verification)
		return ERR_NOMEM;
	verification->wanted = *wanted;
	verification->holders = 1;
	DL_APPEND(access->under_way, verification);
	return find_out(access, user, credentials, verification, ret_ok);
}

static int verify(struct access *access, const struct user *user, const struct credentials *credentials, bool *ret_ok)
{
	struct verified wanted;

	digest(access, user, credentials, &wanted);
	pthread_mutex_lock(&access->lock);
	int err = verify_locked(access, user, credentials, &wanted, ret_ok);
	pthread_mutex_unlock(&access->lock);
	return err;
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

/* `user` is what stands before it in Basic, NULL in Bearer. */
static int check_token(struct access *access, const unsigned char hash[static TOKEN_HASH_BYTES], const char *user_name,
		       const struct ipaddr *peer, struct principal *ret_principal, struct claim *claim, struct why *why)
{
	_cleanup_(token_cleanup) struct token *token = NULL;
	int64_t now_us = clock_wall_us();
	struct user user;

	if (store_token(access->store, hash, &token) || store_user_by_id(access->store, token->owner, &user))
		return why_set(why, ERR_UNAUTHORIZED, "", "there is no such token (any more)");
	snprintf(claim->user, sizeof claim->user, "%s", user.name);
	snprintf(claim->token, sizeof claim->token, "%s", token_name(token));
	if (user_name && user_name[0] && strcmp(user_name, "token") != 0 && strcmp(user_name, user.name) != 0)
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "this token is somebody else's: the user name is its owner's, \"token\", or empty");
	int err = token_check_use(token, peer, now_us, why);
	if (err)
		return err;
	token_touch(token, now_us);
	set_principal(&user, TAKE_PTR(token), ret_principal);
	return ERR_OK;
}

/* RFC 6750, 2.1 */
static int check_bearer(struct access *access, const char *authorization, const struct ipaddr *peer,
			struct principal *ret_principal, struct claim *claim, struct why *why)
{
	const char *text = authorization + 6 + strspn(authorization + 6, " ");
	unsigned char hash[TOKEN_HASH_BYTES];

	if (!token_hash_secret(text, strlen(text), hash))
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "what follows \"Bearer\" in the Authorization header is no token of a hub");
	return check_token(access, hash, NULL, peer, ret_principal, claim, why);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static int check_basic(struct access *access, const char *authorization, const struct ipaddr *peer,
		       struct principal *ret_principal, struct claim *claim, struct why *why)
{
	__attribute__((cleanup(credentials_wipe))) struct credentials credentials = {.user = "", .password = ""};
	unsigned char hash[TOKEN_HASH_BYTES];
	struct user user = {0};
	bool ok = false;
	int err = parse_basic(authorization, &credentials, why);

	if (err)
		return err;
	/* No password has this form (password_check): a token that is none any more costs no Argon2. */
	if (token_hash_secret(credentials.password, credentials.password_len, hash))
		return check_token(access, hash, credentials.user, peer, ret_principal, claim, why);
	store_user(access->store, credentials.user, &user); /* unknown: id 0, and the same cost */
	snprintf(claim->user, sizeof claim->user, "%s", user.name);
	err = verify(access, &user, &credentials, &ok);
	if (err)
		return why_set(why, err, "", "too many passwords are being verified; try again in a moment");
	if (!ok)
		return why_set(why, ERR_UNAUTHORIZED, "", "unknown user or wrong password");
	set_principal(&user, NULL, ret_principal);
	return ERR_OK;
}

int access_check(struct access *access, const char *authorization, const struct ipaddr *peer,
		 struct principal *ret_principal, struct claim *ret_claim, struct why *ret_why)
{
	memset(ret_claim, 0, sizeof *ret_claim);
	if (!store_is_loaded(access->store))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "the hub has not loaded its state from the database yet");
	if (!authorization)
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "this needs a user name and a password (HTTP Basic), or a token (Bearer)");
	if (strncasecmp(authorization, "Basic ", 6) == 0)
		return check_basic(access, authorization, peer, ret_principal, ret_claim, ret_why);
	if (strncasecmp(authorization, "Bearer ", 7) == 0)
		return check_bearer(access, authorization, peer, ret_principal, ret_claim, ret_why);
	return why_set(ret_why, ERR_UNAUTHORIZED, "",
		       "the Authorization header is not of the form \"Basic …\" or \"Bearer …\"");
}

int access_hash_password(struct access *access, const char *password, size_t len,
			 char ret_hash[static PASSWORD_HASH_MAX])
{
	return password_hash_in_turn(access->verifier, password, len, ret_hash);
}

void access_on_rehash(struct access *access, void (*fn)(void *arg, const struct user *user, const char *new_hash),
		      void *arg)
{
	access->rehashed = fn;
	access->rehashed_arg = arg;
}

uint64_t access_verified(struct access *access)
{
	return password_verified(access->verifier);
}

size_t access_waiting(struct access *access)
{
	return password_waiting(access->verifier);
}
