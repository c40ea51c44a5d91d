#include <inttypes.h>

#include "api/routes/handlers.h"
#include "api/routes/log_list.h"
#include "api/routes/silo_access.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define REVISION_MAX UINT64_C(1000000000000000000)

static int parse_query(struct call *call, struct history_query *query)
{
	static const char *const known[] = {"limit", "before", "from", "until", NULL};
	int err = request_query_only(call->request, known);

	if (!err)
		err = request_query_number(call->request, "limit", LOG_LIST_LIMIT_MAX, &query->limit);
	if (!err)
		err = request_query_number(call->request, "before", REVISION_MAX, &query->before.revision);
	if (!err)
		err = request_query_time(call->request, "from", &query->since_us);
	if (!err)
		err = request_query_time(call->request, "until", &query->until_us);
	if (!err && query->since_us >= query->until_us)
		err = why_set(call->why, ERR_INVALID, "until", "is to be later than from");
	return err;
}

/* An admin may ask for a silo that there is no more; `*ret_exists` tells. */
static int check_rights(struct call *call, bool *ret_exists)
{
	_cleanup_(document_cleanup) struct document *body = NULL;
	int err = silo_to_read(call, &body);

	*ret_exists = !err;
	return err == ERR_NOT_FOUND && call->principal.role == ROLE_ADMIN ? ERR_OK : err;
}

static int add_entry(void *arg, const struct history_entry *entry, const struct history_documents *documents)
{
	char at[CLOCK_TEXT_MAX];

	clock_format(entry->at_us, at);
	json_auto_t *json =
		json_pack("{s:I, s:s, s:s, s:s, s:s}", "revision", (json_int_t)entry->id, "at", at, "change",
			  entry->kind == CHANGE_SILO_PUT ? "put" : "delete", "user", entry->user, "peer", entry->peer);
	int err = json ? log_list_set_records(json, documents) : ERR_NOMEM;

	return err ? err : log_list_add_take(arg, json_incref(json));
}

static int finish_get(struct call *call, struct reply *reply)
{
	const struct history_reading *reading = log_list_reading(call);
	char before[24];
	bool exists;
	int err = check_rights(call, &exists); /* as they are now */

	if (err)
		return err;
	if (!reading->err && !reading->silo_is_known && !exists)
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no silo \"%s\", and no history of one",
			       call->subject);
	snprintf(before, sizeof before, "%" PRIu64, reading->next.revision);
	return log_list_reply(call, reply, before);
}

int handle_history_get(struct call *call, struct reply *reply)
{
	struct history_query query = {.changes = true,
				      .user = "",
				      .silo = call->subject,
				      .until_us = INT64_MAX,
				      .before.revision = REVISION_MAX,
				      .limit = LOG_LIST_LIMIT};
	bool exists;
	int err = parse_query(call, &query);

	(void)reply;
	if (!err)
		err = check_rights(call, &exists);
	if (call->principal.role != ROLE_ADMIN)
		query.owner = call->principal.user_id;
	return err ? err : log_list_begin(call, &query, add_entry, finish_get);
}
