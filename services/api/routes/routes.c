#include "api/routes/routes.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#include "api/http/forwarded.h"
#include "api/routes/handlers.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

/* READ, UPDATE: any user, and a token with this verb. ACCOUNT: any user, and a token with the verb admin, of an admin.
 */
enum who { ANYONE, READ, UPDATE, ACCOUNT, ADMIN, ADMIN_OR_ANYONE /* as the settings say */ };

/* Rows of one path stand together; {…} becomes request->subject, a second one request->second. HEAD is answered
 * wherever GET is. */
static const struct route {
	const char *path, *method;
	enum who who; /* at least; what belongs to whom is for handlers and journal */
	handler_fn handler;
} routes[] = {
	{"/", "GET", ANYONE, handle_index},
	{"/ping", "GET", ANYONE, handle_ping},
	{"/ping", "POST", ANYONE, handle_ping},
	{"/ping", "PUT", ANYONE, handle_ping},
	{"/ip", "GET", ANYONE, handle_ip},
	{"/healthz", "GET", ANYONE, handle_healthz},
	{"/readyz", "GET", ANYONE, handle_readyz},
	{"/openapi.json", "GET", ANYONE, handle_openapi},
	{"/metrics", "GET", ADMIN_OR_ANYONE, handle_metrics},
	{"/silos", "GET", READ, handle_silos_list},
	{"/silos/{id}", "GET", READ, handle_silo_get},
	{"/silos/{id}", "PUT", UPDATE, handle_silo_put},
	{"/silos/{id}", "DELETE", UPDATE, handle_silo_delete},
	{"/silos/{id}/history", "GET", READ, handle_history_get},
	{"/silos/{id}/hosts", "GET", READ, handle_hosts_get},
	{"/watch", "GET", READ, handle_watch},
	{"/audit", "GET", ADMIN, handle_audit_get},
	{"/users", "GET", ADMIN, handle_users_list},
	{"/users/{name}", "GET", ACCOUNT, handle_user_get},
	{"/users/{name}", "PUT", ACCOUNT, handle_user_put},
	{"/users/{name}", "DELETE", ADMIN, handle_user_delete},
	{"/users/{name}/tokens", "GET", ACCOUNT, handle_tokens_list},
	{"/users/{name}/tokens/{token}", "GET", ACCOUNT, handle_token_get},
	{"/users/{name}/tokens/{token}", "PUT", ACCOUNT, handle_token_put},
	{"/users/{name}/tokens/{token}", "DELETE", ACCOUNT, handle_token_delete},
};

#define ROUTE_COUNT (sizeof routes / sizeof routes[0])
#define SEGMENTS_MAX 4 /* no path of the table has more */

/* A path, decoded segment by segment: an escaped slash is part of a name. */
struct path {
	struct {
		char text[REQUEST_SUBJECT_MAX + 1];
		size_t len;
	} segments[SEGMENTS_MAX];
	size_t count; /* SEGMENTS_MAX + 1: more */
};

/* Strips scheme and authority of the absolute form (RFC 9112, 3.2.2), and finds the query. */
static void split_uri(struct request *request, const char *uri)
{
	const char *rest = uri;

	if (strncasecmp(uri, "http://", 7) == 0 || strncasecmp(uri, "https://", 8) == 0) {
		rest = strchr(uri, ':') + 3;
		rest += strcspn(rest, "/?");
	}
	request->path = *rest == '\0' || *rest == '?' ? "/" : rest; /* http://hub is http://hub/ (RFC 9110, 4.2.3) */
	request->path_len = strcspn(request->path, "?");
	const char *mark = strchr(rest, '?');
	request->query = mark ? mark + 1 : NULL;
}

static int parse_path(struct request *request, struct path *ret_path)
{
	const char *at = request->path, *end = at + request->path_len;

	ret_path->count = 0;
	while (at < end && *at == '/') {
		const char *text = at + 1;
		const char *slash = memchr(text, '/', (size_t)(end - text));
		at = slash ? slash : end;
		if (ret_path->count == SEGMENTS_MAX) {
			ret_path->count++;
			break;
		}
		/* A segment that is too long is cut, and then is longer than any name may be, still. */
		if (percent_decode(text, (size_t)(at - text), ret_path->segments[ret_path->count].text,
				   sizeof ret_path->segments[0].text, &ret_path->segments[ret_path->count].len))
			return why_set(&request->why, ERR_MALFORMED, "",
				       "the path has a '%%' that is not followed by two hexadecimal digits");
		if (memchr(ret_path->segments[ret_path->count].text, '\0', ret_path->segments[ret_path->count].len))
			return why_set(&request->why, ERR_MALFORMED, "", "the path holds a NUL byte (%%00)");
		ret_path->count++;
	}
	return ERR_OK;
}

#define NAMES_MAX 2 /* {…} in one pattern */

/* `ret_names` are the segments that stand for {…}, or SEGMENTS_MAX. */
static bool path_matches(const char *pattern, const struct path *path, size_t ret_names[static NAMES_MAX])
{
	size_t i = 0, names = 0;

	if (path->count > SEGMENTS_MAX)
		return false;
	for (size_t n = 0; n < NAMES_MAX; n++)
		ret_names[n] = SEGMENTS_MAX;
	for (const char *at = pattern, *end; *at; at = end, i++) {
		size_t len = strcspn(++at, "/");
		end = at + len;
		if (i == path->count)
			return false;
		if (*at == '{') {
			if (!path->segments[i].len)
				return false;
			ret_names[names++] = i;
		} else if (path->segments[i].len != len || memcmp(path->segments[i].text, at, len) != 0) {
			return false;
		}
	}
	return i == path->count;
}

static int refuse_method(struct request *request, const char *path, struct reply *reply)
{
	_cleanup_(buf_release) struct buf allow = BUF_INIT(REPLY_HEADER_VALUE_MAX - 1);

	for (size_t i = 0; i < ROUTE_COUNT; i++)
		if (strcmp(routes[i].path, path) == 0)
			buf_append_fmt(&allow, "%s%s%s", allow.len ? ", " : "", routes[i].method,
				       strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
	if (allow.err)
		return allow.err;
	int err = reply_header(reply, "Allow", allow.data);
	return err ? err : why_set(&request->why, ERR_METHOD, "", "only %s here", allow.data);
}

static void take_name(const struct path *path, size_t segment, char ret_name[static REQUEST_SUBJECT_MAX + 1],
		      size_t *ret_len)
{
	if (segment == SEGMENTS_MAX)
		return;
	*ret_len = path->segments[segment].len;
	memcpy(ret_name, path->segments[segment].text, *ret_len + 1);
}

static int find_route(struct request *request, struct reply *reply, const struct route **ret_route)
{
	struct path path;
	const char *known = NULL;
	size_t names[NAMES_MAX];
	int err = parse_path(request, &path);

	if (err)
		return err;
	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		if (!path_matches(routes[i].path, &path, names))
			continue;
		known = routes[i].path;
		if (strcmp(routes[i].method, request->method) != 0)
			continue;
		take_name(&path, names[0], request->subject, &request->subject_len);
		take_name(&path, names[1], request->second, &request->second_len);
		*ret_route = &routes[i];
		request->route_path = routes[i].path;
		request->route_method = routes[i].method;
		return ERR_OK;
	}
	if (known)
		return refuse_method(request, known, reply);
	return why_set(&request->why, ERR_NOT_FOUND, "", "there is no such path");
}

static int admit_token(struct request *request, enum who who)
{
	static const struct {
		enum token_verb verb;
		const char *name;
	} verbs[] = {[READ] = {TOKEN_READ, "read"},
		     [UPDATE] = {TOKEN_UPDATE, "update"},
		     [ACCOUNT] = {TOKEN_ADMIN, "admin"},
		     [ADMIN] = {TOKEN_ADMIN, "admin"},
		     [ADMIN_OR_ANYONE] = {TOKEN_ADMIN, "admin"}};
	const struct token *token = request->principal.token;

	if (!token)
		return ERR_OK;
	if (!token_has_verb(token, verbs[who].verb))
		return why_set(&request->why, ERR_FORBIDDEN, "", "this token may not do this: it has no verb \"%s\"",
			       verbs[who].name);
	if (who >= ACCOUNT && request->principal.role != ROLE_ADMIN)
		return why_set(&request->why, ERR_FORBIDDEN, "", "this token's owner is no admin any more");
	return ERR_OK;
}

/* Who asks, and whether limits apply. A request that came through somebody who is not trusted with the truth is limited
 * also where that one would not be: or a proxy on this machine that nobody told the hub of would lift all limits. */
static void identify(struct request *request)
{
	static atomic_flag complained = ATOMIC_FLAG_INIT;
	const struct hub *hub = request->hub;
	const char *forwarded = request_header(request, "Forwarded");
	const char *x_forwarded_for = request_header(request, "X-Forwarded-For");
	struct forwarded_path path;

	request->peer = request->connection;
	request->limited = !ratelimit_is_exempt(hub->ratelimit, &request->peer);
	if (!forwarded && !x_forwarded_for)
		return;
	forwarded_explain(&request->connection, forwarded, x_forwarded_for, &hub->trust, &path);
	request->peer = path.hops[path.count - 1];
	request->limited = path.end != FORWARDED_UNTRUSTED || !ratelimit_is_exempt(hub->ratelimit, &request->peer);
	if (path.end == FORWARDED_DIRECT && !forwarded_is_trusted(&hub->trust, &request->peer) &&
	    ratelimit_is_exempt(hub->ratelimit, &request->peer) && !atomic_flag_test_and_set(&complained))
		log_warn("a proxy that is not one of SILODNS_TRUSTED_PROXIES: all behind it count as one client",
			 LOG_STR("proxy", IPADDR_TEXT(&request->connection)));
}

static int count_request(struct request *request)
{
	if (!request->limited || request->again ||
	    !ratelimit_take_address(request->hub->ratelimit, &request->peer, request->started_us, &request->verdict))
		return ERR_OK;
	return why_set(&request->why, ERR_RATE, "", "too many requests from this address; try again in %lu s",
		       request->verdict.retry_s);
}

static int authenticate(struct request *request)
{
	struct hub *hub = request->hub;
	struct authenticator_call call = {.peer = &request->peer,
					  .limited = request->limited,
					  .now_us = request->started_us,
					  .login = request->login};
	int err = authenticator_check(hub->authenticator, request_header(request, "Authorization"), &call,
				      &request->principal, &request->why);

	request->verdict = call.verdict;
	request->claim = call.claim;
	if (call.locked_out)
		log_warn("too many wrong passwords or tokens: locked out",
			 LOG_STR("peer", IPADDR_TEXT(&request->peer)));
	if (err || !request->limited ||
	    !ratelimit_take_user(hub->ratelimit, request->principal.user_id, request->started_us, &request->verdict))
		return err;
	return why_set(&request->why, ERR_RATE, "", "too many requests of this user; try again in %lu s",
		       request->verdict.retry_s);
}

/* draft-ietf-httpapi-ratelimit-headers-10. Only where somebody is refused: others need not pay for it. */
static void tell_rate(const struct request *request, struct reply *reply)
{
	const struct ratelimit_verdict *verdict = &request->verdict;
	char text[96];

	snprintf(text, sizeof text, "%lu", verdict->retry_s);
	reply_header(reply, "Retry-After", text);
	snprintf(text, sizeof text, "\"%s\";q=%lu;w=%lu", verdict->policy, verdict->quota, verdict->window_s);
	reply_header(reply, "RateLimit-Policy", text);
	snprintf(text, sizeof text, "\"%s\";r=0;t=%lu", verdict->policy, verdict->retry_s);
	reply_header(reply, "RateLimit", text);
}

/* What the hub itself could not do must not count against the client. That too many passwords wait is not of that kind:
 * nobody knows yet who asks. */
static void forgive(const struct request *request, int status, int err)
{
	if (request->limited && status >= 500 && (err != ERR_BUSY || request->principal.user_id))
		ratelimit_give_back(request->hub->ratelimit, &request->peer, request->principal.user_id);
}

static int admit(struct request *request, const struct route *route)
{
	const struct hub *hub = request->hub;

	if (request->body_refused)
		return why_set(&request->why, ERR_BUSY, "",
			       "too many bodies are on their way to the hub at once; try again in a moment");
	if (request->body_len > hub->body_max)
		return why_set(&request->why, ERR_TOO_LARGE, "", "a body may have %zu bytes, not more", hub->body_max);
	if (route->who == ANYONE || (route->who == ADMIN_OR_ANYONE && hub->metrics_for_anyone))
		return ERR_OK;
	int err = authenticate(request);
	if (!err)
		err = admit_token(request, route->who);
	if (err)
		return err;
	if (route->who >= ADMIN && request->principal.role != ROLE_ADMIN)
		return why_set(&request->why, ERR_FORBIDDEN, "", "only an admin may do this");
	return ERR_OK;
}

/* What comes from memory while the database is away says how old it may be (RFC 9111, 5.1). */
static void tell_age(struct request *request, struct reply *reply)
{
	int64_t age_ms = store_age_ms(request->hub->store);
	char seconds[24];

	if (!age_ms)
		return;
	snprintf(seconds, sizeof seconds, "%" PRId64, age_ms / 1000);
	reply_header(reply, "Age", seconds);
}

static void log_request(const struct request *request, const char *method, int status)
{
	enum log_level level = LOG_LEVEL_DEBUG;
	char path[REQUEST_SUBJECT_MAX + 1];

	if (status == 401 || status == 403 || status >= 500)
		level = LOG_LEVEL_INFO;
	if (!log_is_wanted(level))
		return;
	snprintf(path, sizeof path, "%.*s", (int)request->path_len, request->path);
	const struct log_field fields[] = {
		LOG_STR("method", method),
		LOG_STR("path", path),
		LOG_I64("status", status),
		LOG_STR("user", request->claim.user),
		LOG_STR("token", request->claim.token),
		LOG_STR("peer", IPADDR_TEXT(&request->peer)),
		LOG_MS("ms", request_ms(request)),
	};
	log_write(level,
		  status >= 500             ? "request failed"
		  : level == LOG_LEVEL_INFO ? "request refused"
					    : "request",
		  fields, sizeof fields / sizeof fields[0]);
}

/* For the audit; see audit.h for what does not come into it. */
static void note_refusal(const struct request *request, int err)
{
	char subject[2 * REQUEST_SUBJECT_MAX + 2];

	if (err != ERR_UNAUTHORIZED && err != ERR_FORBIDDEN && err != ERR_QUOTA && err != ERR_RATE)
		return;
	snprintf(subject, sizeof subject, "%s%s%s", request->subject, request->second_len ? "/" : "", request->second);
	const struct attempt attempt = {.err = err,
					.user = request->claim.user,
					.token = request->claim.token,
					.peer = request->peer,
					.method = request->route_method ? request->route_method : "",
					.path = request->route_path ? request->route_path : "",
					.subject = subject,
					.reason = request->why.text};
	refusals_add(request->hub->refusals, &attempt);
}

static int handle(struct request *request, const char *uri, struct reply *reply)
{
	const struct route *route = NULL;

	identify(request);
	split_uri(request, uri);
	int err = count_request(request);
	if (!err)
		err = find_route(request, reply, &route);
	if (!err)
		err = admit(request, route);
	if (!err)
		err = route->handler(request, reply);
	if (!err && route->who != ANYONE && strcmp(request->method, "GET") == 0)
		tell_age(request, reply);
	return err;
}

int routes_handle(struct request *request, const char *method, const char *uri, struct reply *reply)
{
	request->method = strcmp(method, "HEAD") == 0 ? "GET" : method;
	/* What is said to one user at one time must not be kept for another; handlers may allow more. */
	reply_header(reply, "Cache-Control", "no-store");
	reply_header(reply, "X-Content-Type-Options", "nosniff");
	int err = request->finish ? request->finish(request, reply) : handle(request, uri, reply);
	if (err == ERR_PENDING)
		return err;
	if (err == ERR_RATE)
		tell_rate(request, reply);
	if (err) {
		note_refusal(request, err);
		reply_problem(reply, err, &request->why);
	}
	if (!reply->status)
		reply->status = 200;
	forgive(request, reply->status, err);
	metrics_count(&request->hub->metrics, method, reply->status, err, clock_mono_us() - request->started_us);
	log_request(request, method, reply->status);
	return ERR_OK;
}
