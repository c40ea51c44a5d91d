/*
 * The audit trail read back: what was changed (the log) and what was refused (see audit.h), as one list, the newest
 * first. It uses the history's connections, with its limits and time-outs. Thread-safe.
 */
#ifndef SILODNS_TRAIL_H
#define SILODNS_TRAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

/* Where a page ends: what comes next is below both. */
struct trail_cursor {
	uint64_t revision, refusal;
};

struct trail_query {
	bool changes, refusals;     /* which of them */
	const char *user, *silo;    /* "": any */
	int64_t since_us, until_us; /* since <= at < until */
	struct trail_cursor before;
	size_t limit; /* entries, at least 1 */
};

struct trail_entry {
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
struct trail_documents {
	const char *before, *after;
	bool before_known;
};

/* Everything is borrowed until the callback returns; a non-zero return ends the reading and is returned. */
typedef int (*trail_fn)(void *arg, const struct trail_entry *entry, const struct trail_documents *documents);

/* `*ret_more`: there is more, before `*ret_next`; a page may be short, or empty, and yet not the last: then there was
 * much to look through. Errors as history_read(), but for ERR_NOT_FOUND. */
int trail_read(struct history *history, const struct trail_query *query, trail_fn fn, void *arg, bool *ret_more,
	       struct trail_cursor *ret_next, struct why *ret_why);

#endif
