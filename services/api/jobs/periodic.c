#include "api/jobs/periodic.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/base/clock.h"

struct periodic {
	periodic_fn fn;
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock; /* guards `stopping` */
	pthread_cond_t wake;
	bool stopping;
};

static void *periodic_main(void *arg)
{
	struct periodic *worker = arg;

	worker->fn(worker, worker->arg);
	return NULL;
}

static void release(struct periodic *worker)
{
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}

int periodic_start(periodic_fn fn, void *arg, struct periodic **ret_worker)
{
	struct periodic *worker = calloc(1, sizeof *worker);

	if (!worker)
		return ERR_NOMEM;
	worker->fn = fn;
	worker->arg = arg;
	pthread_mutex_init(&worker->lock, NULL);
	clock_cond_init(&worker->wake);
	if (pthread_create(&worker->thread, NULL, periodic_main, worker)) {
		release(worker);
		return ERR_SYSTEM;
	}
	*ret_worker = worker;
	return ERR_OK;
}

bool periodic_pause(struct periodic *worker, int64_t ms)
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + ms);

	pthread_mutex_lock(&worker->lock);
	while (!worker->stopping && pthread_cond_timedwait(&worker->wake, &worker->lock, &until) == 0)
		;
	bool go_on = !worker->stopping;
	pthread_mutex_unlock(&worker->lock);
	return go_on;
}

void periodic_stop(struct periodic *worker)
{
	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->stopping = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	release(worker);
}
