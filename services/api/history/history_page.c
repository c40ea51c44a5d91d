#include "api/history/history_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define WINDOW 20000                 /* revisions that one statement looks through */
#define SKEW_US INT64_C(86400000000) /* by so much the clocks of hubs may differ */
#define LOOK_MS 1000                 /* a page ends when it has looked for so long */
#define PAGE_MS 2000                 /* and when its documents take so long */

#define ENTRY "revision, at, CAST(kind AS UNSIGNED), subject, actor, credential, peer"
#define IN_TIME "revision < ? AND at >= ? AND at < ? AND revision >= ?"
/* `kind`, as a user may have the name of a silo. */
#define OF_SILO "subject = ? AND kind IN ('silo-put', 'silo-delete')"

const char *const history_sql[HISTORY_SQL_COUNT] = {
	[SQL_SETUP] = "SET SESSION max_statement_time = 2",
	[SQL_FLOOR] = ("SELECT revision FROM change_log WHERE subject = ? AND kind = 'silo-delete' AND owner <> ? "
		       "ORDER BY revision DESC LIMIT 1"),
	[SQL_KNOWN] = "SELECT revision FROM change_log WHERE " OF_SILO " LIMIT 1",
	[SQL_OLDEST] = "SELECT revision FROM change_log ORDER BY revision LIMIT 1",
	[SQL_AT] = "SELECT at FROM change_log WHERE revision = ?",
	[SQL_CHANGES] = ("SELECT " ENTRY " FROM change_log WHERE " IN_TIME
			 " AND (? = '' OR actor = ?) ORDER BY revision DESC LIMIT ?"),
	/* By KEY subject alone, but for what is found. */
	[SQL_SILO_CHANGES] = ("SELECT " ENTRY " FROM (SELECT revision FROM change_log WHERE " IN_TIME " AND " OF_SILO
			      " ORDER BY revision DESC LIMIT ?) AS found JOIN change_log USING (revision) "
			      "ORDER BY revision DESC"),
	[SQL_REFUSALS] = ("SELECT id, first_at, 0, subject, account, credential, peer, last_at, count, error, method, "
			  "path, reason FROM refusal WHERE id < ? AND last_at >= ? AND first_at < ? "
			  "AND (? = '' OR account = ?) AND (? = '' OR (subject = ? AND path LIKE '/silos/%')) "
			  "ORDER BY id DESC LIMIT ?"),
	[SQL_DOCUMENT] = "SELECT revision, document FROM change_log WHERE revision = ?",
	[SQL_DOCUMENT_BEFORE] = ("SELECT revision, document FROM change_log WHERE subject = ? AND revision < ? "
				 "AND CAST(kind AS UNSIGNED) IN (?, ?) ORDER BY revision DESC LIMIT 1"),
};

struct found_entries {
	struct history_entry *entries; /* owned; limit + 1: one more tells that there is more */
	size_t count;
	const char *user;     /* only of these; "": of all */
	size_t rows;          /* of the last statement */
	uint64_t last_row_id; /* its last one's */
};

struct log_document {
	uint64_t revision; /* 0: there is no such row */
	char *text;        /* owned; NULL: none */
	size_t len;
};

struct history_page {
	struct db *db;
	const struct history_query *query;
	struct found_entries changes, refusals;
	uint64_t looked_to;         /* there are no changes that are not found from this revision on */
	bool complete;              /* nothing was ever removed from the log */
	struct log_document before; /* the last one that was read: of one silo it is the next entry's own */
	size_t bytes;               /* of documents that were read */
};

static void log_document_release(struct log_document *document)
{
	free(document->text);
	*document = (struct log_document){0};
}

static void page_release(struct history_page *page)
{
	free(page->changes.entries);
	free(page->refusals.entries);
	log_document_release(&page->before);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

#define COPY(field, value) snprintf((field), sizeof(field), "%s", (value).text)

static int add_entry(void *arg, const struct db_value *row)
{
	struct found_entries *found = arg;
	struct history_entry *entry = &found->entries[found->count];

	found->rows++;
	found->last_row_id = row[0].u64;
	if (found->user[0] && strcmp(row[4].text, found->user) != 0)
		return ERR_OK;
	found->count++;
	entry->id = row[0].u64;
	entry->at_us = (int64_t)row[1].u64;
	entry->kind = (enum change_kind)row[2].u64;
	COPY(entry->subject, row[3]);
	COPY(entry->user, row[4]);
	COPY(entry->token, row[5]);
	COPY(entry->peer, row[6]);
	return ERR_OK;
}

static int add_refusal(void *arg, const struct db_value *row)
{
	struct found_entries *found = arg;
	struct history_entry *entry = &found->entries[found->count];

	add_entry(arg, row);
	if (entry == &found->entries[found->count]) /* left out */
		return ERR_OK;
	entry->refused = true;
	entry->last_us = (int64_t)row[7].u64;
	entry->count = row[8].u64;
	COPY(entry->error, row[9]);
	COPY(entry->method, row[10]);
	COPY(entry->path, row[11]);
	COPY(entry->reason, row[12]);
	return ERR_OK;
}

/* One statement, from revision `from` on. */
static int find_between(struct history_page *page, uint64_t from, uint64_t before)
{
	const struct history_query *query = page->query;
	const struct db_value room = DB_U64_VALUE(query->limit + 1 - page->changes.count);
	const struct db_value user = DB_STRING_VALUE(query->user);
	bool silo = query->silo[0];
	const struct db_value params[] = {DB_U64_VALUE(before),
					  DB_U64_VALUE((uint64_t)query->since_us),
					  DB_U64_VALUE((uint64_t)query->until_us),
					  DB_U64_VALUE(from),
					  silo ? DB_STRING_VALUE(query->silo) : user,
					  silo ? room : user,
					  room};

	page->changes.rows = 0;
	return db_query(page->db, silo ? SQL_SILO_CHANGES : SQL_CHANGES, params, silo ? 6 : 7, add_entry,
			&page->changes);
}

/* The log is in the order of commits, and so, but for the clocks of several hubs, in that of time. */
static int is_too_old(struct history_page *page, uint64_t revision, bool *ret_old)
{
	const struct db_value param = DB_U64_VALUE(revision);
	uint64_t at = INT64_MAX;
	int err = db_query(page->db, SQL_AT, &param, 1, db_read_u64, &at);

	*ret_old = (int64_t)at < page->query->since_us - SKEW_US;
	return err;
}

/* In steps, as a filter may match nothing in a long log: in windows of revisions; or, as an index has those of a silo,
 * as many rows as there is room for. */
static int find_changes(struct history_page *page, uint64_t oldest, uint64_t floor)
{
	const struct history_query *query = page->query;
	uint64_t before = query->before.revision;
	int64_t started = clock_mono_ms();
	bool old = false, silo = query->silo[0];
	int err = ERR_OK;

	while (!err && !old && before > oldest && page->changes.count <= query->limit &&
	       clock_mono_ms() - started < LOOK_MS) {
		size_t room = query->limit + 1 - page->changes.count;
		uint64_t from = before > WINDOW && !silo ? before - WINDOW : floor;
		err = find_between(page, from, before);
		before = !silo ? from : page->changes.rows == room ? page->changes.last_row_id : 0;
		if (!err && query->since_us && before)
			err = is_too_old(page, before, &old);
	}
	page->looked_to = before > oldest && !old ? before : 0;
	return err;
}

static int find_refusals(struct history_page *page)
{
	const struct history_query *query = page->query;
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

static int find_entries(struct history_page *page, bool *ret_silo_is_known)
{
	const struct history_query *query = page->query;
	const struct db_value silo[] = {DB_STRING_VALUE(query->silo), DB_U64_VALUE(query->owner)};
	uint64_t oldest = 0, known = 0, floor = 0;
	int err = db_query(page->db, SQL_OLDEST, NULL, 0, db_read_u64, &oldest);

	page->complete = oldest == 1;
	page->refusals.user = "";
	page->changes.user = query->user;
	page->changes.entries = calloc(query->limit + 1, sizeof *page->changes.entries);
	page->refusals.entries = calloc(query->limit + 1, sizeof *page->refusals.entries);
	if (!page->changes.entries || !page->refusals.entries)
		return ERR_NOMEM;
	if (!err && query->silo[0])
		err = db_query(page->db, SQL_KNOWN, silo, 1, db_read_u64, &known);
	if (!err && query->silo[0] && query->owner)
		err = db_query(page->db, SQL_FLOOR, silo, 2, db_read_u64, &floor);
	if (!err && query->changes)
		err = find_changes(page, oldest, floor + 1);
	if (!err && query->refusals)
		err = find_refusals(page);
	*ret_silo_is_known = known;
	return err;
}

/* --- and telling -------------------------------------------------------------------------------------------------- */

static int read_document(void *arg, const struct db_value *row)
{
	struct log_document *document = arg;

	document->revision = row[0].u64;
	if (row[1].type == DB_NULL)
		return ERR_OK;
	document->text = strndup(row[1].text, row[1].len);
	document->len = row[1].len;
	return document->text ? ERR_OK : ERR_NOMEM;
}

/* Documents are read one by one, as there may be a gigabyte of them. */
static int tell_change(struct history_page *page, const struct history_entry *entry, history_fn fn, void *arg)
{
	_cleanup_(log_document_release) struct log_document after = {0};
	uint64_t put = entry->kind - (entry->kind - CHANGE_SILO_PUT) % 2; /* kinds come in pairs: put, delete */
	const struct db_value revision = DB_U64_VALUE(entry->id);
	const struct db_value earlier[] = {DB_STRING_VALUE(entry->subject), revision, DB_U64_VALUE(put),
					   DB_U64_VALUE(put + 1)};
	int err = ERR_OK;

	if (page->before.revision == entry->id) {
		after = page->before;
		page->before = (struct log_document){0};
	} else {
		log_document_release(&page->before);
		err = db_query(page->db, SQL_DOCUMENT, &revision, 1, read_document, &after);
		page->bytes += after.len;
	}
	if (!err)
		err = db_query(page->db, SQL_DOCUMENT_BEFORE, earlier, 4, read_document, &page->before);
	page->bytes += page->before.len;
	const struct history_documents documents = {page->before.text, after.text,
						    page->before.revision || page->complete};
	return err ? err : fn(arg, entry, &documents);
}

/* The two lists as one. What was not told is the next page's: so is what lies below where the changes were looked at,
 * and older refusals wait for them. */
static int tell_entries(struct history_page *page, struct history_reading *reading)
{
	static const struct history_documents none = {0};
	const struct found_entries *changes = &page->changes, *refusals = &page->refusals;
	int64_t started = clock_mono_ms();
	size_t c = 0, r = 0;
	int err = ERR_OK;

	reading->next = page->query->before;
	while (!err && c + r < page->query->limit && (c < changes->count || r < refusals->count)) {
		bool refused = c == changes->count ||
			       (r < refusals->count && refusals->entries[r].at_us >= changes->entries[c].at_us);
		if (c + r && (page->bytes > HISTORY_BYTES_MAX || clock_mono_ms() - started > PAGE_MS))
			break;
		if (refused && c == changes->count && page->looked_to)
			break;
		if (refused) {
			reading->next.refusal = refusals->entries[r].id;
			err = reading->fn(reading->arg, &refusals->entries[r++], &none);
		} else {
			reading->next.revision = changes->entries[c].id;
			err = tell_change(page, &changes->entries[c++], reading->fn, reading->arg);
		}
	}
	reading->more = c < changes->count || r < refusals->count || page->looked_to;
	if (c == changes->count && page->looked_to)
		reading->next.revision = page->looked_to;
	return err;
}

int history_read_page(struct db *db, struct history_reading *reading)
{
	_cleanup_(page_release) struct history_page page = {.db = db, .query = &reading->query};
	int err = find_entries(&page, &reading->silo_is_known);

	return err ? err : tell_entries(&page, reading);
}
