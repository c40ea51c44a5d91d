#include "api/routes/handlers.h"

int handle_index(struct request *request, struct reply *reply)
{
	(void)request;
	return reply_json_take(reply, 200,
			       json_pack("{s:s}", "message",
					 "silodns " SILODNS_VERSION
					 ": see docs/http.md of the silodns sources for what "
					 "this hub answers; GET /ping needs no credentials"));
}
