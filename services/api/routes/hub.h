/*
 * What a request handler may use: the rooms of one running hub (serve.c makes them). Everything is borrowed and
 * outlives the server.
 */
#ifndef SILODNS_API_ROUTES_HUB_H
#define SILODNS_API_ROUTES_HUB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/auth/authenticator.h"
#include "api/auth/ratelimit.h"
#include "api/history/history.h"
#include "api/history/refusals.h"
#include "api/history/retention.h"
#include "api/http/forwarded.h"
#include "api/http/server.h"
#include "api/http/tls.h"
#include "api/jobs/bootstrap.h"
#include "api/journal/queue.h"
#include "api/store/store.h"
#include "api/watch/watchers.h"
#include "common/base/err.h"
#include "common/conf/conf.h"
#include "common/net/ipaddr.h"

/* What the routes count of the requests that they answer. Atomic, without a lock. */
#define METRICS_METHODS 7 /* the last one: any other */
#define METRICS_CLASSES 4 /* 2xx to 5xx */

struct metrics {
	atomic_uint_fast64_t requests[METRICS_METHODS][METRICS_CLASSES];
	atomic_uint_fast64_t request_us;         /* sum of all */
	atomic_uint_fast64_t errors[-ERR_LAST_]; /* by -enum err */
};

/* One answered request. `method` as it came; `err` 0 or why it was refused. */
void metrics_count(struct metrics *metrics, const char *method, int status, int err, int64_t took_us);

struct hub {
	struct store *store; /* to read */
	struct queue *queue; /* to write */
	struct bootstrap *bootstrap;
	struct watchers *watchers; /* who follows the store */
	struct authenticator *authenticator;
	struct ratelimit *ratelimit;
	struct history *history;   /* to read what was */
	struct refusals *refusals; /* what was refused */
	struct retention retention;
	struct tls *tls; /* NULL: HTTP without TLS */
	struct forwarded_trust trust;
	struct conf_list cors_origins;
	size_t body_max;    /* bytes */
	size_t records_max; /* of a silo */
	int64_t started_us; /* clock_wall_us() */
	struct metrics metrics;
	struct server_counters http;
	bool metrics_for_anyone; /* /metrics needs no credentials */
	atomic_bool draining;    /* set once SIGTERM came: /readyz says no */
};

#endif
