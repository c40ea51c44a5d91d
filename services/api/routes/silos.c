#include <string.h>

#include "api/routes/handlers.h"
#include "api/store/flapping.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define LIST_MAX 10000
#define LIST_BYTES_MAX (8u << 20) /* a page ends before this is exceeded, whatever the limit says */
#define HOSTS_MAX (SILO_RECORDS_MAX * (IPADDR_TEXT_MAX + HOSTNAME_LEN_MAX + 2)) /* bytes */

int silo_to_read(struct call *call, struct document **ret_silo)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;

	if (!token_covers_silo(call->principal.token, call->subject))
		return why_set(call->why, ERR_FORBIDDEN, "", "this token is not for silo \"%s\"", call->subject);
	if (store_get(call->hub->store, call->subject, &silo))
		return why_set(call->why, ERR_NOT_FOUND, "", "there is no silo \"%s\"", call->subject);
	if (call->principal.role != ROLE_ADMIN && silo->owner != call->principal.user_id)
		return why_set(call->why, ERR_FORBIDDEN, "", "silo \"%s\" belongs to somebody else", call->subject);
	*ret_silo = TAKE_PTR(silo);
	return ERR_OK;
}

static void release_document(void *document)
{
	document_unref(document);
}

/* Its document, shared and not copied, and its ETag. */
static int reply_silo(struct call *call, int status, struct document *silo)
{
	reply_body_shared(call->reply, "application/json", silo->json, silo->len, document_ref(silo), release_document);
	reply_status(call->reply, status);
	return reply_etag(call->reply, silo->revision);
}

int silo_condition(struct call *call, const struct document *silo)
{
	int status = 200;
	int err = reply_header(call->reply, "Cache-Control", "no-cache");

	if (!err)
		err = reply_etag(call->reply, silo->revision);
	if (!err)
		err = precondition_status(call->request, silo->revision, &status);
	reply_status(call->reply, status);
	return err;
}

static json_t *side_json(const struct flapping_side *side)
{
	char at[CLOCK_TEXT_MAX];

	if (!side->at_us)
		return json_pack("{s:s}", "ip", IPADDR_TEXT(&side->ip));
	clock_format(side->at_us, at);
	return json_pack("{s:s, s:s, s:s, s:s}", "ip", IPADDR_TEXT(&side->ip), "at", at, "user", side->user, "peer",
			 IPADDR_TEXT(&side->peer));
}

/* The silo, and beside its records which of its names are fought over. */
static int reply_explained(struct call *call, const struct document *silo)
{
	_cleanup_free_ struct flapping_name *names = calloc(FLAPPING_MAX, sizeof *names);
	json_auto_t *json = json_loadb(silo->json, silo->len, 0, NULL), *list = json_array();
	size_t count = names ? flapping_list(store_flapping(call->hub->store), call->subject, names, FLAPPING_MAX) : 0;
	int failed = !names;

	for (size_t i = 0; i < count; i++) {
		char since[CLOCK_TEXT_MAX];
		clock_format(names[i].since_us, since);
		failed |= json_array_append_new(
			list, json_pack("{s:s, s:I, s:s, s:[o, o]}", "hostname", names[i].hostname, "changes",
					(json_int_t)names[i].flips, "since", since, "addresses",
					side_json(&names[i].sides[0]), side_json(&names[i].sides[1])));
	}
	failed |= json_object_set(json, "flapping", list);
	int err = failed ? ERR_NOMEM : reply_header(call->reply, "Cache-Control", "no-store");
	return err ? err : reply_json_take(call->reply, 200, TAKE_PTR(json));
}

int handle_silo_get(struct call *call)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;
	const char *explain = NULL;
	int err = request_query(call->request, "explain", &explain);

	if (!err)
		err = silo_to_read(call, &silo);
	if (!err && explain)
		return reply_explained(call, silo);
	if (!err)
		err = silo_condition(call, silo);
	return err ? err : reply_silo(call, call->reply->status, silo);
}

int handle_hosts_get(struct call *call)
{
	_cleanup_(document_cleanup) struct document *body = NULL;
	_cleanup_(silo_release) struct silo silo = {0};
	_cleanup_(buf_release) struct buf text = BUF_INIT(HOSTS_MAX);
	int err = silo_to_read(call, &body);

	if (!err)
		err = silo_condition(call, body);
	if (!err)
		err = document_read(body, &silo);
	if (err)
		return err;
	silo_append_hosts(&silo, &text);
	return reply_body_buf(call->reply, "text/plain; charset=utf-8", &text);
}

static int finish_put(struct call *call)
{
	struct outcome outcome;
	int err = call_collect(call, &outcome);
	_cleanup_(document_cleanup) struct document *body = outcome.body;

	return err ? err : reply_silo(call, outcome.created ? 201 : 200, body);
}

/* Unlike a PUT's, the silo has records that the caller did not send: a token that may not read gets none of them. */
static int finish_patch(struct call *call)
{
	struct outcome outcome;
	int err = call_collect(call, &outcome);
	_cleanup_(document_cleanup) struct document *body = outcome.body;

	if (err)
		return err;
	if (token_has_verb(call->principal.token, TOKEN_READ))
		return reply_silo(call, 200, body);
	reply_status(call->reply, 204);
	return reply_etag(call->reply, body->revision);
}

int handle_silo_put(struct call *call)
{
	_cleanup_(change_release) struct change change = {.kind = CHANGE_SILO_PUT};
	const char *owner = NULL;
	size_t max = call->hub->records_max;
	int err = call_query_user(call, "owner", &owner);

	if (!err)
		err = precondition_read(call->request, &change.precondition);
	if (!err)
		err = silo_parse(call->request->body, call->request->body_len, call->subject, &call->own_ip,
				 &change.records, call->why);
	if (!err && change.records.count > max)
		err = why_set(call->why, ERR_INVALID, "dnsrecords",
			      "a silo of this hub has at most %zu records (SILODNS_MAX_RECORDS), this one has %zu: "
			      "make several silos of it",
			      max, change.records.count);
	if (!err && owner)
		snprintf(change.new_owner, sizeof change.new_owner, "%s", owner);
	return err ? err : call_submit_take(call, &change, finish_put);
}

int handle_silo_patch(struct call *call)
{
	_cleanup_(change_release) struct change change = {.kind = CHANGE_SILO_PATCH,
							  .records_max = call->hub->records_max};
	int err = precondition_read(call->request, &change.precondition);

	if (!err)
		err = silo_parse_patch(call->request->body, call->request->body_len, &call->own_ip, &change.records,
				       &change.removed, call->why);
	return err ? err : call_submit_take(call, &change, finish_patch);
}

int handle_silo_delete(struct call *call)
{
	struct change change = {.kind = CHANGE_SILO_DELETE};
	int err = precondition_read(call->request, &change.precondition);

	return err ? err : call_submit_take(call, &change, call_finish_delete);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

struct silo_page {
	struct document **bodies; /* owned, with one reference each */
	size_t count;
	bool more;
};

static void silo_page_release(struct silo_page *page)
{
	for (size_t i = 0; i < page->count; i++)
		document_unref(page->bodies[i]);
	free(page->bodies);
}

/* Writes the array; returns how many silos had room in it: at least one, so that reading on comes to an end. */
static size_t write_silos(const struct silo_page *page, struct buf *text)
{
	size_t used = 0;

	buf_append_str(text, "[");
	for (; used < page->count; used++) {
		if (used && text->len + page->bodies[used]->len + 2 > LIST_BYTES_MAX)
			break;
		if (used)
			buf_append_str(text, ",");
		buf_append(text, page->bodies[used]->json, page->bodies[used]->len);
	}
	buf_append_str(text, "]");
	return used;
}

/* Of a token for some silos, whose ids are in order. */
static int list_of_token(struct call *call, uint32_t owner, const char *after, size_t limit, struct silo_page *page)
{
	const struct token_names *silos = &call->principal.token->silos;

	page->bodies = calloc(silos->count, sizeof(struct document *));
	if (!page->bodies)
		return ERR_NOMEM;
	for (size_t i = 0; i < silos->count && !page->more; i++) {
		_cleanup_(document_cleanup) struct document *body = NULL;
		if ((after && strcmp(silos->items[i], after) <= 0) ||
		    store_get(call->hub->store, silos->items[i], &body) || (owner && body->owner != owner))
			continue;
		page->more = page->count == limit;
		if (!page->more)
			page->bodies[page->count++] = TAKE_PTR(body);
	}
	return ERR_OK;
}

static int list_silos(struct call *call, const char *after, size_t limit, struct silo_page *page)
{
	const struct principal *who = &call->principal;
	uint32_t owner = who->role == ROLE_ADMIN ? 0 : who->user_id;
	uint64_t revision;

	if (who->token && who->token->silos.count)
		return list_of_token(call, owner, after, limit, page);
	return store_list(call->hub->store, owner, after, limit, &page->bodies, &page->count, &page->more, &revision);
}

int handle_silos_list(struct call *call)
{
	_cleanup_(silo_page_release) struct silo_page page = {0};
	_cleanup_(buf_release) struct buf text = BUF_INIT(SIZE_MAX / 4);
	const char *after = NULL;
	uint64_t limit = LIST_MAX;
	char id[SILO_ID_MAX + 1];
	int err = request_query_number(call->request, "limit", LIST_MAX, &limit);

	if (!err)
		err = request_query(call->request, "after", &after);
	if (!err)
		err = list_silos(call, after, limit, &page);
	if (err)
		return err;
	size_t used = write_silos(&page, &text);
	if (page.more || used < page.count) {
		document_id(page.bodies[used - 1], id);
		err = request_link_next(call->request, call->reply, "after", id);
	}
	return err ? err : reply_body_buf(call->reply, "application/json", &text);
}
