/*
 * The refused attempts: kept in memory for a moment, equal ones of one address (IPv6: of one /64) and one hour as one
 * with a count, then written in bulk by a periodic job. So a request waits for nothing here, and a flood fills neither
 * memory nor the database: at most REFUSALS_QUEUE_MAX wait, REFUSALS_STEP are written a second, and retention.h bounds
 * what is kept. What does not fit is counted (refusals_lost). While the database is away they
 * wait. (What was changed is in the log itself: see history.h for reading both.)
 *
 * No secret comes in here: a user's name only if there is such a user, as a password may have been typed in its place;
 * of a path only the contract's own form and the name in it, without the query. Thread-safe.
 */
#ifndef SILODNS_API_HISTORY_REFUSALS_H
#define SILODNS_API_HISTORY_REFUSALS_H

#include <stdint.h>

#include "api/db/periodic.h"
#include "api/model/token.h"
#include "common/base/err.h"
#include "common/net/ipaddr.h"

#define REFUSALS_QUEUE_MAX 1024
#define REFUSALS_STEP 100
#define REFUSALS_EVERY_MS 1000

struct refusals;

int refusals_new(struct refusals **ret_refusals); /* ERR_NOMEM */
void refusals_free(struct refusals *refusals);    /* NULL is allowed */

/* Everything is copied; what is not printable ASCII becomes '?'. Empty strings: unknown, or none. */
struct attempt {
	int err; /* why it was refused */
	const char *user, *token;
	struct ipaddr peer;
	const char *method, *path; /* literals of the contract: "/silos/{id}" */
	const char *subject;       /* what stands for {…} */
	const char *reason;
};
/* Without refusals (NULL) nothing is kept. */
void refusals_add(struct refusals *refusals, const struct attempt *attempt);

uint64_t refusals_lost(const struct refusals *refusals); /* attempts since the start that there was no room for */

/* The periodic job, and whether it has work; `refusals` is a struct refusals. At the end it writes all that wait. */
bool refusals_wait(void *refusals, bool ending);
int refusals_write(void *refusals, struct periodic_step *step);

#endif
