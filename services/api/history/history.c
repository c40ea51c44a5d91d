#include "api/history/history_internal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define TIMEOUT_MS 3000 /* of a connection, if the settings do not say less */
#define PAGE_MS 2000    /* a page ends before its limit when it takes so long */

/* `kind` in every statement: a user may have the name of a silo. */
#define SILO_CHANGES "subject = ? AND kind IN ('silo-put', 'silo-delete')"

static const char *const sql[HISTORY_SQL_COUNT] = {
	[SQL_SETUP] = "SET SESSION max_statement_time = 2",
	[SQL_PAGE] = ("SELECT revision FROM change_log WHERE " SILO_CHANGES " AND revision > ? AND revision < ? "
		      "AND at >= ? AND at < ? ORDER BY revision DESC LIMIT ?"), /* by KEY subject alone */
	[SQL_ENTRY] = ("SELECT revision, at, CAST(kind AS UNSIGNED), actor, peer, document FROM change_log "
		       "WHERE " SILO_CHANGES " AND revision < ? ORDER BY revision DESC LIMIT 1"),
	[SQL_FLOOR] = ("SELECT revision FROM change_log WHERE subject = ? AND kind = 'silo-delete' AND owner <> ? "
		       "ORDER BY revision DESC LIMIT 1"),
	[SQL_OLDEST] = "SELECT revision FROM change_log ORDER BY revision LIMIT 1",
	TRAIL_SQL,
};

int history_new(const struct db_settings *settings, struct history **ret_history)
{
	struct history *history = calloc(1, sizeof *history);

	if (!history)
		return ERR_NOMEM;
	history->settings = *settings;
	if (history->settings.timeout_ms > TIMEOUT_MS)
		history->settings.timeout_ms = TIMEOUT_MS;
	pthread_mutex_init(&history->lock, NULL);
	clock_cond_init(&history->vacated);
	*ret_history = history;
	return ERR_OK;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	for (size_t i = 0; i < HISTORY_CONNECTIONS; i++)
		db_close(history->seats[i].db);
	pthread_cond_destroy(&history->vacated);
	pthread_mutex_destroy(&history->lock);
	free(history);
}

/* --- seats -------------------------------------------------------------------------------------------------------- */

/* With the lock held. One that is connected already, if there is one. */
static struct seat *free_seat(struct history *history)
{
	struct seat *found = NULL;

	for (size_t i = 0; i < HISTORY_CONNECTIONS; i++) {
		struct seat *seat = &history->seats[i];
		if (!seat->taken && (!found || seat->db))
			found = seat;
	}
	return found;
}

/* NULL: too many are reading. */
static struct seat *take_seat(struct history *history)
{
	const struct timespec until = clock_mono_at(clock_mono_ms() + HISTORY_WAIT_MS);

	pthread_mutex_lock(&history->lock);
	struct seat *seat = free_seat(history);
	if (!seat && history->waiting < HISTORY_WAITING_MAX) {
		history->waiting++;
		while (!seat && pthread_cond_timedwait(&history->vacated, &history->lock, &until) == 0)
			seat = free_seat(history);
		history->waiting--;
	}
	if (seat)
		seat->taken = true;
	pthread_mutex_unlock(&history->lock);
	return seat;
}

static void vacate(struct history *history, struct seat *seat)
{
	if (seat->db && db_is_broken(seat->db)) {
		db_close(seat->db);
		seat->db = NULL;
	}
	pthread_mutex_lock(&history->lock);
	seat->taken = false;
	pthread_cond_signal(&history->vacated);
	pthread_mutex_unlock(&history->lock);
}

static int connect_seat(struct history *history, struct seat *seat, struct why *why)
{
	int err = db_open(&history->settings, sql, HISTORY_SQL_COUNT, &seat->db, why);

	if (!err)
		err = db_exec(seat->db, SQL_SETUP, NULL, 0);
	return err ? err : db_begin_snapshot(seat->db);
}

/* Begins to read. A connection that was closed while nobody used it, as the server does after hours, is replaced; one
 * that does not answer is not: that has taken long enough. */
static int begin(struct history *history, struct seat *seat, struct why *why)
{
	int64_t started = clock_mono_ms();

	if (seat->db) {
		int err = db_begin_snapshot(seat->db);
		if (!err || !db_is_broken(seat->db) || clock_mono_ms() - started > HISTORY_WAIT_MS)
			return err;
		db_close(seat->db);
		seat->db = NULL;
	}
	return connect_seat(history, seat, why);
}

/* --- a page ------------------------------------------------------------------------------------------------------- */

/* One row of the log: the silo as that change left it. */
struct state {
	bool found;
	uint64_t revision;
	int64_t at_us;
	enum change_kind kind;
	char user[USER_NAME_MAX + 1], peer[IPADDR_TEXT_MAX];
	struct silo silo;
	size_t bytes; /* of its document */
};

struct page {
	struct db *db;
	const struct history_query *query;
	uint64_t *revisions; /* query->limit + 1: one more tells that there is more */
	size_t count;
	bool complete; /* nothing was ever removed from the log */
};

static void release_state(struct state *state)
{
	silo_release(&state->silo);
	*state = (struct state){0};
}

static int read_revision(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	*(uint64_t *)arg = row[0].u64;
	return ERR_OK;
}

static int add_revision(void *arg, const struct db_value *row, size_t columns)
{
	struct page *page = arg;

	(void)columns;
	page->revisions[page->count++] = row[0].u64;
	return ERR_OK;
}

static int read_state(void *arg, const struct db_value *row, size_t columns)
{
	struct state *state = arg;

	(void)columns;
	state->found = true;
	state->revision = row[0].u64;
	state->at_us = (int64_t)row[1].u64;
	state->kind = (enum change_kind)row[2].u64;
	snprintf(state->user, sizeof state->user, "%s", row[3].text);
	snprintf(state->peer, sizeof state->peer, "%s", row[4].text);
	if (row[5].type == DB_NULL)
		return ERR_OK;
	state->bytes = row[5].len;
	int err = silo_parse(row[5].text, row[5].len, NULL, NULL, &state->silo, NULL);
	return err && err != ERR_NOMEM ? ERR_INTERNAL : err;
}

/* What the newest change below `revision` made of the silo. */
static int fetch_state(const struct page *page, uint64_t revision, struct state *ret_state)
{
	const struct db_value params[] = {DB_STRING_VALUE(page->query->silo), DB_U64_VALUE(revision)};

	release_state(ret_state);
	return db_query(page->db, SQL_ENTRY, params, 2, read_state, ret_state);
}

/* Which entries the page has, and whether there are any of that silo at all. */
static int find_entries(struct page *page)
{
	const struct history_query *query = page->query;
	const struct db_value floor_params[] = {DB_STRING_VALUE(query->silo), DB_U64_VALUE(query->owner)};
	_cleanup_(release_state) struct state newest = {0};
	uint64_t floor = 0, oldest = 0;
	int err = query->owner ? db_query(page->db, SQL_FLOOR, floor_params, 2, read_revision, &floor) : ERR_OK;

	const struct db_value params[] = {DB_STRING_VALUE(query->silo),
					  DB_U64_VALUE(floor),
					  DB_U64_VALUE(query->before),
					  DB_U64_VALUE((uint64_t)query->from_us),
					  DB_U64_VALUE((uint64_t)query->until_us),
					  DB_U64_VALUE(query->limit + 1)};
	if (!err)
		err = db_query(page->db, SQL_PAGE, params, sizeof params / sizeof params[0], add_revision, page);
	if (!err)
		err = db_query(page->db, SQL_OLDEST, NULL, 0, read_revision, &oldest);
	page->complete = oldest == 1;
	if (!err && !page->count) {
		err = fetch_state(page, INT64_MAX, &newest);
		if (!err && !newest.found)
			err = ERR_NOT_FOUND;
	}
	return err;
}

static int tell(const struct page *page, const struct state *after, const struct state *before, history_fn fn,
		void *arg)
{
	const struct history_entry entry = {.revision = after->revision,
					    .at_us = after->at_us,
					    .kind = after->kind,
					    .user = after->user,
					    .peer = after->peer,
					    .before = before->silo,
					    .after = after->silo,
					    .before_known = before->found || page->complete};

	return fn(arg, &entry);
}

/* Documents are read one by one, as there may be a gigabyte of them; the one before is the next one's after. */
static int walk(const struct page *page, history_fn fn, void *arg, uint64_t *ret_next)
{
	_cleanup_(release_state) struct state after = {0}, before = {0};
	int64_t started = clock_mono_ms();
	size_t told = 0, bytes = 0;
	int err = ERR_OK;

	while (told < page->count && told < page->query->limit && !err) {
		uint64_t revision = page->revisions[told];
		if (told && (bytes > HISTORY_BYTES_MAX || clock_mono_ms() - started > PAGE_MS))
			break;
		if (!before.found || before.revision != revision) {
			err = fetch_state(page, revision + 1, &before);
			bytes += before.bytes;
		}
		release_state(&after);
		after = before;
		before = (struct state){0};
		if (!err)
			err = fetch_state(page, revision, &before);
		bytes += before.bytes;
		if (!err)
			err = tell(page, &after, &before, fn, arg);
		told++;
	}
	*ret_next = told < page->count ? page->revisions[told - 1] : 0;
	return err;
}

static int read_page(struct db *db, const struct history_query *query, history_fn fn, void *arg, uint64_t *ret_next)
{
	_cleanup_free_ uint64_t *revisions = calloc(query->limit + 1, sizeof *revisions);
	struct page page = {.db = db, .query = query, .revisions = revisions};
	int err = revisions ? find_entries(&page) : ERR_NOMEM;

	if (!err)
		err = walk(&page, fn, arg, ret_next);
	if (!db_is_broken(db))
		db_rollback(db);
	return err;
}

static int explain(int err, const struct seat *seat, const char *silo, struct why *why)
{
	if (err == ERR_NOT_FOUND)
		return why_set(why, err, "", "there is no silo \"%s\", and no history of one", silo);
	if (err == ERR_NOMEM || err == ERR_INTERNAL)
		return why_set(why, err, "", "the history cannot be read: %s", seat->db ? db_error(seat->db) : "");
	char reason[sizeof why->text];
	snprintf(reason, sizeof reason, "%s", seat->db ? db_error(seat->db) : why->text);
	return why_set(why, ERR_UNAVAILABLE, "", "the database is away or too slow (%s)", reason);
}

int history_borrow(struct history *history, struct seat **ret_seat, struct why *ret_why)
{
	struct seat *seat = take_seat(history);

	if (!seat)
		return why_set(ret_why, ERR_BUSY, "", "too many are reading the log; try again in a moment");
	int err = begin(history, seat, ret_why);
	if (!err) {
		*ret_seat = seat;
		return ERR_OK;
	}
	why_set(ret_why, err, "", "the database is away or too slow (%s)",
		seat->db ? db_error(seat->db) : "no connection");
	vacate(history, seat);
	return err;
}

void history_give_back(struct history *history, struct seat *seat)
{
	if (!db_is_broken(seat->db))
		db_rollback(seat->db);
	vacate(history, seat);
}

int history_read(struct history *history, const struct history_query *query, history_fn fn, void *arg,
		 uint64_t *ret_next, struct why *ret_why)
{
	struct seat *seat = take_seat(history);
	uint64_t next = 0;

	if (!seat)
		return why_set(ret_why, ERR_BUSY, "", "too many are reading a history; try again in a moment");
	int err = begin(history, seat, ret_why);
	if (!err)
		err = read_page(seat->db, query, fn, arg, &next);
	if (err)
		err = explain(err, seat, query->silo, ret_why);
	else
		*ret_next = next;
	vacate(history, seat);
	return err;
}
