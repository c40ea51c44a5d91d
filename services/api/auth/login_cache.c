#include "api/auth/login_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define ENTRIES 4096 /* a power of two; direct-mapped: a collision costs one look at the password */

struct entry {
	unsigned char digest[crypto_shorthash_siphashx24_BYTES];
	uint32_t user_id; /* 0: empty */
	uint64_t user_revision;
};

struct login_cache {
	unsigned char key[crypto_shorthash_siphashx24_KEYBYTES];
	pthread_mutex_t lock; /* guards the entries */
	struct entry entries[ENTRIES];
};

struct login_cache *login_cache_new(void)
{
	struct login_cache *recall = calloc(1, sizeof *recall);

	if (!recall)
		return NULL;
	randombytes_buf(recall->key, sizeof recall->key);
	pthread_mutex_init(&recall->lock, NULL);
	return recall;
}

void login_cache_free(struct login_cache *recall)
{
	if (!recall)
		return;
	pthread_mutex_destroy(&recall->lock);
	sodium_memzero(recall, sizeof *recall);
	free(recall);
}

static struct entry *slot_of(struct login_cache *recall, const char *header, struct entry *ret_wanted)
{
	uint32_t slot;

	crypto_shorthash_siphashx24(ret_wanted->digest, (const unsigned char *)header, strlen(header), recall->key);
	memcpy(&slot, ret_wanted->digest, sizeof slot);
	return &recall->entries[slot % ENTRIES];
}

bool login_cache_user(struct login_cache *recall, struct store *store, const char *header, struct user *ret_user)
{
	struct entry wanted, *slot = slot_of(recall, header, &wanted);
	struct user user;

	pthread_mutex_lock(&recall->lock);
	const struct entry found = *slot;
	pthread_mutex_unlock(&recall->lock);
	if (!found.user_id || sodium_memcmp(found.digest, wanted.digest, sizeof wanted.digest) != 0 ||
	    store_user_by_id(store, found.user_id, &user) || user.revision != found.user_revision)
		return false;
	*ret_user = user;
	return true;
}

void login_cache_put(struct login_cache *recall, const char *header, const struct user *user)
{
	struct entry entry = {.user_id = user->id, .user_revision = user->revision};
	struct entry *slot = slot_of(recall, header, &entry);

	pthread_mutex_lock(&recall->lock);
	*slot = entry;
	pthread_mutex_unlock(&recall->lock);
}
