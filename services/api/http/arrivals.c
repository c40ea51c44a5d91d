#include "api/http/arrivals.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define EVERY_MS 1000

struct arrivals {
	int64_t patience_ms;
	pthread_t thread;
	bool started, stopping; /* `stopping` is guarded by the lock */
	pthread_cond_t wake;
	pthread_mutex_t lock; /* guards `list` */
	struct arrival *list;
};

/* With the lock held. */
static void shut_late(struct arrivals *arrivals, int64_t now_ms)
{
	struct arrival *arrival;
	uint64_t count = 0;

	DL_FOREACH (arrivals->list, arrival) {
		int64_t due_ms = atomic_load_explicit(&arrival->due_ms, memory_order_relaxed);
		if (!due_ms || now_ms < due_ms)
			continue;
		/* Its own thread sees the end, closes it, and removes it. */
		shutdown(arrival->fd, SHUT_RDWR);
		atomic_store_explicit(&arrival->due_ms, 0, memory_order_relaxed);
		count++;
	}
	if (count)
		log_debug("requests that did not arrive in time", LOG_U64("connections", count));
}

static void *watch_them(void *arg)
{
	struct arrivals *arrivals = arg;

	pthread_mutex_lock(&arrivals->lock);
	while (!arrivals->stopping) {
		const struct timespec until = clock_mono_at(clock_mono_ms() + EVERY_MS);
		pthread_cond_timedwait(&arrivals->wake, &arrivals->lock, &until);
		shut_late(arrivals, clock_mono_ms());
	}
	pthread_mutex_unlock(&arrivals->lock);
	return NULL;
}

int arrivals_start(int64_t patience_ms, struct arrivals **ret_arrivals)
{
	struct arrivals *arrivals = calloc(1, sizeof *arrivals);

	if (!arrivals)
		return ERR_NOMEM;
	arrivals->patience_ms = patience_ms;
	pthread_mutex_init(&arrivals->lock, NULL);
	clock_cond_init(&arrivals->wake);
	if (pthread_create(&arrivals->thread, NULL, watch_them, arrivals)) {
		arrivals_free(arrivals);
		return ERR_SYSTEM;
	}
	arrivals->started = true;
	*ret_arrivals = arrivals;
	return ERR_OK;
}

void arrivals_stop(struct arrivals *arrivals)
{
	if (!arrivals->started)
		return;
	pthread_mutex_lock(&arrivals->lock);
	arrivals->stopping = true;
	pthread_cond_signal(&arrivals->wake);
	pthread_mutex_unlock(&arrivals->lock);
	pthread_join(arrivals->thread, NULL);
	arrivals->started = false;
}

void arrivals_free(struct arrivals *arrivals)
{
	if (!arrivals)
		return;
	arrivals_stop(arrivals);
	pthread_cond_destroy(&arrivals->wake);
	pthread_mutex_destroy(&arrivals->lock);
	free(arrivals);
}

void arrivals_add(struct arrivals *arrivals, struct arrival *arrival, int fd)
{
	arrival->fd = fd;
	arrivals_expect(arrivals, arrival);
	pthread_mutex_lock(&arrivals->lock);
	DL_APPEND(arrivals->list, arrival);
	pthread_mutex_unlock(&arrivals->lock);
}

void arrivals_remove(struct arrivals *arrivals, struct arrival *arrival)
{
	pthread_mutex_lock(&arrivals->lock);
	DL_DELETE(arrivals->list, arrival);
	pthread_mutex_unlock(&arrivals->lock);
}

void arrivals_here(struct arrival *arrival)
{
	if (arrival)
		atomic_store_explicit(&arrival->due_ms, 0, memory_order_relaxed);
}

void arrivals_expect(struct arrivals *arrivals, struct arrival *arrival)
{
	if (arrival)
		atomic_store_explicit(&arrival->due_ms, clock_mono_ms() + arrivals->patience_ms, memory_order_relaxed);
}
