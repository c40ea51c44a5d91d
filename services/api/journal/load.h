/*
 * The whole hub out of the database: all users, tokens and silos of one instant, over a connection of its own.
 */
#ifndef SILODNS_API_JOURNAL_LOAD_H
#define SILODNS_API_JOURNAL_LOAD_H

#include "api/db/db.h"
#include "api/store/store.h"

/* Replaces what the store has. Logs progress once a second, and success. Errors as db.h, with a reason;
 * ERR_UNAVAILABLE also while the tables do not fit together, as in the middle of restoring a dump. */
int loader_load(const struct db_settings *settings, struct store *store, struct why *ret_why);

#endif
