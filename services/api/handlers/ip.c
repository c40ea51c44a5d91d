#include "handlers.h"

int handle_ip(struct request *request, struct reply *reply)
{
	char text[IPADDR_TEXT_MAX];

	ipaddr_format(&request->peer, text);
	return reply_json_take(reply, 200, json_pack("{s:s}", "ip", text));
}
