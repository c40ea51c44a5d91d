/*
 * MariaDB as the other rooms see it: one connection, prepared statements out of the room's own const table, typed
 * values in and out, errors sorted into what a caller can do about them. No SQL is built at run time.
 *
 * A struct db belongs to one thread at a time. After any error for which db_is_broken() is true, it is good only for
 * db_close(): the server may or may not have done what was asked. Every wait is bounded by the settings' time-out.
 */
#ifndef SILODNS_API_DB_DB_H
#define SILODNS_API_DB_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/conf/conf.h"

struct db_settings {            /* borrowed, with all that it points to, for a connection's life */
	struct conf_list hosts; /* of one database: a Galera cluster's nodes, or a server and who takes its place */
	char *name, *user, *password, *tls_ca;
	char *socket; /* if not NULL, wins over the hosts */
	long port;
	long timeout_ms; /* connect, read, write; rounded up to whole seconds */
};

enum db_type { DB_NULL, DB_U64, DB_TEXT };

struct db_value {
	enum db_type type;
	uint64_t u64;
	const char *text; /* borrowed; need not end in NUL as a parameter, does end in NUL in a result row */
	size_t len;
};

#define DB_U64_VALUE(v) ((struct db_value){.type = DB_U64, .u64 = (v)})
#define DB_TEXT_VALUE(t, n) ((struct db_value){.type = DB_TEXT, .text = (t), .len = (n)})
#define DB_STRING_VALUE(s) DB_TEXT_VALUE((s), strlen(s))

struct db;

#define DB_STATEMENTS_MAX 48

/*
 * Connects and sets what all rooms rely on, whatever the server's defaults are: utf8mb4, strict SQL mode, READ
 * COMMITTED, autocommit, UTC, no limits of rows or time, checks on. `sql` is a table of at most DB_STATEMENTS_MAX
 * statements, borrowed for the connection's life; statements are prepared when first used. ERR_UNAVAILABLE with a
 * reason, ERR_NOMEM.
 *
 * The hosts are tried in turn, beginning with the one that was connected to last, by whatever thread; or, if a
 * connection to that one has broken since, with the next. One that cannot be used is passed over: a node without a
 * majority, and among several hosts one that is read-only.
 *
 * On a Galera cluster every SELECT and every START TRANSACTION outside of a transaction waits until this node has
 * applied whatever was committed anywhere before it (wsrep_sync_wait). So it does not matter to which node one is
 * connected, and a revision never goes back by changing nodes.
 */
int db_open(const struct db_settings *settings, const char *const *sql, struct db **ret_db, struct why *ret_why);
void db_close(struct db *db);
void db_cleanup(struct db **db); /* for _cleanup_() */
/* Another table of statements for the same connection. */
void db_use(struct db *db, const char *const *sql);

/* What the last failed call said (server's or library's text). */
const char *db_error(const struct db *db);
bool db_is_broken(const struct db *db);
/* Whether the server is a node of a Galera cluster: other nodes write, too, and know nothing of this one's locks. */
bool db_is_cluster(const struct db *db);

/*
 * All return ERR_UNAVAILABLE (connection lost, server read-only, not ready, refusing: broken; or the tables are not
 * what they should be: a backup is being restored), ERR_DEADLOCK (rolled back by the server: run the whole transaction
 * again), ERR_TOO_LARGE (one row is more than the server's max_allowed_packet), ERR_NOMEM, ERR_INTERNAL (anything
 * else).
 */

/* For a connection that does nothing but transactions: the first statement begins one from now on, so db_begin() costs
 * no round trip, and what was only read is to be ended by db_rollback(). Not on a cluster, where nothing changes. */
int db_begin_implicitly(struct db *db);
int db_begin(struct db *db);
/* A transaction whose every SELECT sees the same instant. */
int db_begin_snapshot(struct db *db);
int db_commit(struct db *db); /* ERR_UNKNOWN_OUTCOME when the answer was lost */
int db_rollback(struct db *db);

int db_exec(struct db *db, unsigned statement, const struct db_value *params, size_t param_count);
/* Of the last db_exec() or db_bulk(): how many rows it has changed, and the AUTO_INCREMENT of a row that it has
 * inserted. */
uint64_t db_affected(const struct db *db);
uint64_t db_insert_id(const struct db *db);

/* One execution per row of `rows` (row by row, `columns` values each), in as few round trips as the server's
 * max_allowed_packet allows. No rows: nothing is done. */
int db_bulk(struct db *db, unsigned statement, const struct db_value *rows, size_t columns, size_t row_count);

/* Calls back for every row, streaming; the row's values live until the callback returns. A non-zero return ends the
 * query and is returned. */
typedef int (*db_row_fn)(void *arg, const struct db_value *row);
int db_query(struct db *db, unsigned statement, const struct db_value *params, size_t param_count, db_row_fn fn,
	     void *arg);
/* A db_row_fn: the number in the first column, 0 for NULL; `arg` is a uint64_t. */
int db_read_u64(void *arg, const struct db_value *row);

/* Several statements as text; for migrations only. */
int db_script(struct db *db, const char *sql);

#endif
