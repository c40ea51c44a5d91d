/*
 * The inside of the queue: shared by queue.c (who asks, time limits) and queue_writer.c (the writer's side).
 */
#ifndef SILODNS_API_JOURNAL_QUEUE_INTERNAL_H
#define SILODNS_API_JOURNAL_QUEUE_INTERNAL_H

#include <pthread.h>

#include <utlist.h>

#include "api/journal/queue.h"

struct item {
	struct pending pending;             /* first, as the outside has its address; the writer's while it is taken */
	struct item *prev, *next;           /* of those that wait; guarded by the queue's lock, as all below */
	struct item *live_prev, *live_next; /* of those that have no answer */
	unsigned holders;                   /* the submitter, the writer */
	bool commits;
	bool answered; /* or abandoned: the writer drops it, or answers in vain */
	int64_t since_ms;
	struct waiter waiter; /* suspended until it is answered; no functions: the submitter blocks, or nobody waits */
	int answer_err;       /* as the next: once answered, the submitter's */
	struct outcome answer;
};

struct queue {
	pthread_mutex_t lock; /* guards all below, and the items */
	pthread_cond_t work, answered, tick;
	struct item *items, *live;
	size_t count;    /* of `items` */
	size_t resuming; /* answered, and not resumed yet */
	bool stopping;
	bool timer_sleeps, released; /* nothing is live; the timer has to end */
	pthread_t timer;
	bool open;            /* the database is there */
	bool stalled;         /* open, but a change had to be withdrawn: refuse until something has gone through */
	int64_t grace_ms;     /* what the transaction under way has beyond the limits, for its size */
	int64_t busy_since;   /* clock_mono_ms; since when the writer is at the database; 0: it waits for work */
	int64_t closed_since; /* clock_mono_ms */
	char reason[256];     /* why not open */
	uint64_t transactions, changes;
	uint64_t sizes[QUEUE_SIZES];
};

/* Those of answered items, to be resumed without the lock. */
struct waiters {
	struct waiter list[TRANSACTION_MAX];
	size_t count;
};

/* The lock has to be held for these two. The first does nothing if there was an answer before; at most TRANSACTION_MAX
 * for one `waiters`. */
void item_answer(struct queue *queue, struct item *item, int err, struct outcome *outcome, struct waiters *waiters);
void item_unref(struct item *item);
/* Without the lock. */
void waiters_resume(struct queue *queue, const struct waiters *waiters);

#endif
