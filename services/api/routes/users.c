#include <stdlib.h>

#include "api/routes/handlers.h"
#include "api/routes/user.h"
#include "common/base/cleanup.h"

int handle_users_list(struct call *call, struct reply *reply)
{
	_cleanup_free_ struct user *users = NULL;
	size_t count;
	int err = request_query_only(call->request, NULL);

	if (!err)
		err = store_users(call->hub->store, &users, &count);
	if (err)
		return err;
	json_t *list = json_array();
	for (size_t i = 0; list && i < count; i++) {
		if (json_array_append_new(list, user_json(&users[i])) == 0)
			continue;
		json_decref(list);
		list = NULL;
	}
	return reply_json_take(reply, 200, list);
}
