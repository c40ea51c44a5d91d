#include <string.h>

#include "api/routes/handlers.h"
#include "api/watch/watchers.h"

#define REVISION_DIGITS_MAX 19

_Static_assert(TOKEN_SILOS_MAX <= FEED_NAMES_MAX, "all silos of a token can be followed at once");

struct names {
	const char *items[FEED_NAMES_MAX];
	size_t count;
};

static int read_names(struct call *call, struct names *names)
{
	const char *name;
	size_t at = 0;

	while ((name = request_query_next(call->request, "silo", &at))) {
		int err = silo_id_check(name, strlen(name), call->why);
		if (err)
			return err;
		size_t i = 0;
		while (i < names->count && strcmp(names->items[i], name) != 0)
			i++;
		if (i < names->count)
			continue;
		if (names->count == FEED_NAMES_MAX)
			return why_set(call->why, ERR_INVALID, "silo",
				       "up to %d silos may be named; without any, all that you may read are followed",
				       FEED_NAMES_MAX);
		names->items[names->count++] = name;
	}
	return ERR_OK;
}

/* A browser that comes back sends the newest id as a header, beside the query that it began with; one that cannot (the
 * common EventSource polyfills), in the query. The first that is there counts. */
static int read_since(struct call *call, struct subscription_wish *wish)
{
	static const char *const fields[] = {"lastEventId", "Last-Event-ID", "since"};
	const char *text = request_header(call->request, "Last-Event-ID");
	const char *field = "Last-Event-ID";

	for (size_t i = 0; i < sizeof fields / sizeof fields[0] && (!text || !text[0]); i++) {
		const char *value = NULL;
		int err = request_query(call->request, fields[i], &value);
		if (err)
			return err;
		if (value) {
			text = value;
			field = fields[i];
		}
	}
	if (!text || (!text[0] && strcmp(field, "since") != 0))
		return ERR_OK;
	size_t len = strlen(text);
	if (!len || len > REVISION_DIGITS_MAX || strspn(text, "0123456789") != len)
		return why_set(call->why, ERR_INVALID, field, "is a revision: digits, as the id of an event");
	wish->has_since = true;
	for (; *text; text++)
		wish->since = wish->since * 10 + (uint64_t)(*text - '0');
	return ERR_OK;
}

int handle_watch(struct call *call)
{
	struct names names = {.count = 0};
	struct subscription_wish wish = {.who = call->principal};
	struct watcher *watcher;
	int err = read_names(call, &names);

	if (!err)
		err = read_since(call, &wish);
	if (!err)
		err = request_query(call->request, "hub", &wish.hub);
	if (err)
		return err;
	/* A token for some silos follows these, and not all of its owner's. */
	const struct token *token = call->principal.token;
	if (!names.count && token)
		for (; names.count < token->silos.count; names.count++)
			names.items[names.count] = token->silos.items[names.count];
	wish.names = names.items;
	wish.name_count = names.count;
	err = watchers_open(call->hub->watchers, &wish, &watcher);
	if (err)
		return why_set(call->why, err, "", "%s",
			       err == ERR_UNAVAILABLE ? "the hub is stopping" : "out of memory");
	reply_stream_take(call->reply, "text/event-stream", &watcher_stream, watcher);
	return reply_header(call->reply, "X-Accel-Buffering", "no"); /* nginx would wait for more */
}
