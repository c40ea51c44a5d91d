/*
 * The refused attempts: kept in memory for a moment, equal ones of one address (IPv6: of one /64) and one hour as one
 * with a count, then written in bulk by one thread with a connection of its own. So a request waits for nothing here,
 * and a flood fills neither memory nor the database: at most REFUSALS_QUEUE_MAX wait, REFUSALS_STEP are written a
 * second, REFUSALS_ROWS_MAX are kept, none longer than the history. What does not fit is counted (refusals_lost). While
 * the database is away they wait. (What was changed is in the log itself: see trail.h for reading both.)
 *
 * No secret comes in here: a user's name only if there is such a user, as a password may have been typed in its place;
 * of a path only the contract's own form and the name in it, without the query. Thread-safe.
 */
#ifndef SILODNS_API_HISTORY_REFUSALS_H
#define SILODNS_API_HISTORY_REFUSALS_H

#include <stdint.h>

#include "api/db/db.h"
#include "api/store/store.h"
#include "common/base/err.h"
#include "common/net/ipaddr.h"

#define REFUSALS_QUEUE_MAX 1024
#define REFUSALS_STEP 100
#define REFUSALS_ROWS_MAX 100000

struct refusals;

/* `age_ms` 0: for ever. Strings of `db` are borrowed. ERR_NOMEM, ERR_SYSTEM. */
int refusals_start(const struct db_settings *db, struct store *store, int64_t age_ms, struct refusals **ret_audit);
void refusals_stop(struct refusals *audit); /* writes what waits, if the database is there; NULL is allowed */

/* Everything is copied; what is not printable ASCII becomes '?'. Empty strings: unknown, or none. */
struct attempt {
	int err; /* why it was refused */
	const char *user, *token;
	struct ipaddr peer;
	const char *method, *path; /* literals of the contract: "/silos/{id}" */
	const char *subject;       /* what stands for {…} */
	const char *reason;
};
void refusals_add(struct refusals *audit, const struct attempt *attempt);

uint64_t refusals_lost(const struct refusals *audit); /* attempts since the start that there was no room for */

#endif
