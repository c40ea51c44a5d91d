/*
 * Several changes decided as one transaction, against the store and what earlier changes of the same batch made of it.
 * No SQL and no waiting here: the result is data (entries for the log, silos before and after) that `changelog` writes
 * and the journal then applies to the store.
 *
 * Used by the journal's thread only, which also is the only writer of the store: the store does not change underneath.
 */
#ifndef SILODNS_API_JOURNAL_DECIDE_H
#define SILODNS_API_JOURNAL_DECIDE_H

#include <uthash.h>

#include "api/model/order.h"
#include "api/store/store.h"

#define TOKENS_PER_USER_MAX 256
#define BATCH_MAX 256              /* changes in one transaction */
#define BATCH_BYTES_MAX (4u << 20) /* documents in one transaction; a quarter of max_allowed_packet's default */

/* What the batch makes of one silo. */
struct batch_silo {
	UT_hash_handle hh;
	const char *id;             /* borrowed from an order */
	struct document *before;    /* as in the store; NULL: not there; owned */
	struct document *now;       /* NULL: deleted; owned */
	uint64_t revision;          /* of the newest change in this batch */
	const struct silo *records; /* of `now`, borrowed from an order; NULL if now == before or deleted */
};

struct batch_entry {
	uint64_t revision;
	const struct order *order; /* borrowed: outlives the batch */
	uint32_t owner;
	uint32_t former_owner; /* of a silo that changes hands, else 0 */
};

struct batch {
	struct store *store;
	uint64_t id;       /* random: recognises the transaction in the log */
	uint64_t revision; /* of the newest entry, or of the store */
	int64_t at;        /* microseconds since 1970 */
	struct batch_entry entries[BATCH_MAX];
	size_t count;
	struct batch_silo *silos;
	/* A change of a user or token stands alone in its batch: */
	struct user user;   /* what it makes of the user; id 0: new */
	size_t tokens_gone; /* that are removed by it */
};

void batch_init(struct batch *batch, struct store *store);
void batch_release(struct batch *batch);

/* ERR_OK: `ret_outcome` says what it will be once the batch is committed. Otherwise this order is refused
 * (`ret_outcome->why`) and the batch is as before. */
int batch_decide(struct batch *batch, struct order *order, struct outcome *ret_outcome);

/* Applies the committed batch to the store. ERR_NOMEM: the store is unchanged. */
int batch_apply(struct batch *batch);

#endif
