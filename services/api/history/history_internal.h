/*
 * What history and trail share: the connections by which the log is read back, and the SQL that does it. For them only.
 */
#ifndef SILODNS_API_HISTORY_HISTORY_INTERNAL_H
#define SILODNS_API_HISTORY_HISTORY_INTERNAL_H

#include <pthread.h>

#include "api/history/history.h"

enum history_sql {
	SQL_SETUP,
	SQL_PAGE,
	SQL_ENTRY,
	SQL_FLOOR,
	SQL_OLDEST,
	SQL_CHANGES,
	SQL_SILO_CHANGES,
	SQL_REFUSALS,
	SQL_AT,
	SQL_DOCUMENT,
	SQL_DOCUMENT_BEFORE,
	HISTORY_SQL_COUNT
};

/* Rows of the table of statements. A user of "" is any, as is a subject in the last one. */
#define TRAIL_CHANGE_COLUMNS "revision, at, CAST(kind AS UNSIGNED), subject, actor, credential, peer"
#define TRAIL_CHANGE_FILTER "revision < ? AND at >= ? AND at < ? AND (? = '' OR actor = ?)"
#define TRAIL_SQL                                                                                                      \
	[SQL_CHANGES] = ("SELECT " TRAIL_CHANGE_COLUMNS " FROM change_log WHERE " TRAIL_CHANGE_FILTER                  \
			 " AND revision >= ? ORDER BY revision DESC LIMIT ?"),                                         \
	[SQL_SILO_CHANGES] = ("SELECT " TRAIL_CHANGE_COLUMNS " FROM change_log WHERE " TRAIL_CHANGE_FILTER             \
			      " AND subject = ? AND kind IN ('silo-put', 'silo-delete') "                              \
			      "ORDER BY revision DESC LIMIT ?"),                                                       \
	[SQL_REFUSALS] = ("SELECT id, first_at, last_at, count, error, account, credential, peer, method, path, "      \
			  "subject, reason FROM refusal WHERE id < ? AND last_at >= ? AND first_at < ? "               \
			  "AND (? = '' OR account = ?) AND (? = '' OR (subject = ? AND path LIKE '/silos/%')) "        \
			  "ORDER BY id DESC LIMIT ?"),                                                                 \
	[SQL_AT] = "SELECT at FROM change_log WHERE revision = ?",                                                     \
	[SQL_DOCUMENT] = "SELECT document FROM change_log WHERE revision = ?",                                         \
	[SQL_DOCUMENT_BEFORE] = ("SELECT document FROM change_log WHERE subject = ? AND revision < ? "                 \
				 "AND CAST(kind AS UNSIGNED) IN (?, ?) ORDER BY revision DESC LIMIT 1")

struct seat {
	struct db *db; /* whose it is while the seat is taken; NULL: not connected */
	bool taken;    /* guarded by the room's lock */
};

struct history {
	struct db_settings settings;
	pthread_mutex_t lock; /* guards `taken` of the seats, and `waiting` */
	pthread_cond_t vacated;
	struct seat seats[HISTORY_CONNECTIONS];
	unsigned waiting;
};

/* A connection in a transaction that sees one instant. ERR_BUSY, ERR_UNAVAILABLE …, with a reason. */
int history_borrow(struct history *history, struct seat **ret_seat, struct why *ret_why);
void history_give_back(struct history *history, struct seat *seat);

#endif
