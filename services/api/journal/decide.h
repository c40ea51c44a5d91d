/*
 * Several changes decided as one transaction, against the store and what earlier changes of the same transaction made
 * of it. No SQL and no waiting here: the result is in the changes themselves, which the log's connection writes and
 * the store then applies.
 *
 * Used by the writer's thread only, which also is the only one that changes the store: it does not change underneath.
 */
#ifndef SILODNS_API_JOURNAL_DECIDE_H
#define SILODNS_API_JOURNAL_DECIDE_H

#include <uthash.h>

#include "api/model/change.h"
#include "api/store/store.h"

#define TOKENS_PER_USER_MAX 256
#define TRANSACTION_MAX 256              /* changes in one transaction */
#define TRANSACTION_BYTES_MAX (4u << 20) /* of documents in one transaction */

/* What the transaction makes of one silo. */
struct touched_silo {
	UT_hash_handle hh;
	const char *id;          /* borrowed from a change */
	struct document *before; /* as in the store; NULL: not there; owned */
	struct document *now;    /* NULL: deleted; owned */
};

struct transaction {
	struct store *store;
	const struct store_state *state;         /* its view, while a change is decided */
	uint64_t id;                             /* random: recognises the transaction in the log */
	uint64_t base;                           /* the store's revision, on which it is decided */
	uint64_t revision;                       /* of the newest change, or `base` */
	int64_t at;                              /* microseconds since 1970 */
	struct change *changes[TRANSACTION_MAX]; /* those that change something; borrowed */
	size_t count;
	struct touched_silo *silos;
};

void transaction_init(struct transaction *transaction, struct store *store);
void transaction_release(struct transaction *transaction);

/* ERR_OK: `ret_outcome` says what it will be once the transaction is committed. Otherwise this change is refused
 * (`ret_outcome->why`) and the transaction is as before. A change may be decided anew in another transaction, and lives
 * longer than each. A change of a user or token stands alone in its transaction. */
int transaction_decide(struct transaction *transaction, struct change *change, struct outcome *ret_outcome);

#endif
