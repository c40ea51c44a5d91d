#include <string.h>

#include "api/auth/password.h"
#include "api/routes/handlers.h"
#include "api/routes/silo_access.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

static int check_id(struct request *request)
{
	return silo_id_check(request->subject, request->subject_len, &request->why);
}

int silo_to_read(struct request *request, struct document **ret_silo)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;
	int err = check_id(request);

	if (err)
		return err;
	if (!token_covers_silo(request->principal.token, request->subject))
		return why_set(&request->why, ERR_FORBIDDEN, "", "this token is not for silo \"%s\"", request->subject);
	if (store_get(request->hub->store, request->subject, &silo))
		return why_set(&request->why, ERR_NOT_FOUND, "", "there is no silo \"%s\"", request->subject);
	if (request->principal.role != ROLE_ADMIN && silo->owner != request->principal.user_id)
		return why_set(&request->why, ERR_FORBIDDEN, "", "silo \"%s\" belongs to somebody else",
			       request->subject);
	*ret_silo = TAKE_PTR(silo);
	return ERR_OK;
}

int handle_silo_get(struct request *request, struct reply *reply)
{
	_cleanup_(document_cleanup) struct document *silo = NULL;
	int err = request_query_only(request, NULL);

	if (!err)
		err = silo_to_read(request, &silo);
	if (err)
		return err;

	/* May be kept, but must be asked for again each time. A 304 takes the same way: the server sends its headers.
	 */
	err = reply_header(reply, "Cache-Control", "no-cache");
	return err ? err : reply_silo(reply, request_has_revision(request, silo->revision) ? 304 : 200, silo);
}

/* What PUT and DELETE have in common once the journal has decided. `ret_outcome->body` is the caller's. */
static int collect(struct request *request, struct reply *reply, struct outcome *ret_outcome)
{
	int err = request_collect(request, ret_outcome);

	if (err == ERR_PRECONDITION && ret_outcome->revision)
		reply_etag(reply, ret_outcome->revision);
	if (!err && ret_outcome->changed)
		log_info("silo changed", LOG_STR("silo", request->subject), LOG_U64("revision", ret_outcome->revision),
			 LOG_STR("user", request->principal.name), LOG_STR("token", request->claim.token),
			 LOG_STR("peer", IPADDR_TEXT(&request->peer)), LOG_U64("records", ret_outcome->records),
			 LOG_MS("ms", request_ms(request)));
	return err;
}

static int query_owner(struct request *request, const char **ret_owner)
{
	static const char *const known[] = {"owner", NULL};
	const char *owner = NULL;
	int err = request_query_only(request, known);

	if (!err)
		err = request_query(request, "owner", &owner);
	if (err || !owner)
		return err;
	err = user_name_check(owner, strlen(owner), &request->why);
	if (err)
		snprintf(request->why.field, sizeof request->why.field, "owner");
	else
		*ret_owner = owner;
	return err;
}

static int finish_put(struct request *request, struct reply *reply)
{
	struct outcome outcome;
	int err = collect(request, reply, &outcome);
	_cleanup_(document_cleanup) struct document *body = outcome.body;

	return err ? err : reply_silo(reply, outcome.created ? 201 : 200, body);
}

static int check_count(struct request *request, const struct silo *silo)
{
	if (silo->count <= request->hub->records_max)
		return ERR_OK;
	return why_set(&request->why, ERR_INVALID, "dnsrecords",
		       "a silo of this hub has at most %zu records, this one has %zu", request->hub->records_max,
		       silo->count);
}

int handle_silo_put(struct request *request, struct reply *reply)
{
	_cleanup_(silo_release) struct silo silo = {0};
	struct change change = {.kind = CHANGE_SILO_PUT, .silo = &silo};
	int err = check_id(request);

	(void)reply;
	if (!err)
		err = query_owner(request, &change.owner);
	if (!err)
		err = request_precondition(request, &change.precondition);
	if (!err)
		err = silo_parse(request->body ? request->body : "", request->body_len, request->subject,
				 &request->peer, &silo, &request->why);
	if (!err)
		err = check_count(request, &silo);
	return err ? err : request_submit(request, &change, finish_put);
}

static int finish_delete(struct request *request, struct reply *reply)
{
	struct outcome outcome;
	int err = collect(request, reply, &outcome);

	if (!err)
		reply_status(reply, 204);
	return err;
}

int handle_silo_delete(struct request *request, struct reply *reply)
{
	struct change change = {.kind = CHANGE_SILO_DELETE};
	int err = check_id(request);

	(void)reply;
	if (!err)
		err = request_query_only(request, NULL);
	if (!err)
		err = request_precondition(request, &change.precondition);
	return err ? err : request_submit(request, &change, finish_delete);
}
