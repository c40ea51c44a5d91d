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

/* Columns of every query for users, in this order, and their meaning. */
#define LOADER_USER_COLUMNS "id, CAST(role AS UNSIGNED), quota, name, password_hash, revision"
void loader_read_user(const struct db_value *row, struct user *ret_user);

/* The same of tokens. ERR_NOMEM. A row that makes no sense becomes a token that may do nothing. */
#define LOADER_TOKEN_QUERY                                                                                             \
	"SELECT t.owner, a.name, t.name, t.hash, t.scope, t.created, t.revision, u.used FROM token t "                 \
	"JOIN account a ON a.id = t.owner LEFT JOIN token_use u ON u.hash = t.hash"
int loader_read_token(const struct db_value *row, struct token **ret_token);

struct hub_row {
	uint64_t revision;
	char identity[HUB_IDENTITY_LEN + 1];
	uint64_t accounts, silos, records, tokens; /* rows that the tables have at this revision */
};
#define LOADER_HUB_QUERY "SELECT revision, identity, accounts, silos, records, tokens FROM hub WHERE id = 1"
/* A db_row_fn for it; `arg` is a struct hub_row. */
int loader_read_hub(void *arg, const struct db_value *row, size_t columns);

#endif
