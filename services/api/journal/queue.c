#include "api/journal/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "common/base/clock.h"

#define TICK_MS 25 /* how late an item may be withdrawn */

/* --- items -------------------------------------------------------------------------------------------------------- */

static struct item *item_new(struct change *change, unsigned holders)
{
	struct item *item = calloc(1, sizeof *item);

	if (!item)
		return NULL;
	if (order_init_take(&item->order, change)) {
		free(item);
		return NULL;
	}
	item->holders = holders;
	return item;
}

/* With the lock held, as all up to the request's side but resume_all(). */
static void item_let_go(struct item *item)
{
	if (--item->holders)
		return;
	document_unref(item->outcome.body);
	document_unref(item->answer.body);
	order_release(&item->order);
	free(item);
}

/* Lines of items that were told, to be resumed without the lock. */
struct lines {
	struct waiter list[BATCH_MAX];
	size_t count;
};

static void resume_all(const struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		lines->list[i].resume(lines->list[i].handle);
}

/* The answer, unless there was one before. At most BATCH_MAX for one `lines`. */
static void tell(struct queue *queue, struct item *item, int err, struct outcome *outcome, struct lines *lines)
{
	if (item->told)
		return;
	item->told = true;
	item->answer_err = err;
	item->answer = *outcome;
	outcome->body = NULL;
	DL_DELETE2(queue->live, item, live_prev, live_next);
	if (item->waiter.resume)
		lines->list[lines->count++] = item->waiter;
	else
		pthread_cond_broadcast(&queue->told);
}

/* It is not decided any more: the writer drops it, or tells of it in vain. */
static void withdraw(struct queue *queue, struct item *item, const char *reason, struct lines *lines)
{
	struct outcome outcome = {0};
	int err = item->state == ITEM_COMMITTING ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE;

	item->withdrawn = true;
	why_set(&outcome.why, err, "",
		err == ERR_UNAVAILABLE ? "%s; nothing was changed"
				       : "%s during the commit: the change may or may not have happened; read before "
					 "you try again",
		reason);
	tell(queue, item, err, &outcome, lines);
}

static void item_refuse(struct queue *queue, struct item *item, int err, const char *reason, struct lines *lines)
{
	struct outcome outcome = {0};

	why_set(&outcome.why, err, "", "%s", reason);
	tell(queue, item, err, &outcome, lines);
	document_unref(item->outcome.body);
	memset(&item->outcome, 0, sizeof item->outcome);
	item->outcome.why = outcome.why;
	item->err = err;
	item->state = ITEM_DONE;
	item_let_go(item);
}

/* --- time limits -------------------------------------------------------------------------------------------------- */

/* How long an item may wait as things stand. */
static int64_t wait_limit_ms(const struct queue *queue, const struct item *item)
{
	return item->state == ITEM_COMMITTING ? QUEUE_COMMIT_WAIT_MS : QUEUE_WAIT_MS + queue->grace_ms;
}

static void withdraw_late(struct queue *queue, struct lines *lines)
{
	int64_t now_ms = clock_mono_ms();
	struct item *item, *next;

	for (item = queue->live; item && lines->count < BATCH_MAX; item = next) {
		next = item->live_next;
		if (now_ms - item->since_ms < wait_limit_ms(queue, item))
			continue;
		queue->stalled |= item->state != ITEM_COMMITTING;
		withdraw(queue, item, "the database does not answer", lines);
	}
}

/* Sleeps while nothing comes; looks every few milliseconds otherwise, so that who submits need not wake it. */
static void *timer_main(void *arg)
{
	struct queue *queue = arg;
	struct lines lines;

	pthread_mutex_lock(&queue->lock);
	while (!queue->released) {
		lines.count = 0;
		withdraw_late(queue, &lines);
		if (lines.count) {
			pthread_mutex_unlock(&queue->lock);
			resume_all(&lines);
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

int queue_init(struct queue *queue)
{
	memset(queue, 0, sizeof *queue);
	pthread_mutex_init(&queue->lock, NULL);
	clock_cond_init(&queue->work);
	clock_cond_init(&queue->told);
	clock_cond_init(&queue->tick);
	queue->closed_since = clock_mono_ms();
	snprintf(queue->reason, sizeof queue->reason, "not connected yet");
	return pthread_create(&queue->timer, NULL, timer_main, queue) ? ERR_SYSTEM : ERR_OK;
}

void queue_release(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->released = true;
	pthread_cond_signal(&queue->tick);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(queue->timer, NULL);
	pthread_cond_destroy(&queue->tick);
	pthread_cond_destroy(&queue->told);
	pthread_cond_destroy(&queue->work);
	pthread_mutex_destroy(&queue->lock);
}

/* --- the request's side ------------------------------------------------------------------------------------------- */

bool queue_is_stalled(const struct queue *queue)
{
	return queue->stalled ||
	       (queue->busy_since && clock_mono_ms() - queue->busy_since > QUEUE_STALL_MS + queue->grace_ms);
}

/* With the lock held, as the next one. */
static int check_open(const struct queue *queue, struct why *why)
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

int queue_submit(struct queue *queue, struct change *change, const struct waiter *waiter, struct item **ret_item,
		 struct why *ret_why)
{
	struct item *item = item_new(change, 1);

	if (!item)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory; nothing was changed");
	if (waiter)
		item->waiter = *waiter;
	pthread_mutex_lock(&queue->lock);
	int err = check_open(queue, ret_why);
	if (err)
		item_let_go(item);
	else
		enqueue(queue, item);
	pthread_mutex_unlock(&queue->lock);
	if (err)
		return err;
	*ret_item = item;
	return ERR_PENDING;
}

int queue_collect(struct queue *queue, struct item *item, struct outcome *ret_outcome)
{
	pthread_mutex_lock(&queue->lock);
	while (!item->told)
		pthread_cond_wait(&queue->told, &queue->lock);
	int err = item->answer_err;
	*ret_outcome = item->answer;
	item->answer.body = NULL;
	item_let_go(item);
	pthread_mutex_unlock(&queue->lock);
	return err;
}

void queue_abandon(struct queue *queue, struct item *item)
{
	if (!item)
		return;
	pthread_mutex_lock(&queue->lock);
	if (!item->told) {
		item->told = item->withdrawn = true;
		DL_DELETE2(queue->live, item, live_prev, live_next);
	}
	item_let_go(item);
	pthread_mutex_unlock(&queue->lock);
}

void queue_drain(struct queue *queue)
{
	struct lines lines;

	do {
		lines.count = 0;
		pthread_mutex_lock(&queue->lock);
		queue->stopping = true;
		while (queue->live && lines.count < BATCH_MAX)
			withdraw(queue, queue->live, "the hub is shutting down", &lines);
		pthread_cond_signal(&queue->work);
		pthread_mutex_unlock(&queue->lock);
		resume_all(&lines);
	} while (lines.count);
}

int queue_post(struct queue *queue, struct change *change)
{
	struct item *item = item_new(change, 1);
	struct why why;

	if (!item)
		return ERR_NOMEM;
	pthread_mutex_lock(&queue->lock);
	int err = check_open(queue, &why);
	if (!err)
		enqueue(queue, item);
	item_let_go(item); /* nobody waits */
	pthread_mutex_unlock(&queue->lock);
	return err;
}

/* --- the writer's side -------------------------------------------------------------------------------------------- */

void queue_close(struct queue *queue, const char *reason)
{
	struct lines lines;

	pthread_mutex_lock(&queue->lock);
	if (queue->open)
		queue->closed_since = clock_mono_ms();
	queue->open = false;
	snprintf(queue->reason, sizeof queue->reason, "%s", reason);
	do {
		lines.count = 0;
		while (queue->items && lines.count < BATCH_MAX) {
			struct item *item = queue->items;
			DL_DELETE(queue->items, item);
			queue->count--;
			item_refuse(queue, item, ERR_UNAVAILABLE, "the database is away; nothing was changed", &lines);
		}
		pthread_mutex_unlock(&queue->lock);
		resume_all(&lines);
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

	if (!item)
		return NULL;
	item->state = ITEM_TAKEN;
	item->told = true;
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
		items[i]->state = ITEM_COMMITTING;
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
	struct lines lines = {.count = 0};
	size_t changes = 0;

	pthread_mutex_lock(&queue->lock);
	queue->stalled = false;
	for (size_t i = 0; i < count; i++) {
		changes += !items[i]->err && items[i]->outcome.changed;
		items[i]->state = ITEM_DONE;
		tell(queue, items[i], items[i]->err, &items[i]->outcome, &lines);
		item_let_go(items[i]);
	}
	queue->changes += changes;
	if (committed)
		count_batch(queue, changes);
	pthread_mutex_unlock(&queue->lock);
	resume_all(&lines);
}

void queue_refuse(struct queue *queue, struct item *items[], size_t count, int err, const char *reason)
{
	struct lines lines = {.count = 0};

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++)
		item_refuse(queue, items[i], err, reason, &lines);
	pthread_mutex_unlock(&queue->lock);
	resume_all(&lines);
}
