#include "api/history/retention.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "api/jobs/periodic.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define EVERY_MAX_MS 60000 /* from the end of one look at the log to the next; a tenth of the age, if that is less */
#define EVERY_MIN_MS 1000
#define PAUSE_MS 50    /* at least, between two steps */
#define PAUSE_FACTOR 4 /* of what the step took: a fifth of the time, at most, is spent in the database */

enum { SQL_ONLY_ONE, SQL_NEWEST, SQL_WINDOW, SQL_REMOVE, SQL_COUNT };

static const char *const sql[SQL_COUNT] = {
	[SQL_ONLY_ONE] = "SELECT GET_LOCK(CONCAT('silodns-retention-', DATABASE()), 0)", /* ends with the connection */
	[SQL_NEWEST] = "SELECT revision FROM hub WHERE id = 1",
	/* From where the last step ended: what was removed just now costs a look at each row, still. */
	[SQL_WINDOW] =
		"SELECT revision, at FROM change_log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?",
	[SQL_REMOVE] = "DELETE FROM change_log WHERE revision > ? AND revision <= ?",
};

struct retention {
	struct db_settings settings;
	struct store *store;
	int64_t age_ms;
	atomic_uint_fast64_t removed;
	struct periodic *worker;
};

uint64_t retention_removed(const struct retention *r)
{
	return r ? atomic_load_explicit(&r->removed, memory_order_relaxed) : 0;
}

static int read_u64(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	*(uint64_t *)arg = row[0].u64; /* 0 for NULL, too */
	return ERR_OK;
}

/* The oldest entries, as far as each of them is too old. */
struct window {
	uint64_t cutoff_us;
	uint64_t last; /* the newest revision to be removed */
	uint64_t count;
	bool ended; /* an entry was met that stays */
};

static int look(void *arg, const struct db_value *row, size_t columns)
{
	struct window *window = arg;

	(void)columns;
	window->ended |= row[1].u64 >= window->cutoff_us;
	if (!window->ended) {
		window->last = row[0].u64;
		window->count++;
	}
	return ERR_OK;
}

/* One step behind `*from`, which moves on. `*ret_more` false: nothing is left that is old enough. */
static int step(struct retention *r, struct db *db, uint64_t *from, uint64_t upto, bool *ret_more)
{
	struct window window = {.cutoff_us = (uint64_t)(clock_wall_us() - r->age_ms * 1000)};
	const struct db_value look_params[] = {DB_U64_VALUE(*from), DB_U64_VALUE(upto), DB_U64_VALUE(RETENTION_STEP)};
	int err = db_query(db, SQL_WINDOW, look_params, 3, look, &window);

	*ret_more = !err && window.count == RETENTION_STEP;
	if (err || !window.count)
		return err;
	const struct db_value remove_params[] = {DB_U64_VALUE(*from), DB_U64_VALUE(window.last)};
	err = db_exec(db, SQL_REMOVE, remove_params, 2);
	if (err)
		return err;
	*from = window.last;
	atomic_fetch_add_explicit(&r->removed, window.count, memory_order_relaxed);
	return ERR_OK;
}

static int remove_old(struct periodic *worker, struct retention *r, struct db *db)
{
	uint64_t mine = 1, newest = 0, from = 0;
	bool more = true;
	/* In a cluster of databases such a lock keeps nobody away; there, of two that remove the same entries one gets
	 * ERR_DEADLOCK, and leaves it until the next time. */
	int err = db_is_cluster(db) ? ERR_OK : db_query(db, SQL_ONLY_ONE, NULL, 0, read_u64, &mine);

	if (!err && mine)
		err = db_query(db, SQL_NEWEST, NULL, 0, read_u64, &newest);
	if (err || newest <= RETENTION_KEEP)
		return err;
	while (more && !err) {
		int64_t started = clock_mono_ms();
		err = step(r, db, &from, newest - RETENTION_KEEP, &more);
		int64_t pause_ms = (clock_mono_ms() - started) * PAUSE_FACTOR;
		if (!periodic_pause(worker, pause_ms > PAUSE_MS ? pause_ms : PAUSE_MS))
			break;
	}
	return err;
}

static void run(struct periodic *worker, struct retention *r)
{
	uint64_t before = retention_removed(r);
	int64_t started = clock_mono_ms();
	struct db *db = NULL;
	struct why why = {0};
	int err = db_open(&r->settings, sql, SQL_COUNT, &db, &why);

	if (!err) {
		err = remove_old(worker, r, db);
		if (err)
			why_set(&why, err, "", "%s", db_error(db));
		db_close(db);
	}
	uint64_t removed = retention_removed(r) - before;
	if (removed)
		log_info("old history removed", LOG_U64("entries", removed), LOG_I64("ms", clock_mono_ms() - started));
	else if (!err)
		log_debug("no old history to remove", LOG_I64("ms", clock_mono_ms() - started));
	/* That the database is away, the journal tells. */
	if (err && err != ERR_UNAVAILABLE && err != ERR_DEADLOCK)
		log_warn("old history cannot be removed", LOG_ERR(err), LOG_STR("reason", why.text));
}

static void tidy(struct periodic *worker, void *arg)
{
	struct retention *r = arg;
	int64_t every_ms = r->age_ms / 10 > EVERY_MAX_MS ? EVERY_MAX_MS : r->age_ms / 10;

	if (every_ms < EVERY_MIN_MS)
		every_ms = EVERY_MIN_MS;
	bool loaded;
	do { /* before the first load the tables may not be there */
		loaded = store_is_loaded(r->store);
		if (loaded)
			run(worker, r);
	} while (periodic_pause(worker, loaded ? every_ms : EVERY_MIN_MS));
}

int retention_start(const struct db_settings *db, struct store *store, int64_t age_ms, struct retention **ret_retention)
{
	struct retention *r;

	if (!age_ms) {
		*ret_retention = NULL;
		return ERR_OK;
	}
	r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->settings = *db;
	r->store = store;
	r->age_ms = age_ms;
	int err = periodic_start(tidy, r, &r->worker);
	if (err) {
		free(r);
		return err;
	}
	*ret_retention = r;
	return ERR_OK;
}

void retention_stop(struct retention *r)
{
	if (!r)
		return;
	periodic_stop(r->worker);
	free(r);
}
