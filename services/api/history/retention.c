#include "api/history/retention.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#define EVERY_MAX_MS 60000
#define EVERY_MIN_MS 1000
#define PAUSE_MS 50    /* at least, between two steps */
#define PAUSE_FACTOR 4 /* of what the step took: a fifth of the time, at most, is spent in the database */

enum { SQL_ONLY_ONE, SQL_NEWEST, SQL_WINDOW, SQL_REMOVE, SQL_COUNT };

static const char *const sql[SQL_COUNT] = {
	/* Ends with the connection: seconds after the last step. */
	[SQL_ONLY_ONE] = "SELECT GET_LOCK(CONCAT('silodns-retention-', DATABASE()), 0)",
	[SQL_NEWEST] = "SELECT revision FROM hub WHERE id = 1",
	/* From where the last step ended: what was removed just now costs a look at each row, still. */
	[SQL_WINDOW] =
		"SELECT revision, at FROM change_log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?",
	[SQL_REMOVE] = "DELETE FROM change_log WHERE revision > ? AND revision <= ?",
};

int64_t retention_every_ms(const struct retention *retention)
{
	int64_t every_ms = retention->age_ms / 10;

	return every_ms > EVERY_MAX_MS ? EVERY_MAX_MS : every_ms < EVERY_MIN_MS ? EVERY_MIN_MS : every_ms;
}

/* The oldest entries, as far as each of them is too old. */
struct window {
	uint64_t cutoff_us;
	uint64_t last; /* the newest revision to be removed */
	uint64_t count;
	bool ended; /* an entry was met that stays */
};

static int read_entry(void *arg, const struct db_value *row)
{
	struct window *window = arg;

	window->ended |= row[1].u64 >= window->cutoff_us;
	if (!window->ended) {
		window->last = row[0].u64;
		window->count++;
	}
	return ERR_OK;
}

/* `*ret_more`: there may be more that is old enough. */
static int remove_step(struct retention *retention, struct db *db, bool *ret_more)
{
	struct window window = {.cutoff_us = (uint64_t)(clock_wall_us() - retention->age_ms * 1000)};
	uint64_t mine = 1, newest = 0;
	/* In a cluster of databases such a lock keeps nobody away; there, of two that remove the same entries one gets
	 * ERR_DEADLOCK, and leaves it until the next time. */
	int err = db_is_cluster(db) ? ERR_OK : db_query(db, SQL_ONLY_ONE, NULL, 0, db_read_u64, &mine);

	if (!err && mine)
		err = db_query(db, SQL_NEWEST, NULL, 0, db_read_u64, &newest);
	if (err || newest <= RETENTION_KEEP)
		return err;
	const struct db_value places[] = {DB_U64_VALUE(retention->from), DB_U64_VALUE(newest - RETENTION_KEEP),
					  DB_U64_VALUE(RETENTION_STEP)};
	err = db_query(db, SQL_WINDOW, places, 3, read_entry, &window);
	if (err || !window.count)
		return err;
	const struct db_value ends[] = {DB_U64_VALUE(retention->from), DB_U64_VALUE(window.last)};
	err = db_exec(db, SQL_REMOVE, ends, 2);
	if (err)
		return err;
	retention->from = window.last;
	atomic_fetch_add_explicit(&retention->removed, window.count, memory_order_relaxed);
	*ret_more = window.count == RETENTION_STEP;
	return ERR_OK;
}

int retention_remove_old(void *arg, struct periodic *periodic, int64_t *ret_again_ms)
{
	struct retention *retention = arg;
	int64_t started = clock_mono_ms();
	bool more = false;
	struct db *db;

	if (!retention->age_ms) {
		*ret_again_ms = PERIODIC_NEVER;
		return ERR_OK;
	}
	int err = periodic_db(periodic, sql, SQL_COUNT, &db);
	if (!err)
		err = remove_step(retention, db, &more);
	if (more) {
		int64_t pause_ms = (clock_mono_ms() - started) * PAUSE_FACTOR;
		*ret_again_ms = pause_ms > PAUSE_MS ? pause_ms : PAUSE_MS;
		return err;
	}
	uint64_t removed = retention->removed - retention->removed_before;
	if (removed)
		log_info("old history removed", LOG_U64("entries", removed));
	else if (!err)
		log_debug("no old history to remove", LOG_I64("ms", clock_mono_ms() - started));
	retention->removed_before += removed;
	retention->from = 0;
	return err;
}
