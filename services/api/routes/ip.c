#include <stdio.h>

#include "api/http/forwarded.h"
#include "api/routes/handlers.h"
#include "common/base/cleanup.h"

static json_t *hops_json(const struct forwarded_path *path, const struct forwarded_trust *trust)
{
	json_auto_t *hops = json_array();
	int failed = 0;

	for (size_t i = 0; i < path->count; i++) {
		char text[IPADDR_TEXT_MAX];
		ipaddr_format(&path->hops[i], text);
		failed |= json_array_append_new(hops, json_pack("{s:s, s:b}", "ip", text, "trusted",
								forwarded_is_trusted(trust, &path->hops[i])));
	}
	return failed ? NULL : TAKE_PTR(hops);
}

static void put_detail(const struct forwarded_path *path, const char *reached, char *ret_text, size_t size)
{
	switch (path->end) {
	case FORWARDED_DIRECT:
		snprintf(ret_text, size,
			 "%s is the connection's own address: it is none of SILODNS_TRUSTED_PROXIES, or sent no "
			 "header that tells (SILODNS_PROXY_HEADER)",
			 reached);
		break;
	case FORWARDED_UNTRUSTED:
		snprintf(ret_text, size,
			 "%s is none of SILODNS_TRUSTED_PROXIES: it is the client, and what it wrote further left is "
			 "not believed",
			 reached);
		break;
	case FORWARDED_EXHAUSTED:
		snprintf(ret_text, size, "%s is trusted, and nothing stands further left in %s", reached, path->header);
		break;
	case FORWARDED_UNREADABLE:
		snprintf(ret_text, size, "what stands left of %s in %s is no address", reached, path->header);
		break;
	case FORWARDED_TOO_MANY:
		snprintf(ret_text, size, "not more than %d proxies in a row are followed", FORWARDED_HOPS_MAX);
		break;
	case FORWARDED_DISAGREE:
		snprintf(ret_text, size,
			 "Forwarded and X-Forwarded-For lead to different addresses, so neither is believed: say "
			 "in SILODNS_PROXY_HEADER which of them the proxies write");
	}
}

/* Nothing that the client wrote itself is told as if it were true: so anyone may ask, from where it matters. */
static int explain(struct call *call, const char *ip)
{
	const struct forwarded_trust *trust = &call->hub->trust;
	struct forwarded_path path;
	char detail[256];

	forwarded_explain(&call->request->connection, &call->forwarded, trust, &path);
	put_detail(&path, ip, detail, sizeof detail);
	return reply_json_take(call->reply, 200,
			       json_pack("{s:s, s:{s:s?, s:o, s:s, s:s*, s:s}}", "ip", ip, "explain", "header",
					 path.header, "hops", hops_json(&path, trust), "end",
					 forwarded_end_name(path.end), "element",
					 path.end == FORWARDED_UNREADABLE ? path.element : NULL, "detail", detail));
}

int handle_ip(struct call *call)
{
	const char *wanted = NULL;
	char text[IPADDR_TEXT_MAX];
	int err = request_query(call->request, "explain", &wanted);

	if (err)
		return err;
	ipaddr_format(&call->peer, text);
	return wanted ? explain(call, text) : reply_json_take(call->reply, 200, json_pack("{s:s}", "ip", text));
}
