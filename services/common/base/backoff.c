#include "common/base/backoff.h"

#include <sodium.h>

#define FLOOR_MAX_MS 3600000u /* one hour */

static uint32_t saturate(uint64_t ms)
{
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* 0 … max, each equally likely. Works before sodium_init() too: libsodium's random source opens itself. */
static uint32_t random_upto(uint32_t max)
{
	return max == UINT32_MAX ? randombytes_random() : randombytes_uniform(max + 1);
}

void backoff_init(struct backoff *b, uint32_t first_ms, uint32_t max_ms)
{
	*b = (struct backoff){.first_ms = first_ms, .max_ms = max_ms};
}

void backoff_reset(struct backoff *b)
{
	b->attempt = 0;
}

uint32_t backoff_next(struct backoff *b, uint32_t retry_after_ms)
{
	uint64_t ceiling = b->attempt < 32 ? (uint64_t)b->first_ms << b->attempt : UINT64_MAX;
	uint32_t floor = retry_after_ms < FLOOR_MAX_MS ? retry_after_ms : FLOOR_MAX_MS;
	if (ceiling > b->max_ms)
		ceiling = b->max_ms;
	if (b->attempt < UINT32_MAX)
		b->attempt++;
	return saturate((uint64_t)floor + random_upto((uint32_t)ceiling));
}

uint32_t backoff_jitter(uint32_t ms, uint32_t percent)
{
	uint64_t span = (uint64_t)ms * (percent < 100 ? percent : 100) / 100;
	return saturate(ms - span + random_upto(saturate(2 * span)));
}
