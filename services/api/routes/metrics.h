/*
 * What the hub counts, and the page that shows it in the text format 0.0.4 of Prometheus. Counters are atomic and
 * take no lock, so that counting costs nothing worth counting; everything else is asked of the rooms when the page is
 * made, which reads memory only and goes on without a database. No label holds anything that a client chose.
 * Thread-safe.
 */
#ifndef SILODNS_API_ROUTES_METRICS_H
#define SILODNS_API_ROUTES_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define METRICS_METHODS 7 /* the last one: any other */
#define METRICS_CLASSES 4 /* 2xx to 5xx */

/* Part of struct hub; zero-initialised, but for the start. */
struct metrics {
	int64_t started_us; /* clock_wall_us() */
	atomic_uint_fast64_t requests[METRICS_METHODS][METRICS_CLASSES];
	atomic_uint_fast64_t request_us;         /* sum of all */
	atomic_uint_fast64_t errors[-ERR_LAST_]; /* by -enum err */
};

struct hub;

/* One answered request. `method` as it came; `err` 0 or why it was refused. */
void metrics_count(struct metrics *metrics, const char *method, int status, int err, int64_t took_us);

/* The whole page. `text->err` tells of failure. */
void metrics_write(const struct hub *hub, struct buf *text);

#endif
