/*
 * When tokens were last used: known to the minute in memory, brought to the database and to the other hubs once a
 * minute, by one thread with a connection of its own. So no request and no change waits for it; a hub that is killed
 * forgets a minute, one that ends orderly nothing. While the database is away, each hub judges by what it knows.
 */
#ifndef SILODNS_API_JOBS_TOKEN_USAGE_H
#define SILODNS_API_JOBS_TOKEN_USAGE_H

#include "api/db/db.h"
#include "api/store/store.h"
#include "common/base/err.h"

struct token_usage;

/* Strings of `db` are borrowed. ERR_NOMEM, ERR_SYSTEM. */
int token_usage_start(const struct db_settings *db, struct store *store, struct token_usage **ret_tokenuse);
void token_usage_stop(struct token_usage *tokenuse); /* saves what is not saved yet; NULL is allowed */

#endif
