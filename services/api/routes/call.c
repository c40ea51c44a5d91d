#include "api/routes/call.h"

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
	if (call->change)
		journal_abandon(call->hub->journal, call->change);
	token_unref(call->principal.token);
	free(call);
}

int call_new(struct hub *hub, struct request *request, struct call **ret_call)
{
	struct call *call = calloc(1, sizeof *call);

	if (!call)
		return ERR_NOMEM;
	call->request = request;
	call->why = &request->why;
	call->hub = hub;
	call->login.waiter = *request->waiter;
	request->state = call;
	request->release_state = call_free;
	*ret_call = call;
	return ERR_OK;
}

int call_submit(struct call *call, struct change *change, handler_fn finish)
{
	if (!change->subject)
		change->subject = call->subject;
	change->actor = &call->principal;
	change->peer = call->peer;
	int err = journal_begin(call->hub->journal, change, call->request->waiter, &call->change, call->why);
	if (err == ERR_PENDING)
		call->finish = finish;
	return err;
}

int call_collect(struct call *call, struct outcome *ret_outcome)
{
	int err = journal_collect_take(call->hub->journal, TAKE_PTR(call->change), ret_outcome);

	if (err)
		*call->why = ret_outcome->why;
	return err;
}
