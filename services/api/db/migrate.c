#include "api/db/migrate.h"

#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"

#define CLUSTER_TRIES 20
#define CLUSTER_PAUSE_MS 250
#define LOCK_WAIT_S 300

enum { SQL_LOCK, SQL_UNLOCK, SQL_TABLE, SQL_APPLIED, SQL_RECORD, SQL_COUNT };

static const char *const sql[SQL_COUNT] = {
	[SQL_LOCK] = "SELECT CAST(COALESCE(GET_LOCK(CONCAT('silodns.migrate.', DATABASE()), 1), 0) AS UNSIGNED)",
	[SQL_UNLOCK] = "DO RELEASE_LOCK(CONCAT('silodns.migrate.', DATABASE()))",
	[SQL_TABLE] = "CREATE TABLE IF NOT EXISTS schema_migration ("
		      "number INT UNSIGNED NOT NULL PRIMARY KEY, "
		      "name VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
		      "applied TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB",
	[SQL_APPLIED] = "SELECT CAST(COALESCE(MAX(number), 0) AS UNSIGNED) FROM schema_migration",
	[SQL_RECORD] = "INSERT INTO schema_migration (number, name) VALUES (?, ?)",
};

static bool is_stopping(const struct migrate_stop *stop)
{
	return stop && stop->is_stopping(stop->arg);
}

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

	return !db_open(settings, sql, SQL_COUNT, &db, &why) &&
	       !db_query(db, SQL_APPLIED, NULL, 0, db_read_u64, &applied) && applied == migration_count;
}

/* Such a lock keeps others away on one server only; a cluster has no lock at all. It carries out the statements that
 * define tables one after the other everywhere, and of two that fill them at once one loses, and begins again: every
 * migration may be run twice. */
static int migrate_cluster(struct db *db, const struct migrate_stop *stop, unsigned *ret_applied, struct why *ret_why)
{
	const struct timespec pause = {.tv_nsec = CLUSTER_PAUSE_MS * 1000 * 1000};
	int err = apply_missing(db, ret_applied, ret_why);

	for (int tries = 1; (err == ERR_DEADLOCK || err == ERR_UNAVAILABLE) && !db_is_broken(db) &&
			    tries < CLUSTER_TRIES && !is_stopping(stop);
	     tries++) {
		log_info("another process is migrating", LOG_STR("reason", ret_why->text));
		nanosleep(&pause, NULL);
		err = apply_missing(db, ret_applied, ret_why);
	}
	return err;
}

/* Waits second by second: the hub may be told to stop. */
static int migrate_server(struct db *db, const struct migrate_stop *stop, unsigned *ret_applied, struct why *ret_why)
{
	uint64_t locked = 0;
	int err = ERR_OK;

	for (int waited_s = 0; !err && !locked && waited_s < LOCK_WAIT_S && !is_stopping(stop); waited_s++)
		err = db_query(db, SQL_LOCK, NULL, 0, db_read_u64, &locked);
	if (err)
		return why_set(ret_why, err, "", "GET_LOCK: %s", db_error(db));
	if (!locked)
		return why_set(ret_why, ERR_UNAVAILABLE, "", "another process is migrating");
	err = apply_missing(db, ret_applied, ret_why);
	db_exec(db, SQL_UNLOCK, NULL, 0); /* closing the connection does it, too */
	return err;
}

int migrate_run(const struct db_settings *settings, const struct migrate_stop *stop, unsigned *ret_applied,
		struct why *ret_why)
{
	_cleanup_(db_cleanup) struct db *db = NULL;
	struct db_settings patient = *settings;

	*ret_applied = 0;
	if (is_current(settings))
		return ERR_OK;
	/* A migration of a large table, or the wait for another process that runs one, takes longer than a request may.
	 */
	patient.timeout_ms = 600 * 1000;
	int err = db_open(&patient, sql, SQL_COUNT, &db, ret_why);
	if (err)
		return err;
	return db_is_cluster(db) ? migrate_cluster(db, stop, ret_applied, ret_why)
				 : migrate_server(db, stop, ret_applied, ret_why);
}
