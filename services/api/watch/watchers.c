#include "api/watch/watchers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>
#include <uthash.h>
#include <utlist.h>

#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define BEAT_MS 10000    /* between two signs of life; clients are promised one every 15 s */
#define AHEAD_MS 100     /* how often to look after watchers that know more than the store */
#define REVISIONS_MAX 64 /* looked at in one go */
/* Waking costs the machine about 10 us each. Many watchers at many changes would take all of it; so the next round
 * waits as long as the last one cost. What changes meanwhile is told in one go. */
#define PACE_US 10
#define FAREWELL_MIN_MS 200 /* when to come back after an orderly end: at random, or ten thousand come at once */
#define FAREWELL_MAX_MS 3200

#define OWNER_MARK '\001' /* no silo's id begins with it */
#define KEY_MAX (SILO_ID_MAX + 1)

/* What one may wait for: a silo's id, or an owner's silos (0: all). */
struct topic {
	UT_hash_handle hh;
	struct interest *interests;
	size_t key_len;
	char key[KEY_MAX];
};

struct interest {
	struct interest *prev, *next; /* of one topic */
	struct topic *topic;
	struct watcher *watcher;
};

struct watcher {
	struct watchers *watch;
	pthread_t server; /* the thread of the HTTP pool that serves the connection */
	atomic_uint holders;
	/* Guarded by the watch's lock. */
	struct watcher *prev, *next; /* in the order of `beat_at` */
	int64_t beat_at;
	bool ahead;     /* see subscription_is_ahead() */
	uint64_t round; /* in which it was last picked */
	/* The thread's alone. */
	bool beat_due;

	/* Suspending and resuming must not overtake each other: guards all below. Taken after the watch's lock, or
	 * alone. */
	pthread_mutex_t lock;
	struct subscription *feed;
	struct waiter waiter;
	bool suspended;

	size_t interest_count;
	struct interest interests[];
};

struct watchers {
	struct store *store;
	pthread_t thread;
	atomic_bool stopping;

	pthread_mutex_t lock; /* guards all below */
	struct topic *topics;
	struct watcher *watchers;
	size_t count, ahead_count;
	uint64_t round;
	bool draining;

	/* The thread's alone. */
	struct store_point seen;
	struct watcher **picked; /* with one reference each */
	size_t picked_count, picked_capacity;
};

/* --- topics: with the watch's lock held --------------------------------------------------------------------------- */

static size_t owner_key(uint32_t owner, char ret_key[static KEY_MAX])
{
	ret_key[0] = OWNER_MARK;
	memcpy(ret_key + 1, &owner, sizeof owner);
	return 1 + sizeof owner;
}

static struct topic *find_topic(struct watchers *watch, const char *key, size_t len)
{
	struct topic *topic;

	HASH_FIND(hh, watch->topics, key, len, topic);
	return topic;
}

static int add_interest(struct watchers *watch, struct watcher *watcher, const char *key, size_t len)
{
	struct topic *topic = find_topic(watch, key, len);

	if (!topic) {
		topic = calloc(1, sizeof *topic);
		if (!topic)
			return ERR_NOMEM;
		memcpy(topic->key, key, len);
		topic->key_len = len;
		HASH_ADD_KEYPTR(hh, watch->topics, topic->key, len, topic);
		if (!topic->hh.tbl) {
			free(topic);
			return ERR_NOMEM;
		}
	}
	struct interest *interest = &watcher->interests[watcher->interest_count++];
	*interest = (struct interest){.topic = topic, .watcher = watcher};
	DL_APPEND(topic->interests, interest);
	return ERR_OK;
}

static void drop_interests(struct watchers *watch, struct watcher *watcher)
{
	while (watcher->interest_count) {
		struct interest *interest = &watcher->interests[--watcher->interest_count];
		DL_DELETE(interest->topic->interests, interest);
		if (interest->topic->interests)
			continue;
		HASH_DEL(watch->topics, interest->topic);
		free(interest->topic);
	}
}

/* --- watchers ----------------------------------------------------------------------------------------------------- */

static void let_go(struct watcher *watcher)
{
	if (atomic_fetch_sub(&watcher->holders, 1) != 1)
		return;
	pthread_mutex_destroy(&watcher->lock);
	subscription_close(watcher->feed);
	free(watcher);
}

static int register_watcher(struct watchers *watch, struct watcher *watcher, const struct subscription_wish *wish)
{
	char key[KEY_MAX];
	int err = ERR_OK;

	if (watch->draining)
		return ERR_UNAVAILABLE;
	for (size_t i = 0; i < wish->name_count && !err; i++)
		err = add_interest(watch, watcher, wish->names[i], strlen(wish->names[i]));
	if (!wish->name_count)
		err = add_interest(watch, watcher, key, owner_key(subscription_owner(watcher->feed), key));
	if (err) {
		drop_interests(watch, watcher);
		return err;
	}
	watcher->beat_at = clock_mono_ms() + BEAT_MS;
	DL_APPEND(watch->watchers, watcher);
	watch->count++;
	watcher->ahead = subscription_is_ahead(watcher->feed);
	watch->ahead_count += watcher->ahead;
	return ERR_OK;
}

int watchers_open(struct watchers *watch, const struct subscription_wish *wish, struct watcher **ret_watcher)
{
	size_t interests = wish->name_count ? wish->name_count : 1;
	struct watcher *watcher = calloc(1, sizeof *watcher + interests * sizeof watcher->interests[0]);

	if (!watcher)
		return ERR_NOMEM;
	watcher->watch = watch;
	watcher->server = pthread_self();
	atomic_init(&watcher->holders, 1);
	pthread_mutex_init(&watcher->lock, NULL);
	int err = subscription_open(watch->store, wish, &watcher->feed);
	if (!err) {
		pthread_mutex_lock(&watch->lock);
		err = register_watcher(watch, watcher, wish);
		pthread_mutex_unlock(&watch->lock);
	}
	if (err) {
		let_go(watcher);
		return err;
	}
	if (subscription_is_ahead(watcher->feed))
		store_wake(watch->store); /* the thread is to look after it */
	*ret_watcher = watcher;
	return ERR_OK;
}

static void watcher_attach(void *stream, const struct waiter *waiter)
{
	struct watcher *watcher = stream;

	watcher->waiter = *waiter;
}

static ssize_t watcher_read(void *stream, char *ret_data, size_t max)
{
	struct watcher *watcher = stream;

	pthread_mutex_lock(&watcher->lock);
	ssize_t used = (ssize_t)subscription_read(watcher->feed, ret_data, max);
	if (!used && subscription_is_over(watcher->feed)) {
		used = STREAM_END;
	} else if (!used) {
		watcher->suspended = true;
		watcher->waiter.suspend(watcher->waiter.handle);
	}
	pthread_mutex_unlock(&watcher->lock);
	return used;
}

static void watcher_close(void *stream)
{
	struct watcher *watcher = stream;
	struct watchers *watch = watcher->watch;

	pthread_mutex_lock(&watch->lock);
	drop_interests(watch, watcher);
	DL_DELETE(watch->watchers, watcher);
	watch->count--;
	watch->ahead_count -= watcher->ahead;
	pthread_mutex_unlock(&watch->lock);
	let_go(watcher);
}

const struct stream_class watcher_stream = {watcher_attach, watcher_read, watcher_close};

/* A connection cannot end while it is suspended: so a watcher that is suspended is not closed. */
static void resume(struct watcher *watcher)
{
	if (!watcher->suspended)
		return;
	watcher->suspended = false;
	watcher->waiter.resume(watcher->waiter.handle);
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* With the watch's lock held, as the next five. Without memory nobody more is picked now: the rest hear of it by the
 * next news, or by their sign of life. */
static void pick(struct watchers *watch, struct watcher *watcher)
{
	if (watcher->round == watch->round)
		return;
	if (watch->picked_count == watch->picked_capacity) {
		size_t capacity = watch->picked_capacity ? watch->picked_capacity * 2 : 64;
		struct watcher **picked = reallocarray(watch->picked, capacity, sizeof(struct watcher *));
		if (!picked)
			return;
		watch->picked = picked;
		watch->picked_capacity = capacity;
	}
	watcher->round = watch->round;
	atomic_fetch_add(&watcher->holders, 1);
	watch->picked[watch->picked_count++] = watcher;
}

static void pick_topic(struct watchers *watch, const char *key, size_t len)
{
	struct topic *topic = find_topic(watch, key, len);
	struct interest *interest;

	if (topic)
		DL_FOREACH (topic->interests, interest)
			pick(watch, interest->watcher);
}

static void pick_all(struct watchers *watch)
{
	struct watcher *watcher;

	DL_FOREACH (watch->watchers, watcher)
		pick(watch, watcher);
}

/* Whom a change concerns: who follows the silo, who follows its owner, and who follows all. */
static void pick_change(struct watchers *watch, const struct document *change)
{
	char key[KEY_MAX];

	document_id(change, key);
	pick_topic(watch, key, strlen(key));
	pick_topic(watch, key, owner_key(change->owner, key));
	pick_topic(watch, key, owner_key(0, key));
}

/* Of all changes since the last time, by REVISIONS_MAX at a time, so that nobody has to wait for the store's lock. A
 * revision is never parted: a silo that changes hands is two changes. */
static void pick_concerned(struct watchers *watch)
{
	struct store_point now;

	do {
		const struct store_state *state = store_view(watch->store);
		now = state->point;
		/* Another user may be another right; another state may be anything. */
		bool everybody = now.user_changes != watch->seen.user_changes || now.replaced != watch->seen.replaced;
		if (everybody) {
			pick_all(watch);
			watch->seen = now;
		}
		uint64_t until = watch->seen.revision + REVISIONS_MAX;
		for (struct document *change = store_state_since(state, 0, watch->seen.revision);
		     change && change->revision <= until; change = store_state_later(change, 0))
			pick_change(watch, change);
		store_view_end(watch->store);
		watch->seen.revision = until < now.revision ? until : now.revision;
	} while (watch->seen.revision < now.revision);
}

/* Those whom the store has caught up with, or will not. */
static void pick_overtaken(struct watchers *watch)
{
	struct watcher *watcher;

	if (!watch->ahead_count)
		return;
	DL_FOREACH (watch->watchers, watcher) {
		if (!watcher->ahead || subscription_is_ahead(watcher->feed))
			continue;
		watcher->ahead = false;
		watch->ahead_count--;
		pick(watch, watcher);
	}
}

static void pick_beats(struct watchers *watch)
{
	int64_t now = clock_mono_ms();

	while (watch->watchers && watch->watchers->beat_at <= now) {
		struct watcher *watcher = watch->watchers;
		DL_DELETE(watch->watchers, watcher);
		DL_APPEND(watch->watchers, watcher);
		watcher->beat_at = now + BEAT_MS;
		watcher->beat_due = true;
		pick(watch, watcher);
	}
}

static int compare_server(const void *a, const void *b)
{
	pthread_t x = (*(struct watcher *const *)a)->server, y = (*(struct watcher *const *)b)->server;

	return x < y ? -1 : x > y;
}

/* Those of one thread one after the other: it then serves many in one go, instead of being woken for each. */
static void resume_picked(struct watchers *watch)
{
	if (watch->picked_count > 1)
		qsort(watch->picked, watch->picked_count, sizeof(struct watcher *), compare_server);
	for (size_t i = 0; i < watch->picked_count; i++) {
		struct watcher *watcher = watch->picked[i];
		pthread_mutex_lock(&watcher->lock);
		if (watcher->beat_due)
			subscription_beat(watcher->feed);
		watcher->beat_due = false;
		resume(watcher);
		pthread_mutex_unlock(&watcher->lock);
		let_go(watcher);
	}
}

/* Without news. */
static int64_t until_next_look(struct watchers *watch)
{
	pthread_mutex_lock(&watch->lock);
	int64_t ms = watch->watchers ? watch->watchers->beat_at - clock_mono_ms() : BEAT_MS;
	if (watch->ahead_count && ms > AHEAD_MS)
		ms = AHEAD_MS;
	pthread_mutex_unlock(&watch->lock);
	return ms < 0 ? 0 : ms;
}

static void pace(size_t woken)
{
	const struct timespec pause = {.tv_sec = (time_t)(woken * PACE_US / 1000000),
				       .tv_nsec = (long)(woken * PACE_US % 1000000 * 1000)};

	if (woken > 1)
		nanosleep(&pause, NULL);
}

static void *watchers_main(void *arg)
{
	struct watchers *watch = arg;
	uint64_t news = 0;

	while (!atomic_load(&watch->stopping)) {
		pthread_mutex_lock(&watch->lock);
		watch->round++;
		watch->picked_count = 0;
		pick_concerned(watch);
		pick_overtaken(watch);
		pick_beats(watch);
		pthread_mutex_unlock(&watch->lock);
		resume_picked(watch);
		pace(watch->picked_count);
		store_wait(watch->store, &news, until_next_look(watch));
	}
	return NULL;
}

int watchers_start(struct store *store, struct watchers **ret_watch)
{
	struct watchers *watch = calloc(1, sizeof *watch);

	if (!watch)
		return ERR_NOMEM;
	watch->store = store;
	pthread_mutex_init(&watch->lock, NULL);
	if (pthread_create(&watch->thread, NULL, watchers_main, watch)) {
		pthread_mutex_destroy(&watch->lock);
		free(watch);
		return ERR_SYSTEM;
	}
	*ret_watch = watch;
	return ERR_OK;
}

void watchers_drain(struct watchers *watch)
{
	struct watcher *watcher;

	pthread_mutex_lock(&watch->lock);
	watch->draining = true;
	DL_FOREACH (watch->watchers, watcher) {
		pthread_mutex_lock(&watcher->lock);
		subscription_bid_farewell(watcher->feed,
					  FAREWELL_MIN_MS + randombytes_uniform(FAREWELL_MAX_MS - FAREWELL_MIN_MS));
		resume(watcher);
		pthread_mutex_unlock(&watcher->lock);
	}
	pthread_mutex_unlock(&watch->lock);
}

void watchers_stop(struct watchers *watch)
{
	if (!watch)
		return;
	atomic_store(&watch->stopping, true);
	store_wake(watch->store);
	pthread_join(watch->thread, NULL);
	pthread_mutex_destroy(&watch->lock);
	free(watch->picked);
	free(watch);
}

size_t watchers_count(struct watchers *watch)
{
	pthread_mutex_lock(&watch->lock);
	size_t count = watch->count;
	pthread_mutex_unlock(&watch->lock);
	return count;
}
