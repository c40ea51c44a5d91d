#include "api/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

struct store {
	pthread_rwlock_t lock;
	struct store_state *state; /* guarded by lock, as `loaded` and `point`; never NULL */
	bool loaded;
	struct store_point point; /* but for `forgotten`, which is the state's */

	atomic_uint_least64_t confirmations;
	atomic_int_least64_t confirmed_ms, again_ms; /* when last (clock_mono_ms), and how soon again */

	pthread_mutex_t news_lock; /* guards news; no other lock is taken under it */
	pthread_cond_t news_came;
	uint64_t news;
};

static int locks_init(struct store *store)
{
	pthread_rwlockattr_t attr;
	pthread_condattr_t cond_attr;

	/* The one writer must not starve among many readers. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	int failed = pthread_rwlock_init(&store->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	if (failed)
		return ERR_NOMEM;
	pthread_condattr_init(&cond_attr);
	pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->news_came, &cond_attr);
	pthread_condattr_destroy(&cond_attr);
	pthread_mutex_init(&store->news_lock, NULL);
	return ERR_OK;
}

struct store *store_new(void)
{
	struct store *store = calloc(1, sizeof *store);
	struct store_state *state = store_state_new();

	if (!store || !state || locks_init(store)) {
		store_state_free(state);
		free(store);
		return NULL;
	}
	store->state = state;
	return store;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_state_free(store->state);
	pthread_cond_destroy(&store->news_came);
	pthread_mutex_destroy(&store->news_lock);
	pthread_rwlock_destroy(&store->lock);
	free(store);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

bool store_is_loaded(struct store *store)
{
	pthread_rwlock_rdlock(&store->lock);
	bool loaded = store->loaded;
	pthread_rwlock_unlock(&store->lock);
	return loaded;
}

/* With the lock held. */
static struct store_point point(const struct store *store)
{
	struct store_point now = store->point;

	now.forgotten = store->state->forgotten;
	return now;
}

struct store_point store_point(struct store *store)
{
	pthread_rwlock_rdlock(&store->lock);
	struct store_point now = point(store);
	pthread_rwlock_unlock(&store->lock);
	return now;
}

uint64_t store_revision(struct store *store)
{
	return store_point(store).revision;
}

void store_identity(struct store *store, char ret_identity[static HUB_IDENTITY_LEN + 1])
{
	struct store_point now = store_point(store);

	memcpy(ret_identity, now.identity, sizeof now.identity);
}

int store_get(struct store *store, const char *id, struct document **ret_body)
{
	pthread_rwlock_rdlock(&store->lock);
	struct silo_node *node = store_state_silo(store->state, id);
	if (node)
		*ret_body = document_ref(node->entry.body);
	pthread_rwlock_unlock(&store->lock);
	return node ? ERR_OK : ERR_NOT_FOUND;
}

int store_list(struct store *store, uint32_t owner, const char *after, size_t limit, struct document ***ret_bodies,
	       size_t *ret_count, bool *ret_more, uint64_t *ret_revision)
{
	struct document **bodies = malloc((limit + 1) * sizeof *bodies);
	size_t count = 0;

	if (!bodies)
		return ERR_NOMEM;
	pthread_rwlock_rdlock(&store->lock);
	struct silo_node *node = store_state_first(store->state, owner, after);
	for (; node && count < limit; node = store_state_next(node, owner))
		bodies[count++] = document_ref(node->entry.body);
	*ret_more = node != NULL;
	*ret_revision = store->point.revision;
	pthread_rwlock_unlock(&store->lock);
	*ret_bodies = bodies;
	*ret_count = count;
	return ERR_OK;
}

/* With the lock held. */
static void fill_event(const struct store *store, const struct store_entry *entry, uint32_t owner, uint64_t revision,
		       struct store_event *ret_event)
{
	ret_event->revision = revision;
	ret_event->owner = owner;
	ret_event->body = entry->body ? document_ref(entry->body) : NULL;
	ret_event->exists = entry->body || store_state_silo(store->state, entry->id);
	ret_event->deleted = store_entry_deleted(entry);
	memccpy(ret_event->id, entry->id, '\0', sizeof ret_event->id);
}

size_t store_since(struct store *store, uint32_t owner, uint64_t after, struct store_event *ret_events, size_t max,
		   struct store_point *ret_point)
{
	size_t count = 0;

	pthread_rwlock_rdlock(&store->lock);
	for (struct store_entry *entry = store_state_since(store->state, owner, after); entry && count < max;
	     entry = store_state_later(entry, owner))
		fill_event(store, entry, entry->own.owner, entry->own.revision, &ret_events[count++]);
	*ret_point = point(store);
	pthread_rwlock_unlock(&store->lock);
	return count;
}

struct store_event store_look(struct store *store, const char *id)
{
	struct store_event event = {0};

	pthread_rwlock_rdlock(&store->lock);
	struct silo_node *node = store_state_silo(store->state, id);
	if (node)
		fill_event(store, &node->entry, node->owner, node->entry.all.revision, &event);
	else
		event.revision = store_state_deleted(store->state, id);
	pthread_rwlock_unlock(&store->lock);
	return event;
}

int store_user(struct store *store, const char *name, struct user *ret_user)
{
	pthread_rwlock_rdlock(&store->lock);
	struct user_node *node = store_state_user(store->state, name);
	if (node)
		*ret_user = node->user;
	pthread_rwlock_unlock(&store->lock);
	return node ? ERR_OK : ERR_NOT_FOUND;
}

int store_user_by_id(struct store *store, uint32_t id, struct user *ret_user)
{
	pthread_rwlock_rdlock(&store->lock);
	struct user_node *node = store_state_user_by_id(store->state, id);
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
	size_t count = 0;

	pthread_rwlock_rdlock(&store->lock);
	struct user *users = malloc((store->state->size.users + 1) * sizeof *users);
	if (users)
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

static int ref_token(const struct token_node *node, struct token **ret_token)
{
	if (node)
		*ret_token = token_ref(node->token);
	return node ? ERR_OK : ERR_NOT_FOUND;
}

int store_token(struct store *store, const unsigned char hash[static TOKEN_HASH_BYTES], struct token **ret_token)
{
	pthread_rwlock_rdlock(&store->lock);
	int err = ref_token(store_state_token(store->state, hash), ret_token);
	pthread_rwlock_unlock(&store->lock);
	return err;
}

int store_token_by_subject(struct store *store, const char *subject, struct token **ret_token)
{
	pthread_rwlock_rdlock(&store->lock);
	int err = ref_token(store_state_token_by_subject(store->state, subject), ret_token);
	pthread_rwlock_unlock(&store->lock);
	return err;
}

/* By its hash: after a loading it is another object. */
bool store_has_token(struct store *store, const struct token *token)
{
	pthread_rwlock_rdlock(&store->lock);
	bool found = store_state_token(store->state, token->hash) != NULL;
	pthread_rwlock_unlock(&store->lock);
	return found;
}

static int compare_token(const void *a, const void *b)
{
	return strcmp((*(struct token *const *)a)->subject, (*(struct token *const *)b)->subject);
}

int store_tokens(struct store *store, uint32_t owner, struct token ***ret_tokens, size_t *ret_count)
{
	size_t count = 0;

	pthread_rwlock_rdlock(&store->lock);
	struct token **tokens = calloc(store->state->size.tokens + 1, sizeof *tokens);
	if (tokens)
		for (struct token_node *node = store->state->tokens_by_hash; node; node = node->by_hash.next)
			if (!owner || node->token->owner == owner)
				tokens[count++] = token_ref(node->token);
	pthread_rwlock_unlock(&store->lock);
	if (!tokens)
		return ERR_NOMEM;
	qsort(tokens, count, sizeof *tokens, compare_token);
	*ret_tokens = tokens;
	*ret_count = count;
	return ERR_OK;
}

void store_tokens_release(struct token **tokens, size_t count)
{
	for (size_t i = 0; i < count; i++)
		token_unref(tokens[i]);
	free(tokens);
}

struct store_size store_size(struct store *store)
{
	pthread_rwlock_rdlock(&store->lock);
	struct store_size size = store->state->size;
	pthread_rwlock_unlock(&store->lock);
	return size;
}

void store_confirm(struct store *store, int64_t again_ms)
{
	atomic_store_explicit(&store->again_ms, again_ms, memory_order_relaxed);
	atomic_store_explicit(&store->confirmed_ms, clock_mono_ms(), memory_order_relaxed);
	atomic_fetch_add(&store->confirmations, 1);
}

uint64_t store_confirmations(struct store *store)
{
	return atomic_load(&store->confirmations);
}

int64_t store_age_ms(struct store *store)
{
	int64_t age = clock_mono_ms() - atomic_load_explicit(&store->confirmed_ms, memory_order_relaxed);

	if (age <= atomic_load_explicit(&store->again_ms, memory_order_relaxed))
		return 0;
	return age > 0 ? age : 1;
}

/* --- news --------------------------------------------------------------------------------------------------------- */

void store_wake(struct store *store)
{
	pthread_mutex_lock(&store->news_lock);
	store->news++;
	pthread_cond_broadcast(&store->news_came);
	pthread_mutex_unlock(&store->news_lock);
}

void store_wait(struct store *store, uint64_t *news, int64_t timeout_ms)
{
	int64_t until = clock_mono_ms() + timeout_ms;
	const struct timespec deadline = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};

	pthread_mutex_lock(&store->news_lock);
	while (store->news == *news && pthread_cond_timedwait(&store->news_came, &store->news_lock, &deadline) == 0)
		;
	*news = store->news;
	pthread_mutex_unlock(&store->news_lock);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Nodes for one change, so that nothing can fail while it is applied. */
struct spares {
	struct silo_node *silo;
	struct gone_node *gone;
};

static int spares_make(const struct store_change *change, struct spares *ret_spares)
{
	if (change->op != STORE_PUT_SILO && change->op != STORE_DELETE_SILO)
		return ERR_OK;
	ret_spares->gone = gone_node_new(change->subject);
	if (change->op == STORE_PUT_SILO)
		ret_spares->silo = silo_node_new(change->subject);
	return ret_spares->gone && (change->op == STORE_DELETE_SILO || ret_spares->silo) ? ERR_OK : ERR_NOMEM;
}

/* With the lock held for writing. Only a new user or token can fail; the journal applies those singly. */
static int apply_one(struct store *store, const struct store_change *change, struct spares *spares)
{
	switch (change->op) {
	case STORE_PUT_SILO:
		store_state_put(store->state, &spares->silo, &spares->gone, document_ref(change->body));
		return ERR_OK;
	case STORE_DELETE_SILO:
		store_state_delete(store->state, change->subject, change->revision, &spares->gone);
		return ERR_OK;
	case STORE_PUT_USER:
		store->point.user_changes++;
		return store_state_add_user(store->state, &change->user);
	case STORE_DELETE_USER:
		store->point.user_changes++;
		store_state_delete_user(store->state, change->subject);
		return ERR_OK;
	case STORE_PUT_TOKEN:
		store->point.user_changes++;
		return store_state_add_token(store->state, change->token);
	case STORE_DELETE_TOKEN:
		store->point.user_changes++;
		store_state_delete_token(store->state, change->subject);
		return ERR_OK;
	}
	return ERR_INTERNAL;
}

int store_apply(struct store *store, const struct store_change *changes, size_t count, uint64_t revision)
{
	struct spares *spares = calloc(count + 1, sizeof *spares);
	int err = spares ? ERR_OK : ERR_NOMEM;

	for (size_t i = 0; i < count && !err; i++)
		err = spares_make(&changes[i], &spares[i]);
	if (!err) {
		pthread_rwlock_wrlock(&store->lock);
		for (size_t i = 0; i < count && !err; i++)
			err = apply_one(store, &changes[i], &spares[i]);
		if (!err)
			store->point.revision = revision;
		pthread_rwlock_unlock(&store->lock);
	}
	for (size_t i = 0; spares && i < count; i++) {
		free(spares[i].silo);
		free(spares[i].gone);
	}
	free(spares);
	if (!err)
		store_wake(store);
	return err;
}

void store_replace_take(struct store *store, struct store_state *state, const char *identity, uint64_t revision)
{
	pthread_rwlock_wrlock(&store->lock);
	struct store_state *old = store->state;
	store->state = state;
	store->loaded = true;
	store->point.revision = revision;
	store->point.replaced++;
	store->point.user_changes++;
	snprintf(store->point.identity, sizeof store->point.identity, "%s", identity);
	pthread_rwlock_unlock(&store->lock);
	store_state_free(old);
	store_wake(store);
}
