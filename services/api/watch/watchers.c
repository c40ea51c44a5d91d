#include "api/watch/watchers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>
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
#define FAREWELL_SPREAD_MS 3000

#define TOPIC_BUCKETS 4096

struct interest {
	struct interest *prev, *next; /* in one bucket */
	uint64_t topic;
	struct watcher *watcher;
};

struct watcher {
	struct watchers *watch;
	pthread_t server; /* the thread of the HTTP pool that serves the connection */
	/* Guarded by the watch's lock. */
	struct watcher *prev, *next; /* in the order of `beat_at` */
	int64_t beat_at;
	bool ahead;                  /* see subscription_is_ahead() */
	struct watcher *next_picked; /* the thread's alone */

	struct subscription *feed; /* the server's thread's, but for subscription_is_ahead() */
	struct waiter waiter;
	atomic_bool beat_due;
	/* AWAKE: it reads. WAITING: its connection is suspended. CALLED: there is something for it to read. Whoever
	 * calls one that waits has to resume it, and may use it until then: a suspended connection cannot end. */
	_Atomic enum watcher_state { AWAKE, WAITING, CALLED } state;

	size_t interest_count;
	struct interest interests[];
};

struct watchers {
	struct store *store;
	unsigned char key[crypto_shorthash_KEYBYTES];
	pthread_t thread;
	atomic_bool draining;
	atomic_size_t count;

	pthread_mutex_t lock;                      /* guards all below */
	struct interest *interests[TOPIC_BUCKETS]; /* by their topics */
	struct watcher *watchers;
	size_t ahead_count;

	/* The thread's alone. */
	struct store_point seen;
	struct watcher *picked; /* to be resumed */
};

/* --- topics ------------------------------------------------------------------------------------------------------- */

/* What one may wait for, as a hash of it: a silo's id, or a user's (all silos of that owner; 0: of all owners). Should
 * two be alike, a watcher is woken, and told nothing. */
static uint64_t topic_hash(const struct watchers *watch, const void *what, size_t len)
{
	uint64_t hash;

	crypto_shorthash((unsigned char *)&hash, what, len, watch->key);
	return hash;
}

/* --- watchers ----------------------------------------------------------------------------------------------------- */

/* With the watch's lock held. */
static void register_watcher(struct watchers *watch, struct watcher *watcher, const struct subscription_wish *wish)
{
	const uint32_t owner = subscription_owner(watcher->feed);

	for (size_t i = 0; i < watcher->interest_count; i++) {
		struct interest *interest = &watcher->interests[i];
		interest->watcher = watcher;
		interest->topic = wish->name_count ? topic_hash(watch, wish->names[i], strlen(wish->names[i]))
						   : topic_hash(watch, &owner, sizeof owner);
		DL_APPEND(watch->interests[interest->topic % TOPIC_BUCKETS], interest);
	}
	watcher->beat_at = clock_mono_ms() + BEAT_MS;
	DL_APPEND(watch->watchers, watcher);
	watch->count++;
	watcher->ahead = subscription_is_ahead(watcher->feed);
	watch->ahead_count += watcher->ahead;
	if (watcher->ahead)
		store_wake(watch->store); /* the thread is to look after it */
}

int watchers_open(struct watchers *watch, const struct subscription_wish *wish, struct watcher **ret_watcher)
{
	size_t count = wish->name_count ? wish->name_count : 1;
	struct watcher *watcher = calloc(1, sizeof *watcher + count * sizeof watcher->interests[0]);

	if (!watcher)
		return ERR_NOMEM;
	watcher->watch = watch;
	watcher->interest_count = count;
	watcher->server = pthread_self();
	int err = subscription_open(watch->store, wish, &watcher->feed);
	pthread_mutex_lock(&watch->lock);
	if (!err && atomic_load(&watch->draining))
		err = ERR_UNAVAILABLE;
	if (!err)
		register_watcher(watch, watcher, wish);
	pthread_mutex_unlock(&watch->lock);
	if (err) {
		subscription_close(watcher->feed);
		free(watcher);
		return err;
	}
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
	enum watcher_state awake = AWAKE;

	atomic_store(&watcher->state, AWAKE); /* what it was called for before is there to be read */
	if (atomic_exchange(&watcher->beat_due, false))
		subscription_beat(watcher->feed);
	if (atomic_load(&watcher->watch->draining))
		subscription_bid_farewell(watcher->feed, FAREWELL_MIN_MS + randombytes_uniform(FAREWELL_SPREAD_MS));
	ssize_t used = subscription_read(watcher->feed, ret_data, max);
	if (used)
		return used;
	watcher->waiter.suspend(watcher->waiter.handle);
	if (!atomic_compare_exchange_strong(&watcher->state, &awake, WAITING))
		watcher->waiter.resume(watcher->waiter.handle); /* called meanwhile */
	return 0;
}

static void watcher_close(void *stream)
{
	struct watcher *watcher = stream;
	struct watchers *watch = watcher->watch;

	pthread_mutex_lock(&watch->lock);
	for (size_t i = 0; i < watcher->interest_count; i++)
		DL_DELETE(watch->interests[watcher->interests[i].topic % TOPIC_BUCKETS], &watcher->interests[i]);
	DL_DELETE(watch->watchers, watcher);
	watch->count--;
	watch->ahead_count -= watcher->ahead;
	pthread_mutex_unlock(&watch->lock);
	subscription_close(watcher->feed);
	free(watcher);
}

const struct stream_class watcher_stream = {watcher_attach, watcher_read, watcher_close};

/* --- waking them -------------------------------------------------------------------------------------------------- */

/* With the watch's lock held, as the next ones. */
static void pick(struct watchers *watch, struct watcher *watcher)
{
	if (watcher->state != CALLED && atomic_exchange(&watcher->state, CALLED) == WAITING)
		LL_PREPEND2(watch->picked, watcher, next_picked);
}

static void pick_topic(struct watchers *watch, const void *what, size_t len)
{
	uint64_t topic = topic_hash(watch, what, len);
	struct interest *interest;

	DL_FOREACH (watch->interests[topic % TOPIC_BUCKETS], interest)
		if (interest->topic == topic)
			pick(watch, interest->watcher);
}

static void pick_all(struct watchers *watch)
{
	struct watcher *watcher;

	DL_FOREACH (watch->watchers, watcher)
		pick(watch, watcher);
}

/* Whom the changes since the last time concern: who follows the silo, its owner, or all. By REVISIONS_MAX at a time, so
 * that nobody has to wait for the store's lock. A revision is never parted: a silo that changes hands is two changes.
 */
static void pick_concerned(struct watchers *watch)
{
	const uint32_t everybody = 0;
	char id[SILO_ID_MAX + 1];
	struct store_point now;

	do {
		const struct store_state *state = store_view(watch->store);
		now = state->point;
		/* Another user may be another right; another state may be anything; who drains says farewell. */
		if (now.user_changes != watch->seen.user_changes || now.replaced != watch->seen.replaced ||
		    atomic_load(&watch->draining)) {
			pick_all(watch);
			watch->seen = now;
		}
		uint64_t until = watch->seen.revision + REVISIONS_MAX;
		for (struct document *change = store_state_since(state, 0, watch->seen.revision);
		     change && change->revision <= until; change = store_state_later(change, 0)) {
			document_id(change, id);
			pick_topic(watch, id, strlen(id));
			pick_topic(watch, &change->owner, sizeof change->owner);
			pick_topic(watch, &everybody, sizeof everybody);
		}
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
		atomic_store(&watcher->beat_due, true);
		pick(watch, watcher);
	}
}

static int compare_server(const struct watcher *a, const struct watcher *b)
{
	return a->server < b->server ? -1 : a->server > b->server;
}

/* Without the watch's lock. Those of one thread one after the other: it then serves many in one go, instead of being
 * woken for each. Returns how many. */
static size_t resume_picked(struct watchers *watch)
{
	struct watcher *watcher;
	size_t count = 0;

	LL_SORT2(watch->picked, compare_server, next_picked);
	for (; (watcher = watch->picked); count++) {
		watch->picked = watcher->next_picked;
		watcher->waiter.resume(watcher->waiter.handle);
	}
	return count;
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

static void *watchers_main(void *arg)
{
	struct watchers *watch = arg;
	uint64_t news = 0;

	for (;;) {
		bool last = atomic_load(&watch->draining);
		pthread_mutex_lock(&watch->lock);
		pick_concerned(watch);
		pick_overtaken(watch);
		pick_beats(watch);
		pthread_mutex_unlock(&watch->lock);
		size_t woken = resume_picked(watch);
		if (last)
			return NULL;
		if (woken > 1)
			usleep((useconds_t)woken * PACE_US);
		store_wait(watch->store, &news, until_next_look(watch));
	}
}

int watchers_start(struct store *store, struct watchers **ret_watch)
{
	struct watchers *watch = calloc(1, sizeof *watch);

	if (!watch)
		return ERR_NOMEM;
	watch->store = store;
	randombytes_buf(watch->key, sizeof watch->key);
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
	if (atomic_exchange(&watch->draining, true))
		return;
	store_wake(watch->store);
	pthread_join(watch->thread, NULL);
}

void watchers_stop(struct watchers *watch)
{
	if (!watch)
		return;
	watchers_drain(watch);
	pthread_mutex_destroy(&watch->lock);
	free(watch);
}

size_t watchers_count(struct watchers *watch)
{
	return atomic_load(&watch->count);
}
