/*
 * Clocks: the monotonic one for durations and deadlines, the wall clock for what people read, and times as text
 * (RFC 3339, UTC). Thread-safe.
 */
#ifndef SILODNS_BASE_CLOCK_H
#define SILODNS_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "common/base/err.h"

/* Monotonic clock, milliseconds / microseconds; wall clock, microseconds since 1970. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_us(void);
/* The wall clock's time so long ago; 0 for what was before 1970. */
uint64_t clock_wall_ago_us(int64_t us);

/* A condition whose timed waits go by the monotonic clock, and the point in time for them. */
void clock_cond_init(pthread_cond_t *cond);
struct timespec clock_mono_at(int64_t mono_ms);

#define CLOCK_TEXT_MAX 28 /* with the final NUL */
/* RFC 3339 in UTC, to the microsecond: 2026-11-24T13:29:09.123456Z. For times since 1970 (before the year 10000). */
void clock_format(int64_t wall_us, char ret_text[static CLOCK_TEXT_MAX]);
/* The same read, strictly: upper-case T and Z, no other offset, a fraction of 1 to 9 digits or none (cut to
 * microseconds), a day that exists, no leap second, 1970 to 9999. ERR_INVALID with a reason. */
int clock_parse(const char *text, int64_t *ret_wall_us, struct why *ret_why);

#endif
