#include "api/history/audit.h"

#include <stdlib.h>
#include <string.h>

#include "api/history/history_internal.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define WINDOW 20000                 /* revisions that one statement looks through */
#define SKEW_US INT64_C(86400000000) /* by so much the clocks of hubs may differ */
#define LOOK_MS 1000                 /* a page ends when it has looked for so long */
#define PAGE_MS 2000                 /* and when telling takes so long */

struct list {
	struct audit_entry *entries; /* owned; limit + 1: one more tells that there is more */
	size_t count;
};

struct page {
	struct db *db;
	const struct audit_query *query;
	struct list changes, refusals;
	uint64_t looked_to; /* there are no changes that are not listed from this revision on */
	bool complete;      /* nothing was ever removed from the log */
};

static void page_release(struct page *page)
{
	free(page->changes.entries);
	free(page->refusals.entries);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

#define COPY(field, value) snprintf((field), sizeof(field), "%s", (value).text)

static int add_change(void *arg, const struct db_value *row, size_t columns)
{
	struct list *list = arg;
	struct audit_entry *entry = &list->entries[list->count++];

	(void)columns;
	entry->id = row[0].u64;
	entry->at_us = (int64_t)row[1].u64;
	entry->kind = (enum change_kind)row[2].u64;
	COPY(entry->subject, row[3]);
	COPY(entry->user, row[4]);
	COPY(entry->token, row[5]);
	COPY(entry->peer, row[6]);
	return ERR_OK;
}

static int add_refusal(void *arg, const struct db_value *row, size_t columns)
{
	struct list *list = arg;
	struct audit_entry *entry = &list->entries[list->count++];

	(void)columns;
	entry->refused = true;
	entry->id = row[0].u64;
	entry->at_us = (int64_t)row[1].u64;
	entry->last_us = (int64_t)row[2].u64;
	entry->count = row[3].u64;
	COPY(entry->error, row[4]);
	COPY(entry->user, row[5]);
	COPY(entry->token, row[6]);
	COPY(entry->peer, row[7]);
	COPY(entry->method, row[8]);
	COPY(entry->path, row[9]);
	COPY(entry->subject, row[10]);
	COPY(entry->reason, row[11]);
	return ERR_OK;
}

static int read_u64(void *arg, const struct db_value *row, size_t columns)
{
	(void)columns;
	*(uint64_t *)arg = row[0].u64;
	return ERR_OK;
}

/* One statement: in a window of revisions, or with a silo, whose changes an index has. */
static int look(struct page *page, uint64_t before, uint64_t from)
{
	const struct audit_query *query = page->query;
	bool silo = query->silo[0];
	const struct db_value params[] = {DB_U64_VALUE(before),
					  DB_U64_VALUE((uint64_t)query->since_us),
					  DB_U64_VALUE((uint64_t)query->until_us),
					  DB_STRING_VALUE(query->user),
					  DB_STRING_VALUE(query->user),
					  silo ? DB_STRING_VALUE(query->silo) : DB_U64_VALUE(from),
					  DB_U64_VALUE(query->limit + 1 - page->changes.count)};

	return db_query(page->db, silo ? SQL_SILO_CHANGES : SQL_CHANGES, params, 7, add_change, &page->changes);
}

/* The log is in the order of commits, and so, but for the clocks of several hubs, in that of time. */
static int is_too_old(struct page *page, uint64_t revision, bool *ret_old)
{
	const struct db_value param = DB_U64_VALUE(revision);
	uint64_t at = UINT64_MAX;
	int err = db_query(page->db, SQL_AT, &param, 1, read_u64, &at);

	*ret_old = (int64_t)(at / 2) < (page->query->since_us - SKEW_US) / 2; /* (halves: UINT64_MAX is no time) */
	return err;
}

static int find_changes(struct page *page, uint64_t oldest)
{
	bool old = false;
	const struct audit_query *query = page->query;
	int64_t started = clock_mono_ms();
	uint64_t before = query->before.revision;
	int err = ERR_OK;

	while (!err && !old && before > oldest && page->changes.count <= query->limit &&
	       clock_mono_ms() - started < LOOK_MS) {
		uint64_t from = before > WINDOW && !query->silo[0] ? before - WINDOW : 0;
		err = look(page, before, from);
		before = from;
		if (!err && query->since_us)
			err = is_too_old(page, before, &old);
	}
	page->looked_to = before > oldest && !old ? before : 0;
	return err;
}

static int find_refusals(struct page *page)
{
	const struct audit_query *query = page->query;
	const struct db_value params[] = {DB_U64_VALUE(query->before.refusal),
					  DB_U64_VALUE((uint64_t)query->since_us),
					  DB_U64_VALUE((uint64_t)query->until_us),
					  DB_STRING_VALUE(query->user),
					  DB_STRING_VALUE(query->user),
					  DB_STRING_VALUE(query->silo),
					  DB_STRING_VALUE(query->silo),
					  DB_U64_VALUE(query->limit + 1)};

	return db_query(page->db, SQL_REFUSALS, params, 8, add_refusal, &page->refusals);
}

static int find(struct page *page)
{
	size_t room = page->query->limit + 1;
	uint64_t oldest = 0;
	int err = db_query(page->db, SQL_OLDEST, NULL, 0, read_u64, &oldest);

	page->complete = oldest == 1;
	page->changes.entries = calloc(room, sizeof *page->changes.entries);
	page->refusals.entries = calloc(room, sizeof *page->refusals.entries);
	if (!page->changes.entries || !page->refusals.entries)
		return ERR_NOMEM;
	if (!err && page->query->changes)
		err = find_changes(page, oldest);
	if (!err && page->query->refusals)
		err = find_refusals(page);
	return err;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

struct log_document {
	char *text; /* owned; NULL: none */
	size_t len;
	bool found; /* the row */
};

static void log_document_release(struct log_document *document)
{
	free(document->text);
}

static int read_document(void *arg, const struct db_value *row, size_t columns)
{
	struct log_document *document = arg;

	(void)columns;
	document->found = true;
	if (row[0].type == DB_NULL)
		return ERR_OK;
	document->text = strndup(row[0].text, row[0].len);
	document->len = row[0].len;
	return document->text ? ERR_OK : ERR_NOMEM;
}

static int tell_change(const struct page *page, const struct audit_entry *entry, audit_fn fn, void *arg, size_t *bytes)
{
	_cleanup_(log_document_release) struct log_document after = {0};
	_cleanup_(log_document_release) struct log_document before = {0};
	uint64_t put = entry->kind - (entry->kind - CHANGE_SILO_PUT) % 2; /* kinds come in pairs: put, delete */
	const struct db_value revision = DB_U64_VALUE(entry->id);
	const struct db_value earlier[] = {DB_STRING_VALUE(entry->subject), revision, DB_U64_VALUE(put),
					   DB_U64_VALUE(put + 1)};
	int err = db_query(page->db, SQL_DOCUMENT, &revision, 1, read_document, &after);

	if (!err)
		err = db_query(page->db, SQL_DOCUMENT_BEFORE, earlier, 4, read_document, &before);
	*bytes += after.len + before.len;
	const struct audit_documents documents = {before.text, after.text, before.found || page->complete};
	return err ? err : fn(arg, entry, &documents);
}

/* The two lists as one. What was not told is the next page's: so is what lies below where the changes were looked at,
 * and older refusals wait for them. */
static int tell(const struct page *page, audit_fn fn, void *arg, bool *ret_more, struct audit_cursor *ret_next)
{
	static const struct audit_documents none = {0};
	const struct list *changes = &page->changes, *refusals = &page->refusals;
	int64_t started = clock_mono_ms();
	size_t c = 0, r = 0, bytes = 0;
	int err = ERR_OK;

	*ret_next = page->query->before;
	while (!err && c + r < page->query->limit && (c < changes->count || r < refusals->count)) {
		bool refused = c == changes->count ||
			       (r < refusals->count && refusals->entries[r].at_us >= changes->entries[c].at_us);
		if (c + r && (bytes > HISTORY_BYTES_MAX || clock_mono_ms() - started > PAGE_MS))
			break;
		if (refused && c == changes->count && page->looked_to)
			break;
		if (refused) {
			ret_next->refusal = refusals->entries[r].id;
			err = fn(arg, &refusals->entries[r++], &none);
		} else {
			ret_next->revision = changes->entries[c].id;
			err = tell_change(page, &changes->entries[c++], fn, arg, &bytes);
		}
	}
	*ret_more = c < changes->count || r < refusals->count || page->looked_to;
	if (c == changes->count && page->looked_to)
		ret_next->revision = page->looked_to;
	return err;
}

int audit_read(struct history *history, const struct audit_query *query, audit_fn fn, void *arg, bool *ret_more,
	       struct audit_cursor *ret_next, struct why *ret_why)
{
	_cleanup_(page_release) struct page page = {.query = query};
	struct seat *seat;
	int err = history_borrow(history, &seat, ret_why);

	if (err)
		return err;
	page.db = seat->db;
	err = find(&page);
	if (!err)
		err = tell(&page, fn, arg, ret_more, ret_next);
	if (err)
		why_set(ret_why, err, "", "the audit cannot be read: %s", db_error(seat->db));
	history_give_back(history, seat);
	return err;
}
