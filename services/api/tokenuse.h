/*
 * When tokens were last used: known to the minute in memory, brought to the database and to the other hubs once a
 * minute, by one thread with a connection of its own. So no request and no change waits for it; a hub that is killed
 * forgets a minute, one that ends orderly nothing. While the database is away, each hub judges by what it knows.
 */
#ifndef SILODNS_TOKENUSE_H
#define SILODNS_TOKENUSE_H

#include "db.h"
#include "err.h"
#include "store.h"

struct tokenuse;

/* Strings of `db` are borrowed. ERR_NOMEM, ERR_SYSTEM. */
int tokenuse_start(const struct db_settings *db, struct store *store, struct tokenuse **ret_tokenuse);
void tokenuse_stop(struct tokenuse *tokenuse); /* saves what is not saved yet; NULL is allowed */

#endif
