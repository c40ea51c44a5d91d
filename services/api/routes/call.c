#include "api/routes/call.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/cleanup.h"

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
	*call = (struct call){.request = request, .why = &request->why, .hub = hub, .login.waiter = *request->waiter};
	request->state = call;
	request->release_state = call_free;
	*ret_call = call;
	return ERR_OK;
}

int call_submit_take(struct call *call, struct change *change, handler_fn finish)
{
	if (!change->subject[0])
		snprintf(change->subject, sizeof change->subject, "%.*s", CHANGE_SUBJECT_MAX, call->subject);
	change_set_actor(change, &call->principal);
	change->peer = call->peer;
	int err = queue_submit_take(call->hub->queue, change, call->request->waiter, &call->change, call->why);
	if (err == ERR_PENDING)
		call->finish = finish;
	return err;
}

int call_collect(struct call *call, struct outcome *ret_outcome)
{
	int err = queue_collect_take(call->hub->queue, TAKE_PTR(call->change), ret_outcome);

	if (err)
		*call->why = ret_outcome->why;
	return err;
}
