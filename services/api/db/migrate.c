#include "api/db/migrate.h"

#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define PATIENCE_MS 600000 /* of a statement; in a migration it takes longer than in a request */
#define WAIT_MS 300000     /* for another process that migrates */
#define CLUSTER_WAIT_MS 5000
#define PAUSE_MS 250

enum { SQL_LOCK, SQL_TABLE, SQL_APPLIED, SQL_RECORD };

static const char *const sql[] = {
	[SQL_LOCK] = "SELECT GET_LOCK(CONCAT('silodns.migrate.', DATABASE()), 1)", /* ends with the connection */
	[SQL_TABLE] = "CREATE TABLE IF NOT EXISTS schema_migration ("
		      "number INT UNSIGNED NOT NULL PRIMARY KEY, "
		      "name VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
		      "applied TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB",
	[SQL_APPLIED] = "SELECT CAST(COALESCE(MAX(number), 0) AS UNSIGNED) FROM schema_migration",
	[SQL_RECORD] = "INSERT INTO schema_migration (number, name) VALUES (?, ?)",
};

static int apply_missing(struct db *db, unsigned *ret_applied, struct why *ret_why)
{
	uint64_t applied = 0;
	int err = db_exec(db, SQL_TABLE, NULL, 0);

	if (!err)
		err = db_query(db, SQL_APPLIED, NULL, 0, db_read_u64, &applied);
	if (err)
		return why_set(ret_why, err, "", "schema_migration: %s", db_error(db));
	if (applied > migration_count)
		return why_set(ret_why, ERR_CONFLICT, "",
			       "the database's schema (%u) is newer than this program's (%u): run the newer program",
			       (unsigned)applied, migration_count);

	*ret_applied = 0;
	for (unsigned i = (unsigned)applied; i < migration_count; i++) {
		const struct migration *m = &migrations[i];
		const struct db_value record[] = {DB_U64_VALUE(m->number), DB_TEXT_VALUE(m->name, strlen(m->name))};
		err = db_script(db, m->sql);
		if (!err)
			err = db_exec(db, SQL_RECORD, record, 2);
		if (err)
			return why_set(ret_why, err, "", "migration %s: %s", m->name, db_error(db));
		log_info("migration applied", LOG_STR("name", m->name));
		++*ret_applied;
	}
	return ERR_OK;
}

/* The usual case, without waiting for anything longer than a request may. Also false when that cannot be told. */
static bool is_current(const struct db_settings *settings)
{
	_cleanup_(db_cleanup) struct db *db = NULL;
	uint64_t applied = 0;
	struct why why;

	return !db_open(settings, sql, &db, &why) && !db_query(db, SQL_APPLIED, NULL, 0, db_read_u64, &applied) &&
	       applied == migration_count;
}

/* ERR_BUSY: another process is migrating. Such a lock keeps others away on one server only; a cluster has no lock at
 * all. It carries out the statements that define tables one after the other everywhere, and of two that fill them at
 * once one loses, and begins again: every migration may be run twice. */
static int migrate_once(struct db *db, unsigned *ret_applied, struct why *ret_why)
{
	uint64_t locked = db_is_cluster(db);
	int err = locked ? ERR_OK : db_query(db, SQL_LOCK, NULL, 0, db_read_u64, &locked);

	if (err)
		return why_set(ret_why, err, "", "GET_LOCK: %s", db_error(db));
	if (!locked)
		return why_set(ret_why, ERR_BUSY, "", "another process is migrating");
	err = apply_missing(db, ret_applied, ret_why);
	return db_is_cluster(db) && !db_is_broken(db) && (err == ERR_DEADLOCK || err == ERR_UNAVAILABLE) ? ERR_BUSY
													 : err;
}

int migrate_run(const struct db_settings *settings, const struct migrate_stop *stop, unsigned *ret_applied,
		struct why *ret_why)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000 * 1000};
	_cleanup_(db_cleanup) struct db *db = NULL;
	struct db_settings patient = *settings;

	*ret_applied = 0;
	if (is_current(settings))
		return ERR_OK;
	patient.timeout_ms = PATIENCE_MS;
	int err = db_open(&patient, sql, &db, ret_why);
	if (err)
		return err;
	int64_t until = clock_mono_ms() + (db_is_cluster(db) ? CLUSTER_WAIT_MS : WAIT_MS);
	while ((err = migrate_once(db, ret_applied, ret_why)) == ERR_BUSY && clock_mono_ms() < until &&
	       !(stop && stop->is_stopping(stop->arg)))
		nanosleep(&pause, NULL);
	return err == ERR_BUSY ? ERR_UNAVAILABLE : err;
}
