/*
 * The only writer, and the follower. One thread owns one database connection and the right to change the store:
 *
 *   queue → one transaction: lock the hub's revision row → catch up with what other processes committed → decide every
 * waiting change against memory → write in bulk → commit → apply to the store → answer
 *
 * So a change is answered only once it is durable, revisions are in commit order without gaps, and one fsync serves as
 * many changes as were waiting. When nothing waits, the thread polls the revision. It finds a lost database again by
 * itself; until then changes are refused at once. If the answer to COMMIT is lost, it looks up whether the batch landed
 * before it answers.
 *
 * All functions may be called from any thread. Only journal_submit() blocks, for at most a few seconds (see there).
 */
#ifndef SILODNS_API_JOURNAL_JOURNAL_H
#define SILODNS_API_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/db/db.h"
#include "api/model/change.h"
#include "api/store/store.h"
#include "common/base/waiter.h"

struct journal_settings {
	struct db_settings db;
	long poll_ms;           /* how often to look for other processes' changes */
	const char *admin_user; /* made when the hub has no admin yet; NULL = do not */
	const char *admin_password;
	bool migrate; /* apply migrations on connecting */
};

struct journal;

/* Starts the thread. Strings of `settings` are borrowed for the journal's life. */
int journal_start(struct store *store, const struct journal_settings *settings, struct journal **ret_journal);
/* Answers what is waiting, then ends the thread. */
void journal_stop(struct journal *journal);

/*
 * Blocks. Returns ERR_OK once the change (or the fact that nothing had to change) is durable. Else nothing was changed,
 * and `ret_outcome->why` says why: ERR_UNAVAILABLE (no database; at once when that is known, within a second
 * otherwise), ERR_BUSY, ERR_PRECONDITION, ERR_FORBIDDEN, ERR_QUOTA, ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID (no such
 * owner), ERR_NOMEM, ERR_INTERNAL. Only ERR_UNKNOWN_OUTCOME leaves it open. Fills `ret_outcome` in every case.
 */
int journal_submit(struct journal *journal, struct change *change, struct outcome *ret_outcome);

/* The same without waiting: nobody learns what became of it. An error: it was not taken up. Never blocks. */
int journal_post(struct journal *journal, struct change *change);
/* The same without a thread that waits. ERR_PENDING: the line is suspended, and is resumed once journal_collect_take()
 * does not block and says what journal_submit() would. Any other error: nothing was changed, and there is no item. The
 * item is to be collected or abandoned. */
struct item;
int journal_begin(struct journal *journal, struct change *change, const struct waiter *waiter, struct item **ret_item,
		  struct why *ret_why);
int journal_collect_take(struct journal *journal, struct item *item, struct outcome *ret_outcome);
void journal_abandon(struct journal *journal, struct item *item); /* NULL is allowed */
/* No change is accepted any more, and whoever waits is told now that it is withdrawn, or that its outcome is unknown:
 * no line is suspended afterwards. */
void journal_drain(struct journal *journal);

#define QUEUE_BATCH_SIZES 9 /* up to 256 */

struct journal_status {
	bool database_up;
	char reason[256]; /* why not, for people */
	int64_t down_ms;  /* for how long not */
	uint64_t batches, changes, reloads;
	uint64_t batch_sizes[QUEUE_BATCH_SIZES]; /* committed batches of 1, 2, 3–4, 5–8, … changes */
	size_t waiting;                          /* changes in the queue */
};
void journal_status(struct journal *journal, struct journal_status *ret_status);

#endif
