#include "api/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/model/change.h"
#include "api/store/flapping.h"
#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

struct store {
	pthread_rwlock_t lock;
	struct store_state *state; /* guarded by lock; never NULL */
	struct flapping *flapping;

	atomic_bool loaded; /* it is a state of the database, not the emptiness before the first one */
	atomic_int_least64_t confirmed_began_us;     /* the last look at the database */
	atomic_int_least64_t confirmed_ms, again_ms; /* when last (clock_mono_ms), and how soon again */

	pthread_mutex_t news_lock; /* guards writing of `news`; no other lock is taken under it */
	pthread_cond_t news_came;
	atomic_uint_least64_t news;
};

struct store *store_new(void)
{
	struct store *store = calloc(1, sizeof *store);
	struct store_state *state = store_state_new();
	pthread_rwlockattr_t attr;

	if (!store || !state || !(store->flapping = flapping_new())) {
		free(state);
		free(store);
		return NULL;
	}
	store->state = state;
	/* The one writer must not starve among many readers. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&store->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	clock_cond_init(&store->news_came);
	pthread_mutex_init(&store->news_lock, NULL);
	return store;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_state_free(store->state);
	flapping_free(store->flapping);
	pthread_cond_destroy(&store->news_came);
	pthread_mutex_destroy(&store->news_lock);
	pthread_rwlock_destroy(&store->lock);
	free(store);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

const struct store_state *store_view(struct store *store)
{
	pthread_rwlock_rdlock(&store->lock);
	return store->state;
}

void store_view_end(struct store *store)
{
	pthread_rwlock_unlock(&store->lock);
}

bool store_is_loaded(struct store *store)
{
	return atomic_load(&store->loaded);
}

uint64_t store_revision(struct store *store)
{
	uint64_t revision = store_view(store)->point.revision;

	store_view_end(store);
	return revision;
}

void store_identity(struct store *store, char ret_identity[static HUB_IDENTITY_LEN + 1])
{
	memcpy(ret_identity, store_view(store)->point.identity, HUB_IDENTITY_LEN + 1);
	store_view_end(store);
}

int store_get(struct store *store, const char *id, struct document **ret_body)
{
	struct document *silo = store_state_silo(store_view(store), id);

	if (silo)
		*ret_body = document_ref(silo);
	store_view_end(store);
	return silo ? ERR_OK : ERR_NOT_FOUND;
}

int store_list(struct store *store, uint32_t owner, const char *after, size_t limit, struct document ***ret_bodies,
	       size_t *ret_count, bool *ret_more, uint64_t *ret_revision)
{
	struct document **bodies = malloc((limit + 1) * sizeof *bodies);
	size_t count = 0;

	if (!bodies)
		return ERR_NOMEM;
	const struct store_state *state = store_view(store);
	struct document *silo = store_state_first(state, owner, after);
	for (; silo && count < limit; silo = store_state_next(silo, owner))
		bodies[count++] = document_ref(silo);
	*ret_more = silo != NULL;
	*ret_revision = state->point.revision;
	store_view_end(store);
	*ret_bodies = bodies;
	*ret_count = count;
	return ERR_OK;
}

/* Ends the view. */
static int copy_user(struct store *store, const struct user_node *found, struct user *ret_user)
{
	if (found)
		*ret_user = found->user;
	store_view_end(store);
	return found ? ERR_OK : ERR_NOT_FOUND;
}

int store_user(struct store *store, const char *name, struct user *ret_user)
{
	return copy_user(store, store_state_user(store_view(store), name), ret_user);
}

int store_user_by_id(struct store *store, uint32_t id, struct user *ret_user)
{
	return copy_user(store, store_state_user_by_id(store_view(store), id), ret_user);
}

int store_users(struct store *store, struct user **ret_users, size_t *ret_count)
{
	const struct store_state *state = store_view(store);
	struct user *users = malloc((state->size.users + 1) * sizeof *users);
	struct user_node *node = NULL;
	size_t count = 0;

	while (users && (node = store_state_next_user(state, node)))
		users[count++] = node->user;
	store_view_end(store);
	if (!users)
		return ERR_NOMEM;
	*ret_users = users;
	*ret_count = count;
	return ERR_OK;
}

/* Ends the view. */
static int copy_token(struct store *store, struct token *found, struct token **ret_token)
{
	if (found)
		*ret_token = token_ref(found);
	store_view_end(store);
	return found ? ERR_OK : ERR_NOT_FOUND;
}

int store_token(struct store *store, const unsigned char hash[static TOKEN_HASH_BYTES], struct token **ret_token)
{
	return copy_token(store, store_state_token(store_view(store), hash), ret_token);
}

int store_token_and_owner(struct store *store, const unsigned char hash[static TOKEN_HASH_BYTES],
			  struct token **ret_token, struct user *ret_owner)
{
	const struct store_state *state = store_view(store);
	struct token *token = store_state_token(state, hash);
	const struct user_node *owner = token ? store_state_user_by_id(state, token->owner) : NULL;

	if (owner)
		*ret_owner = owner->user;
	return copy_token(store, owner ? token : NULL, ret_token);
}

int store_token_by_subject(struct store *store, const char *subject, struct token **ret_token)
{
	return copy_token(store, store_state_token_by_subject(store_view(store), subject), ret_token);
}

int store_tokens(struct store *store, uint32_t owner, struct token ***ret_tokens, size_t *ret_count)
{
	const struct store_state *state = store_view(store);
	struct token **tokens = calloc(state->size.tokens + 1, sizeof *tokens), *token = NULL;
	size_t count = 0;

	while (tokens && (token = store_state_next_token(state, token)))
		if (!owner || token->owner == owner)
			tokens[count++] = token_ref(token);
	store_view_end(store);
	if (!tokens)
		return ERR_NOMEM;
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
	struct store_size size = store_view(store)->size;

	store_view_end(store);
	return size;
}

struct flapping *store_flapping(struct store *store)
{
	return store->flapping;
}

void store_confirm(struct store *store, int64_t began_us, int64_t again_ms)
{
	atomic_store_explicit(&store->again_ms, again_ms, memory_order_relaxed);
	atomic_store_explicit(&store->confirmed_ms, clock_mono_ms(), memory_order_relaxed);
	atomic_store(&store->confirmed_began_us, began_us);
	flapping_sweep(store->flapping, clock_mono_ms());
}

bool store_is_confirmed(struct store *store, int64_t since_us)
{
	return atomic_load(&store->confirmed_began_us) > since_us;
}

int64_t store_age_ms(struct store *store)
{
	int64_t age = clock_mono_ms() - atomic_load_explicit(&store->confirmed_ms, memory_order_relaxed);

	if (age <= atomic_load_explicit(&store->again_ms, memory_order_relaxed))
		return 0;
	return age > 0 ? age : 1;
}

/* --- news --------------------------------------------------------------------------------------------------------- */

uint64_t store_news(struct store *store)
{
	return atomic_load(&store->news);
}

void store_wake(struct store *store)
{
	pthread_mutex_lock(&store->news_lock);
	atomic_fetch_add(&store->news, 1);
	pthread_mutex_unlock(&store->news_lock);
	pthread_cond_broadcast(&store->news_came); /* without the lock, for which they would wait next */
}

void store_wait(struct store *store, uint64_t *news, int64_t timeout_ms)
{
	const struct timespec deadline = clock_mono_at(clock_mono_ms() + timeout_ms);

	pthread_mutex_lock(&store->news_lock);
	while (store_news(store) == *news &&
	       pthread_cond_timedwait(&store->news_came, &store->news_lock, &deadline) == 0)
		;
	*news = store_news(store);
	pthread_mutex_unlock(&store->news_lock);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* What one change needs memory for, so that nothing can fail while it is applied. */
struct provision {
	struct document *mark;
	struct document *former; /* of a silo that was changed: what it was, once it is applied */
	struct user_node *user;
};

static int provide(const struct change *change, struct provision *ret_provision)
{
	if (change_is_of_silo(change)) {
		ret_provision->mark = document_new(change->subject, "", 0, 0, 0);
		return ret_provision->mark ? ERR_OK : ERR_NOMEM;
	}
	if (change->kind == CHANGE_USER_PUT) {
		ret_provision->user = user_node_new(&change->user);
		return ret_provision->user ? ERR_OK : ERR_NOMEM;
	}
	return ERR_OK;
}

static void apply_one(struct store_state *state, const struct change *change, struct provision *provision)
{
	state->point.user_changes += !change_is_of_silo(change);
	switch (change->kind) {
	case CHANGE_SILO_PUT:
	case CHANGE_SILO_PATCH:
		provision->former = store_state_silo(state, change->subject);
		if (provision->former)
			document_ref(provision->former);
		store_state_put_silo_take(state, document_ref(change->document), &provision->mark);
		break;
	case CHANGE_SILO_DELETE:
		store_state_delete_silo(state, change->subject, change->revision, &provision->mark);
		break;
	case CHANGE_USER_PUT:
		store_state_put_user_take(state, TAKE_PTR(provision->user));
		break;
	case CHANGE_USER_DELETE:
		store_state_remove_user(state, store_state_user(state, change->subject));
		break;
	case CHANGE_TOKEN_PUT:
		store_state_put_token_take(state, token_ref(change->token));
		break;
	case CHANGE_TOKEN_DELETE:
		store_state_remove_token(state, store_state_token_by_subject(state, change->subject));
		break;
	}
}

int store_apply(struct store *store, struct change *const changes[], size_t count, uint64_t revision)
{
	struct provision *provisions = calloc(count + 1, sizeof *provisions);
	int err = provisions ? ERR_OK : ERR_NOMEM;

	for (size_t i = 0; i < count && !err; i++)
		err = provide(changes[i], &provisions[i]);
	if (!err) {
		pthread_rwlock_wrlock(&store->lock);
		for (size_t i = 0; i < count; i++)
			apply_one(store->state, changes[i], &provisions[i]);
		store->state->point.revision = revision;
		atomic_fetch_add(&store->news, 1); /* whoever sees the state has heard of it */
		pthread_rwlock_unlock(&store->lock);
		store_wake(store);
	}
	for (size_t i = 0; provisions && i < count; i++) {
		if (provisions[i].former)
			flapping_note(store->flapping, provisions[i].former, changes[i], clock_mono_ms());
		document_unref(provisions[i].former);
		document_unref(provisions[i].mark);
		free(provisions[i].user);
	}
	free(provisions);
	return err;
}

void store_replace_take(struct store *store, struct store_state *state, const char *identity, uint64_t revision)
{
	state->point.revision = revision;
	snprintf(state->point.identity, sizeof state->point.identity, "%s", identity);
	pthread_rwlock_wrlock(&store->lock);
	struct store_state *old = store->state;
	state->point.replaced = old->point.replaced + 1;
	state->point.user_changes = old->point.user_changes + 1;
	store->state = state;
	atomic_fetch_add(&store->news, 1); /* as in store_apply() */
	pthread_rwlock_unlock(&store->lock);
	atomic_store(&store->loaded, true);
	store_state_free(old);
	store_wake(store);
}
