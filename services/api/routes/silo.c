#include <string.h>

#include "api/routes/handlers.h"
#include "api/routes/precondition.h"
#include "api/routes/silo_access.h"
#include "api/store/flapping.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

static int check_id(struct call *call)
{
	return silo_id_check(call->subject, strlen(call->subject), call->why);
}

int silo_to_read(struct call *call, struct document **ret_silo)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;
	int err = check_id(call);

	if (err)
		return err;
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
static int reply_silo(struct reply *reply, int status, struct document *silo)
{
	reply_body_shared(reply, "application/json", silo->json, silo->len, document_ref(silo), release_document);
	reply->status = status;
	return reply_etag(reply, silo->revision);
}

int silo_condition(struct call *call, struct reply *reply, const struct document *silo)
{
	int status = 200;
	int err = reply_header(reply, "Cache-Control", "no-cache");

	if (!err)
		err = reply_etag(reply, silo->revision);
	if (!err)
		err = precondition_status(call->request, silo->revision, &status);
	reply->status = status;
	return err;
}

static json_t *side_json(const struct flapping_side *side)
{
	char at[CLOCK_TEXT_MAX];
	json_t *json = json_pack("{s:s}", "ip", IPADDR_TEXT(&side->ip));

	if (!json || !side->at_us)
		return json;
	clock_format(side->at_us, at);
	if (json_object_set_new(json, "at", json_string(at)) ||
	    json_object_set_new(json, "user", json_string(side->user)) ||
	    json_object_set_new(json, "peer", json_string(IPADDR_TEXT(&side->peer)))) {
		json_decref(json);
		return NULL;
	}
	return json;
}

/* The silo, and beside its records which of its names are fought over. */
static int reply_explained(struct call *call, const struct document *silo, struct reply *reply)
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
	int err = failed ? ERR_NOMEM : reply_header(reply, "Cache-Control", "no-store");
	return err ? err : reply_json_take(reply, 200, TAKE_PTR(json));
}

int handle_silo_get(struct call *call, struct reply *reply)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;
	static const char *const known[] = {"explain", NULL};
	const char *explain = NULL;
	int err = request_query_only(call->request, known);

	if (!err)
		err = request_query(call->request, "explain", &explain);
	if (!err)
		err = silo_to_read(call, &silo);
	if (!err && explain)
		return reply_explained(call, silo, reply);
	if (!err)
		err = silo_condition(call, reply, silo);
	return err ? err : reply_silo(reply, reply->status, silo);
}

static int query_owner(struct call *call, char ret_owner[static USER_NAME_MAX + 1])
{
	static const char *const known[] = {"owner", NULL};
	const char *owner = NULL;
	int err = request_query_only(call->request, known);

	if (!err)
		err = request_query(call->request, "owner", &owner);
	if (err || !owner)
		return err;
	err = user_name_check(owner, strlen(owner), call->why);
	if (err)
		snprintf(call->why->field, sizeof call->why->field, "owner");
	else
		snprintf(ret_owner, USER_NAME_MAX + 1, "%s", owner);
	return err;
}

static int finish_put(struct call *call, struct reply *reply)
{
	struct outcome outcome;
	int err = call_collect(call, reply, &outcome);
	_cleanup_(document_cleanup) struct document *body = outcome.body;

	return err ? err : reply_silo(reply, outcome.created ? 201 : 200, body);
}

/* Unlike a PUT's, the silo has records that the caller did not send: a token that may not read gets none of them. */
static int finish_patch(struct call *call, struct reply *reply)
{
	struct outcome outcome;
	int err = call_collect(call, reply, &outcome);
	_cleanup_(document_cleanup) struct document *body = outcome.body;

	if (err)
		return err;
	if (token_has_verb(call->principal.token, TOKEN_READ))
		return reply_silo(reply, 200, body);
	reply->status = 204;
	return reply_etag(reply, body->revision);
}

static int check_count(struct call *call, const struct silo *silo)
{
	size_t max = call->hub->records_max;

	if (silo->count <= max)
		return ERR_OK;
	return why_set(
		call->why, ERR_INVALID, "dnsrecords",
		"a silo of this hub has at most %zu records (SILODNS_MAX_RECORDS), this one has %zu: make several "
		"silos of it",
		max, silo->count);
}

int handle_silo_put(struct call *call, struct reply *reply)
{
	_cleanup_(change_release) struct change change = {.kind = CHANGE_SILO_PUT};
	int err = check_id(call);

	(void)reply;
	if (!err)
		err = query_owner(call, change.new_owner);
	if (!err)
		err = precondition_read(call->request, &change.precondition);
	if (!err)
		err = silo_parse(call->request->body, call->request->body_len, call->subject, &call->own_ip,
				 &change.records, call->why);
	if (!err)
		err = check_count(call, &change.records);
	return err ? err : call_submit_take(call, &change, finish_put);
}

/* Of PATCH and DELETE. */
static int check_change(struct call *call, struct precondition *ret_precondition)
{
	int err = check_id(call);

	if (!err)
		err = request_query_only(call->request, NULL);
	return err ? err : precondition_read(call->request, ret_precondition);
}

int handle_silo_patch(struct call *call, struct reply *reply)
{
	_cleanup_(change_release) struct change change = {.kind = CHANGE_SILO_PATCH,
							  .records_max = call->hub->records_max};
	int err = check_change(call, &change.precondition);

	(void)reply;
	if (!err)
		err = silo_parse_patch(call->request->body, call->request->body_len, &call->own_ip, &change.records,
				       &change.removed, call->why);
	return err ? err : call_submit_take(call, &change, finish_patch);
}

int handle_silo_delete(struct call *call, struct reply *reply)
{
	struct change change = {.kind = CHANGE_SILO_DELETE};
	int err = check_change(call, &change.precondition);

	(void)reply;
	return err ? err : call_submit_take(call, &change, call_finish_delete);
}
