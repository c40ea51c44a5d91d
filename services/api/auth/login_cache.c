#include "api/auth/login_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define SETS 1024
#define RIGHT_WAYS 3 /* and one for a wrong one, behind them */

_Static_assert(LOGIN_KEY_HEADER_BYTES == crypto_shorthash_siphashx24_BYTES, "a header's hash is the library's");

struct login_set { /* zeros are the hash of no header */
	struct login_key ways[RIGHT_WAYS + 1];
	unsigned next; /* of the right ones, is replaced first */
};

struct login_cache {
	unsigned char key[crypto_shorthash_siphashx24_KEYBYTES];
	pthread_mutex_t lock; /* guards the sets */
	struct login_set sets[SETS];
};

struct login_cache *login_cache_new(void)
{
	struct login_cache *cache = calloc(1, sizeof *cache);

	if (!cache)
		return NULL;
	randombytes_buf(cache->key, sizeof cache->key);
	pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void login_cache_free(struct login_cache *cache)
{
	if (!cache)
		return;
	pthread_mutex_destroy(&cache->lock);
	sodium_memzero(cache, sizeof *cache);
	free(cache);
}

static void set_user(const struct login_cache *cache, const struct user *user, struct login_key *key)
{
	unsigned char hash[crypto_shorthash_BYTES];

	crypto_shorthash(hash, (const unsigned char *)user->password_hash,
			 strnlen(user->password_hash, sizeof user->password_hash), cache->key);
	memcpy(&key->password_hash, hash, sizeof key->password_hash);
	key->user_id = user->id;
}

void login_cache_key(const struct login_cache *cache, const char *header, const struct user *user,
		     struct login_key *ret_key)
{
	memset(ret_key, 0, sizeof *ret_key);
	crypto_shorthash_siphashx24(ret_key->header, (const unsigned char *)header, strlen(header), cache->key);
	set_user(cache, user, ret_key);
}

bool login_key_equal(const struct login_key *a, const struct login_key *b)
{
	return sodium_memcmp(a, b, sizeof *a) == 0;
}

static struct login_set *set_of(struct login_cache *cache, const struct login_key *key)
{
	uint32_t index;

	memcpy(&index, key->header, sizeof index);
	return &cache->sets[index % SETS];
}

bool login_cache_user(struct login_cache *cache, struct store *store, const char *header, struct user *ret_user)
{
	struct login_key key = {.user_id = 0}, found = {.user_id = 0};
	struct user user;

	crypto_shorthash_siphashx24(key.header, (const unsigned char *)header, strlen(header), cache->key);
	const struct login_set *set = set_of(cache, &key);
	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < RIGHT_WAYS; i++)
		if (sodium_memcmp(set->ways[i].header, key.header, sizeof key.header) == 0)
			found = set->ways[i];
	pthread_mutex_unlock(&cache->lock);
	if (!found.user_id || store_user_by_id(store, (uint32_t)found.user_id, &user))
		return false;
	set_user(cache, &user, &key);
	if (!login_key_equal(&key, &found))
		return false;
	*ret_user = user;
	return true;
}

bool login_cache_find(struct login_cache *cache, const struct login_key *key, bool *ret_right)
{
	const struct login_set *set = set_of(cache, key);
	bool known = false;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < RIGHT_WAYS + 1 && !known; i++) {
		known = login_key_equal(&set->ways[i], key);
		if (known)
			*ret_right = i < RIGHT_WAYS;
	}
	pthread_mutex_unlock(&cache->lock);
	return known;
}

void login_cache_put(struct login_cache *cache, const struct login_key *key, bool right)
{
	struct login_set *set = set_of(cache, key);

	pthread_mutex_lock(&cache->lock);
	size_t way = RIGHT_WAYS;
	for (size_t i = 0; i < RIGHT_WAYS && right; i++) /* the same header, of a former password */
		if (sodium_memcmp(set->ways[i].header, key->header, sizeof key->header) == 0)
			way = i;
	if (right && way == RIGHT_WAYS)
		way = set->next++ % RIGHT_WAYS;
	set->ways[way] = *key;
	pthread_mutex_unlock(&cache->lock);
}
