#include "api/jobs/token_usage.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/jobs/periodic.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define EVERY_MS 60000
#define FORGET_US INT64_C(3600000000) /* of a token that is gone; another hub may know one that is new */

enum { SQL_READ, SQL_SAVE, SQL_FORGET, SQL_COUNT };

static const char *const sql[SQL_COUNT] = {
	[SQL_READ] = "SELECT hash, used FROM token_use",
	[SQL_SAVE] = ("INSERT INTO token_use (hash, used) VALUES (?, ?) "
		      "ON DUPLICATE KEY UPDATE used = GREATEST(used, VALUES(used))"),
	[SQL_FORGET] = "DELETE FROM token_use WHERE hash = ?",
};

struct token_usage {
	struct db_settings settings;
	struct store *store;
	struct periodic *worker;
};

/* Rows of parameters, and the text that they borrow. */
struct uses {
	struct db_value *rows; /* hash, time */
	char (*hashes)[TOKEN_HASH_HEX + 1];
	size_t count;
};

static void uses_release(struct uses *uses)
{
	free(uses->rows);
	free(uses->hashes);
}

static int uses_init(struct uses *uses, size_t capacity)
{
	uses->rows = calloc(2 * capacity + 1, sizeof *uses->rows);
	uses->hashes = calloc(capacity + 1, sizeof *uses->hashes);
	return uses->rows && uses->hashes ? ERR_OK : ERR_NOMEM;
}

static void uses_add(struct uses *uses, const char *hash, int64_t used_us)
{
	char *copy = uses->hashes[uses->count];

	snprintf(copy, sizeof uses->hashes[0], "%s", hash);
	uses->rows[2 * uses->count] = DB_TEXT_VALUE(copy, strlen(copy));
	uses->rows[2 * uses->count + 1] = DB_U64_VALUE((uint64_t)used_us);
	uses->count++;
}

struct reading {
	struct store *store;
	int64_t forget_before_us;
	struct uses gone;
	size_t gone_capacity;
};

static int read_use(void *arg, const struct db_value *row, size_t columns)
{
	struct reading *reading = arg;
	unsigned char hash[TOKEN_HASH_BYTES];
	struct token *token = NULL;
	size_t len = 0;
	int64_t used_us = (int64_t)row[1].u64;

	(void)columns;
	bool known = !sodium_hex2bin(hash, sizeof hash, row[0].text, row[0].len, NULL, &len, NULL) &&
		     len == sizeof hash && !store_token(reading->store, hash, &token);
	if (known)
		token_merge_use(token, used_us);
	else if (used_us < reading->forget_before_us && reading->gone.count < reading->gone_capacity)
		uses_add(&reading->gone, row[0].text, used_us);
	token_unref(token);
	return ERR_OK;
}

static int read_uses(struct token_usage *t, struct db *db)
{
	struct reading reading = {
		.store = t->store, .forget_before_us = clock_wall_us() - FORGET_US, .gone_capacity = 1000};
	int err = uses_init(&reading.gone, reading.gone_capacity);

	if (!err)
		err = db_query(db, SQL_READ, NULL, 0, read_use, &reading);
	for (size_t i = 0; i < reading.gone.count && !err; i++)
		err = db_exec(db, SQL_FORGET, &reading.gone.rows[2 * i], 1);
	uses_release(&reading.gone);
	return err;
}

static int save(struct db *db, struct token *const tokens[], size_t count)
{
	_cleanup_(uses_release) struct uses uses = {0};
	_cleanup_free_ bool *saved = calloc(count + 1, sizeof *saved);
	char hash[TOKEN_HASH_HEX + 1];
	int err = saved ? uses_init(&uses, count) : ERR_NOMEM;

	for (size_t i = 0; i < count && !err; i++) {
		saved[i] = atomic_exchange_explicit(&tokens[i]->use_unsaved, false, memory_order_acquire);
		if (!saved[i])
			continue;
		sodium_bin2hex(hash, sizeof hash, tokens[i]->hash, sizeof tokens[i]->hash);
		uses_add(&uses, hash, atomic_load_explicit(&tokens[i]->used_us, memory_order_relaxed));
	}
	if (err || !uses.count)
		return err;
	err = db_begin(db);
	if (!err)
		err = db_bulk(db, SQL_SAVE, uses.rows, 2, uses.count);
	if (!err)
		err = db_commit(db);
	for (size_t i = 0; i < count && err; i++)
		if (saved[i])
			atomic_store_explicit(&tokens[i]->use_unsaved, true, memory_order_release);
	return err;
}

static void run(struct token_usage *t)
{
	struct token **tokens;
	struct db *db = NULL;
	struct why why = {0};
	size_t count;
	int err = store_tokens(t->store, 0, &tokens, &count);

	if (err)
		return;
	if (count) {
		err = db_open(&t->settings, sql, SQL_COUNT, &db, &why);
		if (!err)
			err = save(db, tokens, count);
		if (!err)
			err = read_uses(t, db);
		/* That the database is away, the journal tells. */
		if (db && err && err != ERR_UNAVAILABLE && err != ERR_DEADLOCK)
			log_warn("the last use of tokens cannot be kept", LOG_ERR(err),
				 LOG_STR("reason", db_error(db)));
		db_close(db);
	}
	store_tokens_release(tokens, count);
}

static void keep(struct periodic *worker, void *arg)
{
	bool go_on;

	do {
		go_on = periodic_pause(worker, EVERY_MS);
		run(arg);
	} while (go_on);
}

int token_usage_start(const struct db_settings *db, struct store *store, struct token_usage **ret_tokenuse)
{
	struct token_usage *t = calloc(1, sizeof *t);

	if (!t)
		return ERR_NOMEM;
	t->settings = *db;
	t->store = store;
	int err = periodic_start(keep, t, &t->worker);
	if (err) {
		free(t);
		return err;
	}
	*ret_tokenuse = t;
	return ERR_OK;
}

void token_usage_stop(struct token_usage *t)
{
	if (!t)
		return;
	periodic_stop(t->worker);
	free(t);
}
