/*
 * The inside of changelog: shared by changelog.c (the connection, reading, the transaction) and changelog_write.c (a
 * batch as rows).
 */
#ifndef SILODNS_API_JOURNAL_LOG_INTERNAL_H
#define SILODNS_API_JOURNAL_LOG_INTERNAL_H

#include "api/journal/load.h"
#include "api/journal/log_read.h"

enum changelog_sql {
	SQL_DURABLE,
	SQL_REVISION,
	SQL_LOCK,
	SQL_SET_REVISION,
	SQL_RENEW,
	SQL_FORGET,
	SQL_SINCE,
	SQL_LANDED,
	SQL_FENCE,
	SQL_UNFENCE,
	SQL_USER,
	SQL_PUT_SILO,
	SQL_DELETE_SILO,
	SQL_ADD_RECORD,
	SQL_DELETE_RECORD,
	SQL_LOG,
	SQL_INSERT_USER,
	SQL_UPDATE_USER,
	SQL_DELETE_USER,
	SQL_TOKEN,
	SQL_INSERT_TOKEN,
	SQL_DELETE_TOKEN,
	SQL_DELETE_TOKENS,
	CHANGELOG_SQL_COUNT
};

struct changelog {
	struct db *db;
	const struct db_settings *settings; /* to load over a connection of its own */
	struct why why;                     /* of the last loading that failed */
	bool locked;                        /* the revision row is; `hub` is what it says */
	struct hub_row hub;
};

#define TEXT(s) DB_STRING_VALUE(s)

/* Whether the log has the batch whose first entry has this revision. */
int changelog_has(struct changelog *log, uint64_t batch_id, uint64_t first_revision, bool *ret_there);

/* A db_row_fn for SQL_USER; `arg` is a struct user. */
int changelog_read_user(void *arg, const struct db_value *row, size_t columns);

#endif
