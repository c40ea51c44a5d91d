/*
 * The hub in the database: its row with the revision, its log, its tables. Reads them into a store and writes a decided
 * transaction. One struct changelog is one connection of one thread; see db.h for what the errors mean.
 */
#ifndef SILODNS_API_JOURNAL_LOG_READ_H
#define SILODNS_API_JOURNAL_LOG_READ_H

#include "api/db/db.h"
#include "api/journal/decide.h"
#include "api/store/store.h"

struct changelog;

/* Connects; `*ret_durable` tells whether the server syncs every commit to disk (innodb_flush_log_at_trx_commit = 1). */
int changelog_open(const struct db_settings *settings, struct changelog **ret_log, bool *ret_durable,
		   struct why *ret_why);
void changelog_close(struct changelog *log);
const char *changelog_error(const struct changelog *log); /* of the last failed call */
bool changelog_is_broken(const struct changelog *log);

/*
 * Brings the store to what the database has, by the log; with the lock held, that is the newest state there is.
 * `*ret_continues` false: the log does not continue what is in memory (nothing is, another hub's identity, a revision
 * that went back, an entry that is missing), and changelog_reload() is needed.
 */
int changelog_follow(struct changelog *log, struct store *store, bool *ret_continues);

/* Loads everything from one snapshot, outside of any transaction: it may take seconds. If the revision went back, which
 * a restored backup does, the hub gets a new identity first, by which clients know that what they have is no part of
 * its history any more. */
int changelog_reload(struct changelog *log, struct store *store);

/* Begins a transaction and locks the hub's row: until commit or rollback nobody else changes the hub. */
int changelog_lock(struct changelog *log);
/* Whether a transaction must be decided with the lock held. If not, changelog_write() locks the row by writing it. */
bool changelog_needs_lock(const struct changelog *log);
/* Writes the transaction. ERR_STOPPED: somebody else has changed the hub since it was decided (so there was no lock):
 * roll back, follow, decide again. ERR_CONFLICT: the tables lack a row of one of the changes. The id of a new user is
 * set. */
int changelog_write(struct changelog *log, const struct transaction *transaction);
int changelog_commit(struct changelog *log); /* ERR_UNKNOWN_OUTCOME: ask changelog_landed() over a new connection */
void changelog_rollback(struct changelog *log);

/* Whether the transaction with this id, whose first entry has this revision, was committed. Waits for one that is still
 * under way on the server; and if the answer is no, it stays no. */
int changelog_landed(struct changelog *log, uint64_t transaction_id, uint64_t first_revision, bool *ret_landed);

#endif
