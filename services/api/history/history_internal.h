/*
 * What the readers' threads (history.c) and the page that they read (history_page.c) share.
 */
#ifndef SILODNS_API_HISTORY_HISTORY_INTERNAL_H
#define SILODNS_API_HISTORY_HISTORY_INTERNAL_H

#include "api/history/history.h"

enum history_sql {
	SQL_SETUP,
	SQL_FLOOR,
	SQL_KNOWN,
	SQL_OLDEST,
	SQL_AT,
	SQL_CHANGES,
	SQL_SILO_CHANGES,
	SQL_REFUSALS,
	SQL_DOCUMENT,
	SQL_DOCUMENT_BEFORE,
	HISTORY_SQL_COUNT
};

extern const char *const history_sql[HISTORY_SQL_COUNT];

/* Within a transaction that sees one instant. Fills in the answer but for `err` and `why`. Errors as db_query(). */
int history_read_page(struct db *db, struct history_reading *reading);

#endif
