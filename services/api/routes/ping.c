#include "api/routes/handlers.h"

int handle_ping(struct call *call, struct reply *reply)
{
	(void)call;
	return reply_json_take(reply, 200, json_pack("{s:s}", "message", "PONG"));
}
