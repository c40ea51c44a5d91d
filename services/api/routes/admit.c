#include "api/routes/admit.h"

#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#include "common/base/log.h"

#define PREFLIGHT_S "7200" /* the longest that all browsers keep it */

/* --- pages of other origins: the Fetch standard's CORS protocol --------------------------------------------------- */

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

void admit_origin(const struct conf_list *origins, const struct request *request, struct reply *reply)
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
	reply_status(reply, 204);
}

/* --- who asks ----------------------------------------------------------------------------------------------------- */

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

int admit_address(struct call *call)
{
	identify(call);
	if (!call->limited ||
	    !ratelimit_take_address(call->hub->ratelimit, &call->peer, call->request->started_us, &call->verdict))
		return ERR_OK;
	return why_set(call->why, ERR_RATE, "", "too many requests from this address; try again in %lu s",
		       call->verdict.retry_s);
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

static int admit_token(struct call *call, enum who who)
{
	static const struct {
		enum token_verb verb;
		const char *name;
	} verbs[] = {
		[READ] = {TOKEN_READ, "read"}, [UPDATE] = {TOKEN_UPDATE, "update"}, [ACCOUNT] = {TOKEN_ADMIN, "admin"}};
	const size_t needed = who < ACCOUNT ? who : ACCOUNT;
	const struct token *token = call->principal.token;

	if (!token)
		return ERR_OK;
	if (!token_has_verb(token, verbs[needed].verb))
		return why_set(call->why, ERR_FORBIDDEN, "", "this token may not do this: it has no verb \"%s\"",
			       verbs[needed].name);
	if (who >= ACCOUNT && call->principal.role != ROLE_ADMIN)
		return why_set(call->why, ERR_FORBIDDEN, "", "this token's owner is no admin any more");
	return ERR_OK;
}

int admit_user(struct call *call, enum who who)
{
	const struct hub *hub = call->hub;
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
