#include "access.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "password.h"

#define CREDENTIALS_MAX (USER_NAME_MAX + 1 + PASSWORD_LEN_MAX) /* "user:password" */
#define VERIFIED_MAX 4096                                      /* remembered credentials; a power of two */

/* What was verified once: the keyed hash of user, password and stored hash. So a changed password is another entry, and
 * a look into this memory tells no password. A direct-mapped cache: a collision costs one more verification. */
struct verified {
	unsigned char digest[crypto_generichash_BYTES];
};

struct access {
	struct store *store;
	struct password_verifier *verifier;
	unsigned char key[crypto_generichash_KEYBYTES];
	pthread_mutex_t lock; /* guards verified */
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
	*ret_access = access;
	return ERR_OK;
}

void access_free(struct access *access)
{
	if (!access)
		return;
	password_verifier_stop(access->verifier);
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

	if (!authorization)
		return why_set(why, ERR_UNAUTHORIZED, "", "this needs a user name and a password (HTTP Basic)");
	if (strncasecmp(authorization, "Basic ", 6) != 0)
		return why_set(why, ERR_UNAUTHORIZED, "", "the Authorization header is not of the form \"Basic …\"");
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
	crypto_generichash_update(&state, (const unsigned char *)user->name, sizeof user->name);
	crypto_generichash_update(&state, (const unsigned char *)user->password_hash, sizeof user->password_hash);
	crypto_generichash_update(&state, (const unsigned char *)credentials->password, credentials->password_len);
	crypto_generichash_final(&state, ret_digest->digest, sizeof ret_digest->digest);
	sodium_memzero(&state, sizeof state);
}

static int verify(struct access *access, const struct user *user, const struct credentials *credentials, bool *ret_ok)
{
	struct verified wanted;
	uint32_t slot;

	digest(access, user, credentials, &wanted);
	memcpy(&slot, wanted.digest, sizeof slot);
	slot %= VERIFIED_MAX;
	pthread_mutex_lock(&access->lock);
	*ret_ok = sodium_memcmp(&access->verified[slot], &wanted, sizeof wanted) == 0;
	pthread_mutex_unlock(&access->lock);
	if (*ret_ok)
		return ERR_OK;

	int err = password_verify(access->verifier, user->id ? user->password_hash : NULL, credentials->password,
				  credentials->password_len, ret_ok);
	if (!err && *ret_ok) {
		pthread_mutex_lock(&access->lock);
		access->verified[slot] = wanted;
		pthread_mutex_unlock(&access->lock);
	}
	return err;
}

int access_check(struct access *access, const char *authorization, struct principal *ret_principal, struct why *ret_why)
{
	__attribute__((cleanup(credentials_wipe))) struct credentials credentials = {0};
	struct user user = {0};
	bool ok = false;

	if (!store_is_loaded(access->store))
		return why_set(ret_why, ERR_UNAVAILABLE, "", "the hub has not loaded its state from the database yet");
	int err = parse_basic(authorization, &credentials, ret_why);
	if (err)
		return err;
	store_user(access->store, credentials.user, &user); /* unknown: id 0, and the same cost */
	err = verify(access, &user, &credentials, &ok);
	if (err)
		return why_set(ret_why, err, "", "too many passwords are being verified; try again in a moment");
	if (!ok)
		return why_set(ret_why, ERR_UNAUTHORIZED, "", "unknown user or wrong password");
	memset(ret_principal, 0, sizeof *ret_principal);
	ret_principal->user_id = user.id;
	ret_principal->role = user.role;
	ret_principal->user_revision = user.revision;
	memcpy(ret_principal->name, user.name, sizeof user.name);
	return ERR_OK;
}

int access_hash_password(struct access *access, const char *password, size_t len,
			 char ret_hash[static PASSWORD_HASH_MAX])
{
	return password_hash_in_turn(access->verifier, password, len, ret_hash);
}

size_t access_waiting(struct access *access)
{
	return password_waiting(access->verifier);
}
