/*
 * A page of the log as a JSON array, the newest entry first: what the history of a silo and the audit have in common.
 * The request waits without a thread while history.h reads it.
 */
#ifndef SILODNS_API_ROUTES_LOG_LIST_H
#define SILODNS_API_ROUTES_LOG_LIST_H

#include <jansson.h>

#include "api/history/history.h"
#include "api/routes/call.h"

#define LOG_LIST_LIMIT 100 /* entries, if the query does not say */
#define LOG_LIST_LIMIT_MAX 1000

/* A handler ends by returning what this returns (ERR_PENDING, or an error); then `finish` is called in its place. `add`
 * makes an entry's JSON and ends with log_list_add_take(). Strings of `query` live as long as the request. */
int log_list_begin(struct call *call, const struct history_query *query, history_fn add, handler_fn finish);

/* NULL `entry`: ERR_NOMEM. `arg` is what `add` got. */
int log_list_add_take(void *arg, json_t *entry);
/* Sets "added" and, if it is known what was before, "removed": a change of a silo, whose ten thousand records are not
 * all told. ERR_NOMEM, ERR_INTERNAL. */
int log_list_set_records(json_t *entry, const struct history_documents *documents);

/* For `finish`: the reading, and the reply. `before` is the value of that name in the query for the next page. */
const struct history_reading *log_list_reading(const struct call *call);
int log_list_reply(struct call *call, struct reply *reply, const char *before);

#endif
