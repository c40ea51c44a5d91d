/*
 * Changes on their way from those who ask to the one thread that writes, and the answers on their way back. Whoever
 * asks holds no thread meanwhile: its waiter is suspended, and resumed when there is an answer.
 *
 * A change that was submitted
 *   waits       in the queue, with at most QUEUE_MAX - 1 others. After QUEUE_WAIT_MS it is withdrawn and answered
 *               ERR_UNAVAILABLE: it is certain that nothing was changed.
 *   is taken    by the writer, which decides it and writes it within a transaction. It can still be withdrawn, and then
 *               the transaction is not committed; or it waits again where it was, to be tried again.
 *   commits     from queue_enter_commit() on: now only the outcome of COMMIT counts. If that is not known within
 *               QUEUE_COMMIT_WAIT_MS the answer is ERR_UNKNOWN_OUTCOME.
 *   is answered once, for good, by whichever of these comes first.
 *
 * So when the database stops amid a transaction of three changes: after 0.9 s all three are answered 503, the next ones
 * are refused at once, and when the database goes on, the writer finds that they were withdrawn and rolls back.
 *
 * A pending change is shared by the two sides and freed by whichever lets go last. All functions may be called from any
 * thread, but for those of the writer. Waiters are resumed without the queue's lock.
 */
#ifndef SILODNS_API_JOURNAL_QUEUE_H
#define SILODNS_API_JOURNAL_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/journal/decide.h"
#include "api/model/change.h"
#include "common/base/waiter.h"

#define QUEUE_MAX 1024             /* waiting changes; beyond it ERR_BUSY. */
#define QUEUE_WAIT_MS 900          /* a change that is not being committed by then is withdrawn */
#define QUEUE_STALL_MS 900         /* a writer that is at the database for so long gets no new changes */
#define QUEUE_BYTES_PER_MS 1000    /* of documents: large silos have so much more time for both of these */
#define QUEUE_COMMIT_WAIT_MS 10000 /* one that is being committed gets the answer "unknown" by then */

struct queue;

int queue_new(struct queue **ret_queue); /* closed. ERR_NOMEM, ERR_SYSTEM: no thread */
void queue_free(struct queue *queue);    /* when the writer has ended; NULL is allowed */

/* What the writer works on, and nobody else looks into while it is taken. */
struct pending {
	struct change change;
	int err; /* this and the next: what was decided */
	struct outcome outcome;
};

/* --- who asks ----------------------------------------------------------------------------------------------------- */

/*
 * Blocks. Takes the change, as the next two do, in every case. Returns ERR_OK once the change (or the fact that nothing
 * had to change) is durable. Else nothing was changed, and `ret_outcome->why` says why: ERR_UNAVAILABLE (no database;
 * at once when that is known, within a second otherwise), ERR_BUSY, ERR_PRECONDITION, ERR_FORBIDDEN, ERR_QUOTA,
 * ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID (no such owner), ERR_TOO_LARGE (for the database), ERR_NOMEM, ERR_INTERNAL.
 * Only ERR_UNKNOWN_OUTCOME leaves it open. Fills `ret_outcome` in every case.
 */
int queue_change_take(struct queue *queue, struct change *change, struct outcome *ret_outcome);
/* Without a thread that waits. ERR_PENDING: the waiter is suspended, and is resumed once queue_collect_take() does not
 * block and says what queue_change_take() would. Any other error: nothing was changed, and nothing is pending. */
int queue_submit_take(struct queue *queue, struct change *change, const struct waiter *waiter,
		      struct pending **ret_pending, struct why *ret_why);
/* Nobody learns what becomes of it. An error: it was not taken up. Never blocks. */
int queue_post_take(struct queue *queue, struct change *change);
int queue_collect_take(struct queue *queue, struct pending *pending, struct outcome *ret_outcome);
void queue_abandon_take(struct queue *queue, struct pending *pending); /* NULL is allowed */
/* No change is accepted any more, and whoever waits is told now that it is withdrawn, or that its outcome is unknown:
 * no waiter is suspended afterwards. */
void queue_drain(struct queue *queue);

#define QUEUE_SIZES 9 /* up to 256 */

struct queue_status {
	bool database_up;
	char reason[256]; /* why not, for people */
	int64_t down_ms;  /* for how long not */
	uint64_t transactions, changes;
	uint64_t sizes[QUEUE_SIZES]; /* committed transactions of 1, 2, 3–4, 5–8, … changes */
	size_t waiting;              /* changes in the queue */
};
void queue_status(struct queue *queue, struct queue_status *ret_status);

/* --- the writer --------------------------------------------------------------------------------------------------- */

/* Whether to accept changes. Closing refuses what waits; opening returns for how many milliseconds it was closed, -1:
 * it was open. */
void queue_close(struct queue *queue, const char *reason);
int64_t queue_open(struct queue *queue);
void queue_stop(struct queue *queue); /* refuses new changes; any thread */
bool queue_is_stopping(struct queue *queue);
bool queue_is_drained(struct queue *queue); /* stopped, and nothing waits */
/* Waits up to `timeout_ms` for changes, or for queue_stop(), and takes what is there, within a transaction's limits. A
 * change of a user or token comes alone, as rights depend on it. */
size_t queue_take(struct queue *queue, int64_t timeout_ms, struct pending *ret_taken[static TRANSACTION_MAX]);

/* What was taken comes to so many bytes of documents, as is known once it is decided: it has more time. */
void queue_grant_time(struct queue *queue, size_t bytes);
/* What may become of taken changes: they wait again, before those that came later; they are being committed (false: one
 * was withdrawn meanwhile, so none may be); they are answered as `err` and `outcome` of each say. */
void queue_return(struct queue *queue, struct pending *taken[], size_t count);
bool queue_enter_commit(struct queue *queue, struct pending *taken[], size_t count);
void queue_finish_take(struct queue *queue, struct pending *taken[], size_t count, bool committed);

#endif
