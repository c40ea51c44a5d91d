#include "api/history/history_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define WINDOW 20000                 /* revisions that one statement looks through */
#define SKEW_US INT64_C(86400000000) /* by so much the clocks of hubs may differ */
#define LOOK_MS 1000                 /* a page ends when it has looked for so long */
#define PAGE_MS 2000                 /* and when its documents take so long */

enum { SQL_SETUP, SQL_BOUNDS, SQL_AT, SQL_CHANGES, SQL_SILO_CHANGES, SQL_REFUSALS, SQL_DOCUMENTS };

#define ENTRY "revision, at, CAST(kind AS UNSIGNED), subject, actor, credential, peer"
#define IN_TIME "revision < ? AND at >= ? AND at < ? AND revision >= ?"
/* `kind`, as a user may have the name of a silo. */
#define OF_SILO "subject = ? AND kind IN ('silo-put', 'silo-delete')"

static const char *const sql[] = {
	[SQL_SETUP] = "SET SESSION max_statement_time = 2",
	[SQL_BOUNDS] = ("SELECT (SELECT revision FROM change_log ORDER BY revision LIMIT 1), "
			"(SELECT revision FROM change_log WHERE " OF_SILO " LIMIT 1), "
			"(SELECT revision FROM change_log WHERE subject = ? AND kind = 'silo-delete' AND owner <> ? "
			"AND ? > 0 ORDER BY revision DESC LIMIT 1)"),
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
	[SQL_DOCUMENTS] = ("SELECT revision, document FROM change_log WHERE subject = ? AND revision < ? "
			   "AND CAST(kind AS UNSIGNED) IN (?, ?) ORDER BY revision DESC LIMIT ?"),
};

struct found_entries {
	bool refused;                  /* which of the two lists it is */
	struct history_entry *entries; /* owned; limit + 1: one more tells that there is more */
	size_t count;
	const char *user;     /* only of this one; "": of all */
	size_t rows;          /* of the last statement */
	uint64_t last_row_id; /* its last one's */
};

struct log_document {
	uint64_t revision; /* 0: there is no such row */
	char *text;        /* owned; NULL: none */
};

struct history_page {
	struct db *db;
	const struct history_query *query;
	struct found_entries changes, refusals;
	uint64_t oldest;    /* revision that the log has; 1: nothing was ever removed from it */
	uint64_t known;     /* any revision of the query's silo, 0: none is kept */
	uint64_t floor;     /* what is told of it is above */
	uint64_t looked_to; /* there are no changes that are not found from this revision on */
	struct log_document after,
		before; /* of the entry that was told last: of one silo, `before` is the next one's */
	size_t bytes;   /* of documents that were read */
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
	log_document_release(&page->after);
	log_document_release(&page->before);
}

int history_connect(const struct db_settings *settings, struct db **ret_db, struct why *ret_why)
{
	int err = db_open(settings, sql, ret_db, ret_why);

	return err ? err : db_exec(*ret_db, SQL_SETUP, NULL, 0);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

#define COPY(field, value) snprintf((field), sizeof(field), "%s", (value).text)

static int read_bounds(void *arg, const struct db_value *row)
{
	struct history_page *page = arg;

	page->oldest = row[0].u64;
	page->known = row[1].u64;
	page->floor = row[2].u64;
	return ERR_OK;
}

static int add_entry(void *arg, const struct db_value *row)
{
	struct found_entries *found = arg;

	found->rows++;
	found->last_row_id = row[0].u64;
	if (found->user[0] && strcmp(row[4].text, found->user) != 0)
		return ERR_OK;
	struct history_entry *entry = &found->entries[found->count++];
	entry->refused = found->refused;
	entry->id = row[0].u64;
	entry->at_us = (int64_t)row[1].u64;
	entry->kind = (enum change_kind)row[2].u64;
	COPY(entry->subject, row[3]);
	COPY(entry->user, row[4]);
	COPY(entry->token, row[5]);
	COPY(entry->peer, row[6]);
	if (!found->refused)
		return ERR_OK;
	entry->last_us = (int64_t)row[7].u64;
	entry->count = row[8].u64;
	COPY(entry->error, row[9]);
	COPY(entry->method, row[10]);
	COPY(entry->path, row[11]);
	COPY(entry->reason, row[12]);
	return ERR_OK;
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
static int find_changes(struct history_page *page)
{
	const struct history_query *query = page->query;
	struct found_entries *found = &page->changes;
	uint64_t before = query->before.revision;
	int64_t started = clock_mono_ms();
	bool old = false, silo = query->silo[0];
	int err = ERR_OK;

	while (!err && !old && before > page->oldest && found->count <= query->limit &&
	       clock_mono_ms() - started < LOOK_MS) {
		size_t room = query->limit + 1 - found->count;
		uint64_t from = before > WINDOW && !silo ? before - WINDOW : page->floor + 1;
		const struct db_value name = DB_STRING_VALUE(silo ? query->silo : query->user);
		const struct db_value params[] = {DB_U64_VALUE(before),
						  DB_U64_VALUE((uint64_t)query->since_us),
						  DB_U64_VALUE((uint64_t)query->until_us),
						  DB_U64_VALUE(from),
						  name,
						  silo ? DB_U64_VALUE(room) : name,
						  DB_U64_VALUE(room)};
		found->rows = 0;
		err = db_query(page->db, silo ? SQL_SILO_CHANGES : SQL_CHANGES, params, silo ? 6 : 7, add_entry, found);
		before = !silo ? from : found->rows == room ? found->last_row_id : 0;
		if (!err && query->since_us && before)
			err = is_too_old(page, before, &old);
	}
	page->looked_to = before > page->oldest && !old ? before : 0;
	return err;
}

static int find_refusals(struct history_page *page)
{
	const struct history_query *query = page->query;
	const struct db_value user = DB_STRING_VALUE(query->user), silo = DB_STRING_VALUE(query->silo);
	const struct db_value params[] = {DB_U64_VALUE(query->before.refusal),
					  DB_U64_VALUE((uint64_t)query->since_us),
					  DB_U64_VALUE((uint64_t)query->until_us),
					  user,
					  user,
					  silo,
					  silo,
					  DB_U64_VALUE(query->limit + 1)};

	return db_query(page->db, SQL_REFUSALS, params, 8, add_entry, &page->refusals);
}

/* --- and telling -------------------------------------------------------------------------------------------------- */

/* First, unless it is there, what is after the change; then what was before. */
static int read_document(void *arg, const struct db_value *row)
{
	struct history_page *page = arg;
	struct log_document *document = page->after.revision ? &page->before : &page->after;

	document->revision = row[0].u64;
	if (row[1].type == DB_NULL)
		return ERR_OK;
	page->bytes += row[1].len;
	document->text = strndup(row[1].text, row[1].len);
	return document->text ? ERR_OK : ERR_NOMEM;
}

/* Documents are read one entry at a time, as there may be a gigabyte of them. */
static int tell_change(struct history_page *page, const struct history_entry *entry, history_fn fn, void *arg)
{
	bool known = page->before.revision == entry->id;
	uint64_t put = entry->kind - (entry->kind - CHANGE_SILO_PUT) % 2; /* kinds come in pairs: put, delete */
	const struct db_value params[] = {DB_STRING_VALUE(entry->subject),
					  DB_U64_VALUE(known ? entry->id : entry->id + 1), DB_U64_VALUE(put),
					  DB_U64_VALUE(put + 1), DB_U64_VALUE(known ? 1 : 2)};

	log_document_release(&page->after);
	if (known)
		page->after = page->before;
	else
		free(page->before.text);
	page->before = (struct log_document){0};
	int err = db_query(page->db, SQL_DOCUMENTS, params, 5, read_document, page);
	const struct history_documents documents = {page->before.text, page->after.text,
						    page->before.revision || page->oldest == 1};
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
	const struct history_query *query = &reading->query;
	const struct db_value silo = DB_STRING_VALUE(query->silo), owner = DB_U64_VALUE(query->owner);
	const struct db_value bounds[] = {silo, silo, owner, owner};
	_cleanup_(page_release) struct history_page page = {.db = db, .query = query};

	page.changes = (struct found_entries){.user = query->user,
					      .entries = calloc(query->limit + 1, sizeof(struct history_entry))};
	page.refusals = (struct found_entries){.user = query->user,
					       .refused = true,
					       .entries = calloc(query->limit + 1, sizeof(struct history_entry))};
	if (!page.changes.entries || !page.refusals.entries)
		return ERR_NOMEM;
	int err = db_query(db, SQL_BOUNDS, bounds, 4, read_bounds, &page);
	if (!err && query->changes)
		err = find_changes(&page);
	if (!err && query->refusals)
		err = find_refusals(&page);
	reading->silo_is_known = page.known;
	return err ? err : tell_entries(&page, reading);
}
