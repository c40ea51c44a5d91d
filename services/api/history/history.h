/*
 * What was: the change log and the refused attempts, read back as one list. Beside the journal the one room that asks
 * the database, for what memory does not hold; it never writes.
 *
 * Nobody blocks for it. HISTORY_READERS threads with a connection each do the reading, and whoever asked waits without
 * a thread: its waiter is suspended, and resumed once the reading has its answer, which is within a few seconds however
 * the database hangs. A user is read for by one thread at a time, and common users never have the last one, so that an
 * admin finds it. At most HISTORY_WAITING_MAX wait, HISTORY_WAITING_PER_USER of one user; HISTORY_WAITING_KEPT of these
 * places are for admins. Thread-safe.
 */
#ifndef SILODNS_API_HISTORY_HISTORY_H
#define SILODNS_API_HISTORY_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "api/db/db.h"
#include "api/model/change.h"
#include "common/base/err.h"
#include "common/base/waiter.h"

#define HISTORY_READERS 2
#define HISTORY_WAITING_MAX 16
#define HISTORY_WAITING_KEPT 4
#define HISTORY_WAITING_PER_USER 4
#define HISTORY_WAIT_MS 2000         /* who has waited longer when its turn comes is refused */
#define HISTORY_BYTES_MAX (8u << 20) /* of documents in one page: it ends before its limit then */

struct history;

/* Connects to nothing yet. Strings of `settings` are borrowed for the room's life. ERR_NOMEM, ERR_SYSTEM. */
int history_start(const struct db_settings *settings, struct history **ret_history);
/* From now on every reading is refused, also those that wait; at the return none is under way. NULL is allowed. */
void history_drain(struct history *history);
void history_stop(struct history *history); /* NULL is allowed */

/* Where a page ends: what comes next is below both. */
struct history_cursor {
	uint64_t revision, refusal;
};

/* Strings are borrowed until the reading has its answer. */
struct history_query {
	bool changes, refusals;  /* which of them */
	const char *user, *silo; /* "": any. With a silo: what was done to it, or tried */
	uint32_t owner; /* with a silo, 0: everything. Else nothing up to the last deletion under another owner:
			   what was somebody else's stays so when the name is taken again. */
	int64_t since_us, until_us; /* since <= at < until, in microseconds since 1970 */
	struct history_cursor before;
	uint64_t limit; /* entries, at least 1 */
};

struct history_entry {
	bool refused;
	uint64_t id; /* the revision of a change */
	int64_t at_us;
	char user[USER_NAME_MAX + 1], token[TOKEN_NAME_MAX + 1], peer[IPADDR_TEXT_MAX];
	char subject[CHANGE_SUBJECT_MAX + 1];

	enum change_kind kind; /* of a change */

	int64_t last_us; /* of a refusal: the last and, above, the first of `count` equal ones */
	uint64_t count;
	char error[32], method[17], path[65], reason[256];
};

/* What a change made of its subject, and what that was before: documents of the log; NULL: there is or was none.
 * `before_known` false: the change before is not kept any more. Both NULL for a refusal. */
struct history_documents {
	const char *before, *after;
	bool before_known;
};

/* Called by a reader's thread. Everything is borrowed until it returns; a non-zero return ends the reading. */
typedef int (*history_fn)(void *arg, const struct history_entry *entry, const struct history_documents *documents);

/* The caller's, who leaves it where it is until the waiter is resumed. */
struct history_reading {
	/* the question */
	struct history_query query;
	uint32_t user_id; /* whose turn it takes */
	bool admin;
	history_fn fn; /* for each entry, the newest first, all as of one instant */
	void *arg;

	/* the answer */
	int err; /* ERR_BUSY, ERR_UNAVAILABLE, ERR_NOMEM, ERR_INTERNAL, or what `fn` returned */
	struct why why;
	bool more;                  /* there is more, before `next`. A page may be short, or empty, and yet not the */
	struct history_cursor next; /* last: then there was much to look through */
	bool silo_is_known;         /* something is kept of the query's silo */

	/* the room's */
	struct waiter waiter;
	int64_t since_ms;
	bool under_way;
	struct history_reading *earlier, *later;
};

/* ERR_PENDING: the waiter is suspended. ERR_BUSY, ERR_UNAVAILABLE with a reason: it is not. */
int history_begin(struct history *history, struct history_reading *reading, const struct waiter *waiter,
		  struct why *ret_why);

#endif
