/*
 * The page that a reader's thread (history.c) reads; it is history_page.c that knows the tables.
 */
#ifndef SILODNS_API_HISTORY_HISTORY_INTERNAL_H
#define SILODNS_API_HISTORY_HISTORY_INTERNAL_H

#include "api/history/history.h"

/* `*ret_db` may be set on failure, too. Errors as db_open() and db_exec(). */
int history_connect(const struct db_settings *settings, struct db **ret_db, struct why *ret_why);

/* Within a transaction that sees one instant. Fills in the answer but for `err` and `why`. Errors as db_query(). */
int history_read_page(struct db *db, struct history_reading *reading);

#endif
