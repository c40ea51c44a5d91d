/*
 * The inside of the journal's database: all of its SQL (sql.c), what rows mean, and the connection that log_read.c
 * (reading, locking) and log_write.c (a transaction as rows) share. load.c uses the same table over a connection of its
 * own.
 */
#ifndef SILODNS_API_JOURNAL_LOG_INTERNAL_H
#define SILODNS_API_JOURNAL_LOG_INTERNAL_H

#include "api/journal/log_read.h"

enum journal_sql {
	SQL_DURABLE,
	SQL_HUB,
	SQL_LOCK_HUB,
	SQL_CLAIM,
	SQL_CLAIM_ADDRESS,
	SQL_RENEW,
	SQL_FORGET,
	SQL_SINCE,
	SQL_LANDED,
	SQL_FENCE,
	SQL_UNFENCE,
	SQL_LOG,
	SQL_LATEST,
	SQL_LATEST_DOCUMENTS,
	SQL_LOG_AGE,
	SQL_RECORDS,
	SQL_SILOS,
	SQL_PUT_SILO,
	SQL_DELETE_SILO,
	SQL_ADD_RECORD,
	SQL_CHANGE_RECORD,
	SQL_DELETE_RECORD,
	SQL_USERS,
	SQL_USER,
	SQL_INSERT_USER,
	SQL_UPDATE_USER,
	SQL_DELETE_USER,
	SQL_TOKENS,
	SQL_TOKEN,
	SQL_INSERT_TOKEN,
	SQL_DELETE_TOKEN,
	SQL_DELETE_TOKENS,
	JOURNAL_SQL_COUNT
};
extern const char *const journal_sql[JOURNAL_SQL_COUNT];

struct hub_row {
	uint64_t revision;
	char identity[HUB_IDENTITY_LEN + 1];
	uint64_t accounts, silos, records, tokens; /* rows that the tables have at this revision */
};

/* Each a db_row_fn. `arg`: a struct hub_row; a struct user; where a new token goes (ERR_NOMEM; a row that makes no
 * sense becomes one that may do nothing). */
int journal_read_hub(void *arg, const struct db_value *row);
int journal_read_user(void *arg, const struct db_value *row);
int journal_read_token(void *arg, const struct db_value *row);

struct changelog {
	struct db *db;
	const struct db_settings *settings; /* to load over a connection of its own */
	struct why why;                     /* of the last loading that failed */
	bool locked;                        /* the hub's row is; `hub` is what it says */
	struct hub_row hub;
};

#define TEXT(s) DB_STRING_VALUE(s)

/* The whole hub out of the database: all users, tokens and silos of one instant, over a connection of its own. Replaces
 * what the store has, unless it is only to be `tried`. Logs progress once a second, and success. Errors as db.h, with a
 * reason; ERR_UNAVAILABLE also while the tables do not fit together, as in the middle of restoring a dump. */
int journal_load(const struct db_settings *settings, struct store *store, bool tried, struct why *ret_why);

/* Whether the log has the transaction whose first entry has this revision. */
int changelog_has(struct changelog *log, uint64_t transaction_id, uint64_t first_revision, bool *ret_there);

#endif
