#include "api/history/audit.h"

#include <inttypes.h>
#include <string.h>

#include "api/auth/password.h"
#include "api/routes/difference.h"
#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

#define LIMIT_MAX 1000
#define LIMIT_DEFAULT 100
#define NUMBER_MAX UINT64_C(1000000000000000000)

/* --- the question ------------------------------------------------------------------------------------------------- */

static int query_outcome(struct call *call, struct audit_query *query)
{
	const char *text = NULL;
	int err = request_query(call->request, "outcome", &text);

	query->changes = query->refusals = true;
	if (err || !text)
		return err;
	query->changes = strcmp(text, "changed") == 0;
	query->refusals = strcmp(text, "refused") == 0;
	return query->changes || query->refusals
		       ? ERR_OK
		       : why_set(call->why, ERR_INVALID, "outcome", "is \"changed\" or \"refused\"");
}

static int query_names(struct call *call, struct audit_query *query)
{
	const char *user = NULL, *silo = NULL;
	int err = request_query(call->request, "user", &user);

	if (!err)
		err = request_query(call->request, "silo", &silo);
	if (!err && user)
		err = user_name_check(user, strlen(user), call->why);
	if (!err && silo)
		err = silo_id_check(silo, strlen(silo), call->why);
	if (!err) {
		query->user = user ? user : "";
		query->silo = silo ? silo : "";
	}
	return err;
}

/* "12.3", as the Link of the page before has it. */
static int query_before(struct call *call, struct audit_cursor *before)
{
	const char *text = NULL;
	int end = 0, err = request_query(call->request, "before", &text);

	*before = (struct audit_cursor){NUMBER_MAX, NUMBER_MAX};
	if (err || !text)
		return err;
	if (strspn(text, "0123456789.") != strlen(text) || strlen(text) > 38 ||
	    sscanf(text, "%19" SCNu64 ".%19" SCNu64 "%n", &before->revision, &before->refusal, &end) != 2 ||
	    text[end] || before->revision > NUMBER_MAX || before->refusal > NUMBER_MAX)
		return why_set(call->why, ERR_INVALID, "before", "is what the Link of the page before says");
	return ERR_OK;
}

static int parse_query(struct call *call, struct audit_query *query)
{
	static const char *const known[] = {"outcome", "user", "silo", "since", "until", "before", "limit", NULL};
	uint64_t limit = LIMIT_DEFAULT;
	int err = request_query_only(call->request, known);

	query->until_us = INT64_MAX;
	if (!err)
		err = query_outcome(call, query);
	if (!err)
		err = query_names(call, query);
	if (!err)
		err = request_query_time(call->request, "since", &query->since_us);
	if (!err)
		err = request_query_time(call->request, "until", &query->until_us);
	if (!err && query->since_us >= query->until_us)
		err = why_set(call->why, ERR_INVALID, "until", "is to be later than since");
	if (!err)
		err = query_before(call, &query->before);
	if (!err)
		err = request_query_number(call->request, "limit", LIMIT_MAX, &limit);
	query->limit = limit;
	return err;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static int read_silo(const char *document, struct silo *ret_silo)
{
	int err = document ? silo_parse(document, strlen(document), NULL, NULL, ret_silo, NULL) : ERR_OK;

	return err && err != ERR_NOMEM ? ERR_INTERNAL : err;
}

/* For a silo what came and went, as there may be ten thousand records. */
static int add_records(json_t *json, const struct audit_documents *documents)
{
	_cleanup_(silo_release) struct silo before = {0};
	_cleanup_(silo_release) struct silo after = {0};
	int err = read_silo(documents->before, &before);

	if (!err)
		err = read_silo(documents->after, &after);
	return err ? err : difference_set(json, &before, &after, documents->before_known);
}

/* null, if there is none. */
static int add_document(json_t *json, const char *name, const char *document)
{
	json_t *value = NULL;

	if (document && jsontext_parse(document, strlen(document), 0, &value, NULL) == ERR_NOMEM)
		return ERR_NOMEM;
	return json_object_set_new(json, name, value ? value : json_null()) ? ERR_NOMEM : ERR_OK;
}

static int add_values(json_t *json, const struct audit_documents *documents)
{
	int err = documents->before_known ? add_document(json, "old", documents->before) : ERR_OK;

	return err ? err : add_document(json, "new", documents->after);
}

static json_t *change_json(const struct audit_entry *entry, const char *at)
{
	static const char *const kinds[] = {[CHANGE_SILO_PUT] = "silo-put",   [CHANGE_SILO_DELETE] = "silo-delete",
					    [CHANGE_USER_PUT] = "user-put",   [CHANGE_USER_DELETE] = "user-delete",
					    [CHANGE_TOKEN_PUT] = "token-put", [CHANGE_TOKEN_DELETE] = "token-delete"};
	bool known = entry->kind >= CHANGE_SILO_PUT && entry->kind <= CHANGE_LAST_;

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "at", at, "outcome", "changed", "change",
			 known ? kinds[entry->kind] : "", "subject", entry->subject, "revision", (json_int_t)entry->id,
			 "user", entry->user, "token", entry->token, "peer", entry->peer);
}

static json_t *refusal_json(const struct audit_entry *entry, const char *at)
{
	char last[CLOCK_TEXT_MAX];

	clock_format(entry->last_us, last);
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "at", at, "outcome", "refused",
			 "last", last, "count", (json_int_t)entry->count, "error", entry->error, "user", entry->user,
			 "token", entry->token, "peer", entry->peer, "method", entry->method, "path", entry->path,
			 "subject", entry->subject, "reason", entry->reason);
}

/* A audit_fn; `arg` is the array. */
static int add_entry(void *arg, const struct audit_entry *entry, const struct audit_documents *documents)
{
	char at[CLOCK_TEXT_MAX];
	int err = ERR_OK;

	clock_format(entry->at_us, at);
	json_auto_t *json = entry->refused ? refusal_json(entry, at) : change_json(entry, at);
	if (!json)
		return ERR_NOMEM;
	if (!entry->refused)
		err = entry->kind <= CHANGE_SILO_DELETE ? add_records(json, documents) : add_values(json, documents);
	if (err)
		return err;
	return json_array_append(arg, json) ? ERR_NOMEM : ERR_OK;
}

/* The same question, from where this page ends. */
static int link_next(struct reply *reply, const struct audit_query *query, const struct audit_cursor *next)
{
	_cleanup_(buf_release) struct buf link = BUF_INIT(REPLY_HEADER_VALUE_MAX - 1);
	char since[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];

	buf_append_fmt(&link, "</audit?limit=%zu&before=%" PRIu64 ".%" PRIu64, query->limit, next->revision,
		       next->refusal);
	if (query->changes != query->refusals)
		buf_append_fmt(&link, "&outcome=%s", query->changes ? "changed" : "refused");
	if (query->user[0])
		buf_append_fmt(&link, "&user=%s", query->user); /* (has no character that needs an escape) */
	if (query->silo[0])
		buf_append_fmt(&link, "&silo=%s", query->silo);
	clock_format(query->since_us, since);
	if (query->since_us)
		buf_append_fmt(&link, "&since=%s", since);
	if (query->until_us != INT64_MAX) {
		clock_format(query->until_us, until);
		buf_append_fmt(&link, "&until=%s", until);
	}
	buf_append_str(&link, ">; rel=\"next\"");
	return link.err ? link.err : reply_header(reply, "Link", link.data);
}

int handle_audit_get(struct call *call, struct reply *reply)
{
	struct audit_query query = {.limit = LIMIT_DEFAULT};
	struct audit_cursor next = {0};
	json_auto_t *list = json_array();
	bool more = false;
	int err = list ? parse_query(call, &query) : ERR_NOMEM;

	if (!err && !store_is_loaded(call->hub->store))
		err = why_set(call->why, ERR_UNAVAILABLE, "", "the hub has not loaded its state yet");
	/* (Looking for changes begins here, and not at the end of numbers.) */
	uint64_t newest = store_revision(call->hub->store);
	if (query.before.revision > newest + 1)
		query.before.revision = newest + 1;
	if (!err)
		err = audit_read(call->hub->history, &query, add_entry, list, &more, &next, call->why);
	if (!err && more)
		err = link_next(reply, &query, &next);
	return err ? err : reply_json_take(reply, 200, TAKE_PTR(list));
}
