#include <string.h>

#include "handlers.h"
#include "lifecycle.h"

int handle_healthz(struct request *request, struct reply *reply)
{
	(void)request;
	return reply_json_take(reply, 200, json_pack("{s:s}", "status", "ok"));
}

/* Why this process should get no requests now; NULL: it should. */
static const char *unready_reason(struct hub *hub, const struct journal_status *journal)
{
	if (atomic_load(&hub->draining))
		return "the hub is stopping";
	if (!journal->database_up)
		return journal->reason[0] ? journal->reason : "the database is not there";
	if (!store_is_loaded(hub->store))
		return "the hub has not loaded its state from the database yet";
	return NULL;
}

int handle_readyz(struct request *request, struct reply *reply)
{
	struct hub *hub = request->hub;
	struct journal_status journal;
	char identity[HUB_IDENTITY_LEN + 1] = "";

	journal_status(hub->journal, &journal);
	const char *reason = unready_reason(hub, &journal);
	json_t *json = json_pack("{s:s}", "status", reason ? "unavailable" : "ready");
	if (json && reason)
		json_object_set_new(json, "reason", json_string(reason));
	if (json && store_is_loaded(hub->store)) {
		store_identity(hub->store, identity);
		json_object_set_new(json, "hub", json_string(identity));
		json_object_set_new(json, "revision", json_integer((json_int_t)store_revision(hub->store)));
	}
	if (json)
		json_object_set_new(json, "database", json_string(journal.database_up ? "up" : "down"));
	if (json && hub->tls) {
		char expires[CLOCK_TEXT_MAX];
		clock_format(tls_expires_us(hub->tls), expires);
		json_object_set_new(json, "certificate_expires", json_string(expires));
	}
	return reply_json_take(reply, reason ? 503 : 200, json);
}
