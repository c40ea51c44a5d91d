/*
 * When to try again: exponential with full jitter (each wait is random between 0 and the current ceiling, so that many
 * clients do not come back together), never sooner than the hub asked for (Retry-After). Plain value, one owner.
 */
#ifndef SILODNS_BASE_BACKOFF_H
#define SILODNS_BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint32_t first_ms; /* ceiling of the first wait */
	uint32_t max_ms;   /* ceiling never exceeds this */
	uint32_t attempt;  /* failures since the last success */
};

void backoff_init(struct backoff *b, uint32_t first_ms, uint32_t max_ms);
void backoff_reset(struct backoff *b); /* after a success */
/* Milliseconds to wait before the next try; counts the failure. `retry_after_ms` (0 = none) is a floor: jitter is added
 * on top of it; a floor over one hour is taken as one hour. */
uint32_t backoff_next(struct backoff *b, uint32_t retry_after_ms);
/* `ms` ± `percent` at random: for intervals, so that clients started together drift apart. */
uint32_t backoff_jitter(uint32_t ms, uint32_t percent);

#endif
