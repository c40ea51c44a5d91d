/*
 * Work in the database that no request waits for: a table of jobs, each done again and again in bounded steps, by one
 * thread over one connection, which is closed while no step is near. After an error the connection is opened anew; a
 * database that is away is tried again for ever.
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

struct periodic_step {
	struct db *db;    /* first of all the job gives it its statements: db_use() */
	bool ending;      /* the hub stops: this is the job's last step */
	int64_t again_ms; /* from its end to the next one: the job's `every_ms`, unless the step sets it, to less when
			     there is more to do, or to PERIODIC_NEVER */
};

struct periodic_job {
	const char *name; /* for the log */
	int64_t every_ms; /* the first step comes at once */
	/* An error closes the connection, and the step comes again after `every_ms`. It is logged, but for
	 * ERR_UNAVAILABLE and ERR_DEADLOCK: that the database is away, the journal tells. */
	int (*step)(void *arg, struct periodic_step *step);
	void *arg;
	/* Asked before each step, which is left out if there is none. NULL: always, except when the hub stops. */
	bool (*has_work)(void *arg, bool ending);
};

struct periodic;

/* Nothing is done, also at the end, before `is_ready` has said so once: the tables may not be there. The table of jobs,
 * what it points to, and `db` are borrowed. ERR_NOMEM, ERR_SYSTEM (no thread). */
int periodic_start(const struct db_settings *db, const struct periodic_job *jobs, size_t count,
		   bool (*is_ready)(void *arg), void *ready_arg, struct periodic **ret_periodic);
/* Waits for the step that is being done, and for those at the end: for none of them after one that finds the database
 * away. NULL is allowed. */
void periodic_stop(struct periodic *periodic);

#endif
