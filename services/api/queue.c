#include "queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "lifecycle.h"

void queue_init(struct queue *queue)
{
	memset(queue, 0, sizeof *queue);
	pthread_mutex_init(&queue->lock, NULL);
	clock_cond_init(&queue->work);
	queue->closed_since = clock_mono_ms();
	snprintf(queue->reason, sizeof queue->reason, "not connected yet");
}

void queue_release(struct queue *queue)
{
	pthread_cond_destroy(&queue->work);
	pthread_mutex_destroy(&queue->lock);
}

static struct item *item_new(struct change *change, unsigned holders)
{
	struct item *item = calloc(1, sizeof *item);

	if (!item)
		return NULL;
	if (order_init_take(&item->order, change)) {
		free(item);
		return NULL;
	}
	clock_cond_init(&item->done);
	item->holders = holders;
	return item;
}

/* With the lock held, as the next two. */
static void item_let_go(struct item *item)
{
	if (--item->holders)
		return;
	pthread_cond_destroy(&item->done);
	silo_body_unref(item->outcome.body);
	order_release(&item->order);
	free(item);
}

static void item_refuse(struct item *item, int err, const char *reason)
{
	silo_body_unref(item->outcome.body);
	memset(&item->outcome, 0, sizeof item->outcome);
	why_set(&item->outcome.why, err, "", "%s", reason);
	item->err = err;
	item->state = ITEM_DONE;
	pthread_cond_signal(&item->done);
	item_let_go(item);
}

/* --- the request's side ------------------------------------------------------------------------------------------- */

bool queue_is_stalled(const struct queue *queue)
{
	return queue->stalled ||
	       (queue->busy_since && clock_mono_ms() - queue->busy_since > QUEUE_STALL_MS + queue->grace_ms);
}

static int enqueue(struct queue *queue, struct item *item, struct why *why)
{
	if (queue->stopping)
		return why_set(why, ERR_UNAVAILABLE, "", "the hub is shutting down; nothing was changed");
	if (!queue->open)
		return why_set(why, ERR_UNAVAILABLE, "", "the database is away (%s); nothing was changed",
			       queue->reason);
	if (queue_is_stalled(queue))
		return why_set(why, ERR_UNAVAILABLE, "", "the database does not answer; nothing was changed");
	if (queue->count >= QUEUE_MAX)
		return why_set(why, ERR_BUSY, "", "%d changes are waiting already; nothing was changed", QUEUE_MAX);
	DL_APPEND(queue->items, item);
	queue->count++;
	item->holders++; /* the writer */
	pthread_cond_signal(&queue->work);
	return ERR_OK;
}

/* With the lock held: how long an item may wait as things stand. */
static int64_t wait_limit_ms(const struct queue *queue, const struct item *item)
{
	return item->state == ITEM_COMMITTING ? QUEUE_COMMIT_WAIT_MS : QUEUE_WAIT_MS + queue->grace_ms;
}

/* With the lock held: waits until the item is done, or may be given up. */
static int await(struct queue *queue, struct item *item, struct outcome *ret_outcome)
{
	int64_t started = clock_mono_ms();

	while (item->state != ITEM_DONE) {
		int64_t limit_ms = wait_limit_ms(queue, item);
		const struct timespec until = clock_mono_at(started + limit_ms);
		int timed_out = pthread_cond_timedwait(&item->done, &queue->lock, &until);
		/* While the lock was let go, the item may have come under another limit. */
		if (!timed_out || limit_ms != wait_limit_ms(queue, item))
			continue;
		item->withdrawn = true;
		if (item->state == ITEM_COMMITTING)
			return why_set(&ret_outcome->why, ERR_UNKNOWN_OUTCOME, "",
				       "the database went away during the commit: the change may or may not have "
				       "happened; read before you try again");
		queue->stalled = true;
		return why_set(&ret_outcome->why, ERR_UNAVAILABLE, "",
			       "the database does not answer; nothing was changed");
	}
	*ret_outcome = item->outcome;
	item->outcome.body = NULL;
	return item->err;
}

int queue_submit(struct queue *queue, struct change *change, struct outcome *ret_outcome)
{
	struct item *item = item_new(change, 1);

	memset(ret_outcome, 0, sizeof *ret_outcome);
	if (!item)
		return why_set(&ret_outcome->why, ERR_NOMEM, "", "out of memory; nothing was changed");
	pthread_mutex_lock(&queue->lock);
	int err = enqueue(queue, item, &ret_outcome->why);
	if (!err)
		err = await(queue, item, ret_outcome);
	item_let_go(item);
	pthread_mutex_unlock(&queue->lock);
	return err;
}

int queue_post(struct queue *queue, struct change *change)
{
	struct item *item = item_new(change, 1);
	struct why why;

	if (!item)
		return ERR_NOMEM;
	pthread_mutex_lock(&queue->lock);
	int err = enqueue(queue, item, &why);
	item_let_go(item);
	pthread_mutex_unlock(&queue->lock);
	return err;
}

/* --- the writer's side -------------------------------------------------------------------------------------------- */

void queue_close(struct queue *queue, const char *reason)
{
	pthread_mutex_lock(&queue->lock);
	if (queue->open)
		queue->closed_since = clock_mono_ms();
	queue->open = false;
	snprintf(queue->reason, sizeof queue->reason, "%s", reason);
	while (queue->items) {
		struct item *item = queue->items;
		DL_DELETE(queue->items, item);
		queue->count--;
		item_refuse(item, ERR_UNAVAILABLE, "the database is away; nothing was changed");
	}
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

bool queue_is_drained(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	bool drained = queue->stopping && !queue->items;
	pthread_mutex_unlock(&queue->lock);
	return drained;
}

static bool is_user_change(const struct item *item)
{
	return item->order.kind != CHANGE_SILO_PUT && item->order.kind != CHANGE_SILO_DELETE;
}

/* With the lock held. Rights depend on users and tokens, so a change of one closes a batch before and behind it. */
static size_t take(struct queue *queue, struct item *ret_items[static BATCH_MAX])
{
	size_t count = 0, bytes = 0;
	bool alone = false;

	while (queue->items && count < BATCH_MAX && bytes < BATCH_BYTES_MAX && !alone) {
		struct item *item = queue->items;
		if (count && is_user_change(item) && !item->withdrawn)
			break;
		DL_DELETE(queue->items, item);
		queue->count--;
		if (item->withdrawn) {
			item_let_go(item);
			continue;
		}
		item->state = ITEM_TAKEN;
		bytes += item->order.body ? item->order.body->len : 0;
		alone = is_user_change(item);
		ret_items[count++] = item;
	}
	queue->grace_ms = (int64_t)(bytes / QUEUE_BYTES_PER_MS);
	return count;
}

size_t queue_take(struct queue *queue, int64_t timeout_ms, struct item *ret_items[static BATCH_MAX])
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + timeout_ms);

	pthread_mutex_lock(&queue->lock);
	queue->busy_since = 0;
	while (!queue->items && !queue->stopping && pthread_cond_timedwait(&queue->work, &queue->lock, &until) == 0)
		;
	size_t count = take(queue, ret_items);
	queue->busy_since = clock_mono_ms();
	pthread_mutex_unlock(&queue->lock);
	return count;
}

struct item *queue_own_item(struct change *change)
{
	struct item *item = item_new(change, 2);

	if (item)
		item->state = ITEM_TAKEN;
	return item;
}

void queue_drop_own_item(struct queue *queue, struct item *item)
{
	pthread_mutex_lock(&queue->lock);
	if (item->state != ITEM_DONE)
		item->holders--; /* the writer never finished it */
	item_let_go(item);
	pthread_mutex_unlock(&queue->lock);
}

void queue_return(struct queue *queue, struct item *items[], size_t count)
{
	pthread_mutex_lock(&queue->lock);
	while (count--) {
		items[count]->state = ITEM_QUEUED;
		pthread_cond_signal(&items[count]->done); /* another time limit counts now */
		DL_PREPEND(queue->items, items[count]);
		queue->count++;
	}
	pthread_mutex_unlock(&queue->lock);
}

bool queue_enter_commit(struct queue *queue, struct item *items[], size_t count)
{
	bool all = true;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		all &= !items[i]->withdrawn;
	for (size_t i = 0; i < count && all; i++)
		items[i]->state = ITEM_COMMITTING; /* noticed when the shorter time limit strikes */
	pthread_mutex_unlock(&queue->lock);
	return all;
}

/* With the lock held. */
static void count_batch(struct queue *queue, size_t changes)
{
	size_t i = 0;

	while (i < QUEUE_BATCH_SIZES - 1 && changes > (size_t)1 << i)
		i++;
	queue->batch_sizes[i]++;
	queue->batches++;
}

void queue_finish(struct queue *queue, struct item *items[], size_t count, bool committed)
{
	size_t changes = 0;

	pthread_mutex_lock(&queue->lock);
	queue->stalled = false;
	for (size_t i = 0; i < count; i++) {
		changes += !items[i]->err && items[i]->outcome.changed;
		items[i]->state = ITEM_DONE;
	}
	queue->changes += changes;
	if (committed)
		count_batch(queue, changes);
	pthread_mutex_unlock(&queue->lock);
	/* Who is woken needs the lock, so it is not held meanwhile. The writer still holds the items. */
	for (size_t i = 0; i < count; i++)
		pthread_cond_signal(&items[i]->done);
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		item_let_go(items[i]);
	pthread_mutex_unlock(&queue->lock);
}

void queue_refuse(struct queue *queue, struct item *items[], size_t count, int err, const char *reason)
{
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		item_refuse(items[i], err, reason);
	pthread_mutex_unlock(&queue->lock);
}
