/*
 * Removes what the change log need not remember any more: entries older than the settings say, the oldest first, and
 * never one of the newest RETENTION_KEEP, by which other hubs and watchers go on where they were. What is left has no
 * gap. (By the order of commits, not by clocks alone: an entry with a time that is too late keeps those behind it.)
 *
 * One thread with a connection of its own, in small steps with pauses between them, so that no change waits for it.
 * However many hubs there are, one at a time does it. A database that is away is tried again for ever.
 */
#ifndef SILODNS_API_HISTORY_RETENTION_H
#define SILODNS_API_HISTORY_RETENTION_H

#include <stdint.h>

#include "api/db/db.h"
#include "api/store/store.h"
#include "common/base/err.h"

#define RETENTION_KEEP 100000 /* entries */
#define RETENTION_STEP 500    /* entries in one statement */

struct retention;

/* `age_ms` 0: everything is kept for ever, and there is no thread. Begins once the store is loaded. Strings of `db` are
 * borrowed. ERR_NOMEM, ERR_SYSTEM. */
int retention_start(const struct db_settings *db, struct store *store, int64_t age_ms,
		    struct retention **ret_retention);
void retention_stop(struct retention *retention); /* within one statement; NULL is allowed */

uint64_t retention_removed(const struct retention *retention); /* entries since the start; any thread */

#endif
