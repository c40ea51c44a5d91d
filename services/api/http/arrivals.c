#include "api/http/arrivals.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <utlist.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

struct arrivals {
	int64_t patience_ms;
	pthread_mutex_t lock; /* guards `list` */
	struct arrival *list;
};

void arrivals_sweep(struct arrivals *arrivals)
{
	int64_t now_ms = clock_mono_ms();
	struct arrival *arrival;
	uint64_t count = 0;

	pthread_mutex_lock(&arrivals->lock);
	DL_FOREACH (arrivals->list, arrival) {
		int64_t due_ms = atomic_load_explicit(&arrival->due_ms, memory_order_relaxed);
		if (!due_ms || now_ms < due_ms)
			continue;
		/* Its own thread sees the end, closes it, and removes it. */
		shutdown(arrival->fd, SHUT_RDWR);
		atomic_store_explicit(&arrival->due_ms, 0, memory_order_relaxed);
		count++;
	}
	pthread_mutex_unlock(&arrivals->lock);
	if (count)
		log_debug("requests that did not arrive in time", LOG_U64("connections", count));
}

int arrivals_new(int64_t patience_ms, struct arrivals **ret_arrivals)
{
	struct arrivals *arrivals = calloc(1, sizeof *arrivals);

	if (!arrivals)
		return ERR_NOMEM;
	arrivals->patience_ms = patience_ms;
	pthread_mutex_init(&arrivals->lock, NULL);
	*ret_arrivals = arrivals;
	return ERR_OK;
}

void arrivals_free(struct arrivals *arrivals)
{
	if (!arrivals)
		return;
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
