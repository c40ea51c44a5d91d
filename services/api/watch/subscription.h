/*
 * What one watcher is to be told next: the store's news since the revision that the watcher knows, as text of an event
 * stream (docs/http.md, Watch). No thread, no lock, no connection here: whoever owns a feed calls it from one thread at
 * a time.
 *
 * A feed remembers a revision and not what is still to be told, so a slow reader costs nothing, and is told the newest
 * state only. Invariant: the `id` that was last written is a revision up to which the watcher knows everything it asked
 * for.
 */
#ifndef SILODNS_API_WATCH_SUBSCRIPTION_H
#define SILODNS_API_WATCH_SUBSCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/auth/authenticator.h"
#include "api/store/store.h"
#include "common/base/waiter.h"

#define FEED_NAMES_MAX 64 /* silos that one watcher may name */

struct subscription_wish {
	struct principal who;
	const char *const *names; /* silo ids, each once; borrowed by subscription_open() */
	size_t name_count;        /* 0: all silos that `who` may read */
	bool has_since;
	uint64_t since;
	const char *hub; /* identity that `since` belongs to, or NULL */
};

struct subscription;

/* ERR_NOMEM. The store is borrowed. */
int subscription_open(struct store *store, const struct subscription_wish *wish, struct subscription **ret_feed);
void subscription_close(struct subscription *feed); /* NULL is allowed */

/* The order of the store in which this feed's news stand: a user id, 0: all. */
uint32_t subscription_owner(const struct subscription *feed);

/* The watcher knows more than the store. Most likely it comes from another hub, and this one is behind: it is told
 * nothing until the store has caught up, or has been confirmed as what the database is (a restored backup). Once false,
 * it stays so. May be called from any thread. */
bool subscription_is_ahead(const struct subscription *feed);

/* Writes up to `max` bytes; returns how many. 0: nothing yet; STREAM_END: nothing more will come. Never waits. */
ssize_t subscription_read(struct subscription *feed, char *ret_data, size_t max);

void subscription_beat(struct subscription *feed); /* a sign of life is due, with the revision */
/* After what is being written: tells when to come back, and is over. */
void subscription_bid_farewell(struct subscription *feed, uint32_t retry_ms);

#endif
