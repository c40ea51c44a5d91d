#include "api/journal/queue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "common/base/clock.h"

#define TICK_MS 25 /* how late a change may be withdrawn */

enum item_state { WAITS, TAKEN, COMMITS, ANSWERED };

/* A change from its submission until both sides have let go of it. All but `pending` is guarded by the queue's lock. */
struct item {
	struct pending pending;   /* first, as the outside has its address; the writer's while it is taken */
	struct item *prev, *next; /* in queue->live, then in queue->answered */
	enum item_state state;
	unsigned holders;      /* the submitter; the queue or the writer */
	int64_t since_ms;      /* clock_mono_ms */
	struct waiter waiter;  /* suspended until it is answered; no functions: the submitter blocks, or nobody waits */
	int err;               /* the answer */
	const char *withdrawn; /* why; NULL: the answer is the writer's, in `pending` */
};

struct queue {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t work, progress, tick;
	struct item *live;     /* without an answer, in the order of their submission */
	struct item *answered; /* whose waiters queue_unlock() resumes */
	size_t waiting;        /* of `live` */
	unsigned resuming;     /* threads that are resuming waiters */
	pthread_t timer;
	bool timer_sleeps, released; /* nothing is live; the timer has to end */
	bool stopping;
	bool open;            /* the database is there */
	bool stalled;         /* open, but a change had to be withdrawn: refuse until something has gone through */
	int64_t grace_ms;     /* what the transaction under way has beyond the limits, for its size */
	int64_t busy_since;   /* clock_mono_ms; since when the writer is at the database; 0: it waits for work */
	int64_t closed_since; /* clock_mono_ms */
	char reason[256];     /* why not open */
	uint64_t transactions, changes;
	uint64_t sizes[QUEUE_SIZES];
};

/* --- items: with the lock held ------------------------------------------------------------------------------------ */

static void item_unref(struct item *item)
{
	if (--item->holders)
		return;
	document_unref(item->pending.outcome.body);
	change_release(&item->pending.change);
	free(item);
}

/* Once and for good. One that waits is let go of by the queue; one that is taken, by the writer later. */
static void item_answer(struct queue *queue, struct item *item, int err, const char *withdrawn)
{
	bool waits = item->state == WAITS;

	DL_DELETE(queue->live, item);
	item->state = ANSWERED;
	item->err = err;
	item->withdrawn = withdrawn;
	if (item->waiter.resume)
		DL_APPEND(queue->answered, item);
	else
		pthread_cond_broadcast(&queue->progress);
	if (waits) {
		queue->waiting--;
		item_unref(item);
	}
}

static void item_withdraw(struct queue *queue, struct item *item, const char *reason)
{
	item_answer(queue, item, item->state == COMMITS ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE, reason);
}

/* Lets go of the lock and resumes those who were answered meanwhile; who is resumed may free its item. */
static void queue_unlock(struct queue *queue)
{
	struct item *item = queue->answered, *next;
	bool resumes = item != NULL;

	queue->answered = NULL;
	queue->resuming += resumes;
	pthread_mutex_unlock(&queue->lock);
	for (; item; item = next) {
		next = item->next;
		item->waiter.resume(item->waiter.handle);
	}
	if (!resumes)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->resuming--;
	pthread_cond_broadcast(&queue->progress);
	pthread_mutex_unlock(&queue->lock);
}

/* --- time limits -------------------------------------------------------------------------------------------------- */

static void withdraw_late(struct queue *queue)
{
	int64_t now_ms = clock_mono_ms();
	struct item *next;

	for (struct item *item = queue->live; item; item = next) {
		next = item->next;
		bool commits = item->state == COMMITS;
		if (now_ms - item->since_ms < (commits ? QUEUE_COMMIT_WAIT_MS : QUEUE_WAIT_MS + queue->grace_ms))
			continue;
		queue->stalled |= !commits;
		item_withdraw(queue, item, "the database does not answer");
	}
}

/* Sleeps while nothing comes; polls while busy, so that submitters need not signal. */
static void *timer_main(void *arg)
{
	struct queue *queue = arg;

	pthread_mutex_lock(&queue->lock);
	while (!queue->released) {
		const struct timespec until = clock_mono_at(clock_mono_ms() + TICK_MS);
		queue->timer_sleeps = !queue->live;
		if (queue->timer_sleeps)
			pthread_cond_wait(&queue->tick, &queue->lock);
		else
			pthread_cond_timedwait(&queue->tick, &queue->lock, &until);
		withdraw_late(queue);
		if (queue->answered) {
			queue_unlock(queue);
			pthread_mutex_lock(&queue->lock);
		}
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

static void queue_destroy(struct queue *queue)
{
	pthread_cond_destroy(&queue->tick);
	pthread_cond_destroy(&queue->progress);
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
	clock_cond_init(&queue->progress);
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

/* With the lock held, as the next. */
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
	if (queue->waiting >= QUEUE_MAX)
		return why_set(why, ERR_BUSY, "", "%d changes are waiting already; nothing was changed", QUEUE_MAX);
	return ERR_OK;
}

int queue_submit_take(struct queue *queue, struct change *change, const struct waiter *waiter,
		      struct pending **ret_pending, struct why *ret_why)
{
	struct item *item = change_prepare(change) ? NULL : calloc(1, sizeof *item);

	if (!item) {
		change_release(change);
		return why_set(ret_why, ERR_NOMEM, "", "out of memory; nothing was changed");
	}
	item->pending.change = *change;
	memset(change, 0, sizeof *change);
	item->holders = 2;
	if (waiter)
		item->waiter = *waiter;
	pthread_mutex_lock(&queue->lock);
	int err = check_open(queue, ret_why);
	if (err) {
		item->holders = 1;
		item_unref(item);
		pthread_mutex_unlock(&queue->lock);
		return err;
	}
	item->since_ms = clock_mono_ms();
	if (item->waiter.suspend)
		item->waiter.suspend(item->waiter.handle); /* before anybody can resume it */
	DL_APPEND(queue->live, item);
	queue->waiting++;
	if (queue->timer_sleeps)
		pthread_cond_signal(&queue->tick);
	pthread_cond_signal(&queue->work);
	pthread_mutex_unlock(&queue->lock);
	*ret_pending = &item->pending;
	return ERR_PENDING;
}

int queue_collect_take(struct queue *queue, struct pending *pending, struct outcome *ret_outcome)
{
	struct item *item = (struct item *)pending;

	pthread_mutex_lock(&queue->lock);
	while (item->state != ANSWERED)
		pthread_cond_wait(&queue->progress, &queue->lock);
	int err = item->err;
	if (item->withdrawn) {
		memset(ret_outcome, 0, sizeof *ret_outcome);
		why_set(&ret_outcome->why, err, "",
			err == ERR_UNKNOWN_OUTCOME ? "%s during the commit: the change may or may not have happened; "
						     "read before you try again"
						   : "%s; nothing was changed",
			item->withdrawn);
	} else {
		*ret_outcome = pending->outcome;
		pending->outcome.body = NULL;
	}
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
	struct item *item = (struct item *)pending;

	if (!item)
		return;
	pthread_mutex_lock(&queue->lock);
	item->waiter.resume = NULL; /* it is not suspended */
	if (item->state != ANSWERED)
		item_withdraw(queue, item, "abandoned");
	item_unref(item);
	pthread_mutex_unlock(&queue->lock);
}

int queue_post_take(struct queue *queue, struct change *change)
{
	struct pending *pending;
	struct why why;
	int err = queue_submit_take(queue, change, NULL, &pending, &why);

	if (err != ERR_PENDING)
		return err;
	pthread_mutex_lock(&queue->lock);
	item_unref((struct item *)pending);
	pthread_mutex_unlock(&queue->lock);
	return ERR_OK;
}

void queue_drain(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->stopping = true;
	while (queue->live)
		item_withdraw(queue, queue->live, "the hub is shutting down");
	pthread_cond_signal(&queue->work);
	queue_unlock(queue);
	pthread_mutex_lock(&queue->lock);
	while (queue->resuming) /* the writer or the timer: until then somebody is suspended */
		pthread_cond_wait(&queue->progress, &queue->lock);
	pthread_mutex_unlock(&queue->lock);
}

void queue_status(struct queue *queue, struct queue_status *ret_status)
{
	pthread_mutex_lock(&queue->lock);
	bool stalled = is_stalled(queue);
	*ret_status = (struct queue_status){.database_up = queue->open && !stalled,
					    .transactions = queue->transactions,
					    .changes = queue->changes,
					    .waiting = queue->waiting};
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
	struct item *item, *next;

	pthread_mutex_lock(&queue->lock);
	if (queue->open)
		queue->closed_since = clock_mono_ms();
	queue->open = false;
	snprintf(queue->reason, sizeof queue->reason, "%s", reason);
	DL_FOREACH_SAFE (queue->live, item, next)
		if (item->state == WAITS)
			item_withdraw(queue, item, "the database is away");
	queue_unlock(queue);
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
	bool drained = queue->stopping && !queue->waiting;
	pthread_mutex_unlock(&queue->lock);
	return drained;
}

size_t queue_take(struct queue *queue, int64_t timeout_ms, struct pending *ret_taken[static TRANSACTION_MAX])
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + timeout_ms);
	size_t count = 0, bytes = 0;
	bool alone = false;

	pthread_mutex_lock(&queue->lock);
	queue->busy_since = 0;
	while (!queue->waiting && !queue->stopping && pthread_cond_timedwait(&queue->work, &queue->lock, &until) == 0)
		;
	for (struct item *item = queue->live; item && queue->waiting; item = item->next) {
		const struct change *change = &item->pending.change;
		if (item->state != WAITS) /* its commit is in doubt */
			continue;
		alone |= !change_is_of_silo(change);
		if (count == TRANSACTION_MAX || bytes >= TRANSACTION_BYTES_MAX || (count && alone))
			break;
		item->state = TAKEN;
		queue->waiting--;
		bytes += change->document ? change->document->len : 0;
		ret_taken[count++] = &item->pending;
	}
	queue->grace_ms = (int64_t)(bytes / QUEUE_BYTES_PER_MS);
	queue->busy_since = clock_mono_ms();
	pthread_mutex_unlock(&queue->lock);
	return count;
}

void queue_grant_time(struct queue *queue, size_t bytes)
{
	pthread_mutex_lock(&queue->lock);
	queue->grace_ms = (int64_t)(bytes / QUEUE_BYTES_PER_MS);
	pthread_mutex_unlock(&queue->lock);
}

void queue_return(struct queue *queue, struct pending *taken[], size_t count)
{
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++) {
		struct item *item = (struct item *)taken[i];
		if (item->state == ANSWERED) {
			item_unref(item);
			continue;
		}
		item->state = WAITS;
		queue->waiting++;
	}
	pthread_mutex_unlock(&queue->lock);
}

bool queue_enter_commit(struct queue *queue, struct pending *taken[], size_t count)
{
	bool all = true;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		all &= ((struct item *)taken[i])->state != ANSWERED; /* COMMITS: of a batch whose COMMIT failed */
	for (size_t i = 0; i < count && all; i++)
		((struct item *)taken[i])->state = COMMITS;
	pthread_mutex_unlock(&queue->lock);
	return all;
}

void queue_finish_take(struct queue *queue, struct pending *taken[], size_t count, bool committed)
{
	size_t changes = 0, size = 0;

	pthread_mutex_lock(&queue->lock);
	queue->stalled = false;
	for (size_t i = 0; i < count; i++) {
		struct item *item = (struct item *)taken[i];
		changes += !taken[i]->err && taken[i]->outcome.changed;
		if (item->state != ANSWERED)
			item_answer(queue, item, taken[i]->err, NULL);
		item_unref(item);
	}
	while (size < QUEUE_SIZES - 1 && changes > (size_t)1 << size)
		size++;
	queue->changes += changes;
	queue->sizes[size] += committed;
	queue->transactions += committed;
	queue_unlock(queue);
}
