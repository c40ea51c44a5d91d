#include "histogram.h"

#define SUB (1u << HISTOGRAM_SUB_BITS)

/* Small values have a bucket each; above, each power of two is divided into SUB buckets. */
static unsigned bucket_of(uint64_t value)
{
	if (value < 2 * SUB)
		return (unsigned)value;
	unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

static uint64_t upper_edge(unsigned bucket)
{
	if (bucket < 2 * SUB)
		return bucket;
	unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
	return ((uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) + 1) * (1ull << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t us)
{
	uint64_t value = us > 0 ? (uint64_t)us : 0;

	h->count++;
	h->max = value > h->max ? value : h->max;
	h->buckets[bucket_of(value)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->count += from->count;
	into->max = from->max > into->max ? from->max : into->max;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *h, double share)
{
	uint64_t wanted = (uint64_t)((double)h->count * share + 0.5), seen = 0;

	if (wanted < 1)
		wanted = 1;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= wanted && h->count)
			return upper_edge(i) < h->max ? upper_edge(i) : h->max;
	}
	return h->max;
}

json_t *histogram_json(const struct histogram *h)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "p50", (json_int_t)histogram_percentile(h, 0.5), "p90",
			 (json_int_t)histogram_percentile(h, 0.9), "p99", (json_int_t)histogram_percentile(h, 0.99),
			 "p999", (json_int_t)histogram_percentile(h, 0.999), "max", (json_int_t)h->max);
}
