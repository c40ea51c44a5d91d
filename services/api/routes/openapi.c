#include "api/routes/handlers.h"
#include "api/routes/openapi.h"

int handle_openapi(struct call *call, struct reply *reply)
{
	(void)call;
	reply_body_static(reply, "application/json", openapi_json, openapi_json_len);
	return ERR_OK;
}
