#include <inttypes.h>
#include <string.h>

#include "api/auth/password.h"
#include "api/routes/handlers.h"
#include "api/routes/log_list.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

#define NUMBER_MAX UINT64_C(1000000000000000000)

/* --- the question ------------------------------------------------------------------------------------------------- */

static int query_outcome(struct call *call, struct history_query *query)
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

static int query_names(struct call *call, struct history_query *query)
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
static int query_before(struct call *call, struct history_cursor *before)
{
	const char *text = NULL;
	int end = 0, err = request_query(call->request, "before", &text);

	*before = (struct history_cursor){NUMBER_MAX, NUMBER_MAX};
	if (err || !text)
		return err;
	if (strspn(text, "0123456789.") != strlen(text) || strlen(text) > 38 ||
	    sscanf(text, "%19" SCNu64 ".%19" SCNu64 "%n", &before->revision, &before->refusal, &end) != 2 ||
	    text[end] || before->revision > NUMBER_MAX || before->refusal > NUMBER_MAX)
		return why_set(call->why, ERR_INVALID, "before", "is what the Link of the page before says");
	return ERR_OK;
}

static int parse_query(struct call *call, struct history_query *query)
{
	static const char *const known[] = {"outcome", "user", "silo", "since", "until", "before", "limit", NULL};
	int err = request_query_only(call->request, known);

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
		err = request_query_number(call->request, "limit", LOG_LIST_LIMIT_MAX, &query->limit);
	return err;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

/* null, if there is none. */
static int add_document(json_t *json, const char *name, const char *document)
{
	json_t *value = NULL;

	if (document && jsontext_parse(document, strlen(document), 0, &value, NULL) == ERR_NOMEM)
		return ERR_NOMEM;
	return json_object_set_new(json, name, value ? value : json_null()) ? ERR_NOMEM : ERR_OK;
}

static int add_values(json_t *json, const struct history_documents *documents)
{
	int err = documents->before_known ? add_document(json, "old", documents->before) : ERR_OK;

	return err ? err : add_document(json, "new", documents->after);
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

static int add_entry(void *arg, const struct history_entry *entry, const struct history_documents *documents)
{
	char at[CLOCK_TEXT_MAX];
	int err = ERR_OK;

	clock_format(entry->at_us, at);
	json_auto_t *json = entry->refused ? refusal_json(entry, at) : change_json(entry, at);
	if (!json)
		return ERR_NOMEM;
	if (!entry->refused)
		err = entry->kind <= CHANGE_SILO_DELETE ? log_list_set_records(json, documents)
							: add_values(json, documents);
	return err ? err : log_list_add_take(arg, json_incref(json));
}

static int finish_get(struct call *call, struct reply *reply)
{
	const struct history_cursor *next = &log_list_reading(call)->next;
	char before[48];

	snprintf(before, sizeof before, "%" PRIu64 ".%" PRIu64, next->revision, next->refusal);
	return log_list_reply(call, reply, before);
}

int handle_audit_get(struct call *call, struct reply *reply)
{
	struct history_query query = {.until_us = INT64_MAX, .limit = LOG_LIST_LIMIT};
	int err = parse_query(call, &query);

	(void)reply;
	return err ? err : log_list_begin(call, &query, add_entry, finish_get);
}
