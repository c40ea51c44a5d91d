/*
 * A thread with work of its own, which does something every so often until it is told to end.
 */
#ifndef SILODNS_API_JOBS_PERIODIC_H
#define SILODNS_API_JOBS_PERIODIC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct periodic;
typedef void (*periodic_fn)(struct periodic *worker, void *arg);

/* Runs `fn` in a new thread; `arg` is borrowed until periodic_stop(). ERR_NOMEM, ERR_SYSTEM (no thread). */
int periodic_start(periodic_fn fn, void *arg, struct periodic **ret_worker);
/* For `fn`: waits so long. False, sooner: it is to end. */
bool periodic_pause(struct periodic *worker, int64_t ms);
/* Waits for its end. NULL is allowed. */
void periodic_stop(struct periodic *worker);

#endif
