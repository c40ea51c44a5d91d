#include "../../unit.h"

#include <pthread.h>
#include <semaphore.h>

#include "api/journal/queue.h"
#include "common/base/clock.h"

#define PATIENCE_MS 100 /* for what must not happen */

struct waiting {
	struct queue *queue;
	struct pending *taken[TRANSACTION_MAX];
	sem_t resuming, drained;
	bool drained_early;
};

static void suspend(void *arg)
{
	(void)arg;
}

static void resume(void *arg)
{
	struct waiting *waiting = arg;
	const struct timespec until = clock_mono_at(clock_mono_ms() + PATIENCE_MS);

	sem_post(&waiting->resuming);
	waiting->drained_early = sem_clockwait(&waiting->drained, CLOCK_MONOTONIC, &until) == 0;
}

static void *finish(void *arg)
{
	struct waiting *waiting = arg;

	queue_finish_take(waiting->queue, waiting->taken, 1, false);
	return NULL;
}

/* Connections are cut once it is drained, and none may be suspended by then. */
static void draining_waits_for_whoever_is_being_resumed_by_the_writer(void **state)
{
	struct waiting waiting = {.drained_early = false};
	const struct waiter waiter = {.handle = &waiting, .suspend = suspend, .resume = resume};
	struct change change = {.kind = CHANGE_SILO_DELETE, .subject = "a"};
	struct pending *pending;
	struct outcome outcome;
	struct why why;
	pthread_t writer;

	(void)state;
	sem_init(&waiting.resuming, 0, 0);
	sem_init(&waiting.drained, 0, 0);
	assert_int_equal(queue_new(&waiting.queue), ERR_OK);
	queue_open(waiting.queue);
	assert_int_equal(queue_submit_take(waiting.queue, &change, &waiter, &pending, &why), ERR_PENDING);
	assert_int_equal(queue_take(waiting.queue, 0, waiting.taken), 1);
	assert_int_equal(pthread_create(&writer, NULL, finish, &waiting), 0);
	sem_wait(&waiting.resuming);
	queue_drain(waiting.queue);
	sem_post(&waiting.drained);
	pthread_join(writer, NULL);
	assert_false(waiting.drained_early);
	assert_int_equal(queue_collect_take(waiting.queue, pending, &outcome), ERR_OK);
	queue_free(waiting.queue);
	sem_destroy(&waiting.drained);
	sem_destroy(&waiting.resuming);
}

/* A batch whose COMMIT was refused is split, and each of it goes to COMMIT once more, unless it was answered. */
static void a_change_may_be_committed_again_until_it_is_answered(void **state)
{
	struct change change = {.kind = CHANGE_SILO_DELETE, .subject = "a"};
	struct pending *taken[TRANSACTION_MAX], *pending;
	struct queue *queue;
	struct why why;

	(void)state;
	assert_int_equal(queue_new(&queue), ERR_OK);
	queue_open(queue);
	assert_int_equal(queue_submit_take(queue, &change, NULL, &pending, &why), ERR_PENDING);
	assert_int_equal(queue_take(queue, 0, taken), 1);
	assert_true(queue_enter_commit(queue, taken, 1));
	assert_true(queue_enter_commit(queue, taken, 1));
	queue_abandon_take(queue, pending);
	assert_false(queue_enter_commit(queue, taken, 1));
	queue_return(queue, taken, 1);
	queue_free(queue);
}
