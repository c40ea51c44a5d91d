#include "api/routes/handlers.h"

int handle_ping(struct request *request, struct reply *reply)
{
	(void)request;
	return reply_json_take(reply, 200, json_pack("{s:s}", "message", "PONG"));
}
