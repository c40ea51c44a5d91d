/*
 * The watchers: who waits for which news. A watcher is a feed (what to say) on a suspended connection; the room's
 * thread sees the store's news and resumes those whom they concern, and everybody now and then for a sign of life. So a
 * watcher costs no thread and, while nothing happens, no time.
 *
 * Functions may be called from any thread; watcher_read() and watcher_close() of one watcher not at the same time,
 * which the HTTP library sees to.
 */
#ifndef SILODNS_WATCH_H
#define SILODNS_WATCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "feed.h"
#include "stream.h"

struct watch;
struct watcher;

/* Starts the thread. ERR_NOMEM, ERR_SYSTEM. The store is borrowed. */
int watch_start(struct store *store, struct watch **ret_watch);
/* Every stream is told when to come back, and ends; new ones are refused. */
void watch_drain(struct watch *watch);
/* Ends the thread. There must be no watcher left. NULL is allowed. */
void watch_stop(struct watch *watch);

size_t watch_count(struct watch *watch); /* watchers */

/* ERR_UNAVAILABLE: stopping. ERR_NOMEM. */
int watch_open(struct watch *watch, const struct feed_wish *wish, struct watcher **ret_watcher);

/* A watcher as a reply's stream (stream.h). */
extern const struct stream_class watcher_stream;

#endif
