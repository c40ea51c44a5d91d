/*
 * Who changed which silo when: the change log, read back. The one room beside the engine that asks the database, for
 * what memory does not hold; it never writes.
 *
 * Thread-safe. It owns a few connections, opened when first needed, and lends one to each reading. Every wait is
 * bounded, so that a database that hangs cannot hold the threads that answer requests: at most HISTORY_CONNECTIONS of
 * them wait for it, at most HISTORY_WAITING_MAX more wait for those, and no longer than HISTORY_WAIT_MS.
 */
#ifndef SILODNS_API_HISTORY_HISTORY_H
#define SILODNS_API_HISTORY_HISTORY_H

#include <stdint.h>

#include "api/db/db.h"
#include "api/model/change.h"
#include "common/base/err.h"
#include "common/hub/silo.h"

#define HISTORY_CONNECTIONS 2
#define HISTORY_WAITING_MAX 8
#define HISTORY_WAIT_MS 500
#define HISTORY_BYTES_MAX (8u << 20) /* of documents in one page: it ends before its limit then */

struct history;

/* Connects to nothing yet. Strings of `settings` are borrowed for the room's life. ERR_NOMEM. */
int history_new(const struct db_settings *settings, struct history **ret_history);
void history_free(struct history *history); /* no reading may be under way; NULL is allowed */

struct history_query {
	const char *silo;
	uint64_t before;           /* revisions below it */
	int64_t from_us, until_us; /* from <= at < until, in microseconds since 1970 */
	size_t limit;              /* entries, at least 1 */
	uint32_t owner;            /* 0: everything. Else nothing up to the last deletion under another owner: what was
				      somebody else's stays so when the name is taken again. */
};

/* One change. Everything is borrowed until the callback returns. */
struct history_entry {
	uint64_t revision;
	int64_t at_us;
	enum change_kind kind; /* CHANGE_SILO_PUT or CHANGE_SILO_DELETE */
	const char *user, *peer;
	struct silo before, after; /* without records: there was or is none */
	bool before_known;         /* false: the change before is not kept any more */
};

/* A non-zero return ends the reading and is returned. */
typedef int (*history_fn)(void *arg, const struct history_entry *entry);

/*
 * The newest first, all as of one instant. `*ret_next` is the `before` of the next page, 0 when there is none. The
 * reason is set on failure: ERR_NOT_FOUND (nothing at all is kept of such a silo), ERR_BUSY, ERR_UNAVAILABLE,
 * ERR_NOMEM, ERR_INTERNAL.
 */
int history_read(struct history *history, const struct history_query *query, history_fn fn, void *arg,
		 uint64_t *ret_next, struct why *ret_why);

#endif
