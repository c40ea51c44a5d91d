#include "api/history/refusals.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <uthash.h>

#include "api/history/history.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define HOUR_US INT64_C(3600000000)
#define FOLD_BYTES 16
#define COLUMNS 12

static const char *const sql[] = {
	"INSERT INTO refusal (fold, first_at, last_at, count, error, account, credential, peer, method, "
	"path, subject, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE count = count + VALUES(count), last_at = GREATEST(last_at, VALUES(last_at))",
};

struct refusal {
	UT_hash_handle hh;
	char fold[2 * FOLD_BYTES + 1]; /* hash, in hexadecimal, of what makes attempts equal, and the hour */
	struct history_entry entry;    /* its times and `count` change, and nothing else */
	uint64_t written;              /* of `count`, those that are being written */
};

struct refusals {
	atomic_uint_fast64_t lost;
	pthread_mutex_t lock;    /* guards `waiting` */
	struct refusal *waiting; /* the oldest first; the periodic job alone removes any */
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

/* Who has no credentials chooses what stands in a path: it must not tell attempts apart, or each would be a row. */
static void set_fold(struct refusal *refusal, const struct attempt *attempt)
{
	const struct history_entry *entry = &refusal->entry;
	bool anybody = attempt->err == ERR_UNAUTHORIZED || attempt->err == ERR_RATE;
	struct ipaddr network = attempt->peer;
	unsigned char hash[FOLD_BYTES];
	char text[1024];

	if (network.family == 6)
		memset(network.bytes + 8, 0, 8);
	int len = snprintf(text, sizeof text, "%" PRId64 "\n%s\n%s\n%s\n%s\n%s\n%s\n%s", entry->at_us / HOUR_US,
			   entry->error, IPADDR_TEXT(&network), entry->user, entry->token, anybody ? "" : entry->method,
			   anybody ? "" : entry->path, anybody ? "" : entry->subject);
	crypto_generichash(hash, sizeof hash, (const unsigned char *)text, (size_t)len, NULL, 0);
	sodium_bin2hex(refusal->fold, sizeof refusal->fold, hash, sizeof hash);
}

/* With the lock held. Takes it. */
static void append_take(struct refusals *refusals, struct refusal *refusal)
{
	uint64_t attempts = refusal->entry.count;

	HASH_ADD_STR(refusals->waiting, fold, refusal);
	if (!refusal->hh.tbl) {
		lose(refusals, attempts);
		free(refusal);
	}
}

void refusals_add(struct refusals *refusals, const struct attempt *attempt)
{
	struct refusal *refusal, *same;

	if (!refusals)
		return;
	if (!(refusal = calloc(1, sizeof *refusal))) {
		lose(refusals, 1);
		return;
	}
	struct history_entry *entry = &refusal->entry;
	entry->at_us = entry->last_us = clock_wall_us();
	entry->count = 1;
	ipaddr_format(&attempt->peer, entry->peer);
	copy_plain(entry->user, sizeof entry->user, attempt->user);
	copy_plain(entry->token, sizeof entry->token, attempt->token);
	copy_plain(entry->subject, sizeof entry->subject, attempt->subject);
	copy_plain(entry->error, sizeof entry->error, err_name(attempt->err));
	copy_plain(entry->method, sizeof entry->method, attempt->method);
	copy_plain(entry->path, sizeof entry->path, attempt->path);
	copy_plain(entry->reason, sizeof entry->reason, attempt->reason);
	set_fold(refusal, attempt);
	pthread_mutex_lock(&refusals->lock);
	HASH_FIND_STR(refusals->waiting, refusal->fold, same);
	if (same) {
		same->entry.count++;
		same->entry.last_us = entry->last_us;
	} else if (HASH_COUNT(refusals->waiting) < REFUSALS_QUEUE_MAX) {
		append_take(refusals, TAKE_PTR(refusal));
	} else {
		lose(refusals, 1);
	}
	pthread_mutex_unlock(&refusals->lock);
	free(refusal);
}

/* --- and is written ----------------------------------------------------------------------------------------------- */

/* The oldest, as rows, which borrow from them. How many. */
static size_t make_rows(struct refusals *refusals, struct db_value ret_rows[static REFUSALS_STEP * COLUMNS])
{
	size_t count = 0;

	pthread_mutex_lock(&refusals->lock);
	for (struct refusal *refusal = refusals->waiting; refusal && count < REFUSALS_STEP;
	     refusal = refusal->hh.next) {
		const struct history_entry *entry = &refusal->entry;
		const struct db_value row[COLUMNS] = {
			DB_STRING_VALUE(refusal->fold),         DB_U64_VALUE((uint64_t)entry->at_us),
			DB_U64_VALUE((uint64_t)entry->last_us), DB_U64_VALUE(entry->count),
			DB_STRING_VALUE(entry->error),          DB_STRING_VALUE(entry->user),
			DB_STRING_VALUE(entry->token),          DB_STRING_VALUE(entry->peer),
			DB_STRING_VALUE(entry->method),         DB_STRING_VALUE(entry->path),
			DB_STRING_VALUE(entry->subject),        DB_STRING_VALUE(entry->reason)};
		memcpy(&ret_rows[count++ * COLUMNS], row, sizeof row);
		refusal->written = entry->count;
	}
	pthread_mutex_unlock(&refusals->lock);
	return count;
}

/* Those rows' refusals; what came meanwhile waits behind the others. How many attempts they were. */
static uint64_t remove_oldest(struct refusals *refusals, size_t count)
{
	uint64_t attempts = 0;

	pthread_mutex_lock(&refusals->lock);
	for (; count; count--) {
		struct refusal *refusal = refusals->waiting;
		HASH_DEL(refusals->waiting, refusal);
		attempts += refusal->written;
		refusal->entry.count -= refusal->written;
		if (refusal->entry.count)
			append_take(refusals, refusal);
		else
			free(refusal);
	}
	pthread_mutex_unlock(&refusals->lock);
	return attempts;
}

static int write_rows(struct db *db, const struct db_value *rows, size_t count)
{
	int err = db_begin(db);

	if (!err)
		err = db_bulk(db, 0, rows, COLUMNS, count);
	return err ? err : db_commit(db);
}

bool refusals_wait(void *arg, bool ending)
{
	struct refusals *refusals = arg;

	(void)ending;
	pthread_mutex_lock(&refusals->lock);
	bool any = refusals->waiting;
	pthread_mutex_unlock(&refusals->lock);
	return any;
}

/* After a COMMIT without an answer they are written once more: rather twice than not at all. What cannot be written for
 * another reason than that the database is away is given up, or it would be tried for ever. */
int refusals_write(void *arg, struct periodic_step *step)
{
	struct refusals *refusals = arg;
	struct db_value rows[REFUSALS_STEP * COLUMNS];
	size_t count;
	int err = ERR_OK;

	db_use(step->db, sql);
	do {
		count = make_rows(refusals, rows);
		if (count)
			err = write_rows(step->db, rows, count);
		if (err && err_info(err)->retryable)
			return err;
		uint64_t attempts = remove_oldest(refusals, count);
		if (err)
			lose(refusals, attempts);
	} while (!err && count == REFUSALS_STEP && step->ending);
	return err;
}

int refusals_new(struct refusals **ret_refusals)
{
	struct refusals *refusals = calloc(1, sizeof *refusals);

	if (!refusals)
		return ERR_NOMEM;
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
