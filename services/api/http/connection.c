#include "api/http/connection.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <uthash.h>
#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/log.h"

/* An address that has connections; an IPv6 /64 is one. */
struct network {
	UT_hash_handle hh;
	struct network_key {
		uint8_t family, bytes[8];
	} key;
	unsigned connections;
};

struct connections {
	const struct server_settings *settings;
	const struct server_handler *handler;
	unsigned char hash_key[crypto_shorthash_KEYBYTES];
	atomic_ulong *open;
	pthread_mutex_t lock; /* guards all below */
	struct connection *list;
	struct network *networks;
};

int connections_new(const struct server_settings *settings, const struct server_handler *handler, atomic_ulong *open,
		    struct connections **ret_connections)
{
	struct connections *connections = calloc(1, sizeof *connections);

	if (!connections)
		return ERR_NOMEM;
	connections->settings = settings;
	connections->handler = handler;
	connections->open = open;
	randombytes_buf(connections->hash_key, sizeof connections->hash_key);
	pthread_mutex_init(&connections->lock, NULL);
	*ret_connections = connections;
	return ERR_OK;
}

void connections_free(struct connections *connections)
{
	if (!connections)
		return;
	pthread_mutex_destroy(&connections->lock);
	free(connections);
}

/* --- how many ----------------------------------------------------------------------------------------------------- */

static bool is_limited(const struct connections *connections, const struct sockaddr *peer, struct network_key *ret_key)
{
	struct ipaddr address;

	if (!connections->settings->connections_per_address_max || !peer || ipaddr_from_sockaddr(peer, &address) ||
	    !connections->handler->is_limited(connections->handler->arg, &address))
		return false;
	*ret_key = (struct network_key){.family = address.family};
	memcpy(ret_key->bytes, address.bytes, address.family == 4 ? 4 : 8);
	return true;
}

/* Keyed, so that nobody can choose addresses that fall together. */
static unsigned hash(const struct connections *connections, const struct network_key *key)
{
	unsigned char out[crypto_shorthash_BYTES];
	unsigned value;

	crypto_shorthash(out, (const unsigned char *)key, sizeof *key, connections->hash_key);
	memcpy(&value, out, sizeof value);
	return value;
}

/* With the lock held, as the next ones. */
static struct network *find_network(struct connections *connections, const struct network_key *key)
{
	struct network *network;

	HASH_FIND_BYHASHVALUE(hh, connections->networks, key, sizeof *key, hash(connections, key), network);
	return network;
}

static struct network *make_network(struct connections *connections, const struct network_key *key)
{
	struct network *network = calloc(1, sizeof *network);

	if (!network)
		return NULL;
	network->key = *key;
	HASH_ADD_BYHASHVALUE(hh, connections->networks, key, sizeof network->key, hash(connections, key), network);
	if (network->hh.tbl)
		return network;
	free(network);
	return NULL;
}

static bool join_network(struct connections *connections, const struct network_key *key, struct connection *connection)
{
	struct network *network = find_network(connections, key);

	if (!network)
		network = make_network(connections, key);
	if (!network || network->connections >= connections->settings->connections_per_address_max)
		return false;
	network->connections++;
	connection->network = network;
	return true;
}

static void leave_network(struct connections *connections, struct network *network)
{
	if (!network || --network->connections)
		return;
	HASH_DEL(connections->networks, network);
	free(network);
}

bool connections_have_room(struct connections *connections, const struct sockaddr *peer)
{
	struct network_key key;

	if (atomic_load(connections->open) >= connections->settings->connections_max)
		return false;
	if (!is_limited(connections, peer, &key))
		return true;
	pthread_mutex_lock(&connections->lock);
	const struct network *network = find_network(connections, &key);
	bool room = !network || network->connections < connections->settings->connections_per_address_max;
	pthread_mutex_unlock(&connections->lock);
	return room;
}

/* --- from begin to end -------------------------------------------------------------------------------------------- */

struct connection *connection_begin(struct connections *connections, int fd, const struct sockaddr *peer)
{
	struct connection *connection = calloc(1, sizeof *connection);
	struct network_key key;
	bool limited = is_limited(connections, peer, &key), room = false;

	if (connection) {
		connection->fd = fd;
		connection_expects_request(connections, connection);
		pthread_mutex_lock(&connections->lock);
		room = atomic_load(connections->open) < connections->settings->connections_max &&
		       (!limited || join_network(connections, &key, connection));
		if (room) {
			atomic_fetch_add(connections->open, 1);
			DL_APPEND(connections->list, connection);
		}
		pthread_mutex_unlock(&connections->lock);
	}
	if (room)
		return connection;
	shutdown(fd, SHUT_RDWR);
	free(connection);
	return NULL;
}

void connection_end(struct connections *connections, struct connection *connection)
{
	if (!connection)
		return;
	pthread_mutex_lock(&connections->lock);
	DL_DELETE(connections->list, connection);
	leave_network(connections, connection->network);
	atomic_fetch_sub(connections->open, 1);
	pthread_mutex_unlock(&connections->lock);
	free(connection);
}

/* --- how long ----------------------------------------------------------------------------------------------------- */

void connection_has_request(struct connection *connection)
{
	atomic_store_explicit(&connection->due_ms, 0, memory_order_relaxed);
}

void connection_expects_request(struct connections *connections, struct connection *connection)
{
	const struct server_settings *settings = connections->settings;

	atomic_store_explicit(&connection->due_ms,
			      clock_mono_ms() + settings->idle_timeout_ms + settings->request_timeout_ms,
			      memory_order_relaxed);
}

void connections_sweep(struct connections *connections)
{
	int64_t now_ms = clock_mono_ms();
	struct connection *connection;
	uint64_t count = 0;

	pthread_mutex_lock(&connections->lock);
	DL_FOREACH (connections->list, connection) {
		int64_t due_ms = atomic_load_explicit(&connection->due_ms, memory_order_relaxed);
		if (!due_ms || now_ms < due_ms)
			continue;
		shutdown(connection->fd, SHUT_RDWR);
		atomic_store_explicit(&connection->due_ms, 0, memory_order_relaxed); /* once is enough */
		count++;
	}
	pthread_mutex_unlock(&connections->lock);
	if (count)
		log_debug("requests that did not arrive in time", LOG_U64("connections", count));
}
