/*
 * A thread with work of its own, which does something every so often until it is told to end.
 */
#ifndef SILODNS_WORKER_H
#define SILODNS_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct worker;
typedef void (*worker_fn)(struct worker *worker, void *arg);

/* Runs `fn` in a new thread; `arg` is borrowed until worker_stop(). ERR_NOMEM, ERR_SYSTEM (no thread). */
int worker_start(worker_fn fn, void *arg, struct worker **ret_worker);
/* For `fn`: waits so long. False, sooner: it is to end. */
bool worker_pause(struct worker *worker, int64_t ms);
/* Waits for its end. NULL is allowed. */
void worker_stop(struct worker *worker);

#endif
