/*
 * Work in the database that no request waits for: a table of jobs, each done again and again in bounded steps, by one
 * thread over one connection. The connection is opened when a job asks for it, and closed after an error or a few idle
 * seconds. A database that is away is tried again for ever.
 *
 * Jobs run one at a time, in the order in which they are due. So a job must not wait for anything but the database,
 * and does a long piece of work in steps, between which it lets the others (and the database) have their turn.
 */
#ifndef SILODNS_API_DB_PERIODIC_H
#define SILODNS_API_DB_PERIODIC_H

#include <stdbool.h>
#include <stdint.h>

#include "api/db/db.h"
#include "common/base/err.h"

#define PERIODIC_NEVER INT64_MAX

struct periodic;

struct periodic_job {
	const char *name; /* for the log */
	int64_t every_ms; /* from the end of one step to the next one; the first comes at once */
	/* One step. `*ret_again_ms` is `every_ms`, unless it is set: to less, when there is more to do, or to
	 * PERIODIC_NEVER. An error closes the connection and is logged, but for ERR_UNAVAILABLE and ERR_DEADLOCK (that
	 * the database is away, the journal tells); then it is tried again. */
	int (*step)(void *arg, struct periodic *periodic, int64_t *ret_again_ms);
	void *arg;
	bool at_end; /* one more step when the hub stops */
};

/* Nothing is done, also at the end, before `is_ready` has said so once: the tables may not be there. The table of jobs,
 * what it points to, and strings of `db` are borrowed. ERR_NOMEM, ERR_SYSTEM (no thread). */
int periodic_start(const struct db_settings *db, const struct periodic_job *jobs, size_t count,
		   bool (*is_ready)(void *arg), void *ready_arg, struct periodic **ret_periodic);
/* Waits for the step that is being done, and for those at the end. NULL is allowed. */
void periodic_stop(struct periodic *periodic);

/* For steps: the connection, with `sql` as its table of statements. Borrowed until the step ends. Errors of db_open().
 */
int periodic_db(struct periodic *periodic, const char *const *sql, size_t sql_count, struct db **ret_db);
/* For steps: whether this one is one at the end. */
bool periodic_is_ending(const struct periodic *periodic);

#endif
