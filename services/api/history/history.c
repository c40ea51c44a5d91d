#include "api/history/history_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define TIMEOUT_MS 3000  /* of a connection, if the settings do not say less */
#define RECONNECT_MS 500 /* a connection that fails sooner was closed while nobody used it */

struct history {
	struct db_settings settings;
	pthread_mutex_t lock;             /* guards all below */
	pthread_cond_t changed;           /* one came, one has its answer, or `stopping` */
	struct history_reading *readings; /* those that wait, in the order in which they came, and those under way */
	bool stopping;
	pthread_t readers[HISTORY_READERS];
	size_t started; /* readers */
};

/* --- reading; `db` is the connection of a reader, NULL while it has none ------------------------------------------ */

/* A connection that was closed while nobody used it, as the server does after hours, is replaced; one that does not
 * answer is not: that has taken long enough. */
static int begin_snapshot(const struct db_settings *settings, struct db **db, struct why *why)
{
	int64_t started = clock_mono_ms();
	int err = *db ? db_begin_snapshot(*db) : ERR_OK;

	if (err && db_is_broken(*db) && clock_mono_ms() - started <= RECONNECT_MS)
		db_close(TAKE_PTR(*db));
	if (*db)
		return err;
	err = history_connect(settings, db, why);
	return err ? err : db_begin_snapshot(*db);
}

static void read_now(const struct db_settings *settings, struct db **db, struct history_reading *reading)
{
	struct why why = {0};
	int err = begin_snapshot(settings, db, &why);

	if (!err)
		err = history_read_page(*db, reading);
	if (err) {
		bool ours = err == ERR_NOMEM || err == ERR_INTERNAL;
		reading->err = why_set(&reading->why, ours ? err : ERR_UNAVAILABLE, "", "%s (%s)",
				       ours ? "the log cannot be read" : "the database is away or too slow",
				       *db ? db_error(*db) : why.text);
	}
	if (err == ERR_INTERNAL)
		log_error("the log cannot be read", LOG_STR("reason", reading->why.text));
	if (*db && (db_is_broken(*db) || db_rollback(*db)))
		db_close(TAKE_PTR(*db));
}

/* --- whose turn it is; with the lock held ------------------------------------------------------------------------- */

/* How many there are, of those that are being read or of those that wait: all, this one's user's, common users'. */
struct tally {
	unsigned all, own, common;
};

static struct tally count(const struct history *history, const struct history_reading *reading, bool under_way)
{
	struct tally tally = {0};

	for (const struct history_reading *other = history->readings; other; other = other->later) {
		if (other->under_way != under_way)
			continue;
		tally.all++;
		tally.own += other->user_id == reading->user_id;
		tally.common += !other->admin;
	}
	return tally;
}

static bool has_room(const struct history *history, const struct history_reading *reading)
{
	struct tally waiting = count(history, reading, false);

	return waiting.own < HISTORY_WAITING_PER_USER &&
	       waiting.all < HISTORY_WAITING_MAX - (reading->admin ? 0 : HISTORY_WAITING_KEPT);
}

/* NULL: none that may be read now. */
static struct history_reading *find_next(const struct history *history)
{
	struct history_reading *reading;

	for (reading = history->readings; reading; reading = reading->later) {
		struct tally read = count(history, reading, true);
		if (!reading->under_way && !read.own && (reading->admin || read.common < HISTORY_READERS - 1))
			break;
	}
	return reading;
}

/* From here on the reading may be gone. */
static void finish(struct history *history, struct history_reading *reading)
{
	const struct waiter waiter = reading->waiter;

	DL_DELETE2(history->readings, reading, earlier, later);
	pthread_cond_broadcast(&history->changed); /* another one of its user's may be read now */
	waiter.resume(waiter.handle);
}

static void *reader_main(void *arg)
{
	struct history *history = arg;
	struct db *db = NULL;

	pthread_mutex_lock(&history->lock);
	while (!history->stopping) {
		struct history_reading *reading = find_next(history);
		if (!reading) {
			pthread_cond_wait(&history->changed, &history->lock);
			continue;
		}
		reading->under_way = true;
		pthread_mutex_unlock(&history->lock);
		if (clock_mono_ms() - reading->since_ms > HISTORY_WAIT_MS)
			reading->err = why_set(&reading->why, ERR_BUSY, "",
					       "reading the log takes too long; try again in a moment");
		else
			read_now(&history->settings, &db, reading);
		pthread_mutex_lock(&history->lock);
		finish(history, reading);
	}
	pthread_mutex_unlock(&history->lock);
	db_close(db);
	return NULL;
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
		DL_APPEND2(history->readings, reading, earlier, later);
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
	for (; history->started < HISTORY_READERS; history->started++)
		if (pthread_create(&history->readers[history->started], NULL, reader_main, history)) {
			history_stop(history);
			return ERR_SYSTEM;
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
	for (struct history_reading *reading = history->readings, *later; reading; reading = later) {
		later = reading->later;
		if (reading->under_way)
			continue;
		reading->err = why_set(&reading->why, ERR_UNAVAILABLE, "", "the hub is shutting down");
		finish(history, reading);
	}
	while (history->readings)
		pthread_cond_wait(&history->changed, &history->lock);
	pthread_mutex_unlock(&history->lock);
}

void history_stop(struct history *history)
{
	if (!history)
		return;
	history_drain(history);
	for (size_t i = 0; i < history->started; i++)
		pthread_join(history->readers[i], NULL);
	pthread_cond_destroy(&history->changed);
	pthread_mutex_destroy(&history->lock);
	free(history);
}
