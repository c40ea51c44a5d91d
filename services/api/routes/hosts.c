#include "api/routes/handlers.h"
#include "api/routes/silo_access.h"
#include "common/base/cleanup.h"
#include "common/hub/silo.h"

#define HOSTS_MAX (SILO_RECORDS_MAX * (IPADDR_TEXT_MAX + HOSTNAME_LEN_MAX + 2)) /* bytes */

int handle_hosts_get(struct call *call, struct reply *reply)
{
	_cleanup_(document_cleanup) struct document *body = NULL;
	_cleanup_(silo_release) struct silo silo = {0};
	_cleanup_(buf_release) struct buf text = BUF_INIT(HOSTS_MAX);
	size_t len;
	int err = request_query_only(call->request, NULL);

	if (!err)
		err = silo_to_read(call, &body);
	if (!err)
		err = silo_condition(call, reply, body);
	if (!err)
		err = silo_parse(body->json, body->len, NULL, NULL, &silo, call->why);
	if (err)
		return err;
	silo_append_hosts(&silo, &text);
	buf_append_str(&text, ""); /* so that a silo without records has a text, too */
	if (text.err)
		return text.err;
	char *taken = buf_take(&text, &len);
	reply_body_take(reply, "text/plain; charset=utf-8", taken, len);
	return ERR_OK;
}
