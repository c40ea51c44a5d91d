#include "api/history/retention.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#define EVERY_MIN_MS 1000
#define PAUSE_MS 50    /* at least, between two steps */
#define PAUSE_FACTOR 4 /* of what the step took: a fifth of the time, at most, is spent in the database */

enum { SQL_SURPLUS_REFUSALS, SQL_OLD_REFUSALS, SQL_ONLY_ONE, SQL_NEXT_ONE, SQL_LAST_OLD, SQL_REMOVE };

static const char *const sql[] = {
	[SQL_SURPLUS_REFUSALS] =
		"DELETE FROM refusal WHERE id <= "
		"(SELECT id FROM (SELECT id FROM refusal ORDER BY id DESC LIMIT 1 OFFSET ?) AS surplus) "
		"ORDER BY id LIMIT 10000",
	[SQL_OLD_REFUSALS] = "DELETE FROM refusal WHERE last_at < ? ORDER BY id LIMIT 10000",
	[SQL_ONLY_ONE] = "SELECT GET_LOCK(CONCAT('silodns-retention-', DATABASE()), 0)",
	[SQL_NEXT_ONE] = "DO RELEASE_ALL_LOCKS()", /* it was taken for each step */
	/* Of the next RETENTION_STEP the last up to which all are too old. From where the last step ended: what was
	 * removed just now costs a look at each row, still. */
	[SQL_LAST_OLD] = "SELECT MAX(revision) FROM ("
			 "SELECT revision, MAX(at) OVER (ORDER BY revision) AS newest_at FROM ("
			 "SELECT revision, at FROM change_log WHERE revision > ? AND revision <= "
			 "(SELECT GREATEST(revision, ?) - ? FROM hub WHERE id = 1) ORDER BY revision LIMIT ?"
			 ") AS oldest) AS looked_at WHERE newest_at < ?",
	[SQL_REMOVE] = "DELETE FROM change_log WHERE revision > ? AND revision <= ?",
};

static int remove_refusals(struct db *db, uint64_t cutoff_us)
{
	int err = db_exec(db, SQL_SURPLUS_REFUSALS, &DB_U64_VALUE(RETENTION_REFUSALS_MAX), 1);

	return err ? err : db_exec(db, SQL_OLD_REFUSALS, &DB_U64_VALUE(cutoff_us), 1);
}

static int remove_changes(struct retention *retention, struct db *db, uint64_t cutoff_us, uint64_t *ret_removed)
{
	const struct db_value from = DB_U64_VALUE(retention->from), keep = DB_U64_VALUE(RETENTION_KEEP);
	const struct db_value oldest[] = {from, keep, keep, DB_U64_VALUE(RETENTION_STEP), DB_U64_VALUE(cutoff_us)};
	uint64_t mine = 1, last = 0;
	/* In a cluster of databases such a lock keeps nobody away; there, of two that remove the same entries one gets
	 * ERR_DEADLOCK, and leaves it until the next time. */
	int err = db_is_cluster(db) ? ERR_OK : db_query(db, SQL_ONLY_ONE, NULL, 0, db_read_u64, &mine);

	if (!err && mine)
		err = db_query(db, SQL_LAST_OLD, oldest, 5, db_read_u64, &last);
	if (err || !last)
		return err;
	err = db_exec(db, SQL_REMOVE, (const struct db_value[]){from, DB_U64_VALUE(last)}, 2);
	if (err)
		return err;
	*ret_removed = db_affected(db);
	retention->from = last;
	retention->removed_now += *ret_removed;
	atomic_fetch_add_explicit(&retention->removed, *ret_removed, memory_order_relaxed);
	return ERR_OK;
}

int retention_remove_old(void *arg, struct periodic_step *step)
{
	struct retention *retention = arg;
	int64_t started = clock_mono_ms(), every_ms = retention->age_ms / 10;
	uint64_t cutoff_us = retention->age_ms ? clock_wall_ago_us(retention->age_ms * 1000) : 0, removed = 0;
	int err = ERR_OK;

	if (retention->age_ms && every_ms < step->again_ms)
		step->again_ms = every_ms < EVERY_MIN_MS ? EVERY_MIN_MS : every_ms;
	db_use(step->db, sql);
	if (started >= retention->refusals_due_ms) { /* also amid a long look */
		err = remove_refusals(step->db, cutoff_us);
		retention->refusals_due_ms = started + step->again_ms;
	}
	if (!err && retention->age_ms)
		err = remove_changes(retention, step->db, cutoff_us, &removed);
	if (err)
		retention->from = 0; /* a backup may have been restored meanwhile */
	if (err || !retention->age_ms)
		return err;
	if (removed == RETENTION_STEP) { /* there may be more */
		int64_t pause_ms = (clock_mono_ms() - started) * PAUSE_FACTOR;
		step->again_ms = pause_ms > PAUSE_MS ? pause_ms : PAUSE_MS;
		return ERR_OK;
	}
	if (retention->removed_now)
		log_info("old history removed", LOG_U64("entries", retention->removed_now));
	else
		log_debug("no old history to remove", LOG_I64("ms", clock_mono_ms() - started));
	retention->from = retention->removed_now = 0;
	return db_exec(step->db, SQL_NEXT_ONE, NULL, 0);
}
