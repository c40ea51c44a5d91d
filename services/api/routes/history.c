/*
 * The log as a JSON array, the newest entry first: of one silo (GET /silos/{id}/history), or of the whole hub with what
 * was refused (GET /audit). The request waits without a thread while history.h reads a page.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

#define LIMIT 100 /* entries, if the query does not say */
#define LIMIT_MAX 1000
#define NUMBER_MAX UINT64_C(1000000000000000000) /* of a revision, or a refusal */

/* --- the question ------------------------------------------------------------------------------------------------- */

/* limit, until, and `since` by the name that it has. */
static int query_span(struct call *call, const char *since, struct history_query *query)
{
	int err = request_query_number(call->request, "limit", LIMIT_MAX, &query->limit);

	if (!err)
		err = request_query_time(call->request, since, &query->since_us);
	if (!err)
		err = request_query_time(call->request, "until", &query->until_us);
	if (!err && query->since_us >= query->until_us)
		err = why_set(call->why, ERR_INVALID, "until", "is to be later than %s", since);
	return err;
}

static int query_outcome(struct call *call, struct history_query *query)
{
	const char *text = NULL;
	int err = request_query(call->request, "outcome", &text);

	query->changes = !text || strcmp(text, "changed") == 0;
	query->refusals = !text || strcmp(text, "refused") == 0;
	return err || query->changes || query->refusals
		       ? err
		       : why_set(call->why, ERR_INVALID, "outcome", "is \"changed\" or \"refused\"");
}

static int query_names(struct call *call, struct history_query *query)
{
	const char *user = NULL, *silo = NULL;
	int err = call_query_user(call, "user", &user);

	if (!err)
		err = request_query(call->request, "silo", &silo);
	if (!err && silo)
		err = silo_id_check(silo, strlen(silo), call->why);
	query->user = user ? user : "";
	query->silo = silo ? silo : "";
	return err;
}

/* "12.3", as the Link of the page before has it. */
static int query_before(struct call *call, struct history_cursor *before)
{
	const char *text = NULL;
	int end = 0, err = request_query(call->request, "before", &text);

	if (err || !text)
		return err;
	if (strspn(text, "0123456789.") != strlen(text) || strlen(text) > 38 ||
	    sscanf(text, "%19" SCNu64 ".%19" SCNu64 "%n", &before->revision, &before->refusal, &end) != 2 ||
	    text[end] || before->revision > NUMBER_MAX || before->refusal > NUMBER_MAX)
		return why_set(call->why, ERR_INVALID, "before", "is what the Link of the page before says");
	return ERR_OK;
}

/* --- the page ----------------------------------------------------------------------------------------------------- */

struct log_page {
	struct history_reading reading;
	struct buf text; /* "[", and the entries that have been read */
};

static void log_page_free(void *arg)
{
	struct log_page *page = arg;

	buf_release(&page->text);
	free(page);
}

/* Each entry is added by `add`, which ends with add_entry(); then `finish` goes on, and ends with reply_page(). */
static int begin_page(struct call *call, const struct history_query *query, history_fn add, handler_fn *finish)
{
	/* Not newer than what the rights are judged by. */
	uint64_t newest = store_revision(call->hub->store);
	struct log_page *page = calloc(1, sizeof *page);
	struct queue_status journal;

	if (!page)
		return ERR_NOMEM;
	call_keep_take(call, page, log_page_free);
	queue_status(call->hub->queue, &journal);
	if (!journal.database_up)
		return why_set(call->why, ERR_UNAVAILABLE, "", "the database, which has the log, is away (%s)",
			       journal.reason);
	page->text = BUF_INIT(SIZE_MAX / 4); /* (the page has its bound) */
	page->reading = (struct history_reading){.query = *query,
						 .user_id = call->principal.user_id,
						 .admin = call->principal.role == ROLE_ADMIN,
						 .fn = add,
						 .arg = &page->text};
	if (query->before.revision > newest)
		page->reading.query.before.revision = newest + 1;
	int err = history_begin(call->hub->history, &page->reading, call->request->waiter, call->why);
	if (err == ERR_PENDING)
		call->finish = finish;
	return err;
}

static int add_entry(struct buf *text, const json_t *entry)
{
	_cleanup_free_ char *json = json_dumps(entry, JSON_COMPACT);

	if (!json)
		return ERR_NOMEM;
	buf_append_str(text, text->len ? "," : "[");
	return buf_append_str(text, json);
}

/* `before` is the value of that name in the query for the next page. */
static int reply_page(struct call *call, const char *before)
{
	struct log_page *page = call->kept;
	int err = page->reading.err;

	if (err)
		*call->why = page->reading.why;
	if (!err && page->reading.more)
		err = request_link_next(call->request, call->reply, "before", before);
	if (err)
		return err;
	buf_append_str(&page->text, page->text.len ? "]" : "[]");
	return reply_body_buf(call->reply, "application/json", &page->text);
}

/* --- what a change made of a silo, whose ten thousand records are not all told ------------------------------------ */

static int add_record(void *arg, const struct record *record, bool removed)
{
	json_t *const *lists = arg;
	json_t *json = json_pack("{s:s, s:s}", "hostname", record->hostname, "ip", IPADDR_TEXT(&record->ip));

	return json_array_append_new(lists[removed], json) ? ERR_NOMEM : ERR_OK;
}

/* Sets "added" and, if it is known what was before, "removed". ERR_NOMEM, ERR_INTERNAL. */
static int set_records(json_t *entry, const struct history_documents *documents)
{
	_cleanup_(silo_release) struct silo before = {0};
	_cleanup_(silo_release) struct silo after = {0};
	json_auto_t *added = json_array();
	json_auto_t *removed = json_array();
	json_t *lists[] = {added, removed};
	const char *texts[] = {documents->before, documents->after};
	struct silo *silos[] = {&before, &after};
	int err = added && removed ? ERR_OK : ERR_NOMEM;

	for (size_t i = 0; !err && i < 2; i++)
		err = texts[i] ? silo_read(texts[i], strlen(texts[i]), silos[i]) : ERR_OK;
	if (err && err != ERR_NOMEM)
		err = ERR_INTERNAL;
	if (!err)
		err = silo_diff(&before, &after, add_record, lists);
	if (!err && (json_object_set(entry, "added", added) ||
		     (documents->before_known && json_object_set(entry, "removed", removed))))
		err = ERR_NOMEM;
	return err;
}

/* --- GET /silos/{id}/history -------------------------------------------------------------------------------------- */

/* An admin may ask for a silo that there is no more; `*ret_exists` tells. */
static int check_rights(struct call *call, bool *ret_exists)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;
	int err = silo_to_read(call, &silo);

	*ret_exists = !err;
	return err == ERR_NOT_FOUND && call->principal.role == ROLE_ADMIN ? ERR_OK : err;
}

static int add_silo_change(void *text, const struct history_entry *entry, const struct history_documents *documents)
{
	char at[CLOCK_TEXT_MAX];

	clock_format(entry->at_us, at);
	json_auto_t *json =
		json_pack("{s:I, s:s, s:s, s:s, s:s}", "revision", (json_int_t)entry->id, "at", at, "change",
			  entry->kind == CHANGE_SILO_PUT ? "put" : "delete", "user", entry->user, "peer", entry->peer);
	int err = json ? set_records(json, documents) : ERR_NOMEM;

	return err ? err : add_entry(text, json);
}

static int finish_history(struct call *call)
{
	const struct history_reading *reading = &((struct log_page *)call->kept)->reading;
	char before[24];
	bool exists;
	int err = check_rights(call, &exists); /* as they are now */

	if (err)
		return err;
	if (!reading->err && !reading->silo_is_known && !exists)
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no silo \"%s\", and no history of one",
			       call->subject);
	snprintf(before, sizeof before, "%" PRIu64, reading->next.revision);
	return reply_page(call, before);
}

int handle_history_get(struct call *call)
{
	struct history_query query = {.changes = true,
				      .user = "",
				      .silo = call->subject,
				      .owner = call->principal.role == ROLE_ADMIN ? 0 : call->principal.user_id,
				      .until_us = INT64_MAX,
				      .before.revision = NUMBER_MAX,
				      .limit = LIMIT};
	bool exists;
	int err = query_span(call, "from", &query);

	if (!err)
		err = request_query_number(call->request, "before", NUMBER_MAX, &query.before.revision);
	if (!err)
		err = check_rights(call, &exists);
	return err ? err : begin_page(call, &query, add_silo_change, finish_history);
}

/* --- GET /audit --------------------------------------------------------------------------------------------------- */

/* null, if there is none. */
static int add_document(json_t *json, const char *name, const char *document)
{
	json_t *value = NULL;

	if (document && jsontext_parse(document, strlen(document), 0, &value, NULL) == ERR_NOMEM)
		return ERR_NOMEM;
	return json_object_set_new(json, name, value ? value : json_null()) ? ERR_NOMEM : ERR_OK;
}

static json_t *change_json(const struct history_entry *entry, const char *at)
{
	static const char *const kinds[] = {[CHANGE_SILO_PUT] = "silo-put",   [CHANGE_SILO_DELETE] = "silo-delete",
					    [CHANGE_USER_PUT] = "user-put",   [CHANGE_USER_DELETE] = "user-delete",
					    [CHANGE_TOKEN_PUT] = "token-put", [CHANGE_TOKEN_DELETE] = "token-delete"};
	bool known = entry->kind >= CHANGE_SILO_PUT && entry->kind <= CHANGE_LAST_LOGGED_;

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "at", at, "outcome", "changed", "change",
			 known ? kinds[entry->kind] : "", "subject", entry->subject, "revision", (json_int_t)entry->id,
			 "user", entry->user, "token", entry->token, "peer", entry->peer);
}

static json_t *refusal_json(const struct history_entry *entry, const char *at)
{
	char last[CLOCK_TEXT_MAX];

	clock_format(entry->last_us, last);
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "at", at, "outcome", "refused",
			 "last", last, "count", (json_int_t)entry->count, "error", entry->error, "user", entry->user,
			 "token", entry->token, "peer", entry->peer, "method", entry->method, "path", entry->path,
			 "subject", entry->subject, "reason", entry->reason);
}

static int add_audit_entry(void *text, const struct history_entry *entry, const struct history_documents *documents)
{
	char at[CLOCK_TEXT_MAX];

	clock_format(entry->at_us, at);
	json_auto_t *json = entry->refused ? refusal_json(entry, at) : change_json(entry, at);
	int err = json ? ERR_OK : ERR_NOMEM;

	if (!err && !entry->refused && entry->kind <= CHANGE_SILO_DELETE)
		err = set_records(json, documents);
	else if (!err && !entry->refused) {
		err = documents->before_known ? add_document(json, "old", documents->before) : ERR_OK;
		if (!err)
			err = add_document(json, "new", documents->after);
	}
	return err ? err : add_entry(text, json);
}

static int finish_audit(struct call *call)
{
	const struct history_cursor *next = &((struct log_page *)call->kept)->reading.next;
	char before[48];

	snprintf(before, sizeof before, "%" PRIu64 ".%" PRIu64, next->revision, next->refusal);
	return reply_page(call, before);
}

int handle_audit_get(struct call *call)
{
	struct history_query query = {.until_us = INT64_MAX, .before = {NUMBER_MAX, NUMBER_MAX}, .limit = LIMIT};
	int err = query_outcome(call, &query);

	if (!err)
		err = query_names(call, &query);
	if (!err)
		err = query_span(call, "since", &query);
	if (!err)
		err = query_before(call, &query.before);
	return err ? err : begin_page(call, &query, add_audit_entry, finish_audit);
}
