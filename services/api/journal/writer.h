/*
 * The only writer, and the follower. One thread owns one database connection and the right to change the store:
 *
 *   queue → decide every waiting change against memory → one transaction: lock the hub's row, if it still is at
 * memory's revision → write in bulk → commit → apply to the store → answer
 *
 * So a change is answered only once it is durable, revisions are in commit order without gaps, and one fsync serves as
 * many changes as were waiting. If another process was ahead, nothing is written, memory catches up by the log, and the
 * changes are decided again, now with the row locked first. When nothing waits, the thread polls the revision. It finds
 * a lost database again by itself; until then changes are refused at once. If the answer to COMMIT is lost, it looks up
 * whether the transaction landed before it answers.
 */
#ifndef SILODNS_API_JOURNAL_WRITER_H
#define SILODNS_API_JOURNAL_WRITER_H

#include <stdbool.h>

#include "api/db/db.h"
#include "api/journal/queue.h"
#include "api/store/store.h"

struct writer_settings {
	struct db_settings db;
	long poll_ms; /* how often to look for other processes' changes */
	bool migrate; /* apply migrations on connecting */
};

struct writer;

/* Starts the thread. Strings of `settings` are borrowed for the writer's life. ERR_NOMEM, ERR_SYSTEM. */
int writer_start(struct store *store, struct queue *queue, const struct writer_settings *settings,
		 struct writer **ret_writer);
void writer_stop(struct writer *writer); /* answers what is waiting, then ends the thread; NULL is allowed */

#endif
