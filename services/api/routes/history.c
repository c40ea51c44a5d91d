#include <inttypes.h>
#include <string.h>

#include "api/routes/difference.h"
#include "api/routes/handlers.h"
#include "api/routes/silo_access.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define LIMIT_MAX 1000
#define LIMIT_DEFAULT 100
#define REVISION_MAX UINT64_C(1000000000000000000)
#define FOR_EVER_US INT64_MAX

/* --- the question ------------------------------------------------------------------------------------------------- */

static int parse_query(struct call *call, struct history_query *query)
{
	static const char *const known[] = {"limit", "before", "from", "until", NULL};
	uint64_t limit = LIMIT_DEFAULT;
	int err = request_query_only(call->request, known);

	if (!err)
		err = request_query_number(call->request, "limit", LIMIT_MAX, &limit);
	if (!err)
		err = request_query_number(call->request, "before", REVISION_MAX, &query->before);
	if (!err)
		err = request_query_time(call->request, "from", &query->from_us);
	if (!err)
		err = request_query_time(call->request, "until", &query->until_us);
	if (!err && query->from_us >= query->until_us)
		err = why_set(call->why, ERR_INVALID, "until", "is to be later than from");
	query->limit = limit;
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

static int check_database(struct call *call)
{
	struct journal_status journal;

	journal_status(call->hub->journal, &journal);
	return journal.database_up ? ERR_OK
				   : why_set(call->why, ERR_UNAVAILABLE, "",
					     "the database, which has the history, is away (%s)", journal.reason);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

/* A history_fn; `arg` is the array. */
static int add_entry(void *arg, const struct history_entry *entry)
{
	char at[CLOCK_TEXT_MAX];

	clock_format(entry->at_us, at);
	json_auto_t *json =
		json_pack("{s:I, s:s, s:s, s:s, s:s}", "revision", (json_int_t)entry->revision, "at", at, "change",
			  entry->kind == CHANGE_SILO_PUT ? "put" : "delete", "user", entry->user, "peer", entry->peer);
	int err = json ? difference_set(json, &entry->before, &entry->after, entry->before_known) : ERR_NOMEM;

	return err || json_array_append(arg, json) ? ERR_NOMEM : ERR_OK;
}

/* The same question, from where this page ends. */
static int link_next(struct call *call, struct reply *reply, const struct history_query *query, uint64_t next)
{
	_cleanup_(buf_release) struct buf link = BUF_INIT(REPLY_HEADER_VALUE_MAX - 1);
	const struct {
		const char *name;
		int64_t us, unbounded;
	} times[] = {{"from", query->from_us, 0}, {"until", query->until_us, FOR_EVER_US}};
	char text[CLOCK_TEXT_MAX];

	buf_append_fmt(&link, "</silos/%s/history?limit=%zu&before=%" PRIu64, call->subject, query->limit, next);
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		if (times[i].us == times[i].unbounded)
			continue;
		clock_format(times[i].us, text);
		buf_append_fmt(&link, "&%s=%s", times[i].name, text);
	}
	buf_append_str(&link, ">; rel=\"next\"");
	return link.err ? link.err : reply_header(reply, "Link", link.data);
}

int handle_history_get(struct call *call, struct reply *reply)
{
	struct hub *hub = call->hub;
	/* Not newer than what the rights are judged by. */
	uint64_t newest = store_revision(hub->store), next = 0;
	struct history_query query = {.silo = call->subject, .before = newest + 1, .until_us = FOR_EVER_US, .owner = 0};
	json_auto_t *list = json_array();
	bool exists = false;
	int err = list ? parse_query(call, &query) : ERR_NOMEM;

	if (!err)
		err = check_rights(call, &exists);
	if (!err)
		err = check_database(call);
	if (err)
		return err;
	if (query.before > newest + 1)
		query.before = newest + 1;
	if (call->principal.role != ROLE_ADMIN)
		query.owner = call->principal.user_id;
	err = history_read(hub->history, &query, add_entry, list, &next, call->why);
	if (err == ERR_INTERNAL)
		log_error("a history cannot be read", LOG_STR("silo", call->subject),
			  LOG_STR("reason", call->why->text));
	if (err && !(err == ERR_NOT_FOUND && exists))
		return err;
	if (next)
		err = link_next(call, reply, &query, next);
	else
		err = ERR_OK;
	return err ? err : reply_json_take(reply, 200, TAKE_PTR(list));
}
