#include "api/history/history_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define TIMEOUT_MS 3000  /* of a connection, if the settings do not say less */
#define RECONNECT_MS 500 /* a connection that fails sooner was closed while nobody used it */

struct history_reader {
	struct history *history;
	pthread_t thread;
	struct db *db;                   /* its thread's alone; NULL: not connected */
	struct history_reading *reading; /* under way; guarded by the room's lock */
};

struct history {
	struct db_settings settings;
	pthread_mutex_t lock;   /* guards all below */
	pthread_cond_t changed; /* something waits, has come to its end, or `stopping` */
	struct history_reading *waiting;
	bool stopping;
	struct history_reader readers[HISTORY_READERS];
	size_t started; /* threads */
};

/* --- the connection of a thread ----------------------------------------------------------------------------------- */

static int connect_reader(struct history_reader *reader, struct why *why)
{
	int err = db_open(&reader->history->settings, history_sql, HISTORY_SQL_COUNT, &reader->db, why);

	if (!err)
		err = db_exec(reader->db, SQL_SETUP, NULL, 0);
	return err ? err : db_begin_snapshot(reader->db);
}

static void disconnect_reader(struct history_reader *reader)
{
	db_close(reader->db);
	reader->db = NULL;
}

/* A connection that was closed while nobody used it, as the server does after hours, is replaced; one that does not
 * answer is not: that has taken long enough. */
static int begin_snapshot(struct history_reader *reader, struct why *why)
{
	int64_t started = clock_mono_ms();

	if (reader->db) {
		int err = db_begin_snapshot(reader->db);
		if (!err || !db_is_broken(reader->db) || clock_mono_ms() - started > RECONNECT_MS)
			return err;
		disconnect_reader(reader);
	}
	return connect_reader(reader, why);
}

static void read_now(struct history_reader *reader, struct history_reading *reading)
{
	struct why why = {0};
	int err = begin_snapshot(reader, &why);

	if (!err)
		err = history_read_page(reader->db, reading);
	if (err) {
		const char *reason = reader->db ? db_error(reader->db) : why.text;
		bool ours = err == ERR_NOMEM || err == ERR_INTERNAL;
		reading->err = why_set(&reading->why, ours ? err : ERR_UNAVAILABLE, "", "%s (%s)",
				       ours ? "the log cannot be read" : "the database is away or too slow", reason);
	}
	if (err == ERR_INTERNAL)
		log_error("the log cannot be read", LOG_STR("reason", reading->why.text));
	if (reader->db && !db_is_broken(reader->db))
		db_rollback(reader->db);
	if (reader->db && db_is_broken(reader->db))
		disconnect_reader(reader);
}

/* --- whose turn it is; with the lock held ------------------------------------------------------------------------- */

static bool may_be_read(const struct history *history, const struct history_reading *reading)
{
	unsigned common = 0;

	for (size_t i = 0; i < HISTORY_READERS; i++) {
		const struct history_reading *other = history->readers[i].reading;
		if (other && other->user_id == reading->user_id)
			return false;
		common += other && !other->admin;
	}
	return reading->admin || common < HISTORY_READERS - 1;
}

static struct history_reading *take_next(struct history *history)
{
	struct history_reading *reading;

	DL_FOREACH2(history->waiting, reading, next_waiting)
	if (may_be_read(history, reading))
		break;
	if (reading)
		DL_DELETE2(history->waiting, reading, prev, next_waiting);
	return reading;
}

/* From here on the reading may be gone. */
static void wake(const struct history_reading *reading)
{
	const struct waiter waiter = reading->waiter;

	waiter.resume(waiter.handle);
}

static void *reader_main(void *arg)
{
	struct history_reader *reader = arg;
	struct history *history = reader->history;

	pthread_mutex_lock(&history->lock);
	while (!history->stopping) {
		struct history_reading *reading = take_next(history);
		if (!reading) {
			pthread_cond_wait(&history->changed, &history->lock);
			continue;
		}
		reader->reading = reading;
		pthread_mutex_unlock(&history->lock);
		if (clock_mono_ms() - reading->since_ms > HISTORY_WAIT_MS)
			reading->err = why_set(&reading->why, ERR_BUSY, "",
					       "reading the log takes too long; try again in a moment");
		else
			read_now(reader, reading);
		pthread_mutex_lock(&history->lock);
		reader->reading = NULL;
		pthread_cond_broadcast(&history->changed); /* another one of its user's may be read now */
		wake(reading);
	}
	pthread_mutex_unlock(&history->lock);
	return NULL;
}

static bool has_room(const struct history *history, const struct history_reading *reading)
{
	unsigned all = 0, own = 0;
	const struct history_reading *other = NULL;

	DL_FOREACH2(history->waiting, other, next_waiting)
	{
		all++;
		own += other->user_id == reading->user_id;
	}
	return own < HISTORY_WAITING_PER_USER &&
	       all < HISTORY_WAITING_MAX - (reading->admin ? 0 : HISTORY_WAITING_KEPT);
}

int history_begin(struct history *history, struct history_reading *reading, const struct waiter *waiter,
		  struct why *ret_why)
{
	int err = ERR_PENDING;

	reading->waiter = *waiter;
	reading->since_ms = clock_mono_ms();
	pthread_mutex_lock(&history->lock);
	if (history->stopping) {
		err = why_set(ret_why, ERR_UNAVAILABLE, "", "the hub is shutting down");
	} else if (!has_room(history, reading)) {
		err = why_set(ret_why, ERR_BUSY, "", "too many are reading the log; try again in a moment");
	} else {
		waiter->suspend(waiter->handle); /* before anybody can resume it */
		DL_APPEND2(history->waiting, reading, prev, next_waiting);
		pthread_cond_broadcast(&history->changed);
	}
	pthread_mutex_unlock(&history->lock);
	return err;
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

int history_start(const struct db_settings *settings, struct history **ret_history)
{
	struct history *history = calloc(1, sizeof *history);

	if (!history)
		return ERR_NOMEM;
	history->settings = *settings;
	if (history->settings.timeout_ms > TIMEOUT_MS)
		history->settings.timeout_ms = TIMEOUT_MS;
	pthread_mutex_init(&history->lock, NULL);
	pthread_cond_init(&history->changed, NULL);
	for (; history->started < HISTORY_READERS; history->started++) {
		struct history_reader *reader = &history->readers[history->started];
		reader->history = history;
		if (pthread_create(&reader->thread, NULL, reader_main, reader)) {
			history_stop(history);
			return ERR_SYSTEM;
		}
	}
	*ret_history = history;
	return ERR_OK;
}

void history_drain(struct history *history)
{
	if (!history)
		return;
	pthread_mutex_lock(&history->lock);
	history->stopping = true;
	pthread_cond_broadcast(&history->changed);
	while (history->waiting) {
		struct history_reading *reading = history->waiting;
		DL_DELETE2(history->waiting, reading, prev, next_waiting);
		reading->err = why_set(&reading->why, ERR_UNAVAILABLE, "", "the hub is shutting down");
		wake(reading);
	}
	for (size_t i = 0; i < history->started; i++)
		while (history->readers[i].reading)
			pthread_cond_wait(&history->changed, &history->lock);
	pthread_mutex_unlock(&history->lock);
}

void history_stop(struct history *history)
{
	if (!history)
		return;
	history_drain(history);
	for (size_t i = 0; i < history->started; i++) {
		pthread_join(history->readers[i].thread, NULL);
		disconnect_reader(&history->readers[i]);
	}
	pthread_cond_destroy(&history->changed);
	pthread_mutex_destroy(&history->lock);
	free(history);
}
