/*
 * What the routes count of the requests that they answer. Atomic, without a lock. The page of GET /metrics (text format
 * 0.0.4 of Prometheus, metrics.c) shows that beside what it asks of the other rooms: from memory, so it goes on without
 * a database. No label holds anything that a client chose. Thread-safe.
 */
#ifndef SILODNS_API_ROUTES_METRICS_H
#define SILODNS_API_ROUTES_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/err.h"

#define METRICS_METHODS 7 /* the last one: any other */
#define METRICS_CLASSES 4 /* 2xx to 5xx */

/* Part of struct hub; zero-initialised. */
struct metrics {
	atomic_uint_fast64_t requests[METRICS_METHODS][METRICS_CLASSES];
	atomic_uint_fast64_t request_us;         /* sum of all */
	atomic_uint_fast64_t errors[-ERR_LAST_]; /* by -enum err */
};

/* One answered request. `method` as it came; `err` 0 or why it was refused. */
void metrics_count(struct metrics *metrics, const char *method, int status, int err, int64_t took_us);

#endif
