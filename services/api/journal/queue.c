#include "api/journal/queue_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

#define TICK_MS 25 /* how late a change may be withdrawn */

/* --- items -------------------------------------------------------------------------------------------------------- */

void item_unref(struct item *item)
{
	if (--item->holders)
		return;
	document_unref(item->pending.outcome.body);
	document_unref(item->answer.body);
	change_release(&item->pending.change);
	free(item);
}

void item_answer(struct queue *queue, struct item *item, int err, struct outcome *outcome, struct waiters *waiters)
{
	if (item->answered)
		return;
	item->answered = true;
	item->answer_err = err;
	item->answer = *outcome;
	outcome->body = NULL;
	DL_DELETE2(queue->live, item, live_prev, live_next);
	if (item->waiter.resume) {
		waiters->list[waiters->count++] = item->waiter;
		queue->resuming++;
	} else {
		pthread_cond_broadcast(&queue->answered);
	}
}

void waiters_resume(struct queue *queue, const struct waiters *waiters)
{
	if (!waiters->count)
		return;
	for (size_t i = 0; i < waiters->count; i++)
		waiters->list[i].resume(waiters->list[i].handle);
	pthread_mutex_lock(&queue->lock);
	queue->resuming -= waiters->count;
	pthread_cond_broadcast(&queue->answered);
	pthread_mutex_unlock(&queue->lock);
}

/* With the lock held. */
static void item_withdraw(struct queue *queue, struct item *item, const char *reason, struct waiters *waiters)
{
	struct outcome outcome = {0};
	int err = item->commits ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE;

	why_set(&outcome.why, err, "",
		item->commits ? "%s during the commit: the change may or may not have happened; read before you try "
				"again"
			      : "%s; nothing was changed",
		reason);
	item_answer(queue, item, err, &outcome, waiters);
}

/* --- time limits -------------------------------------------------------------------------------------------------- */

static void withdraw_late(struct queue *queue, struct waiters *waiters)
{
	int64_t now_ms = clock_mono_ms();
	struct item *item, *next;

	for (item = queue->live; item && waiters->count < TRANSACTION_MAX; item = next) {
		int64_t limit_ms = item->commits ? QUEUE_COMMIT_WAIT_MS : QUEUE_WAIT_MS + queue->grace_ms;
		next = item->live_next;
		if (now_ms - item->since_ms < limit_ms)
			continue;
		queue->stalled |= !item->commits;
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
			waiters_resume(queue, &waiters);
			pthread_mutex_lock(&queue->lock);
			continue;
		}
		queue->timer_sleeps = !queue->live;
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
	if (queue->timer_sleeps)
		pthread_cond_signal(&queue->tick);
	pthread_cond_signal(&queue->work);
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
	item->holders = 1;
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
	struct item *item = (struct item *)pending;

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
	struct item *item = (struct item *)pending;

	if (!item)
		return;
	pthread_mutex_lock(&queue->lock);
	if (!item->answered) {
		item->answered = true;
		DL_DELETE2(queue->live, item, live_prev, live_next);
	}
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
	struct waiters waiters;

	do {
		waiters.count = 0;
		pthread_mutex_lock(&queue->lock);
		queue->stopping = true;
		while (queue->live && waiters.count < TRANSACTION_MAX)
			item_withdraw(queue, queue->live, "the hub is shutting down", &waiters);
		pthread_cond_signal(&queue->work);
		pthread_mutex_unlock(&queue->lock);
		waiters_resume(queue, &waiters);
	} while (waiters.count);
	pthread_mutex_lock(&queue->lock);
	while (queue->resuming) /* by the writer or the timer: until then somebody is suspended */
		pthread_cond_wait(&queue->answered, &queue->lock);
	pthread_mutex_unlock(&queue->lock);
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
