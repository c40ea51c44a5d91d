/*
 * Removes what the change log need not remember any more: entries older than the settings say, the oldest first, and
 * never one of the newest RETENTION_KEEP, by which other hubs and watchers go on where they were. What is left has no
 * gap. (By the order of commits, not by clocks alone: an entry with a time that is too late keeps those behind it.)
 *
 * A periodic job of small steps with pauses between them, so that no change waits for it. However many hubs there are,
 * one at a time does it.
 */
#ifndef SILODNS_API_HISTORY_RETENTION_H
#define SILODNS_API_HISTORY_RETENTION_H

#include <stdatomic.h>
#include <stdint.h>

#include "api/db/periodic.h"

#define RETENTION_KEEP 100000 /* entries */
#define RETENTION_STEP 500    /* entries in one statement */

struct retention {
	int64_t age_ms;                /* 0: everything is kept for ever */
	atomic_uint_fast64_t removed;  /* entries since the start; any thread may read it */
	uint64_t from, removed_before; /* the job's own: where the next step begins, `removed` when it began anew */
};

/* From the end of one look at the whole log to the next: a tenth of the age, but no more than a minute. */
int64_t retention_every_ms(const struct retention *retention);

/* The periodic job; `retention` is a struct retention. */
int retention_remove_old(void *retention, struct periodic *periodic, int64_t *ret_again_ms);

#endif
