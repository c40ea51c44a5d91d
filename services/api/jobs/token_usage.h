/*
 * When tokens were last used: known to the minute in memory, brought to the database and to the other hubs once a
 * minute, by a periodic job. So no request and no change waits for it; a hub that is killed forgets a minute, one that
 * ends orderly nothing. While the database is away, each hub judges by what it knows.
 */
#ifndef SILODNS_API_JOBS_TOKEN_USAGE_H
#define SILODNS_API_JOBS_TOKEN_USAGE_H

#include "api/db/periodic.h"

#define TOKEN_USAGE_EVERY_MS 60000

/* The periodic job, and whether it has work: at the end only if a time waits to be saved. `store` is a struct store. */
bool token_usage_has_work(void *store, bool ending);
int token_usage_exchange(void *store, struct periodic_step *step);

#endif
