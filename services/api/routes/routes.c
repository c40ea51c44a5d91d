#include "api/routes/routes.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "api/routes/admit.h"
#include "api/routes/handlers.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define ANY_QUERY NULL /* what is not known is ignored */
#define NO_QUERY ((const char *const[]){NULL})
#define QUERY(...) ((const char *const[]){__VA_ARGS__, NULL})

/* {…} becomes call->subject, a second one call->second. HEAD is answered wherever GET is. What is asked for most stands
 * first: the table is searched from there. */
static const struct route {
	const char *path, *method;
	enum who who; /* at least; what belongs to whom is for handlers and journal */
	handler_fn *handler;
	const char *const *query; /* the parameters that there may be */
} routes[] = {
	{"/silos", "GET", READ, handle_silos_list, QUERY("limit", "after")},
	{"/silos/{id}", "GET", READ, handle_silo_get, QUERY("explain")},
	{"/silos/{id}", "PUT", UPDATE, handle_silo_put, QUERY("owner")},
	{"/silos/{id}", "PATCH", UPDATE, handle_silo_patch, NO_QUERY},
	{"/silos/{id}", "DELETE", UPDATE, handle_silo_delete, NO_QUERY},
	{"/silos/{id}/history", "GET", READ, handle_history_get, QUERY("limit", "before", "from", "until")},
	{"/silos/{id}/hosts", "GET", READ, handle_hosts_get, NO_QUERY},
	{"/watch", "GET", READ, handle_watch, QUERY("silo", "since", "lastEventId", "Last-Event-ID", "hub")},
	{"/", "GET", ANYONE, handle_index, ANY_QUERY},
	{"/ping", "GET", ANYONE, handle_ping, ANY_QUERY},
	{"/ping", "POST", ANYONE, handle_ping, ANY_QUERY},
	{"/ping", "PUT", ANYONE, handle_ping, ANY_QUERY},
	{"/ip", "GET", ANYONE, handle_ip, ANY_QUERY},
	{"/healthz", "GET", ANYONE, handle_healthz, ANY_QUERY},
	{"/readyz", "GET", ANYONE, handle_readyz, ANY_QUERY},
	{"/openapi.json", "GET", ANYONE, handle_openapi, ANY_QUERY},
	{"/metrics", "GET", ADMIN_OR_ANYONE, handle_metrics, NO_QUERY},
	{"/audit", "GET", ADMIN, handle_audit_get,
	 QUERY("outcome", "user", "silo", "since", "until", "before", "limit")},
	{"/users", "GET", ADMIN, handle_users_list, NO_QUERY},
	{"/users/{name}", "GET", ACCOUNT, handle_user_get, NO_QUERY},
	{"/users/{name}", "PUT", ACCOUNT, handle_user_put, NO_QUERY},
	{"/users/{name}", "DELETE", ADMIN, handle_user_delete, NO_QUERY},
	{"/users/{name}/tokens", "GET", ACCOUNT, handle_tokens_list, NO_QUERY},
	{"/users/{name}/tokens/{token}", "GET", ACCOUNT, handle_token_get, NO_QUERY},
	{"/users/{name}/tokens/{token}", "PUT", ACCOUNT, handle_token_put, NO_QUERY},
	{"/users/{name}/tokens/{token}", "DELETE", ACCOUNT, handle_token_delete, NO_QUERY},
};

#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

/* Into segments, decoded one by one: an escaped slash is part of a name. Returns how many there are, or an error. */
static int split_path(struct call *call)
{
	const char *at = call->request->path, *end = at + call->request->path_len;
	int count = 0;
	size_t len;

	for (; at < end && *at == '/'; count++) {
		const char *text = at + 1;
		const char *slash = memchr(text, '/', (size_t)(end - text));
		at = slash ? slash : end;
		if (count == CALL_SEGMENTS_MAX)
			return count + 1;
		char *segment = call->segments[count];
		if (percent_decode(text, (size_t)(at - text), segment, sizeof call->segments[0], &len))
			return why_set(call->why, ERR_MALFORMED, "",
				       "the path has a '%%' that is not followed by two hexadecimal digits");
		if (strlen(segment) < len)
			return why_set(call->why, ERR_MALFORMED, "", "the path holds a NUL byte (%%00)");
	}
	return count;
}

static bool path_matches(const char *pattern, const struct call *call, int count)
{
	for (int i = 0; i < count; i++) {
		const char *segment = call->segments[i];
		pattern++; /* the slash */
		if (*pattern == '{') {
			pattern += *segment ? strcspn(pattern, "/") : 0;
		} else {
			for (; *segment && *segment == *pattern && *pattern != '/'; pattern++)
				segment++;
			if (*segment)
				return false;
		}
		if (*pattern != (i + 1 < count ? '/' : '\0'))
			return false;
	}
	return count > 0;
}

static int refuse_method(struct call *call, const char *path)
{
	_cleanup_(buf_release) struct buf allow = BUF_INIT(REPLY_HEADER_VALUE_MAX - 1);

	for (size_t i = 0; i < ROUTE_COUNT; i++)
		if (strcmp(routes[i].path, path) == 0)
			buf_append_fmt(&allow, "%s%s%s", allow.len ? ", " : "", routes[i].method,
				       strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
	if (allow.err)
		return allow.err;
	int err = reply_header(call->reply, "Allow", allow.data);
	return err ? err : why_set(call->why, ERR_METHOD, "", "only %s here", allow.data);
}

static int find_route(struct call *call)
{
	const char *known = NULL;
	int count = split_path(call);

	if (count < 0)
		return count;
	for (size_t i = 0; i < ROUTE_COUNT && !call->route; i++) {
		if (!path_matches(routes[i].path, call, count))
			continue;
		known = routes[i].path;
		if (strcmp(routes[i].method, call->method) == 0)
			call->route = &routes[i];
	}
	if (!known)
		return why_set(call->why, ERR_NOT_FOUND, "",
			       "there is no such path: GET /openapi.json tells which there are");
	return call->route ? ERR_OK : refuse_method(call, known);
}

/* draft-ietf-httpapi-ratelimit-headers-10. Only where somebody is refused: others need not pay for it. */
static void tell_rate(const struct call *call)
{
	struct reply *reply = call->reply;
	const struct ratelimit_verdict *verdict = &call->verdict;
	char text[96];

	snprintf(text, sizeof text, "%lu", verdict->retry_s);
	reply_header(reply, "Retry-After", text);
	snprintf(text, sizeof text, "\"%s\";q=%lu;w=%lu", verdict->policy, verdict->quota, verdict->window_s);
	reply_header(reply, "RateLimit-Policy", text);
	snprintf(text, sizeof text, "\"%s\";r=0;t=%lu", verdict->policy, verdict->retry_s);
	reply_header(reply, "RateLimit", text);
}

/* RFC 6750, 3.1: who came with a token hears that it is the token. */
static void tell_bad_token(const struct call *call)
{
	const char *authorization = request_header(call->request, "Authorization");

	if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
		reply_header(call->reply, "WWW-Authenticate",
			     "Basic realm=\"silodns\", charset=\"UTF-8\", Bearer realm=\"silodns\", "
			     "error=\"invalid_token\"");
}

/* What comes from memory while the database is away says how old it may be (RFC 9111, 5.1). */
static void tell_age(struct call *call)
{
	int64_t age_ms = store_age_ms(call->hub->store);
	char seconds[24];

	if (!age_ms)
		return;
	snprintf(seconds, sizeof seconds, "%" PRId64, age_ms / 1000);
	reply_header(call->reply, "Age", seconds);
}

static void log_request(const struct call *call, int status)
{
	bool refused = status == 401 || status == 403 || status >= 500;
	enum log_level level = refused ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
	char path[CALL_SEGMENT_MAX + 1];

	if (!log_is_wanted(level))
		return;
	snprintf(path, sizeof path, "%.*s", (int)call->request->path_len, call->request->path);
	const struct log_field fields[] = {
		LOG_STR("method", call->request->method),
		LOG_STR("path", path),
		LOG_I64("status", status),
		LOG_STR("user", call->claim.user),
		LOG_STR("token", call->claim.token),
		LOG_STR("peer", IPADDR_TEXT(&call->peer)),
		LOG_MS("ms", request_ms(call->request)),
	};
	log_write(level,
		  status >= 500 ? "request failed"
		  : refused     ? "request refused"
				: "request",
		  fields, sizeof fields / sizeof fields[0]);
}

/* For the audit; see refusals.h for what does not come into it. */
static void note_refusal(const struct call *call, int err)
{
	char subject[CALL_NAME_MAX + 1];

	if (err != ERR_UNAUTHORIZED && err != ERR_FORBIDDEN && err != ERR_QUOTA && err != ERR_RATE)
		return;
	call_name(call, subject);
	const struct attempt attempt = {.err = err,
					.user = call->claim.user,
					.token = call->claim.token,
					.peer = call->peer,
					.method = call->route ? call->route->method : "",
					.path = call->route ? call->route->path : "",
					.subject = subject,
					.reason = call->why->text};
	refusals_add(call->hub->refusals, &attempt);
}

/* What stands in place of the path's {…}. */
static int check_names(struct call *call)
{
	const char *path = call->route->path;
	int err = ERR_OK;

	if (!call->subject[0]) /* it has none */
		return ERR_OK;
	if (strstr(path, "{id}"))
		err = silo_id_check(call->subject, strlen(call->subject), call->why);
	if (strstr(path, "{name}"))
		err = user_name_check(call->subject, strlen(call->subject), call->why);
	if (!err && strstr(path, "{token}"))
		err = user_name_check(call->second, strlen(call->second), call->why);
	return err;
}

/* Again from here on if it had to wait for its password's verification. */
static int handle_route(struct call *call)
{
	const struct route *route = call->route;

	call->finish = handle_route;
	int err = admit_user(call, route->who);
	if (!err && route->query != ANY_QUERY)
		err = request_query_only(call->request, route->query);
	if (!err)
		err = check_names(call);
	if (!err)
		err = route->handler(call);
	if (!err && route->who != ANYONE && strcmp(call->method, "GET") == 0)
		tell_age(call);
	return err;
}

static int handle(struct call *call)
{
	call->method = strcmp(call->request->method, "HEAD") == 0 ? "GET" : call->request->method;
	int err = admit_address(call);
	if (!err)
		err = call->request->err;
	if (err || call->reply->status == 204) /* a preflight: admit_origin() has answered it */
		return err;
	err = find_route(call);
	return err ? err : handle_route(call);
}

int routes_handle(void *arg, struct request *request, struct reply *reply)
{
	struct hub *hub = arg;
	struct call *call = request->state;

	/* What is said to one user at one time must not be kept for another; handlers may allow more. */
	reply_header(reply, "Cache-Control", "no-store");
	reply_header(reply, "X-Content-Type-Options", "nosniff");
	admit_origin(&hub->cors_origins, request, reply);
	if (!call && call_new(hub, request, &call)) {
		reply_problem(reply, ERR_NOMEM, NULL);
		return ERR_OK;
	}
	call->reply = reply;
	int err = call->finish ? call->finish(call) : handle(call);
	if (err == ERR_PENDING)
		return err;
	if (err == ERR_RATE)
		tell_rate(call);
	if (err) {
		note_refusal(call, err);
		reply_problem(reply, err, call->why);
		if (err == ERR_UNAUTHORIZED)
			tell_bad_token(call);
	}
	if (!reply->status)
		reply->status = 200;
	/* What the hub itself could not do must not count against the client. That too many passwords wait is not of
	 * that kind: nobody knows yet who asks. */
	if (call->limited && reply->status >= 500 && (err != ERR_BUSY || call->principal.user_id))
		ratelimit_give_back(call->hub->ratelimit, &call->peer, call->principal.user_id);
	metrics_count(&call->hub->metrics, request->method, reply->status, err, clock_mono_us() - request->started_us);
	log_request(call, reply->status);
	return ERR_OK;
}
