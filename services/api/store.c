#include "store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/sys/tree.h>

#include <uthash.h>

#include "cleanup.h"

/* Two ordered trees rather than a hash table: listings and paging need the order, and 20 comparisons find one of a
 * million. */
struct silo_node {
	RB_ENTRY(silo_node) by_id, by_owner;
	struct silo_body *body;
	const char *id; /* = storage, or a caller's string in a search key */
	uint32_t owner; /* = body->owner; here so that a search key needs no body */
	char storage[];
};

struct user_node {
	UT_hash_handle by_name, by_id;
	struct user user;
};

static int compare_id(const struct silo_node *a, const struct silo_node *b)
{
	return strcmp(a->id, b->id);
}

static int compare_owner(const struct silo_node *a, const struct silo_node *b)
{
	return a->owner != b->owner ? (a->owner < b->owner ? -1 : 1) : strcmp(a->id, b->id);
}

RB_HEAD(id_tree, silo_node);
RB_HEAD(owner_tree, silo_node);
/* (RB_GENERATE_STATIC needs a macro that glibc does not have.) */
RB_GENERATE_INTERNAL(id_tree, silo_node, by_id, compare_id, static __attribute__((unused)))
RB_GENERATE_INTERNAL(owner_tree, silo_node, by_owner, compare_owner, static __attribute__((unused)))

struct store_state {
	struct id_tree by_id;
	struct owner_tree by_owner;
	struct user_node *users_by_name, *users_by_id;
	struct store_size size;
};

struct store {
	pthread_rwlock_t lock;
	struct store_state *state; /* guarded by lock, as all below; NULL until loaded */
	uint64_t revision;
	char identity[HUB_IDENTITY_LEN + 1];
};

/* --- bodies ------------------------------------------------------------------------------------------------------- */

struct silo_body *silo_body_new(const char *json, size_t len, uint32_t owner, uint64_t revision)
{
	struct silo_body *body = malloc(sizeof *body + len + 1);

	if (!body)
		return NULL;
	atomic_init(&body->refs, 1);
	body->owner = owner;
	body->revision = revision;
	body->len = len;
	memcpy(body->json, json, len);
	body->json[len] = '\0';
	return body;
}

struct silo_body *silo_body_ref(struct silo_body *body)
{
	atomic_fetch_add_explicit(&body->refs, 1, memory_order_relaxed);
	return body;
}

void silo_body_unref(struct silo_body *body)
{
	if (body && atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) == 1)
		free(body);
}

/* --- state: no lock is taken here --------------------------------------------------------------------------------- */

static struct silo_node *node_new(const char *id)
{
	size_t len = strlen(id);
	struct silo_node *node = calloc(1, sizeof *node + len + 1);

	if (!node)
		return NULL;
	memcpy(node->storage, id, len + 1);
	node->id = node->storage;
	return node;
}

static size_t node_bytes(const struct silo_node *node)
{
	return sizeof *node + strlen(node->id) + 1 + sizeof *node->body + node->body->len + 1;
}

static struct user_node *state_user(const struct store_state *state, const char *name)
{
	struct user_node *found;

	HASH_FIND(by_name, state->users_by_name, name, strlen(name), found);
	return found;
}

static struct user_node *state_user_by_id(const struct store_state *state, uint32_t id)
{
	struct user_node *found;

	HASH_FIND(by_id, state->users_by_id, &id, sizeof id, found);
	return found;
}

static void count_owned(struct store_state *state, uint32_t owner, int delta)
{
	struct user_node *user = state_user_by_id(state, owner);

	if (user)
		user->user.silos += (uint32_t)delta;
}

static void state_link(struct store_state *state, struct silo_node *node, struct silo_body *body_take)
{
	node->body = body_take;
	node->owner = body_take->owner;
	RB_INSERT(owner_tree, &state->by_owner, node);
	count_owned(state, node->owner, 1);
	state->size.bytes += node_bytes(node);
}

static void state_unlink(struct store_state *state, struct silo_node *node)
{
	state->size.bytes -= node_bytes(node);
	count_owned(state, node->owner, -1);
	RB_REMOVE(owner_tree, &state->by_owner, node);
	silo_body_unref(node->body);
	node->body = NULL;
}

/* `spare` is used, and set to NULL, if the silo is new. */
static void state_put(struct store_state *state, struct silo_node **spare, struct silo_body *body_take)
{
	struct silo_node *node = RB_INSERT(id_tree, &state->by_id, *spare);

	if (node) {
		state_unlink(state, node);
	} else {
		node = TAKE_PTR(*spare);
		state->size.silos++;
	}
	state_link(state, node, body_take);
}

static void state_delete(struct store_state *state, const char *id)
{
	struct silo_node *node = RB_FIND(id_tree, &state->by_id, &(struct silo_node){.id = id});

	if (!node)
		return;
	state_unlink(state, node);
	RB_REMOVE(id_tree, &state->by_id, node);
	state->size.silos--;
	free(node);
}

int store_state_add_user(struct store_state *state, const struct user *user)
{
	struct user_node *node = state_user(state, user->name);

	if (node) {
		uint32_t silos = node->user.silos;
		node->user = *user;
		node->user.silos = silos;
		return ERR_OK;
	}
	node = calloc(1, sizeof *node);
	if (!node)
		return ERR_NOMEM;
	node->user = *user;
	node->user.silos = 0;
	HASH_ADD(by_name, state->users_by_name, user.name, strlen(node->user.name), node);
	if (!node->by_name.tbl) {
		free(node);
		return ERR_NOMEM;
	}
	HASH_ADD(by_id, state->users_by_id, user.id, sizeof node->user.id, node);
	if (!node->by_id.tbl) {
		HASH_DELETE(by_name, state->users_by_name, node);
		free(node);
		return ERR_NOMEM;
	}
	state->size.users++;
	state->size.bytes += sizeof *node;
	return ERR_OK;
}

static void state_delete_user(struct store_state *state, const char *name)
{
	struct user_node *node = state_user(state, name);

	if (!node)
		return;
	HASH_DELETE(by_name, state->users_by_name, node);
	HASH_DELETE(by_id, state->users_by_id, node);
	state->size.users--;
	state->size.bytes -= sizeof *node;
	free(node);
}

int store_state_add_silo_take(struct store_state *state, const char *id, struct silo_body *body)
{
	struct silo_node *node = node_new(id);

	if (!node) {
		silo_body_unref(body);
		return ERR_NOMEM;
	}
	state_put(state, &node, body);
	free(node);
	return ERR_OK;
}

struct store_size store_state_size(const struct store_state *state)
{
	return state->size;
}

struct store_state *store_state_new(void)
{
	return calloc(1, sizeof(struct store_state));
}

void store_state_free(struct store_state *state)
{
	struct silo_node *node, *next;
	struct user_node *user, *next_user;

	if (!state)
		return;
	for (node = RB_MIN(id_tree, &state->by_id); node; node = next) {
		next = RB_NEXT(id_tree, &state->by_id, node);
		RB_REMOVE(id_tree, &state->by_id, node);
		silo_body_unref(node->body);
		free(node);
	}
	HASH_ITER (by_name, state->users_by_name, user, next_user) {
		HASH_DELETE(by_name, state->users_by_name, user);
		HASH_DELETE(by_id, state->users_by_id, user);
		free(user);
	}
	free(state);
}

/* --- the store ---------------------------------------------------------------------------------------------------- */

struct store *store_new(void)
{
	struct store *store = calloc(1, sizeof *store);
	pthread_rwlockattr_t attr;

	if (!store)
		return NULL;
	/* The one writer must not starve among many readers. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	int failed = pthread_rwlock_init(&store->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	if (failed) {
		free(store);
		return NULL;
	}
	return store;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_state_free(store->state);
	pthread_rwlock_destroy(&store->lock);
	free(store);
}

bool store_is_loaded(struct store *store)
{
	pthread_rwlock_rdlock(&store->lock);
	bool loaded = store->state != NULL;
	pthread_rwlock_unlock(&store->lock);
	return loaded;
}

uint64_t store_revision(struct store *store)
{
	pthread_rwlock_rdlock(&store->lock);
	uint64_t revision = store->revision;
	pthread_rwlock_unlock(&store->lock);
	return revision;
}

void store_identity(struct store *store, char ret_identity[static HUB_IDENTITY_LEN + 1])
{
	pthread_rwlock_rdlock(&store->lock);
	memcpy(ret_identity, store->identity, sizeof store->identity);
	pthread_rwlock_unlock(&store->lock);
}

int store_get(struct store *store, const char *id, struct silo_body **ret_body)
{
	struct silo_node *node = NULL;

	pthread_rwlock_rdlock(&store->lock);
	if (store->state)
		node = RB_FIND(id_tree, &store->state->by_id, &(struct silo_node){.id = id});
	if (node)
		*ret_body = silo_body_ref(node->body);
	pthread_rwlock_unlock(&store->lock);
	return node ? ERR_OK : ERR_NOT_FOUND;
}

static struct silo_node *first_after(struct store_state *state, uint32_t owner, const char *after)
{
	struct silo_node key = {.id = after ? after : "", .owner = owner};
	struct silo_node *node =
		owner ? RB_NFIND(owner_tree, &state->by_owner, &key) : RB_NFIND(id_tree, &state->by_id, &key);

	if (node && after && (!owner || node->owner == owner) && strcmp(node->id, after) == 0)
		node = owner ? RB_NEXT(owner_tree, &state->by_owner, node) : RB_NEXT(id_tree, &state->by_id, node);
	return node;
}

int store_list(struct store *store, uint32_t owner, const char *after, size_t limit, struct silo_body ***ret_bodies,
	       size_t *ret_count, bool *ret_more, uint64_t *ret_revision)
{
	struct silo_body **bodies = malloc((limit + 1) * sizeof *bodies);
	struct silo_node *node = NULL;
	size_t count = 0;

	if (!bodies)
		return ERR_NOMEM;
	pthread_rwlock_rdlock(&store->lock);
	if (store->state)
		node = first_after(store->state, owner, after);
	for (; node && count < limit && (!owner || node->owner == owner); count++) {
		bodies[count] = silo_body_ref(node->body);
		node = owner ? RB_NEXT(owner_tree, &store->state->by_owner, node)
			     : RB_NEXT(id_tree, &store->state->by_id, node);
	}
	*ret_more = node && (!owner || node->owner == owner);
	*ret_revision = store->revision;
	pthread_rwlock_unlock(&store->lock);
	*ret_bodies = bodies;
	*ret_count = count;
	return ERR_OK;
}

int store_user(struct store *store, const char *name, struct user *ret_user)
{
	struct user_node *node = NULL;

	pthread_rwlock_rdlock(&store->lock);
	if (store->state)
		node = state_user(store->state, name);
	if (node)
		*ret_user = node->user;
	pthread_rwlock_unlock(&store->lock);
	return node ? ERR_OK : ERR_NOT_FOUND;
}

int store_user_by_id(struct store *store, uint32_t id, struct user *ret_user)
{
	struct user_node *node = NULL;

	pthread_rwlock_rdlock(&store->lock);
	if (store->state)
		node = state_user_by_id(store->state, id);
	if (node)
		*ret_user = node->user;
	pthread_rwlock_unlock(&store->lock);
	return node ? ERR_OK : ERR_NOT_FOUND;
}

static int compare_user_name(const void *a, const void *b)
{
	return strcmp(((const struct user *)a)->name, ((const struct user *)b)->name);
}

int store_users(struct store *store, struct user **ret_users, size_t *ret_count)
{
	struct user *users = NULL;
	size_t count = 0;

	pthread_rwlock_rdlock(&store->lock);
	size_t expected = store->state ? store->state->size.users : 0;
	users = malloc((expected + 1) * sizeof *users);
	if (users && store->state)
		for (struct user_node *node = store->state->users_by_name; node; node = node->by_name.next)
			users[count++] = node->user;
	pthread_rwlock_unlock(&store->lock);
	if (!users)
		return ERR_NOMEM;
	qsort(users, count, sizeof *users, compare_user_name);
	*ret_users = users;
	*ret_count = count;
	return ERR_OK;
}

struct store_size store_size(struct store *store)
{
	struct store_size size = {0};

	pthread_rwlock_rdlock(&store->lock);
	if (store->state)
		size = store->state->size;
	pthread_rwlock_unlock(&store->lock);
	return size;
}

int store_apply(struct store *store, const struct store_change *changes, size_t count, uint64_t revision)
{
	struct silo_node **spares = calloc(count + 1, sizeof(struct silo_node *));
	int err = spares ? ERR_OK : ERR_NOMEM;

	/* All memory first: nothing can fail half-way, and the lock is not held meanwhile. */
	for (size_t i = 0; i < count && !err; i++)
		if (changes[i].op == STORE_PUT_SILO && !(spares[i] = node_new(changes[i].subject)))
			err = ERR_NOMEM;

	pthread_rwlock_wrlock(&store->lock);
	for (size_t i = 0; i < count && !err; i++) {
		const struct store_change *change = &changes[i];
		switch (change->op) {
		case STORE_PUT_SILO:
			state_put(store->state, &spares[i], silo_body_ref(change->body));
			break;
		case STORE_DELETE_SILO:
			state_delete(store->state, change->subject);
			break;
		case STORE_PUT_USER: /* the journal applies these singly, so failing here leaves nothing half done */
			err = store_state_add_user(store->state, &change->user);
			break;
		case STORE_DELETE_USER:
			state_delete_user(store->state, change->subject);
			break;
		}
	}
	if (!err)
		store->revision = revision;
	pthread_rwlock_unlock(&store->lock);

	for (size_t i = 0; spares && i < count; i++)
		free(spares[i]);
	free(spares);
	return err;
}

void store_replace_take(struct store *store, struct store_state *state, const char *identity, uint64_t revision)
{
	pthread_rwlock_wrlock(&store->lock);
	struct store_state *old = store->state;
	store->state = state;
	store->revision = revision;
	snprintf(store->identity, sizeof store->identity, "%s", identity);
	pthread_rwlock_unlock(&store->lock);
	store_state_free(old);
}
