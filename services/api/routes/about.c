/* What the hub tells anyone about itself. */
#include "api/routes/handlers.h"
#include "api/routes/openapi.h"
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
