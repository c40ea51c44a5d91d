#include "api/routes/log_list.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/hub/silo.h"

struct log_list {
	struct history_reading reading;
	struct buf text; /* "[", and the entries that have been read */
};

static void log_list_free(void *arg)
{
	struct log_list *list = arg;

	buf_release(&list->text);
	free(list);
}

static int check_database(struct call *call)
{
	struct queue_status journal;

	queue_status(call->hub->queue, &journal);
	return journal.database_up ? ERR_OK
				   : why_set(call->why, ERR_UNAVAILABLE, "",
					     "the database, which has the log, is away (%s)", journal.reason);
}

int log_list_begin(struct call *call, const struct history_query *query, history_fn add, handler_fn finish)
{
	/* Not newer than what the rights are judged by. */
	uint64_t newest = store_revision(call->hub->store);
	int err = check_database(call);
	struct log_list *list = err ? NULL : calloc(1, sizeof *list);

	if (!list)
		return err ? err : ERR_NOMEM;
	call_keep_take(call, list, log_list_free);
	list->text = BUF_INIT(SIZE_MAX / 4); /* (the page has its bound) */
	list->reading = (struct history_reading){.query = *query,
						 .user_id = call->principal.user_id,
						 .admin = call->principal.role == ROLE_ADMIN,
						 .fn = add,
						 .arg = &list->text};
	if (query->before.revision > newest)
		list->reading.query.before.revision = newest + 1;
	err = history_begin(call->hub->history, &list->reading, call->request->waiter, call->why);
	if (err == ERR_PENDING)
		call->finish = finish;
	return err;
}

int log_list_add_take(void *arg, json_t *entry)
{
	struct buf *text = arg;
	_cleanup_free_ char *json = entry ? json_dumps(entry, JSON_COMPACT) : NULL;

	json_decref(entry);
	if (!json)
		return ERR_NOMEM;
	buf_append_str(text, text->len ? "," : "[");
	return buf_append_str(text, json);
}

const struct history_reading *log_list_reading(const struct call *call)
{
	const struct log_list *list = call->kept;

	return &list->reading;
}

int log_list_reply(struct call *call, struct reply *reply, const char *before)
{
	struct log_list *list = call->kept;
	size_t len;
	int err = list->reading.err;

	if (err)
		*call->why = list->reading.why;
	if (!err && list->reading.more)
		err = request_link_next(call->request, reply, "before", before);
	if (err)
		return err;
	buf_append_str(&list->text, list->text.len ? "]" : "[]");
	if (list->text.err)
		return list->text.err;
	char *body = buf_take(&list->text, &len);
	reply_body_take(reply, "application/json", body, len);
	return ERR_OK;
}

/* --- what a change made of a silo --------------------------------------------------------------------------------- */

static int read_silo(const char *document, struct silo *ret_silo)
{
	int err = document ? silo_read_canonical(document, strlen(document), ret_silo) : ERR_OK;

	if (err == ERR_MALFORMED)
		err = silo_parse(document, strlen(document), NULL, NULL, ret_silo, NULL);
	return err && err != ERR_NOMEM ? ERR_INTERNAL : err;
}

struct difference {
	json_t *added, *removed;
};

static int add_record(void *arg, const struct record *record, bool removed)
{
	const struct difference *difference = arg;
	char ip[IPADDR_TEXT_MAX];

	ipaddr_format(&record->ip, ip);
	return json_array_append_new(removed ? difference->removed : difference->added,
				     json_pack("{s:s, s:s}", "hostname", record->hostname, "ip", ip))
		       ? ERR_NOMEM
		       : ERR_OK;
}

int log_list_set_records(json_t *entry, const struct history_documents *documents)
{
	_cleanup_(silo_release) struct silo before = {0};
	_cleanup_(silo_release) struct silo after = {0};
	json_auto_t *added = json_array();
	json_auto_t *removed = json_array();
	struct difference difference = {added, removed};
	int err = added && removed ? read_silo(documents->before, &before) : ERR_NOMEM;

	if (!err)
		err = read_silo(documents->after, &after);
	if (!err)
		err = silo_diff(&before, &after, add_record, &difference);
	if (!err && (json_object_set(entry, "added", added) ||
		     (documents->before_known && json_object_set(entry, "removed", removed))))
		err = ERR_NOMEM;
	return err;
}
