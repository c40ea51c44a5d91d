/*
 * A whole request, from its first line to its reply, at a hub whose database is away: "METHOD URI", header lines, an
 * empty line, the body. What has no Authorization comes from the admin. There is one silo, "a".
 *
 * The reply is one that the hub may give: a problem says so in JSON, with the status; a change, or a look at the
 * history, gets no further than 503; no header is broken in two by what a client sent.
 */
#include "../lib/fuzz.h"

#include <ctype.h>
#include <semaphore.h>

#include <jansson.h>
#include <sodium.h>

#include "api/routes/handlers.h"
#include "api/routes/routes.h"
#include "api/store/store_state.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#define ADMIN_HEADER "Basic YWRtaW46cGFzc3dvcmQx" /* admin:password1 */

static struct hub hub;

/* The connection of a request that waits, for the hash of a new password. */
static sem_t resumed;

static void suspend(void *handle)
{
	(void)handle;
}

static void resume(void *handle)
{
	sem_post(handle);
}

static const struct waiter waiting_line = {.handle = &resumed, .suspend = suspend, .resume = resume};

/* Argon2id is not what is looked at here, and takes tens of milliseconds: these stand before libsodium's. */
int crypto_pwhash_str_alg(char out[crypto_pwhash_STRBYTES], const char *const passwd, unsigned long long len,
			  unsigned long long opslimit, size_t memlimit, int alg)
{
	(void)passwd, (void)len, (void)opslimit, (void)memlimit, (void)alg;
	memset(out, 0, crypto_pwhash_STRBYTES);
	memcpy(out, "$argon2id$", 10);
	return 0;
}

int crypto_pwhash_str_verify(const char str[crypto_pwhash_STRBYTES], const char *const passwd, unsigned long long len)
{
	(void)str;
	return len == strlen("password1") && memcmp(passwd, "password1", len) == 0 ? 0 : -1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct cidr proxies[] = {{{.family = 4, .bytes = {10}}, 8}};
	static const char json[] = "{\"id\":\"a\",\"dnsrecords\":[{\"hostname\":\"h\",\"ip\":\"192.0.2.7\"}]}";
	/* Nobody listens there. */
	static char host[] = "127.0.0.1", *hosts[] = {host}, word[] = "x";
	static const struct settings settings = {.db = {.hosts = {hosts, 1},
							.port = 1,
							.name = word,
							.user = word,
							.password = word,
							.timeout_ms = 1000}};
	static struct bootstrap bootstrap = {.settings = &settings};
	static const struct ratelimit_settings no_limits = {.address_burst = 1, .user_burst = 1};
	struct store_state *state = store_state_new();
	struct user admin = {
		.id = 1, .role = ROLE_ADMIN, .name = "admin", .password_hash = "$argon2id$", .revision = 1};

	(void)argc, (void)argv;
	log_init("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
	FUZZ_CHECK(sodium_init() >= 0);
	hub = (struct hub){.store = store_new(),
			   .bootstrap = &bootstrap,
			   .trust = {.proxies = proxies, .count = 1},
			   .body_max = 4096,
			   .records_max = SILO_RECORDS_MAX};
	sem_init(&resumed, 0, 0);
	store_state_put_user_take(state, user_node_new(&admin));
	store_state_put_silo_take(state, document_new("a", json, sizeof json - 1, 1, 2), NULL);
	store_replace_take(hub.store, state, "0123456789abcdef0123456789abcdef", 2);
	FUZZ_CHECK(ratelimit_new(&no_limits, &hub.ratelimit) == ERR_OK);
	FUZZ_CHECK(authenticator_new(hub.store, hub.ratelimit, &hub.authenticator) == ERR_OK &&
		   watchers_start(hub.store, &hub.watchers) == ERR_OK);
	FUZZ_CHECK(history_start(&settings.db, &hub.history) == ERR_OK);
	FUZZ_CHECK(queue_new(&hub.queue) == ERR_OK); /* and nobody writes: the database is away */
	return 0;
}

static void check_problem(const struct reply *reply)
{
	json_t *problem = json_loadb(reply->body, reply->body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *type = json_string_value(json_object_get(problem, "type"));

	FUZZ_CHECK(strcmp(reply->content_type, "application/problem+json") == 0);
	FUZZ_CHECK(type && strncmp(type, "urn:silodns:error:", 18) == 0);
	FUZZ_CHECK(json_integer_value(json_object_get(problem, "status")) == reply->status);
	json_decref(problem);
}

static bool has_header(const struct reply *reply, const char *name)
{
	for (size_t i = 0; i < reply->header_count; i++)
		if (strcmp(reply->headers[i].name, name) == 0)
			return true;
	return false;
}

/* Only what is read from the database, which is away, and what says so. */
static bool may_be_unavailable(const struct request *request)
{
	const struct call *call = request->state;

	return call->subject[0] || memcmp(request->path, "/audit", 6) == 0 || memcmp(request->path, "/readyz", 7) == 0;
}

static void check_reply(const struct request *request, const struct reply *reply)
{
	static const int known[] = {200, 304, 400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 503};
	size_t i = 0;

	while (i < sizeof known / sizeof known[0] && known[i] != reply->status)
		i++;
	FUZZ_CHECK(i < sizeof known / sizeof known[0]);
	for (i = 0; i < reply->header_count; i++)
		for (const char *c = reply->headers[i].value; *c; c++)
			FUZZ_CHECK(!iscntrl((unsigned char)*c));
	if (reply->status >= 400 && !(reply->status == 503 && memcmp(request->path, "/readyz", 7) == 0))
		check_problem(reply);
	FUZZ_CHECK((reply->status == 405) == has_header(reply, "Allow"));
	FUZZ_CHECK((reply->status == 401) == has_header(reply, "WWW-Authenticate"));
	if (reply->status == 503 && strcmp(((const struct call *)request->state)->method, "GET") == 0)
		FUZZ_CHECK(may_be_unavailable(request));
	if (reply->status == 200 && reply->body && strcmp(reply->content_type, "application/json") == 0) {
		json_t *json = json_loadb(reply->body, reply->body_len, JSON_REJECT_DUPLICATES, NULL);
		FUZZ_CHECK(json);
		json_decref(json);
	}
	FUZZ_CHECK(store_revision(hub.store) == 2);
}

/* Header lines up to the empty one. */
static bool add_headers(struct request *request, char **at)
{
	bool authorized = false;

	for (char *line; (line = fuzz_next_line(at)) && *line;) {
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = '\0';
		authorized |= strcmp(line, "Authorization") == 0;
		FUZZ_CHECK(request_add_header(request, line, colon + 1 + strspn(colon + 1, " ")) == ERR_OK);
	}
	return authorized;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size), *at = text, *method = fuzz_next_line(&at);
	struct request request = {.waiter = &waiting_line, .connection = {.family = 4, .bytes = {10, 0, 0, 1}}};
	struct reply reply = {0};
	struct precondition precondition;

	char *uri = method ? strchr(method, ' ') : NULL;
	if (uri) {
		*uri++ = '\0';
		request.method = method;
		request_set_target(&request, uri);
		request.started_us = clock_mono_us();
		if (!add_headers(&request, &at))
			FUZZ_CHECK(request_add_header(&request, "Authorization", ADMIN_HEADER) == ERR_OK);
		if (at) {
			request.body_len = size - (size_t)(at - text);
			request.body = fuzz_string(at, request.body_len);
		}
		while (routes_handle(&hub, &request, &reply) == ERR_PENDING) {
			sem_wait(&resumed);
			reply_release(&reply);
			reply = (struct reply){0};
		}
		check_reply(&request, &reply);
		int err = precondition_read(&request, &precondition);
		FUZZ_CHECK(err == ERR_MALFORMED || (!err && precondition.count <= PRECONDITION_TAGS_MAX));
		free((char *)(uintptr_t)request.body);
	}
	reply_release(&reply);
	request_release(&request);
	free(text);
	return 0;
}
