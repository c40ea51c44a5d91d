/*
 * Changes on their way from the requests to the one thread that writes: waiting, time limits, withdrawal, and the
 * answer back. A request waits without a thread: its line is suspended, and resumed when there is an answer.
 *
 * An item is shared by the two sides and freed by whichever lets go last. Up to queue_enter_commit() one that has
 * waited too long is withdrawn, by a thread of the queue's own: it is then certain that nothing was changed. After it,
 * only the outcome of the commit counts. Lines are resumed without the lock.
 */
#ifndef SILODNS_API_JOURNAL_QUEUE_H
#define SILODNS_API_JOURNAL_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/journal/decide.h"
#include "api/journal/journal.h"
#include "api/model/change.h"
#include "common/base/waiter.h"

#define QUEUE_MAX 1024             /* waiting changes; beyond it ERR_BUSY. */
#define QUEUE_WAIT_MS 900          /* a change that is not being committed by then is withdrawn */
#define QUEUE_STALL_MS 900         /* a writer that is at the database for so long gets no new changes */
#define QUEUE_BYTES_PER_MS 1000    /* of documents: a batch of large silos has so much more time for both of these */
#define QUEUE_COMMIT_WAIT_MS 10000 /* one that is being committed gets the answer "unknown" by then */

enum item_state {
	ITEM_QUEUED,
	ITEM_TAKEN,      /* the writer has it; it may still be withdrawn */
	ITEM_COMMITTING, /* COMMIT is under way */
	ITEM_DONE        /* err and outcome are final */
};

struct item {
	struct item *prev, *next; /* of those that wait; guarded by the queue's lock, as all down to `answer` */
	struct item *live_prev, *live_next; /* of those that have no answer */
	enum item_state state;
	unsigned holders;
	bool withdrawn;
	bool told; /* it has its answer, or nobody waits for one */
	int64_t since_ms;
	struct waiter waiter; /* suspended until it is told; no functions: the submitter blocks */
	int answer_err;       /* as the next: once told the submitter's */
	struct outcome answer;
	struct order order; /* the writer's, as the next two: what was decided */
	int err;
	struct outcome outcome;
};

struct queue {
	pthread_mutex_t lock; /* guards all below, and the items */
	pthread_cond_t work, told, tick;
	struct item *items, *live;
	size_t count;
	bool stopping;
	bool used, timer_sleeps, released; /* between the timer and the others: an item came; none came; end */
	pthread_t timer;
	bool open;            /* the database is there */
	bool stalled;         /* open, but an item had to be withdrawn: refuse until something has gone through again */
	int64_t grace_ms;     /* what the batch under way has beyond the limits, for its size */
	int64_t busy_since;   /* clock_mono_ms; since when the writer is at the database; 0: it waits for work */
	int64_t closed_since; /* clock_mono_ms */
	char reason[256];     /* why not open */
	uint64_t batches, changes;
	uint64_t batch_sizes[QUEUE_BATCH_SIZES];
};

int queue_init(struct queue *queue); /* ERR_SYSTEM: no thread */
void queue_release(struct queue *queue);

/* Whether the database answers, with the lock held. */
bool queue_is_stalled(const struct queue *queue);

/* --- the request's side: see journal_begin(), journal_collect_take(), journal_abandon(); any thread --- */

int queue_submit(struct queue *queue, struct change *change, const struct waiter *waiter, struct item **ret_item,
		 struct why *ret_why);
int queue_post(struct queue *queue, struct change *change);                             /* see journal_post() */
int queue_collect(struct queue *queue, struct item *item, struct outcome *ret_outcome); /* blocks until it is told */
void queue_abandon(struct queue *queue, struct item *item);
/* Nothing more is accepted, and what has no answer gets one now. */
void queue_drain(struct queue *queue);

/* --- the writer's side --- */

/* Whether to accept changes. Closing refuses what waits; `ret_was_closed_ms` of opening: for how long, -1: it was open.
 */
void queue_close(struct queue *queue, const char *reason);
int64_t queue_open(struct queue *queue);
void queue_stop(struct queue *queue); /* refuses new items; any thread */
/* Waits up to `timeout_ms` for items, or for queue_stop(), and takes what is there, within a batch's limits. A change
 * of a user comes alone. */
size_t queue_take(struct queue *queue, int64_t timeout_ms, struct item *ret_items[static BATCH_MAX]);
bool queue_is_drained(struct queue *queue); /* stopped, and nothing waits */

/* An item of the writer's own, that nobody waits for; already taken. */
struct item *queue_own_item(struct change *change);
void queue_drop_own_item(struct queue *queue, struct item *item);

/* What may become of taken items: back to the head of the queue; committed or not at all; answered as decided; refused.
 */
void queue_return(struct queue *queue, struct item *items[], size_t count);
/* False if one was withdrawn meanwhile: then none may be committed. */
bool queue_enter_commit(struct queue *queue, struct item *items[], size_t count);
void queue_finish(struct queue *queue, struct item *items[], size_t count, bool committed);
void queue_refuse(struct queue *queue, struct item *items[], size_t count, int err, const char *reason);

#endif
