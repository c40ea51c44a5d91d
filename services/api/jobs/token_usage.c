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

enum { SQL_SAVE, SQL_CORRECT, SQL_FORGET, SQL_READ };

static const char *const sql[] = {
	[SQL_SAVE] = "INSERT INTO token_use (hash, used) VALUES (?, ?) "
		     "ON DUPLICATE KEY UPDATE used = GREATEST(used, VALUES(used))",
	/* A hub's clock may be wrong, but no token was used in the future: it would never count as unused. */
	[SQL_CORRECT] = "UPDATE token_use SET used = " DATABASE_NOW_US " WHERE used > " DATABASE_NOW_US " + ?",
	[SQL_FORGET] = "DELETE FROM token_use WHERE used < ? AND hash NOT IN (SELECT hash FROM token)",
	[SQL_READ] = "SELECT hash, used FROM token_use",
};

static int save(struct db *db, struct token *const tokens[], size_t count)
{
	_cleanup_free_ struct db_value *rows = calloc(2 * count + 1, sizeof *rows);
	_cleanup_free_ char(*hashes)[TOKEN_HASH_HEX + 1] = calloc(count + 1, sizeof *hashes);
	size_t saved = 0;

	if (!rows || !hashes)
		return ERR_NOMEM;
	for (size_t i = 0; i < count; i++) {
		if (!atomic_exchange_explicit(&tokens[i]->use_unsaved, false, memory_order_acquire))
			continue;
		int64_t used_us = atomic_load_explicit(&tokens[i]->used_us, memory_order_relaxed);
		sodium_bin2hex(hashes[i], sizeof hashes[i], tokens[i]->hash, sizeof tokens[i]->hash);
		rows[2 * saved] = DB_STRING_VALUE(hashes[i]);
		rows[2 * saved++ + 1] = DB_U64_VALUE((uint64_t)used_us);
	}
	int err = saved ? db_begin(db) : ERR_OK;
	if (!err)
		err = db_bulk(db, SQL_SAVE, rows, 2, saved);
	if (!err && saved)
		err = db_commit(db);
	for (size_t i = 0; i < count && err; i++)
		if (hashes[i][0])
			atomic_store_explicit(&tokens[i]->use_unsaved, true, memory_order_release);
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

bool token_usage_has_work(void *store, bool ending)
{
	struct token **tokens;
	size_t count;
	bool unsaved = false;

	if (!ending || store_tokens(store, 0, &tokens, &count))
		return true;
	for (size_t i = 0; i < count; i++)
		unsaved |= atomic_load_explicit(&tokens[i]->use_unsaved, memory_order_relaxed);
	store_tokens_release(tokens, count);
	return unsaved;
}

int token_usage_exchange(void *store, struct periodic_step *step)
{
	const struct db_value ahead_max = DB_U64_VALUE(AHEAD_MAX_US);
	const struct db_value forget_before = DB_U64_VALUE(clock_wall_ago_us(FORGET_US));
	struct token **tokens;
	size_t count;
	int err = store_tokens(store, 0, &tokens, &count);

	if (err)
		return err;
	db_use(step->db, sql);
	for (size_t i = 0; i < count; i++)
		token_correct_use(tokens[i], clock_wall_us());
	err = save(step->db, tokens, count);
	store_tokens_release(tokens, count);
	if (err || step->ending)
		return err;
	err = db_exec(step->db, SQL_CORRECT, &ahead_max, 1);
	if (!err)
		err = db_exec(step->db, SQL_FORGET, &forget_before, 1);
	return err ? err : db_query(step->db, SQL_READ, NULL, 0, read_use, store);
}
