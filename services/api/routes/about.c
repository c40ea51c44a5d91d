/* What the hub tells anyone: of itself, and which address it sees. */
#include "api/routes/handlers.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

int handle_index(struct call *call)
{
	return reply_json_take(call->reply, 200,
			       json_pack("{s:s}", "message",
					 "silodns " SILODNS_VERSION
					 ": see docs/http.md of the silodns sources for what "
					 "this hub answers; GET /ping needs no credentials"));
}

int handle_ping(struct call *call)
{
	return reply_json_take(call->reply, 200, json_pack("{s:s}", "message", "PONG"));
}

int handle_openapi(struct call *call)
{
	return reply_body(call->reply, "application/json", openapi_json, openapi_json_len);
}

int handle_healthz(struct call *call)
{
	return reply_json_take(call->reply, 200, json_pack("{s:s}", "status", "ok"));
}

/* Why this process should get no requests now; NULL: it should. */
static const char *unready_reason(struct hub *hub, const struct queue_status *journal)
{
	if (atomic_load(&hub->draining))
		return "the hub is stopping";
	if (!journal->database_up)
		return journal->reason[0] ? journal->reason : "the database is not there";
	if (!store_is_loaded(hub->store))
		return "the hub has not loaded its state from the database yet";
	if (!bootstrap_has_admin(hub->bootstrap))
		return "the first admin is being made";
	return NULL;
}

int handle_readyz(struct call *call)
{
	struct hub *hub = call->hub;
	struct queue_status journal;
	char identity[HUB_IDENTITY_LEN + 1] = "";

	queue_status(hub->queue, &journal);
	const char *reason = unready_reason(hub, &journal);
	json_auto_t *json = json_object();
	char expires[CLOCK_TEXT_MAX] = "";
	bool loaded = store_is_loaded(hub->store);
	if (loaded)
		store_identity(hub->store, identity);
	if (hub->tls)
		clock_format(tls_expires_us(hub->tls), expires);
	int err = jsontext_set(json, "status", true, json_string(reason ? "unavailable" : "ready"));
	err |= jsontext_set(json, "reason", reason, json_string(reason ? reason : ""));
	err |= jsontext_set(json, "hub", loaded, json_string(identity));
	err |= jsontext_set(json, "revision", loaded, json_integer((json_int_t)store_revision(hub->store)));
	err |= jsontext_set(json, "database", true, json_string(journal.database_up ? "up" : "down"));
	err |= jsontext_set(json, "certificate_expires", hub->tls, json_string(expires));
	return err ? ERR_NOMEM : reply_json_take(call->reply, reason ? 503 : 200, TAKE_PTR(json));
}

/* --- GET /ip ------------------------------------------------------------------------------------------------------ */

static json_t *hops_json(const struct forwarded_path *path, const struct forwarded_trust *trust)
{
	json_auto_t *hops = json_array();
	int failed = 0;

	for (size_t i = 0; i < path->count; i++) {
		const struct ipaddr *hop = &path->hops[i];
		failed |= json_array_append_new(hops, json_pack("{s:s, s:b}", "ip", IPADDR_TEXT(hop), "trusted",
								forwarded_is_trusted(trust, hop)));
	}
	return failed ? NULL : TAKE_PTR(hops);
}

/* Nothing that the client wrote itself is told as if it were true: so anyone may ask, from where it matters. */
static int explain(struct call *call, const char *ip)
{
	/* What is said of the address that the walk ended at. */
	static const char *const details[] = {
		[FORWARDED_DIRECT] = "is the connection's own address: it is none of SILODNS_TRUSTED_PROXIES, or sent "
				     "no header that tells (SILODNS_PROXY_HEADER)",
		[FORWARDED_UNTRUSTED] = "is none of SILODNS_TRUSTED_PROXIES: it is the client, and what it wrote "
					"further left is not believed",
		[FORWARDED_EXHAUSTED] = "is trusted, and nothing stands further left",
		[FORWARDED_UNREADABLE] = "is trusted, and what stands further left is no address",
		[FORWARDED_TOO_MANY] = "comes after as many proxies in a row as are followed",
		[FORWARDED_DISAGREE] = "is the connection's own address: Forwarded and X-Forwarded-For lead to "
				       "different ones, so neither is believed: say in SILODNS_PROXY_HEADER which of "
				       "them the proxies write",
	};
	const struct forwarded_trust *trust = &call->hub->trust;
	struct forwarded_path path;

	forwarded_explain(&call->request->connection, &call->forwarded, trust, &path);
	return reply_json_take(call->reply, 200,
			       json_pack("{s:s, s:{s:s?, s:o, s:s, s:s*, s:s++}}", "ip", ip, "explain", "header",
					 path.header, "hops", hops_json(&path, trust), "end",
					 forwarded_end_name(path.end), "element",
					 path.end == FORWARDED_UNREADABLE ? path.element : NULL, "detail", ip, " ",
					 details[path.end]));
}

int handle_ip(struct call *call)
{
	const char *ip = IPADDR_TEXT(&call->peer), *wanted = NULL;
	int err = request_query(call->request, "explain", &wanted);

	if (err)
		return err;
	return wanted ? explain(call, ip) : reply_json_take(call->reply, 200, json_pack("{s:s}", "ip", ip));
}
