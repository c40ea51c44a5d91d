#include "api/jobs/token_usage.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/store/store.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define FORGET_US INT64_C(3600000000)
#define AHEAD_MAX_US INT64_C(60000000) /* more than that, and somebody's clock is wrong */
#define DATABASE_NOW_US "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)"

enum { SQL_SAVE, SQL_CORRECT, SQL_FORGET, SQL_READ, SQL_COUNT };

static const char *const sql[SQL_COUNT] = {
	[SQL_SAVE] = "INSERT INTO token_use (hash, used) VALUES (?, ?) "
		     "ON DUPLICATE KEY UPDATE used = GREATEST(used, VALUES(used))",
	/* A hub's clock may be wrong, but no token was used in the future: it would never count as unused. */
	[SQL_CORRECT] = "UPDATE token_use SET used = " DATABASE_NOW_US " WHERE used > " DATABASE_NOW_US " + ?",
	[SQL_FORGET] = "DELETE FROM token_use WHERE used < ? AND hash NOT IN (SELECT hash FROM token)",
	[SQL_READ] = "SELECT hash, used FROM token_use",
};

static int save(struct db *db, struct token *const tokens[], size_t count)
{
	_cleanup_free_ struct db_value *rows = calloc(2 * count, sizeof *rows);
	_cleanup_free_ char(*hashes)[TOKEN_HASH_HEX + 1] = calloc(count, sizeof *hashes);
	_cleanup_free_ struct token **saved = calloc(count, sizeof(struct token *));
	size_t n = 0;
	int err = rows && hashes && saved ? ERR_OK : ERR_NOMEM;

	for (size_t i = 0; i < count && !err; i++) {
		if (!atomic_exchange_explicit(&tokens[i]->use_unsaved, false, memory_order_acquire))
			continue;
		sodium_bin2hex(hashes[n], sizeof hashes[n], tokens[i]->hash, sizeof tokens[i]->hash);
		rows[2 * n] = DB_STRING_VALUE(hashes[n]);
		rows[2 * n + 1] =
			DB_U64_VALUE((uint64_t)atomic_load_explicit(&tokens[i]->used_us, memory_order_relaxed));
		saved[n++] = tokens[i];
	}
	if (err || !n)
		return err;
	err = db_begin(db);
	if (!err)
		err = db_bulk(db, SQL_SAVE, rows, 2, n);
	if (!err)
		err = db_commit(db);
	for (size_t i = 0; i < n && err; i++)
		atomic_store_explicit(&saved[i]->use_unsaved, true, memory_order_release);
	return err;
}

static int read_use(void *store, const struct db_value *row)
{
	unsigned char hash[TOKEN_HASH_BYTES];
	struct token *token;
	size_t len = 0;

	if (sodium_hex2bin(hash, sizeof hash, row[0].text, row[0].len, NULL, &len, NULL) || len != sizeof hash ||
	    store_token(store, hash, &token))
		return ERR_OK;
	token_merge_use(token, (int64_t)row[1].u64);
	token_unref(token);
	return ERR_OK;
}

int token_usage_exchange(void *store, struct periodic *periodic, int64_t *ret_again_ms)
{
	const struct db_value ahead_max = DB_U64_VALUE(AHEAD_MAX_US);
	const struct db_value forget_before = DB_U64_VALUE((uint64_t)(clock_wall_us() - FORGET_US));
	struct token **tokens;
	struct db *db;
	size_t count;
	int err = store_tokens(store, 0, &tokens, &count);

	(void)ret_again_ms;
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		token_correct_use(tokens[i], clock_wall_us());
	if (count)
		err = periodic_db(periodic, sql, SQL_COUNT, &db);
	if (count && !err)
		err = save(db, tokens, count);
	if (count && !err)
		err = db_exec(db, SQL_CORRECT, &ahead_max, 1);
	if (count && !err)
		err = db_exec(db, SQL_FORGET, &forget_before, 1);
	if (count && !err)
		err = db_query(db, SQL_READ, NULL, 0, read_use, store);
	store_tokens_release(tokens, count);
	return err;
}
