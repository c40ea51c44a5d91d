#include "api/routes/routes.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#include "api/http/forwarded.h"
#include "api/routes/cors.h"
#include "api/routes/handlers.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

/* READ, UPDATE: any user, and a token with this verb. ACCOUNT: the user that the path names, an admin, and a token with
 * the verb admin, of an admin. */
enum who { ANYONE, READ, UPDATE, ACCOUNT, ADMIN, ADMIN_OR_ANYONE /* as the settings say */ };

/* Rows of one path stand together; {…} becomes call->subject, a second one call->second. HEAD is answered wherever GET
 * is. */
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
	{"/silos/{id}", "PATCH", UPDATE, handle_silo_patch},
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

/* Decoded segment by segment: an escaped slash is part of a name. */
struct path {
	char segments[SEGMENTS_MAX][CALL_SUBJECT_MAX + 1];
	size_t count; /* SEGMENTS_MAX + 1: more */
};

static int parse_path(struct call *call, struct path *ret_path)
{
	const char *at = call->request->path, *end = at + call->request->path_len;
	size_t len;

	for (ret_path->count = 0; at < end && *at == '/'; ret_path->count++) {
		const char *text = at + 1;
		const char *slash = memchr(text, '/', (size_t)(end - text));
		at = slash ? slash : end;
		if (ret_path->count == SEGMENTS_MAX) {
			ret_path->count++;
			break;
		}
		/* One that is too long is cut, and then is longer than any name may be, still. */
		char *segment = ret_path->segments[ret_path->count];
		if (percent_decode(text, (size_t)(at - text), segment, sizeof ret_path->segments[0], &len))
			return why_set(call->why, ERR_MALFORMED, "",
				       "the path has a '%%' that is not followed by two hexadecimal digits");
		if (strlen(segment) < len)
			return why_set(call->why, ERR_MALFORMED, "", "the path holds a NUL byte (%%00)");
	}
	return ERR_OK;
}

static bool path_matches(const char *pattern, const struct path *path)
{
	size_t i = 0;

	for (const char *at = pattern, *end; *at; at = end, i++) {
		end = strchrnul(++at, '/');
		if (i == path->count)
			return false;
		const char *segment = path->segments[i];
		size_t len = (size_t)(end - at);
		if (*at == '{' ? !*segment : strncmp(segment, at, len) != 0 || segment[len])
			return false;
	}
	return i == path->count;
}

static int refuse_method(struct call *call, const char *path, struct reply *reply)
{
	_cleanup_(buf_release) struct buf allow = BUF_INIT(REPLY_HEADER_VALUE_MAX - 1);

	for (size_t i = 0; i < ROUTE_COUNT; i++)
		if (strcmp(routes[i].path, path) == 0)
			buf_append_fmt(&allow, "%s%s%s", allow.len ? ", " : "", routes[i].method,
				       strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
	if (allow.err)
		return allow.err;
	int err = reply_header(reply, "Allow", allow.data);
	return err ? err : why_set(call->why, ERR_METHOD, "", "only %s here", allow.data);
}

static int find_route(struct call *call, struct reply *reply)
{
	struct path path;
	const char *known = NULL;
	int err = parse_path(call, &path);

	if (err)
		return err;
	for (size_t i = 0; i < ROUTE_COUNT && !call->route; i++) {
		if (!path_matches(routes[i].path, &path))
			continue;
		known = routes[i].path;
		if (strcmp(routes[i].method, call->method) == 0)
			call->route = &routes[i];
	}
	if (!known)
		return why_set(call->why, ERR_NOT_FOUND, "",
			       "there is no such path: GET /openapi.json tells which there are");
	if (!call->route)
		return refuse_method(call, known, reply);
	/* (Each second segment of a path is a name.) */
	if (path.count > 1)
		memcpy(call->subject, path.segments[1], sizeof call->subject);
	if (path.count > 3)
		memcpy(call->second, path.segments[3], sizeof call->second);
	return ERR_OK;
}

static int admit_token(struct call *call, enum who who)
{
	static const struct {
		enum token_verb verb;
		const char *name;
	} verbs[] = {[READ] = {TOKEN_READ, "read"},
		     [UPDATE] = {TOKEN_UPDATE, "update"},
		     [ACCOUNT] = {TOKEN_ADMIN, "admin"},
		     [ADMIN] = {TOKEN_ADMIN, "admin"},
		     [ADMIN_OR_ANYONE] = {TOKEN_ADMIN, "admin"}};
	const struct token *token = call->principal.token;

	if (!token)
		return ERR_OK;
	if (!token_has_verb(token, verbs[who].verb))
		return why_set(call->why, ERR_FORBIDDEN, "", "this token may not do this: it has no verb \"%s\"",
			       verbs[who].name);
	if (who >= ACCOUNT && call->principal.role != ROLE_ADMIN)
		return why_set(call->why, ERR_FORBIDDEN, "", "this token's owner is no admin any more");
	return ERR_OK;
}

/* Who asks, and whether limits apply. A request that came through somebody who is not trusted with the truth is limited
 * also where that one would not be: or a proxy on this machine that nobody told the hub of would lift all limits. */
static void identify(struct call *call)
{
	static atomic_flag complained = ATOMIC_FLAG_INIT;
	const struct hub *hub = call->hub;
	struct forwarded_path path;

	call->peer = call->own_ip = call->request->connection;
	call->limited = !ratelimit_is_exempt(hub->ratelimit, &call->peer);
	call->forwarded = (struct forwarded_headers){request_header(call->request, "Forwarded"),
						     request_header(call->request, "X-Forwarded-For"),
						     request_header(call->request, "X-Real-IP")};
	if (!call->forwarded.forwarded && !call->forwarded.x_forwarded_for && !call->forwarded.x_real_ip)
		return;
	forwarded_explain(&call->request->connection, &call->forwarded, &hub->trust, &path);
	call->peer = path.hops[path.count - 1];
	call->own_ip =
		path.end == FORWARDED_UNTRUSTED || path.end == FORWARDED_EXHAUSTED ? call->peer : (struct ipaddr){0};
	call->limited = path.end != FORWARDED_UNTRUSTED || !ratelimit_is_exempt(hub->ratelimit, &call->peer);
	if (path.end == FORWARDED_DIRECT && !forwarded_is_trusted(&hub->trust, &call->peer) &&
	    ratelimit_is_exempt(hub->ratelimit, &call->peer) && !atomic_flag_test_and_set(&complained))
		log_warn("a proxy that is not one of SILODNS_TRUSTED_PROXIES: all behind it count as one client",
			 LOG_STR("proxy", IPADDR_TEXT(&call->request->connection)));
}

static int count_request(struct call *call)
{
	if (!call->limited ||
	    !ratelimit_take_address(call->hub->ratelimit, &call->peer, call->request->started_us, &call->verdict))
		return ERR_OK;
	return why_set(call->why, ERR_RATE, "", "too many requests from this address; try again in %lu s",
		       call->verdict.retry_s);
}

static int authenticate(struct call *call)
{
	struct hub *hub = call->hub;
	struct authenticator_call login = {.peer = &call->peer,
					   .limited = call->limited,
					   .now_us = call->request->started_us,
					   .login = &call->login};
	int err = authenticator_check(hub->authenticator, request_header(call->request, "Authorization"), &login,
				      &call->principal, call->why);

	call->verdict = login.verdict;
	call->claim = login.claim;
	if (login.locked_out)
		log_warn("too many wrong passwords or tokens: locked out", LOG_STR("peer", IPADDR_TEXT(&call->peer)));
	if (err || !call->limited ||
	    !ratelimit_take_user(hub->ratelimit, call->principal.user_id, call->request->started_us, &call->verdict))
		return err;
	return why_set(call->why, ERR_RATE, "", "too many requests of this user; try again in %lu s",
		       call->verdict.retry_s);
}

/* draft-ietf-httpapi-ratelimit-headers-10. Only where somebody is refused: others need not pay for it. */
static void tell_rate(const struct call *call, struct reply *reply)
{
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
static void tell_bad_token(const struct call *call, struct reply *reply)
{
	const char *authorization = request_header(call->request, "Authorization");

	if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
		reply_header(reply, "WWW-Authenticate",
			     "Basic realm=\"silodns\", charset=\"UTF-8\", Bearer realm=\"silodns\", "
			     "error=\"invalid_token\"");
}

static int check_body(struct call *call)
{
	const struct request *request = call->request;
	size_t max = call->hub->body_max;

	if (request->body_refused)
		return why_set(call->why, ERR_BUSY, "",
			       "too many bodies are on their way to the hub at once; try again in a moment");
	if (request->body_len > max)
		return why_set(call->why, ERR_TOO_LARGE, "", "a body may have %zu bytes (SILODNS_MAX_BODY), not more",
			       max);
	const char *coding = request->body_len ? request_header(request, "Content-Encoding") : NULL;
	if (coding && coding[0] && strcasecmp(coding, "identity") != 0)
		return why_set(call->why, ERR_ENCODING, "Content-Encoding",
			       "\"%s\" is not read here: send the body as it is, without this header", coding);
	return ERR_OK;
}

static int admit(struct call *call)
{
	const struct hub *hub = call->hub;
	enum who who = call->route->who;
	int err = check_body(call);

	if (err || who == ANYONE || (who == ADMIN_OR_ANYONE && hub->metrics_for_anyone))
		return err;
	err = authenticate(call);
	if (!err)
		err = admit_token(call, who);
	if (err)
		return err;
	if (call->principal.role == ROLE_ADMIN || who < ACCOUNT)
		return ERR_OK;
	if (who != ACCOUNT)
		return why_set(call->why, ERR_FORBIDDEN, "", "only an admin may do this");
	if (strcmp(call->subject, call->principal.name) != 0)
		return why_set(call->why, ERR_FORBIDDEN, "", "only an admin may do this for users other than \"%s\"",
			       call->principal.name);
	return ERR_OK;
}

/* What comes from memory while the database is away says how old it may be (RFC 9111, 5.1). */
static void tell_age(struct call *call, struct reply *reply)
{
	int64_t age_ms = store_age_ms(call->hub->store);
	char seconds[24];

	if (!age_ms)
		return;
	snprintf(seconds, sizeof seconds, "%" PRId64, age_ms / 1000);
	reply_header(reply, "Age", seconds);
}

static void log_request(const struct call *call, int status)
{
	bool refused = status == 401 || status == 403 || status >= 500;
	enum log_level level = refused ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
	char path[CALL_SUBJECT_MAX + 1];

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

/* Again from here on if it had to wait for its password's verification. */
static int handle_route(struct call *call, struct reply *reply)
{
	call->finish = handle_route;
	int err = admit(call);
	if (!err)
		err = call->route->handler(call, reply);
	if (!err && call->route->who != ANYONE && strcmp(call->method, "GET") == 0)
		tell_age(call, reply);
	return err;
}

static int handle(struct call *call, struct reply *reply)
{
	call->method = strcmp(call->request->method, "HEAD") == 0 ? "GET" : call->request->method;
	identify(call);
	int err = count_request(call);
	if (err || reply->status == 204) /* a preflight: cors_apply() has answered it */
		return err;
	err = find_route(call, reply);
	return err ? err : handle_route(call, reply);
}

int routes_handle(void *arg, struct request *request, struct reply *reply)
{
	struct hub *hub = arg;
	struct call *call = request->state;

	/* What is said to one user at one time must not be kept for another; handlers may allow more. */
	reply_header(reply, "Cache-Control", "no-store");
	reply_header(reply, "X-Content-Type-Options", "nosniff");
	cors_apply(&hub->cors_origins, request, reply);
	if (!call && call_new(hub, request, &call)) {
		reply_problem(reply, ERR_NOMEM, NULL);
		return ERR_OK;
	}
	int err = call->finish ? call->finish(call, reply) : handle(call, reply);
	if (err == ERR_PENDING)
		return err;
	if (err == ERR_RATE)
		tell_rate(call, reply);
	if (err) {
		note_refusal(call, err);
		reply_problem(reply, err, call->why);
		if (err == ERR_UNAUTHORIZED)
			tell_bad_token(call, reply);
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
