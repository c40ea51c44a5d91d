#include "api/routes/cors.h"

#include <string.h>

#define PREFLIGHT_S "7200" /* the longest that all browsers keep it */

static bool is_read(const char *method)
{
	return method && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
}

static bool is_listed(const struct conf_list *origins, const char *origin)
{
	for (size_t i = 0; i < origins->count; i++)
		if (strcmp(origins->items[i], origin) == 0)
			return true;
	return false;
}

void cors_apply(const struct conf_list *origins, const struct request *request, struct reply *reply)
{
	if (!origins->count)
		return;
	/* Also for who has no origin: a cache between must not give one what was said to another. */
	reply_header(reply, "Vary", "Origin");
	const char *origin = request_header(request, "Origin");
	if (!origin || !is_listed(origins, origin))
		return;
	bool preflight = strcmp(request->method, "OPTIONS") == 0 &&
			 is_read(request_header(request, "Access-Control-Request-Method"));
	if (!preflight && !is_read(request->method))
		return;
	reply_header(reply, "Access-Control-Allow-Origin", origin);
	if (!preflight) {
		reply_header(reply, "Access-Control-Expose-Headers", "ETag, Link, Retry-After, Age");
		return;
	}
	reply_header(reply, "Access-Control-Allow-Methods", "GET, HEAD");
	reply_header(reply, "Access-Control-Allow-Headers", "Authorization, If-None-Match, If-Match, Last-Event-ID");
	reply_header(reply, "Access-Control-Max-Age", PREFLIGHT_S);
	reply->status = 204;
}
