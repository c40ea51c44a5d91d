/*
 * The watchers: who waits for which news. A watcher is a feed (what to say) on a suspended connection; the room's
 * thread sees the store's news and resumes those whom they concern, and everybody now and then for a sign of life. So a
 * watcher costs no thread and, while nothing happens, no time.
 *
 * Functions may be called from any thread; watcher_read() and watcher_close() of one watcher not at the same time,
 * which the HTTP library sees to.
 */
#ifndef SILODNS_API_WATCH_WATCHERS_H
#define SILODNS_API_WATCH_WATCHERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/watch/subscription.h"
#include "common/base/err.h"
#include "common/base/waiter.h"

struct watchers;
struct watcher;

/* Starts the thread. ERR_NOMEM, ERR_SYSTEM. The store is borrowed. */
int watchers_start(struct store *store, struct watchers **ret_watch);
/* Every stream is told when to come back, and ends; new ones are refused. Ends the thread: none is suspended then. */
void watchers_drain(struct watchers *watch);
/* There must be no watcher left. NULL is allowed. */
void watchers_stop(struct watchers *watch);

size_t watchers_count(struct watchers *watch); /* watchers */

/* ERR_UNAVAILABLE: stopping. ERR_NOMEM. */
int watchers_open(struct watchers *watch, const struct subscription_wish *wish, struct watcher **ret_watcher);

/* A watcher as a reply's stream (stream.h). */
extern const struct stream_class watcher_stream;

#endif
