/*
 * Removes what need not be remembered any more. Of the change log: entries older than the settings say, the oldest
 * first, and never one of the newest RETENTION_KEEP, by which other hubs and watchers go on where they were. What is
 * left has no gap. (By the order of commits, not by clocks alone: an entry with a time that is too late keeps those
 * behind it.) Of the refusals: those as old, and all but the newest RETENTION_REFUSALS_MAX.
 *
 * A periodic job of small steps with pauses between them, so that no change waits for it. However many hubs there are,
 * one at a time shortens the log.
 */
#ifndef SILODNS_API_HISTORY_RETENTION_H
#define SILODNS_API_HISTORY_RETENTION_H

#include <stdatomic.h>
#include <stdint.h>

#include "api/db/periodic.h"

#define RETENTION_KEEP 100000 /* entries */
#define RETENTION_STEP 500    /* entries in one statement */
#define RETENTION_REFUSALS_MAX 100000
#define RETENTION_EVERY_MS 60000

struct retention {
	int64_t age_ms;               /* 0: everything is kept for ever */
	atomic_uint_fast64_t removed; /* entries since the start; any thread may read it */
	uint64_t from, removed_now;   /* the job's own, of this look: where the next step begins, entries */
	int64_t refusals_due_ms;      /* the job's own; clock_mono_ms */
};

/* The periodic job; `retention` is a struct retention. From the end of one look at the whole log to the next it is a
 * tenth of the age, but no more than RETENTION_EVERY_MS. */
int retention_remove_old(void *retention, struct periodic_step *step);

#endif
