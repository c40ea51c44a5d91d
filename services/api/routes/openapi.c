#include "api/routes/handlers.h"
#include "api/routes/openapi.h"

int handle_openapi(struct request *request, struct reply *reply)
{
	(void)request;
	return reply_body(reply, "application/json", openapi_json, openapi_json_len);
}
