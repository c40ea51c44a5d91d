#include "api/db/periodic.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define NOT_READY_MS 100
#define KEEP_MS 500 /* a connection is kept for a step that comes sooner: the server may close an idle one */

struct periodic {
	const struct db_settings *settings;
	const struct periodic_job *jobs;
	size_t count;
	bool (*is_ready)(void *arg);
	void *ready_arg;

	pthread_t thread;
	pthread_mutex_t lock; /* guards `stopping` */
	pthread_cond_t wake;
	bool stopping;

	struct db *db;    /* the thread's alone, as all below; NULL: not connected */
	int64_t due_ms[]; /* of each job; clock_mono_ms */
};

/* True once that time has come; false, sooner: it is to stop. */
static bool wait_until(struct periodic *periodic, int64_t at_ms)
{
	const struct timespec until = clock_mono_at(at_ms);

	pthread_mutex_lock(&periodic->lock);
	while (!periodic->stopping && pthread_cond_timedwait(&periodic->wake, &periodic->lock, &until) == 0)
		;
	bool stopping = periodic->stopping;
	pthread_mutex_unlock(&periodic->lock);
	return !stopping;
}

static int try_step(struct periodic *periodic, const struct periodic_job *job, struct periodic_step *step)
{
	struct why why = {0};
	int err = periodic->db ? ERR_OK : db_open(periodic->settings, NULL, &periodic->db, &why);

	step->db = periodic->db;
	if (!err)
		err = job->step(job->arg, step);
	if (!err)
		return ERR_OK;
	if (err != ERR_UNAVAILABLE && err != ERR_DEADLOCK)
		log_warn("a periodic job failed: it is tried again", LOG_STR("job", job->name), LOG_ERR(err),
			 LOG_STR("reason", step->db ? db_error(step->db) : why.text));
	step->again_ms = job->every_ms;
	db_close(TAKE_PTR(periodic->db));
	return err;
}

static int do_step(struct periodic *periodic, size_t i, bool ending)
{
	const struct periodic_job *job = &periodic->jobs[i];
	struct periodic_step step = {.ending = ending, .again_ms = job->every_ms};
	int err = ERR_OK;

	if (job->has_work ? job->has_work(job->arg, ending) : !ending) {
		err = try_step(periodic, job, &step);
		if (step.again_ms > KEEP_MS)
			db_close(TAKE_PTR(periodic->db));
	}
	periodic->due_ms[i] = step.again_ms == PERIODIC_NEVER ? PERIODIC_NEVER : clock_mono_ms() + step.again_ms;
	return err;
}

static size_t next_job(const struct periodic *periodic)
{
	size_t next = 0;

	for (size_t i = 1; i < periodic->count; i++)
		if (periodic->due_ms[i] < periodic->due_ms[next])
			next = i;
	return next;
}

static void *periodic_main(void *arg)
{
	struct periodic *periodic = arg;
	size_t next = 0;
	bool away = false; /* a step has found the database away: the end waits for one such step only */

	while (!periodic->is_ready(periodic->ready_arg))
		if (!wait_until(periodic, clock_mono_ms() + NOT_READY_MS))
			return NULL;
	while (!away && wait_until(periodic, periodic->due_ms[next])) {
		away = do_step(periodic, next, false) == ERR_UNAVAILABLE && !wait_until(periodic, 0);
		next = next_job(periodic);
	}
	for (size_t i = 0; i < periodic->count && !away; i++)
		away = do_step(periodic, i, true) == ERR_UNAVAILABLE;
	db_close(periodic->db);
	return NULL;
}

static void release(struct periodic *periodic)
{
	pthread_cond_destroy(&periodic->wake);
	pthread_mutex_destroy(&periodic->lock);
	free(periodic);
}

int periodic_start(const struct db_settings *db, const struct periodic_job *jobs, size_t count,
		   bool (*is_ready)(void *arg), void *ready_arg, struct periodic **ret_periodic)
{
	struct periodic *periodic = calloc(1, sizeof *periodic + count * sizeof periodic->due_ms[0]);

	if (!periodic)
		return ERR_NOMEM;
	periodic->settings = db;
	periodic->jobs = jobs;
	periodic->count = count;
	periodic->is_ready = is_ready;
	periodic->ready_arg = ready_arg;
	pthread_mutex_init(&periodic->lock, NULL);
	clock_cond_init(&periodic->wake);
	if (pthread_create(&periodic->thread, NULL, periodic_main, periodic)) {
		release(periodic);
		return ERR_SYSTEM;
	}
	*ret_periodic = periodic;
	return ERR_OK;
}

void periodic_stop(struct periodic *periodic)
{
	if (!periodic)
		return;
	pthread_mutex_lock(&periodic->lock);
	periodic->stopping = true;
	pthread_cond_signal(&periodic->wake);
	pthread_mutex_unlock(&periodic->lock);
	pthread_join(periodic->thread, NULL);
	release(periodic);
}
