/*
 * Latencies in microseconds, counted in buckets of at most 1.6% width: constant memory, exact counts, percentiles as
 * exact as the buckets. Zero-initialised it is empty. Not thread-safe: one per thread, added up at the end.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#include <jansson.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t count;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, int64_t us); /* below zero counts as zero */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that `share` (0 to 1) of all do not exceed, as the upper edge of its bucket; 0 if there is none. */
uint64_t histogram_percentile(const struct histogram *h, double share);
/* {"p50":…,"p90":…,"p99":…,"p999":…,"max":…} in microseconds; NULL without memory. */
json_t *histogram_json(const struct histogram *h);

#endif
