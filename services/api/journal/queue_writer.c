#include "api/journal/queue_internal.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

/* With the lock held. */
static void item_refuse_take(struct queue *queue, struct item *item, int err, const char *reason,
			     struct waiters *waiters)
{
	struct outcome outcome = {0};

	why_set(&outcome.why, err, "", "%s", reason);
	item_answer(queue, item, err, &outcome, waiters);
	item_unref(item);
}

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
		waiters_resume(queue, &waiters);
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
		if (count && alone && !item->answered)
			break;
		DL_DELETE(queue->items, item);
		queue->count--;
		if (item->answered) {
			item_unref(item);
			alone = false;
			continue;
		}
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
		struct item *item = (struct item *)taken[count];
		item->commits = false;
		DL_PREPEND(queue->items, item);
		queue->count++;
	}
	pthread_mutex_unlock(&queue->lock);
}

void queue_grant_time(struct queue *queue, size_t bytes)
{
	pthread_mutex_lock(&queue->lock);
	queue->grace_ms = (int64_t)(bytes / QUEUE_BYTES_PER_MS);
	pthread_mutex_unlock(&queue->lock);
}

bool queue_enter_commit(struct queue *queue, struct pending *taken[], size_t count)
{
	bool all = true;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		all &= !((struct item *)taken[i])->answered;
	for (size_t i = 0; i < count && all; i++)
		((struct item *)taken[i])->commits = true;
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
		struct item *item = (struct item *)taken[i];
		changes += !item->pending.err && item->pending.outcome.changed;
		item_answer(queue, item, item->pending.err, &item->pending.outcome, &waiters);
		item_unref(item);
	}
	while (size < QUEUE_SIZES - 1 && changes > (size_t)1 << size)
		size++;
	queue->changes += changes;
	queue->sizes[size] += committed;
	queue->transactions += committed;
	pthread_mutex_unlock(&queue->lock);
	waiters_resume(queue, &waiters);
}

void queue_refuse_take(struct queue *queue, struct pending *taken[], size_t count, int err, const char *reason)
{
	struct waiters waiters = {.count = 0};

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		item_refuse_take(queue, (struct item *)taken[i], err, reason, &waiters);
	pthread_mutex_unlock(&queue->lock);
	waiters_resume(queue, &waiters);
}
