#include "api/routes/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"

void call_keep_take(struct call *call, void *kept, void (*release)(void *kept))
{
	if (call->kept)
		call->release_kept(call->kept);
	call->kept = kept;
	call->release_kept = release;
}

static void call_free(void *arg)
{
	struct call *call = arg;

	call_keep_take(call, NULL, NULL);
	queue_abandon_take(call->hub->queue, call->change);
	token_unref(call->principal.token);
	free(call);
}

int call_new(struct hub *hub, struct request *request, struct call **ret_call)
{
	struct call *call = malloc(sizeof *call); /* (glibc's calloc() takes nothing from its cache) */

	if (!call)
		return ERR_NOMEM;
	*call = (struct call){.request = request,
			      .why = &request->why,
			      .hub = hub,
			      .subject = call->segments[1], /* (each second segment of a path is a name) */
			      .second = call->segments[3],
			      .login.waiter = *request->waiter};
	request->state = call;
	request->release_state = call_free;
	*ret_call = call;
	return ERR_OK;
}

void call_name(const struct call *call, char ret_name[static CALL_NAME_MAX + 1])
{
	snprintf(ret_name, CALL_NAME_MAX + 1, "%s%s%s", call->subject, call->second[0] ? "/" : "", call->second);
}

int call_submit_take(struct call *call, struct change *change, handler_fn *finish)
{
	char name[CALL_NAME_MAX + 1];

	call_name(call, name);
	snprintf(change->subject, sizeof change->subject, "%.*s", CHANGE_SUBJECT_MAX, name);
	change_set_actor(change, &call->principal);
	change->peer = call->peer;
	call->kind = change->kind;
	int err = queue_submit_take(call->hub->queue, change, call->request->waiter, &call->change, call->why);
	if (err == ERR_PENDING)
		call->finish = finish;
	return err;
}

static void log_change(const struct call *call, const struct outcome *outcome)
{
	static const struct {
		const char *message, *name;
	} words[] = {
		[CHANGE_SILO_PUT] = {"silo changed", "silo"},      [CHANGE_SILO_PATCH] = {"silo changed", "silo"},
		[CHANGE_SILO_DELETE] = {"silo changed", "silo"},   [CHANGE_USER_PUT] = {"user changed", "name"},
		[CHANGE_USER_DELETE] = {"user changed", "name"},   [CHANGE_TOKEN_PUT] = {"token made", "name"},
		[CHANGE_TOKEN_DELETE] = {"token revoked", "name"},
	};
	char name[CALL_NAME_MAX + 1];

	call_name(call, name);
	log_info(words[call->kind].message, LOG_STR(words[call->kind].name, name),
		 LOG_U64("revision", outcome->revision), LOG_STR("user", call->principal.name),
		 LOG_STR("token", call->claim.token), LOG_STR("peer", IPADDR_TEXT(&call->peer)),
		 LOG_U64("records", outcome->records), LOG_MS("ms", request_ms(call->request)));
}

int call_collect(struct call *call, struct outcome *ret_outcome)
{
	int err = queue_collect_take(call->hub->queue, TAKE_PTR(call->change), ret_outcome);

	if (err)
		*call->why = ret_outcome->why;
	if (err == ERR_PRECONDITION && ret_outcome->revision)
		reply_etag(call->reply, ret_outcome->revision);
	if (!err && ret_outcome->changed)
		log_change(call, ret_outcome);
	return err;
}

int call_finish_delete(struct call *call)
{
	struct outcome outcome;
	int err = call_collect(call, &outcome);

	if (!err)
		reply_status(call->reply, 204);
	return err;
}

int call_query_user(struct call *call, const char *name, const char **ret_user)
{
	const char *user = NULL;
	int err = request_query(call->request, name, &user);

	if (!err && user)
		err = user_name_check(user, strlen(user), call->why);
	if (err && user)
		snprintf(call->why->field, sizeof call->why->field, "%s", name);
	if (!err)
		*ret_user = user;
	return err;
}
