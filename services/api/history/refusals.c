#include "api/history/refusals.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <uthash.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define HOUR_US INT64_C(3600000000)
#define FOLD_BYTES 16
#define COLUMNS 12
#define REASON_MAX 255

enum { SQL_ADD, SQL_OLDEST_KEPT, SQL_REMOVE, SQL_REMOVE_OLD, SQL_COUNT };

static const char *const sql[SQL_COUNT] = {
	[SQL_ADD] =
		"INSERT INTO refusal (fold, first_at, last_at, count, error, account, credential, peer, method, "
		"path, subject, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
		"ON DUPLICATE KEY UPDATE count = count + VALUES(count), last_at = GREATEST(last_at, VALUES(last_at))",
	[SQL_OLDEST_KEPT] = "SELECT id FROM refusal ORDER BY id DESC LIMIT 1 OFFSET ?",
	[SQL_REMOVE] = "DELETE FROM refusal WHERE id <= ?",
	[SQL_REMOVE_OLD] = "DELETE FROM refusal WHERE last_at < ? ORDER BY id LIMIT 10000",
};

struct refusal {
	UT_hash_handle hh;
	unsigned char fold[FOLD_BYTES];
	int64_t first_us, last_us;
	uint64_t count;
	int err;
	const char *method, *path; /* literals */
	char user[USER_NAME_MAX + 1], token[TOKEN_NAME_MAX + 1], peer[IPADDR_TEXT_MAX];
	char subject[TOKEN_SUBJECT_MAX + 1], reason[REASON_MAX + 1];
};

struct refusals {
	int64_t age_ms;
	atomic_uint_fast64_t lost;
	pthread_mutex_t lock;    /* guards `waiting` */
	struct refusal *waiting; /* the oldest first */
};

uint64_t refusals_lost(const struct refusals *refusals)
{
	return refusals ? atomic_load_explicit(&refusals->lost, memory_order_relaxed) : 0;
}

static void lose(struct refusals *refusals, uint64_t count)
{
	atomic_fetch_add_explicit(&refusals->lost, count, memory_order_relaxed);
}

/* --- an attempt comes --------------------------------------------------------------------------------------------- */

static void copy_plain(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%.*s", (int)size - 1, from);
	for (char *c = to; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
}

static void hash_text(crypto_generichash_state *state, const char *text)
{
	crypto_generichash_update(state, (const unsigned char *)text, strlen(text) + 1);
}

/* Who has no credentials chooses what stands in a path: it must not tell attempts apart, or each would be a row. */
static void fold(const struct attempt *attempt, int64_t now_us, unsigned char ret_fold[static FOLD_BYTES])
{
	int64_t hour = now_us / HOUR_US;
	size_t network = attempt->peer.family == 6 ? 8 : 4;
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, FOLD_BYTES);
	crypto_generichash_update(&state, (const unsigned char *)&hour, sizeof hour);
	crypto_generichash_update(&state, (const unsigned char *)&attempt->err, sizeof attempt->err);
	crypto_generichash_update(&state, &attempt->peer.family, 1);
	crypto_generichash_update(&state, attempt->peer.bytes, network);
	hash_text(&state, attempt->user);
	hash_text(&state, attempt->token);
	if (attempt->err != ERR_UNAUTHORIZED && attempt->err != ERR_RATE) {
		hash_text(&state, attempt->method);
		hash_text(&state, attempt->path);
		hash_text(&state, attempt->subject);
	}
	crypto_generichash_final(&state, ret_fold, FOLD_BYTES);
}

static struct refusal *refusal_new(const struct attempt *attempt, const unsigned char key[static FOLD_BYTES],
				   int64_t now_us)
{
	struct refusal *refusal = calloc(1, sizeof *refusal);

	if (!refusal)
		return NULL;
	memcpy(refusal->fold, key, FOLD_BYTES);
	refusal->first_us = now_us;
	refusal->err = attempt->err;
	refusal->method = attempt->method;
	refusal->path = attempt->path;
	copy_plain(refusal->user, sizeof refusal->user, attempt->user);
	copy_plain(refusal->token, sizeof refusal->token, attempt->token);
	ipaddr_format(&attempt->peer, refusal->peer);
	copy_plain(refusal->subject, sizeof refusal->subject, attempt->subject);
	copy_plain(refusal->reason, sizeof refusal->reason, attempt->reason);
	return refusal;
}

/* With the lock held. NULL: there is no room. */
static struct refusal *find_or_add(struct refusals *refusals, const struct attempt *attempt, int64_t now_us)
{
	unsigned char key[FOLD_BYTES];
	struct refusal *refusal;

	fold(attempt, now_us, key);
	HASH_FIND(hh, refusals->waiting, key, FOLD_BYTES, refusal);
	if (refusal || HASH_COUNT(refusals->waiting) >= REFUSALS_QUEUE_MAX)
		return refusal;
	refusal = refusal_new(attempt, key, now_us);
	if (!refusal)
		return NULL;
	HASH_ADD(hh, refusals->waiting, fold, FOLD_BYTES, refusal);
	if (!refusal->hh.tbl) {
		free(refusal);
		return NULL;
	}
	return refusal;
}

void refusals_add(struct refusals *refusals, const struct attempt *attempt)
{
	int64_t now_us = clock_wall_us();

	if (!refusals)
		return;
	pthread_mutex_lock(&refusals->lock);
	struct refusal *refusal = find_or_add(refusals, attempt, now_us);
	if (refusal) {
		refusal->count++;
		refusal->last_us = now_us;
	} else {
		lose(refusals, 1);
	}
	pthread_mutex_unlock(&refusals->lock);
}

/* --- and is written ----------------------------------------------------------------------------------------------- */

/* The oldest, out of the queue. */
static size_t take(struct refusals *refusals, struct refusal *ret_batch[static REFUSALS_STEP])
{
	size_t count = 0;

	pthread_mutex_lock(&refusals->lock);
	while (refusals->waiting && count < REFUSALS_STEP) {
		struct refusal *refusal = refusals->waiting;
		HASH_DEL(refusals->waiting, refusal);
		ret_batch[count++] = refusal;
	}
	pthread_mutex_unlock(&refusals->lock);
	return count;
}

/* Back into the queue; what came meanwhile is added to. */
static void put_back(struct refusals *refusals, struct refusal *batch[], size_t count)
{
	pthread_mutex_lock(&refusals->lock);
	for (size_t i = 0; i < count; i++) {
		struct refusal *same, *refusal = batch[i];
		HASH_FIND(hh, refusals->waiting, refusal->fold, FOLD_BYTES, same);
		if (same) {
			same->first_us = refusal->first_us;
			same->count += refusal->count;
			free(refusal);
			continue;
		}
		uint64_t attempts = refusal->count;
		HASH_ADD(hh, refusals->waiting, fold, FOLD_BYTES, refusal);
		if (!refusal->hh.tbl) {
			lose(refusals, attempts);
			free(refusal);
		}
	}
	pthread_mutex_unlock(&refusals->lock);
}

static int write_batch(struct db *db, struct refusal *const batch[], size_t count)
{
	struct db_value rows[REFUSALS_STEP * COLUMNS];
	char folds[REFUSALS_STEP][2 * FOLD_BYTES + 1];
	int err = db_begin(db);

	for (size_t i = 0; i < count; i++) {
		const struct refusal *refusal = batch[i];
		sodium_bin2hex(folds[i], sizeof folds[i], refusal->fold, FOLD_BYTES);
		const struct db_value row[COLUMNS] = {DB_STRING_VALUE(folds[i]),
						      DB_U64_VALUE((uint64_t)refusal->first_us),
						      DB_U64_VALUE((uint64_t)refusal->last_us),
						      DB_U64_VALUE(refusal->count),
						      DB_STRING_VALUE(err_name(refusal->err)),
						      DB_STRING_VALUE(refusal->user),
						      DB_STRING_VALUE(refusal->token),
						      DB_STRING_VALUE(refusal->peer),
						      DB_STRING_VALUE(refusal->method),
						      DB_STRING_VALUE(refusal->path),
						      DB_STRING_VALUE(refusal->subject),
						      DB_STRING_VALUE(refusal->reason)};
		memcpy(&rows[i * COLUMNS], row, sizeof row);
	}
	if (!err)
		err = db_bulk(db, SQL_ADD, rows, COLUMNS, count);
	return err ? err : db_commit(db);
}

/* After a COMMIT without an answer they are written once more: rather twice than not at all. What cannot be written for
 * another reason than that the database is away is given up, or it would be tried for ever. */
static void settle(struct refusals *refusals, struct refusal *batch[], size_t count, int err, const char *reason)
{
	uint64_t attempts = 0;

	if (err && err_info(err)->retryable) {
		put_back(refusals, batch, count);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		attempts += batch[i]->count;
		free(batch[i]);
	}
	if (!err)
		return;
	lose(refusals, attempts);
	log_warn("refused attempts cannot be kept", LOG_ERR(err), LOG_STR("reason", reason),
		 LOG_U64("attempts", attempts));
}

int refusals_write(void *arg, struct periodic *periodic, int64_t *ret_again_ms)
{
	struct refusals *refusals = arg;
	struct refusal *batch[REFUSALS_STEP];
	struct db *db = NULL;
	size_t count;
	int err;

	(void)ret_again_ms;
	do {
		count = take(refusals, batch);
		if (!count)
			return ERR_OK;
		err = periodic_db(periodic, sql, SQL_COUNT, &db);
		if (!err)
			err = write_batch(db, batch, count);
		settle(refusals, batch, count, err, db ? db_error(db) : "");
	} while (!err && count == REFUSALS_STEP && periodic_is_ending(periodic));
	return err;
}

int refusals_remove_old(void *arg, struct periodic *periodic, int64_t *ret_again_ms)
{
	const struct refusals *refusals = arg;
	const struct db_value kept = DB_U64_VALUE(REFUSALS_ROWS_MAX);
	const struct db_value before = DB_U64_VALUE((uint64_t)(clock_wall_us() - refusals->age_ms * 1000));
	uint64_t last = 0;
	struct db *db;
	int err = periodic_db(periodic, sql, SQL_COUNT, &db);

	(void)ret_again_ms;
	if (!err)
		err = db_query(db, SQL_OLDEST_KEPT, &kept, 1, db_read_u64, &last);
	const struct db_value remove = DB_U64_VALUE(last);
	if (!err && last)
		err = db_exec(db, SQL_REMOVE, &remove, 1);
	if (!err && refusals->age_ms)
		err = db_exec(db, SQL_REMOVE_OLD, &before, 1);
	return err;
}

int refusals_new(int64_t age_ms, struct refusals **ret_refusals)
{
	struct refusals *refusals = calloc(1, sizeof *refusals);

	if (!refusals)
		return ERR_NOMEM;
	refusals->age_ms = age_ms;
	pthread_mutex_init(&refusals->lock, NULL);
	*ret_refusals = refusals;
	return ERR_OK;
}

void refusals_free(struct refusals *refusals)
{
	struct refusal *refusal, *next;

	if (!refusals)
		return;
	HASH_ITER (hh, refusals->waiting, refusal, next) {
		HASH_DEL(refusals->waiting, refusal);
		free(refusal);
	}
	pthread_mutex_destroy(&refusals->lock);
	free(refusals);
}
