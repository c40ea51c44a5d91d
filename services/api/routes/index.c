#include "api/routes/handlers.h"

int handle_index(struct call *call, struct reply *reply)
{
	(void)call;
	return reply_json_take(reply, 200,
			       json_pack("{s:s}", "message",
					 "silodns " SILODNS_VERSION
					 ": see docs/http.md of the silodns sources for what "
					 "this hub answers; GET /ping needs no credentials"));
}
