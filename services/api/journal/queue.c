#include "api/journal/queue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "common/base/clock.h"

#define TICK_MS 25 /* how late a change may be withdrawn */

enum item_state { ITEM_WAITS, ITEM_TAKEN, ITEM_COMMITS, ITEM_DECIDED };

struct item {
	struct pending pending;             /* first, as the outside has its address; the writer's while it is taken */
	struct item *prev, *next;           /* of those that wait; guarded by the queue's lock, as all below */
	struct item *live_prev, *live_next; /* of those that have no answer */
	enum item_state state;
	unsigned holders;
	bool withdrawn;
	bool answered; /* or nobody waits for an answer */
	int64_t since_ms;
	struct waiter waiter; /* suspended until it is answered; no functions: the submitter blocks */
	int answer_err;       /* as the next: once answered, the submitter's */
	struct outcome answer;
};

struct queue {
	pthread_mutex_t lock; /* guards all below, and the items */
	pthread_cond_t work, answered, tick;
	struct item *items, *live;
	size_t count;
	bool stopping;
	bool used, timer_sleeps, released; /* between the timer and the others: a change came; none came; end */
	pthread_t timer;
	bool open;          /* the database is there */
	bool stalled;       /* open, but a change had to be withdrawn: refuse until something has gone through again */
	int64_t grace_ms;   /* what the transaction under way has beyond the limits, for its size */
	int64_t busy_since; /* clock_mono_ms; since when the writer is at the database; 0: it waits for work */
	int64_t closed_since; /* clock_mono_ms */
	char reason[256];     /* why not open */
	uint64_t transactions, changes;
	uint64_t sizes[QUEUE_SIZES];
};

/* --- items: with the lock held, but for item_new_take() and resume_all() -------------------------------------------
 */

static struct item *item_of(struct pending *pending)
{
	return (struct item *)(void *)pending;
}

static struct item *item_new_take(struct change *change)
{
	struct item *item = change_prepare(change) ? NULL : calloc(1, sizeof *item);

	if (!item) {
		change_release(change);
		return NULL;
	}
	item->pending.change = *change;
	memset(change, 0, sizeof *change);
	item->holders = 1;
	return item;
}

static void item_unref(struct item *item)
{
	if (--item->holders)
		return;
	document_unref(item->pending.outcome.body);
	document_unref(item->answer.body);
	change_release(&item->pending.change);
	free(item);
}

/* Those of answered items, to be resumed without the lock. */
struct waiters {
	struct waiter list[TRANSACTION_MAX];
	size_t count;
};

static void resume_all(const struct waiters *waiters)
{
	for (size_t i = 0; i < waiters->count; i++)
		waiters->list[i].resume(waiters->list[i].handle);
}

/* Unless there was an answer before. At most TRANSACTION_MAX for one `waiters`. */
static void item_answer(struct queue *queue, struct item *item, int err, struct outcome *outcome,
			struct waiters *waiters)
{
	if (item->answered)
		return;
	item->answered = true;
	item->answer_err = err;
	item->answer = *outcome;
	outcome->body = NULL;
	DL_DELETE2(queue->live, item, live_prev, live_next);
	if (item->waiter.resume)
		waiters->list[waiters->count++] = item->waiter;
	else
		pthread_cond_broadcast(&queue->answered);
}

/* It is not decided any more: the writer drops it, or answers in vain. */
static void item_withdraw(struct queue *queue, struct item *item, const char *reason, struct waiters *waiters)
{
	struct outcome outcome = {0};
	int err = item->state == ITEM_COMMITS ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE;

	item->withdrawn = true;
	why_set(&outcome.why, err, "",
		err == ERR_UNAVAILABLE ? "%s; nothing was changed"
				       : "%s during the commit: the change may or may not have happened; read before "
					 "you try again",
		reason);
	item_answer(queue, item, err, &outcome, waiters);
}

static void item_refuse_take(struct queue *queue, struct item *item, int err, const char *reason,
			     struct waiters *waiters)
{
	struct outcome outcome = {0};

	why_set(&outcome.why, err, "", "%s", reason);
	item_answer(queue, item, err, &outcome, waiters);
	item_unref(item);
}

/* --- time limits -------------------------------------------------------------------------------------------------- */

static void withdraw_late(struct queue *queue, struct waiters *waiters)
{
	int64_t now_ms = clock_mono_ms();
	struct item *item, *next;

	for (item = queue->live; item && waiters->count < TRANSACTION_MAX; item = next) {
		bool commits = item->state == ITEM_COMMITS;
		int64_t limit_ms = commits ? QUEUE_COMMIT_WAIT_MS : QUEUE_WAIT_MS + queue->grace_ms;
		next = item->live_next;
		if (now_ms - item->since_ms < limit_ms)
			continue;
		queue->stalled |= !commits;
		item_withdraw(queue, item, "the database does not answer", waiters);
	}
}

/* Sleeps while nothing comes; polls while busy, so that submitters need not signal. */
static void *timer_main(void *arg)
{
	struct queue *queue = arg;
	struct waiters waiters;

	pthread_mutex_lock(&queue->lock);
	while (!queue->released) {
		waiters.count = 0;
		withdraw_late(queue, &waiters);
		if (waiters.count) {
			pthread_mutex_unlock(&queue->lock);
			resume_all(&waiters);
			pthread_mutex_lock(&queue->lock);
			continue;
		}
		queue->timer_sleeps = !queue->live && !queue->used;
		queue->used = false;
		const struct timespec until = clock_mono_at(clock_mono_ms() + TICK_MS);
		if (queue->timer_sleeps)
			pthread_cond_wait(&queue->tick, &queue->lock);
		else
			pthread_cond_timedwait(&queue->tick, &queue->lock, &until);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

static void queue_destroy(struct queue *queue)
{
	pthread_cond_destroy(&queue->tick);
	pthread_cond_destroy(&queue->answered);
	pthread_cond_destroy(&queue->work);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

int queue_new(struct queue **ret_queue)
{
	struct queue *queue = calloc(1, sizeof *queue);

	if (!queue)
		return ERR_NOMEM;
	pthread_mutex_init(&queue->lock, NULL);
	clock_cond_init(&queue->work);
	clock_cond_init(&queue->answered);
	clock_cond_init(&queue->tick);
	queue->closed_since = clock_mono_ms();
	snprintf(queue->reason, sizeof queue->reason, "not connected yet");
	if (pthread_create(&queue->timer, NULL, timer_main, queue)) {
		queue_destroy(queue);
		return ERR_SYSTEM;
	}
	*ret_queue = queue;
	return ERR_OK;
}

void queue_free(struct queue *queue)
{
	if (!queue)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->released = true;
	pthread_cond_signal(&queue->tick);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(queue->timer, NULL);
	queue_destroy(queue);
}

/* --- who asks ----------------------------------------------------------------------------------------------------- */

/* With the lock held, as the next two. */
static bool is_stalled(const struct queue *queue)
{
	return queue->stalled ||
	       (queue->busy_since && clock_mono_ms() - queue->busy_since > QUEUE_STALL_MS + queue->grace_ms);
}

static int check_open(const struct queue *queue, struct why *why)
{
	if (queue->stopping)
		return why_set(why, ERR_UNAVAILABLE, "", "the hub is shutting down; nothing was changed");
	if (!queue->open)
		return why_set(why, ERR_UNAVAILABLE, "", "the database is away (%s); nothing was changed",
			       queue->reason);
	if (is_stalled(queue))
		return why_set(why, ERR_UNAVAILABLE, "", "the database does not answer; nothing was changed");
	if (queue->count >= QUEUE_MAX)
		return why_set(why, ERR_BUSY, "", "%d changes are waiting already; nothing was changed", QUEUE_MAX);
	return ERR_OK;
}

static void enqueue(struct queue *queue, struct item *item)
{
	item->since_ms = clock_mono_ms();
	if (item->waiter.suspend)
		item->waiter.suspend(item->waiter.handle); /* before anybody can resume it */
	DL_APPEND(queue->items, item);
	DL_APPEND2(queue->live, item, live_prev, live_next);
	queue->count++;
	item->holders++; /* the writer */
	queue->used = true;
	if (queue->timer_sleeps)
		pthread_cond_signal(&queue->tick);
	pthread_cond_signal(&queue->work);
}

int queue_submit_take(struct queue *queue, struct change *change, const struct waiter *waiter,
		      struct pending **ret_pending, struct why *ret_why)
{
	struct item *item = item_new_take(change);

	if (!item)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory; nothing was changed");
	if (waiter)
		item->waiter = *waiter;
	pthread_mutex_lock(&queue->lock);
	int err = check_open(queue, ret_why);
	if (err)
		item_unref(item);
	else
		enqueue(queue, item);
	pthread_mutex_unlock(&queue->lock);
	if (err)
		return err;
	*ret_pending = &item->pending;
	return ERR_PENDING;
}

int queue_collect_take(struct queue *queue, struct pending *pending, struct outcome *ret_outcome)
{
	struct item *item = item_of(pending);

	pthread_mutex_lock(&queue->lock);
	while (!item->answered)
		pthread_cond_wait(&queue->answered, &queue->lock);
	int err = item->answer_err;
	*ret_outcome = item->answer;
	item->answer.body = NULL;
	item_unref(item);
	pthread_mutex_unlock(&queue->lock);
	return err;
}

int queue_change_take(struct queue *queue, struct change *change, struct outcome *ret_outcome)
{
	struct pending *pending;

	memset(ret_outcome, 0, sizeof *ret_outcome);
	int err = queue_submit_take(queue, change, NULL, &pending, &ret_outcome->why);
	return err == ERR_PENDING ? queue_collect_take(queue, pending, ret_outcome) : err;
}

void queue_abandon_take(struct queue *queue, struct pending *pending)
{
	struct item *item = item_of(pending);

	if (!item)
		return;
	pthread_mutex_lock(&queue->lock);
	if (!item->answered) {
		item->answered = item->withdrawn = true;
		DL_DELETE2(queue->live, item, live_prev, live_next);
	}
	item_unref(item);
	pthread_mutex_unlock(&queue->lock);
}

int queue_post_take(struct queue *queue, struct change *change)
{
	struct item *item = item_new_take(change);
	struct why why;

	if (!item)
		return ERR_NOMEM;
	pthread_mutex_lock(&queue->lock);
	int err = check_open(queue, &why);
	if (!err)
		enqueue(queue, item);
	item_unref(item); /* nobody waits */
	pthread_mutex_unlock(&queue->lock);
	return err;
}

void queue_drain(struct queue *queue)
{
	struct waiters waiters;

	do {
		waiters.count = 0;
		pthread_mutex_lock(&queue->lock);
		queue->stopping = true;
		while (queue->live && waiters.count < TRANSACTION_MAX)
			item_withdraw(queue, queue->live, "the hub is shutting down", &waiters);
		pthread_cond_signal(&queue->work);
		pthread_mutex_unlock(&queue->lock);
		resume_all(&waiters);
	} while (waiters.count);
}

void queue_status(struct queue *queue, struct queue_status *ret_status)
{
	pthread_mutex_lock(&queue->lock);
	bool stalled = is_stalled(queue);
	*ret_status = (struct queue_status){.database_up = queue->open && !stalled,
					    .transactions = queue->transactions,
					    .changes = queue->changes,
					    .waiting = queue->count};
	memcpy(ret_status->sizes, queue->sizes, sizeof queue->sizes);
	if (!queue->open)
		ret_status->down_ms = clock_mono_ms() - queue->closed_since;
	snprintf(ret_status->reason, sizeof ret_status->reason, "%s",
		 queue->open && stalled ? "it does not answer" : queue->reason);
	pthread_mutex_unlock(&queue->lock);
}

/* --- the writer --------------------------------------------------------------------------------------------------- */

void queue_close(struct queue *queue, const char *reason)
{
	struct waiters waiters;

	pthread_mutex_lock(&queue->lock);
	if (queue->open)
		queue->closed_since = clock_mono_ms();
	queue->open = false;
	snprintf(queue->reason, sizeof queue->reason, "%s", reason);
	do {
		waiters.count = 0;
		while (queue->items && waiters.count < TRANSACTION_MAX) {
			struct item *item = queue->items;
			DL_DELETE(queue->items, item);
			queue->count--;
			item_refuse_take(queue, item, ERR_UNAVAILABLE, "the database is away; nothing was changed",
					 &waiters);
		}
		pthread_mutex_unlock(&queue->lock);
		resume_all(&waiters);
		pthread_mutex_lock(&queue->lock);
	} while (queue->items);
	pthread_mutex_unlock(&queue->lock);
}

int64_t queue_open(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	int64_t closed_ms = queue->open ? -1 : clock_mono_ms() - queue->closed_since;
	queue->open = true;
	queue->stalled = false;
	queue->reason[0] = '\0';
	pthread_mutex_unlock(&queue->lock);
	return closed_ms;
}

void queue_stop(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->stopping = true;
	pthread_cond_signal(&queue->work);
	pthread_mutex_unlock(&queue->lock);
}

bool queue_is_stopping(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	bool stopping = queue->stopping;
	pthread_mutex_unlock(&queue->lock);
	return stopping;
}

bool queue_is_drained(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	bool drained = queue->stopping && !queue->items;
	pthread_mutex_unlock(&queue->lock);
	return drained;
}

/* With the lock held. */
static size_t take(struct queue *queue, struct pending *ret_taken[static TRANSACTION_MAX])
{
	size_t count = 0, bytes = 0;
	bool alone = false;

	while (queue->items && count < TRANSACTION_MAX && bytes < TRANSACTION_BYTES_MAX && !alone) {
		struct item *item = queue->items;
		const struct change *change = &item->pending.change;
		alone = !change_is_of_silo(change);
		if (count && alone && !item->withdrawn)
			break;
		DL_DELETE(queue->items, item);
		queue->count--;
		if (item->withdrawn) {
			item_unref(item);
			alone = false;
			continue;
		}
		item->state = ITEM_TAKEN;
		bytes += change->document ? change->document->len : 0;
		ret_taken[count++] = &item->pending;
	}
	queue->grace_ms = (int64_t)(bytes / QUEUE_BYTES_PER_MS);
	return count;
}

size_t queue_take(struct queue *queue, int64_t timeout_ms, struct pending *ret_taken[static TRANSACTION_MAX])
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + timeout_ms);

	pthread_mutex_lock(&queue->lock);
	queue->busy_since = 0;
	while (!queue->items && !queue->stopping && pthread_cond_timedwait(&queue->work, &queue->lock, &until) == 0)
		;
	size_t count = take(queue, ret_taken);
	queue->busy_since = clock_mono_ms();
	pthread_mutex_unlock(&queue->lock);
	return count;
}

void queue_return(struct queue *queue, struct pending *taken[], size_t count)
{
	pthread_mutex_lock(&queue->lock);
	while (count--) {
		struct item *item = item_of(taken[count]);
		item->state = ITEM_WAITS;
		DL_PREPEND(queue->items, item);
		queue->count++;
	}
	pthread_mutex_unlock(&queue->lock);
}

bool queue_enter_commit(struct queue *queue, struct pending *taken[], size_t count)
{
	bool all = true;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		all &= !item_of(taken[i])->withdrawn;
	for (size_t i = 0; i < count && all; i++)
		item_of(taken[i])->state = ITEM_COMMITS;
	pthread_mutex_unlock(&queue->lock);
	return all;
}

void queue_finish_take(struct queue *queue, struct pending *taken[], size_t count, bool committed)
{
	struct waiters waiters = {.count = 0};
	size_t changes = 0, size = 0;

	pthread_mutex_lock(&queue->lock);
	queue->stalled = false;
	for (size_t i = 0; i < count; i++) {
		struct item *item = item_of(taken[i]);
		changes += !item->pending.err && item->pending.outcome.changed;
		item->state = ITEM_DECIDED;
		item_answer(queue, item, item->pending.err, &item->pending.outcome, &waiters);
		item_unref(item);
	}
	while (size < QUEUE_SIZES - 1 && changes > (size_t)1 << size)
		size++;
	queue->changes += changes;
	queue->sizes[size] += committed;
	queue->transactions += committed;
	pthread_mutex_unlock(&queue->lock);
	resume_all(&waiters);
}

void queue_refuse_take(struct queue *queue, struct pending *taken[], size_t count, int err, const char *reason)
{
	struct waiters waiters = {.count = 0};

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		item_refuse_take(queue, item_of(taken[i]), err, reason, &waiters);
	pthread_mutex_unlock(&queue->lock);
	resume_all(&waiters);
}
