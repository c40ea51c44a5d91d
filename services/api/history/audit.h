/*
 * The audit trail read back: what was changed (the log) and what was refused (see audit.h), as one list, the newest
 * first. It uses the history's connections, with its limits and time-outs. Thread-safe.
 */
#ifndef SILODNS_API_HISTORY_AUDIT_H
#define SILODNS_API_HISTORY_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "api/history/history.h"

/* Where a page ends: what comes next is below both. */
struct audit_cursor {
	uint64_t revision, refusal;
};

struct audit_query {
	bool changes, refusals;     /* which of them */
	const char *user, *silo;    /* "": any */
	int64_t since_us, until_us; /* since <= at < until */
	struct audit_cursor before;
	size_t limit; /* entries, at least 1 */
};

struct audit_entry {
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
struct audit_documents {
	const char *before, *after;
	bool before_known;
};

/* Everything is borrowed until the callback returns; a non-zero return ends the reading and is returned. */
typedef int (*audit_fn)(void *arg, const struct audit_entry *entry, const struct audit_documents *documents);

/* `*ret_more`: there is more, before `*ret_next`; a page may be short, or empty, and yet not the last: then there was
 * much to look through. Errors as history_read(), but for ERR_NOT_FOUND. */
int audit_read(struct history *history, const struct audit_query *query, audit_fn fn, void *arg, bool *ret_more,
	       struct audit_cursor *ret_next, struct why *ret_why);

#endif
