#include "api/history/refusals.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <uthash.h>

#include "api/jobs/periodic.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define EVERY_MS 1000
#define TIDY_MS 60000
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

struct entry {
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
	struct db_settings settings;
	struct store *store;
	int64_t age_ms;
	atomic_uint_fast64_t lost;
	struct periodic *worker;
	pthread_mutex_t lock;  /* guards `entries` */
	struct entry *entries; /* the oldest first */

	int64_t tidied; /* the worker's alone; clock_mono_ms */
};

uint64_t refusals_lost(const struct refusals *audit)
{
	return audit ? atomic_load_explicit(&audit->lost, memory_order_relaxed) : 0;
}

static void lose(struct refusals *audit, uint64_t count)
{
	atomic_fetch_add_explicit(&audit->lost, count, memory_order_relaxed);
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

static struct entry *entry_new(const struct attempt *attempt, const unsigned char key[static FOLD_BYTES],
			       int64_t now_us)
{
	struct entry *entry = calloc(1, sizeof *entry);

	if (!entry)
		return NULL;
	memcpy(entry->fold, key, FOLD_BYTES);
	entry->first_us = now_us;
	entry->err = attempt->err;
	entry->method = attempt->method;
	entry->path = attempt->path;
	copy_plain(entry->user, sizeof entry->user, attempt->user);
	copy_plain(entry->token, sizeof entry->token, attempt->token);
	ipaddr_format(&attempt->peer, entry->peer);
	copy_plain(entry->subject, sizeof entry->subject, attempt->subject);
	copy_plain(entry->reason, sizeof entry->reason, attempt->reason);
	return entry;
}

/* With the lock held. NULL: there is no room. */
static struct entry *find_or_add(struct refusals *audit, const struct attempt *attempt, int64_t now_us)
{
	unsigned char key[FOLD_BYTES];
	struct entry *entry;

	fold(attempt, now_us, key);
	HASH_FIND(hh, audit->entries, key, FOLD_BYTES, entry);
	if (entry || HASH_COUNT(audit->entries) >= REFUSALS_QUEUE_MAX)
		return entry;
	entry = entry_new(attempt, key, now_us);
	if (!entry)
		return NULL;
	HASH_ADD(hh, audit->entries, fold, FOLD_BYTES, entry);
	if (!entry->hh.tbl) {
		free(entry);
		return NULL;
	}
	return entry;
}

void refusals_add(struct refusals *audit, const struct attempt *attempt)
{
	int64_t now_us = clock_wall_us();

	if (!audit)
		return;
	pthread_mutex_lock(&audit->lock);
	struct entry *entry = find_or_add(audit, attempt, now_us);
	if (entry) {
		entry->count++;
		entry->last_us = now_us;
	} else {
		lose(audit, 1);
	}
	pthread_mutex_unlock(&audit->lock);
}

/* --- and is written ----------------------------------------------------------------------------------------------- */

/* The oldest, out of the queue. */
static size_t take(struct refusals *audit, struct entry *ret_entries[static REFUSALS_STEP])
{
	size_t count = 0;

	pthread_mutex_lock(&audit->lock);
	while (audit->entries && count < REFUSALS_STEP) {
		struct entry *entry = audit->entries;
		HASH_DEL(audit->entries, entry);
		ret_entries[count++] = entry;
	}
	pthread_mutex_unlock(&audit->lock);
	return count;
}

/* Back into the queue; what came meanwhile is added to. */
static void put_back(struct refusals *audit, struct entry *entries[], size_t count)
{
	pthread_mutex_lock(&audit->lock);
	for (size_t i = 0; i < count; i++) {
		struct entry *same, *entry = entries[i];
		HASH_FIND(hh, audit->entries, entry->fold, FOLD_BYTES, same);
		if (same) {
			same->first_us = entry->first_us;
			same->count += entry->count;
			free(entry);
			continue;
		}
		uint64_t attempts = entry->count;
		HASH_ADD(hh, audit->entries, fold, FOLD_BYTES, entry);
		if (!entry->hh.tbl) {
			lose(audit, attempts);
			free(entry);
		}
	}
	pthread_mutex_unlock(&audit->lock);
}

static int write_entries(struct db *db, struct entry *const entries[], size_t count)
{
	struct db_value rows[REFUSALS_STEP * COLUMNS];
	char folds[REFUSALS_STEP][2 * FOLD_BYTES + 1];
	int err = db_begin(db);

	for (size_t i = 0; i < count; i++) {
		const struct entry *entry = entries[i];
		sodium_bin2hex(folds[i], sizeof folds[i], entry->fold, FOLD_BYTES);
		const struct db_value row[COLUMNS] = {DB_STRING_VALUE(folds[i]),
						      DB_U64_VALUE((uint64_t)entry->first_us),
						      DB_U64_VALUE((uint64_t)entry->last_us),
						      DB_U64_VALUE(entry->count),
						      DB_STRING_VALUE(err_name(entry->err)),
						      DB_STRING_VALUE(entry->user),
						      DB_STRING_VALUE(entry->token),
						      DB_STRING_VALUE(entry->peer),
						      DB_STRING_VALUE(entry->method),
						      DB_STRING_VALUE(entry->path),
						      DB_STRING_VALUE(entry->subject),
						      DB_STRING_VALUE(entry->reason)};
		memcpy(&rows[i * COLUMNS], row, sizeof row);
	}
	if (!err)
		err = db_bulk(db, SQL_ADD, rows, COLUMNS, count);
	return err ? err : db_commit(db);
}

static int read_u64(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	*(uint64_t *)arg = row[0].u64;
	return ERR_OK;
}

static int tidy(const struct refusals *audit, struct db *db)
{
	const struct db_value kept = DB_U64_VALUE(REFUSALS_ROWS_MAX);
	uint64_t last = 0;
	int err = db_query(db, SQL_OLDEST_KEPT, &kept, 1, read_u64, &last);
	const struct db_value remove = DB_U64_VALUE(last);
	const struct db_value before = DB_U64_VALUE((uint64_t)(clock_wall_us() - audit->age_ms * 1000));

	if (!err && last)
		err = db_exec(db, SQL_REMOVE, &remove, 1);
	if (!err && audit->age_ms)
		err = db_exec(db, SQL_REMOVE_OLD, &before, 1);
	return err;
}

/* What cannot be written for another reason than that the database is away is given up, or it would be tried for ever.
 */
static void settle(struct refusals *audit, struct entry *entries[], size_t count, int err, const char *reason)
{
	uint64_t attempts = 0;

	if (err == ERR_UNAVAILABLE || err == ERR_DEADLOCK || err == ERR_NOMEM) {
		put_back(audit, entries, count);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		attempts += entries[i]->count;
		free(entries[i]);
	}
	if (!err)
		return;
	lose(audit, attempts);
	log_warn("refused attempts cannot be kept", LOG_ERR(err), LOG_STR("reason", reason),
		 LOG_U64("attempts", attempts));
}

static void run(struct refusals *audit, struct db **db)
{
	struct entry *entries[REFUSALS_STEP];
	bool untidy = clock_mono_ms() - audit->tidied >= TIDY_MS;
	size_t count = store_is_loaded(audit->store) ? take(audit, entries) : 0; /* before, there may be no table */
	struct why why = {0};
	int err = ERR_OK;

	if (!count && !(untidy && store_is_loaded(audit->store)))
		return;
	if (!*db)
		err = db_open(&audit->settings, sql, SQL_COUNT, db, &why);
	if (!err && count)
		err = write_entries(*db, entries, count);
	settle(audit, entries, count, err, *db ? db_error(*db) : why.text);
	if (!err && untidy)
		err = tidy(audit, *db);
	if (untidy)
		audit->tidied = clock_mono_ms();
	/* One that nobody uses for long is closed by the server. */
	if (*db && (err || untidy)) {
		db_close(*db);
		*db = NULL;
	}
}

static bool queue_is_empty(struct refusals *audit)
{
	pthread_mutex_lock(&audit->lock);
	bool empty = !audit->entries;
	pthread_mutex_unlock(&audit->lock);
	return empty;
}

static void write_all(struct periodic *worker, void *arg)
{
	struct refusals *audit = arg;
	struct db *db = NULL;
	bool go_on;

	do {
		go_on = periodic_pause(worker, EVERY_MS);
		run(audit, &db);
	} while (go_on);
	for (size_t i = 0; db && i < REFUSALS_QUEUE_MAX / REFUSALS_STEP && !queue_is_empty(audit); i++)
		run(audit, &db);
	db_close(db);
}

static void release(struct refusals *audit)
{
	struct entry *entry, *next;

	HASH_ITER (hh, audit->entries, entry, next) {
		HASH_DEL(audit->entries, entry);
		free(entry);
	}
	pthread_mutex_destroy(&audit->lock);
	free(audit);
}

int refusals_start(const struct db_settings *db, struct store *store, int64_t age_ms, struct refusals **ret_audit)
{
	struct refusals *audit = calloc(1, sizeof *audit);

	if (!audit)
		return ERR_NOMEM;
	audit->settings = *db;
	audit->store = store;
	audit->age_ms = age_ms;
	audit->tidied = clock_mono_ms() - TIDY_MS; /* at once */
	pthread_mutex_init(&audit->lock, NULL);
	int err = periodic_start(write_all, audit, &audit->worker);
	if (err) {
		release(audit);
		return err;
	}
	*ret_audit = audit;
	return ERR_OK;
}

void refusals_stop(struct refusals *audit)
{
	if (!audit)
		return;
	periodic_stop(audit->worker);
	release(audit);
}
