#include "api/routes/handlers.h"
#include "common/base/cleanup.h"

#define PAGE_MAX (256u << 10) /* bytes; it has about 10 kB */

int handle_metrics(struct call *call, struct reply *reply)
{
	_cleanup_(buf_release) struct buf text = BUF_INIT(PAGE_MAX);
	size_t len;
	int err = request_query_only(call->request, NULL);

	if (err)
		return err;
	metrics_write(call->hub, &text);
	if (text.err)
		return text.err;
	char *body = buf_take(&text, &len);
	reply_body_take(reply, "text/plain; version=0.0.4", body, len);
	return ERR_OK;
}
