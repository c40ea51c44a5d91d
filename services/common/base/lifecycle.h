/*
 * Start and stop of a program: SIGTERM and SIGINT ask it to stop, SIGHUP to look again at once; SIGPIPE is ignored.
 * Waiting is done here, so that a signal ends it at once. One instance per process; lifecycle_stop_requested() and
 * lifecycle_request_stop() may be called from any thread, the others from the main thread only.
 */
#ifndef SILODNS_BASE_LIFECYCLE_H
#define SILODNS_BASE_LIFECYCLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#endif
