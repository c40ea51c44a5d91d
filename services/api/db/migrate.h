/*
 * Brings the schema to what this program needs: applies db/migrations in order, each once, recorded in
 * schema_migration, under a lock of the database server, so that several processes may start at once. A schema that is
 * newer than this program is refused.
 */
#ifndef SILODNS_API_DB_MIGRATE_H
#define SILODNS_API_DB_MIGRATE_H

#include "api/db/db.h"

struct migration {
	unsigned number; /* 1, 2, 3 … without gaps */
	const char *name;
	const char *sql;
};

/* The programs' own migrations, made by scripts/embed-migrations. */
extern const struct migration migrations[];
extern const unsigned migration_count;

/* Asked about once a second while another process migrates; nothing can stop a migration that runs. */
struct migrate_stop {
	bool (*is_stopping)(void *arg);
	void *arg;
};

/* Logs every migration that it applies. `stop` may be NULL. ERR_UNAVAILABLE (try again later, or stopped), ERR_CONFLICT
 * (newer schema), ERR_INTERNAL (a migration failed); `ret_why` says which. */
int migrate_run(const struct db_settings *settings, const struct migrate_stop *stop, unsigned *ret_applied,
		struct why *ret_why);

#endif
