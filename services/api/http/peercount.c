#include "api/http/peercount.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <uthash.h>

struct network {
	uint8_t family;
	uint8_t bytes[8];
};

struct entry {
	UT_hash_handle hh;
	struct network network;
	unsigned connections;
};

struct peercount {
	unsigned max;
	unsigned char key[crypto_shorthash_KEYBYTES];
	pthread_mutex_t lock; /* guards all below */
	struct entry *entries;
};

int peercount_new(unsigned max, struct peercount **ret_count)
{
	struct peercount *count = calloc(1, sizeof *count);

	if (!count)
		return ERR_NOMEM;
	count->max = max;
	randombytes_buf(count->key, sizeof count->key);
	pthread_mutex_init(&count->lock, NULL);
	*ret_count = count;
	return ERR_OK;
}

void peercount_free(struct peercount *count)
{
	struct entry *entry, *next;

	if (!count)
		return;
	HASH_ITER (hh, count->entries, entry, next) {
		HASH_DEL(count->entries, entry);
		free(entry);
	}
	pthread_mutex_destroy(&count->lock);
	free(count);
}

static struct network network_of(const struct ipaddr *address)
{
	struct network network = {.family = address->family};

	memcpy(network.bytes, address->bytes, address->family == 4 ? 4 : 8);
	return network;
}

/* Keyed, so that nobody can choose addresses that fall together. */
static unsigned hash(const struct peercount *count, const struct network *network)
{
	unsigned char out[crypto_shorthash_BYTES];
	unsigned value;

	crypto_shorthash(out, (const unsigned char *)network, sizeof *network, count->key);
	memcpy(&value, out, sizeof value);
	return value;
}

/* With the lock held, as the next. */
static struct entry *find(struct peercount *count, const struct network *network, unsigned hashed)
{
	struct entry *entry;

	HASH_FIND_BYHASHVALUE(hh, count->entries, network, sizeof *network, hashed, entry);
	return entry;
}

static struct entry *make(struct peercount *count, const struct network *network, unsigned hashed)
{
	struct entry *entry = calloc(1, sizeof *entry);

	if (!entry)
		return NULL;
	entry->network = *network;
	HASH_ADD_BYHASHVALUE(hh, count->entries, network, sizeof entry->network, hashed, entry);
	if (entry->hh.tbl)
		return entry;
	free(entry);
	return NULL;
}

bool peercount_add(struct peercount *count, const struct ipaddr *address)
{
	const struct network network = network_of(address);
	unsigned hashed = hash(count, &network);

	pthread_mutex_lock(&count->lock);
	struct entry *entry = find(count, &network, hashed);
	if (!entry)
		entry = make(count, &network, hashed);
	bool added = entry && entry->connections < count->max;
	if (added)
		entry->connections++;
	pthread_mutex_unlock(&count->lock);
	return added;
}

void peercount_drop(struct peercount *count, const struct ipaddr *address)
{
	const struct network network = network_of(address);

	pthread_mutex_lock(&count->lock);
	struct entry *entry = find(count, &network, hash(count, &network));
	if (entry && !--entry->connections) {
		HASH_DEL(count->entries, entry);
		free(entry);
	}
	pthread_mutex_unlock(&count->lock);
}
