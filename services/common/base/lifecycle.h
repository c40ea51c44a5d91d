/*
 * Start and stop of a program: SIGTERM and SIGINT ask it to stop, SIGHUP to look again at once; SIGPIPE is ignored.
 * Waiting is done here, so that a signal ends it at once. One instance per process; lifecycle_stop_requested() and
 * lifecycle_request_stop() may be called from any thread, the others from the main thread only.
 */
#ifndef SILODNS_BASE_LIFECYCLE_H
#define SILODNS_BASE_LIFECYCLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/base/err.h"

#define LIFECYCLE_FDS_MAX 4

enum lifecycle_wake { LIFECYCLE_TIMEOUT, LIFECYCLE_STOP, LIFECYCLE_RELOAD, LIFECYCLE_READABLE };

/* What this process knows stays in it: no core dump, also none of its children, and no other process of the same user
 * looks into it. First of all, before a secret is read. */
void lifecycle_keep_secrets(void);
/* Blocks the signals and opens a signalfd; call before the first thread starts, so that all inherit the mask.
 * ERR_SYSTEM. */
int lifecycle_init(void);
/* Waits up to `timeout_ms` (-1 = for ever) for a signal, or for `fd` (-1 = none) to be readable. Once stop was asked
 * for it returns LIFECYCLE_STOP at once, always. */
enum lifecycle_wake lifecycle_wait(int64_t timeout_ms, int fd);
/* The same for up to LIFECYCLE_FDS_MAX descriptors, of which those that are negative do not count. */
enum lifecycle_wake lifecycle_wait_any(int64_t timeout_ms, const int *fds, size_t count);
bool lifecycle_stop_requested(void);
void lifecycle_request_stop(void);
/* Undoes the signal mask in a child between fork and exec. */
void lifecycle_child(void);

/* Monotonic clock, milliseconds / microseconds; wall clock, microseconds since 1970. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_us(void);

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
