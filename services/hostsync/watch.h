/*
 * Follows the silos by one event stream of the hub, and writes what it tells into the silos. Beside polling, it is one
 * way to keep them current; nothing here waits. One thread.
 *
 * - What a stream tells before `synced` is kept aside, so that a half-told snapshot that breaks off changes nothing.
 * - A stream goes on where the one before ended (the hub's identity and revision are kept in memory).
 * - Reconnecting backs off with full jitter from the pause that the hub asks for (`retry`, 1 s without it) up to
 *   WATCH_RETRY_MAX_MS; after a stream that the hub has ended in due form, its `retry` is taken as it is. (Below 100
 * ms, it is taken as 100 ms.)
 * - Where a stream cannot be used (a hub without /watch, something that is no event stream, a proxy that holds it back,
 *   three streams in a row that end before they have told everything), `unusable` says so: then somebody has to poll.
 * It is tried again every WATCH_RETRY_INTERVALS polling intervals.
 *
 * Logs when it begins to fail and when it is well again, not every attempt.
 */
#ifndef SILODNS_WATCH_H
#define SILODNS_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/backoff.h"
#include "common/hub/hubwatch.h"
#include "hostsync/hublog.h"
#include "hostsync/settings.h"
#include "hostsync/silos.h"

#define WATCH_RETRY_MAX_MS 60000
#define WATCH_RETRY_INTERVALS 30 /* while the stream cannot be used */
/* The first event after a rest is news at once; those that follow it closely are gathered. */
#define WATCH_REST_MS 10      /* without an event for so long it was a rest */
#define WATCH_QUIET_MS 2      /* without an event for so long the gathering is over, */
#define WATCH_BURST_MAX_MS 50 /* and after this in any case */

struct watch_told; /* opaque */

struct watch {
	const struct settings *settings; /* borrowed, as the next three */
	struct hubclient *client;
	struct silos *silos;
	struct hublog *log;
	struct hubwatch *stream; /* owned; NULL = between two attempts */
	struct watch_told *told; /* owned; what the stream has told of each silo before `synced` */
	bool synced, reset;      /* the stream has said so */
	struct hubwatch_position position;
	struct backoff backoff;
	uint32_t unsynced;                   /* streams in a row that ended before `synced` */
	int64_t next_ms;                     /* of the next attempt */
	int64_t first_news_ms, last_news_ms; /* of what is gathered; first 0 = nothing */
	bool rested;                         /* before first_news_ms */
	int err;                             /* 0 = what the silos say is what the hub says now */
	bool unusable;                       /* somebody has to poll */
};

/* At most HUBWATCH_SILOS_MAX silos. ERR_NOMEM. */
int watch_init(struct watch *watch, const struct settings *settings, struct hubclient *client, struct silos *silos,
	       struct hublog *log);
void watch_release(struct watch *watch);

/* Call when watch_fd() is readable or watch_wait_ms() is over: connects, reads, gives up, as it is due. */
void watch_step(struct watch *watch);
int watch_fd(const struct watch *watch); /* -1 = none now; another one after each step */
int64_t watch_wait_ms(const struct watch *watch);

/* True once for what was gathered, when it is to be written: the silos are others than before. */
bool watch_take_news(struct watch *watch);

/* Connects anew at once, unless it is about to do so. */
void watch_hurry(struct watch *watch);

/* watch->err, or the first error of a silo. */
int watch_err(const struct watch *watch);

#endif
