#include "api/serve.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "api/auth/authenticator.h"
#include "api/cli/cmd.h"
#include "api/http/server.h"
#include "api/http/tls.h"
#include "api/jobs/bootstrap.h"
#include "api/jobs/token_usage.h"
#include "api/journal/writer.h"
#include "api/routes/hub.h"
#include "api/routes/routes.h"
#include "api/settings/exitcode.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/lifecycle.h"
#include "common/base/log.h"

#define THREADS_MIN 2       /* so that none is alone */
#define RENEW_EVERY_MS 1000 /* how soon a changed certificate is noticed */

/* A connection is a file descriptor; the soft limit is often 1,024. */
static void raise_descriptor_limit(long connections)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)connections + 256;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < wanted)
		log_warn("fewer file descriptors allowed than connections", LOG_U64("descriptors", limit.rlim_cur),
			 LOG_I64("max_connections", connections));
}

/* One that is as long as it may be must have room in the half that is for anyone. */
static size_t bodies_max(const struct settings *settings)
{
	long least = 4 * settings->body_max;

	return (size_t)(settings->bodies_max > least ? settings->bodies_max : least);
}

/* --- the rooms, as the HTTP server sees them ------------------------------------------------------------------------
 */

static bool is_known(void *arg, const char *authorization)
{
	const struct hub *hub = arg;

	return authenticator_is_known(hub->authenticator, authorization);
}

/* A proxy's connections are many clients'. */
static bool is_limited(void *arg, const struct ipaddr *address)
{
	const struct hub *hub = arg;

	return !forwarded_is_trusted(&hub->trust, address) && !ratelimit_is_exempt(hub->ratelimit, address);
}

/* More than there are processors only cost switches. */
static unsigned thread_count(const struct settings *settings)
{
	cpu_set_t processors;

	if (settings->threads)
		return (unsigned)settings->threads;
	int count = sched_getaffinity(0, sizeof processors, &processors) ? 0 : CPU_COUNT(&processors);
	return count < THREADS_MIN ? THREADS_MIN : (unsigned)count;
}

static int start_server(const struct settings *settings, struct hub *hub, struct server **ret_server)
{
	const struct server_handler handler = {
		.arg = hub, .answer = routes_handle, .is_known = is_known, .is_limited = is_limited};
	const struct server_settings server_settings = {.listen = (const char *const *)settings->listen.items,
							.listen_count = settings->listen.count,
							.threads = thread_count(settings),
							.headers_max = (size_t)settings->headers_max,
							.body_max = (size_t)settings->body_max,
							.bodies_max = bodies_max(settings),
							.connections_max = (unsigned)settings->connections_max,
							.connections_per_address_max =
								(unsigned)settings->connections_per_address_max,
							.idle_timeout_ms = settings->idle_timeout_ms,
							.request_timeout_ms = settings->request_timeout_ms,
							.tls = hub->tls,
							.hsts_ms = settings->hsts_ms};
	struct why why = {0};
	int err = server_start(&server_settings, &handler, &hub->http, ret_server, &why);

	if (err)
		log_error("cannot listen", LOG_STR("reason", why.text));
	return err;
}

/* --- serving --------------------------------------------------------------------------------------------------------
 */

/* In this order, so that whoever waits has an answer, and no connection is suspended, when the server ends. */
static void stop_serving(struct hub *hub, struct server *server, long drain_ms)
{
	log_info("stopping", LOG_I64("drain_ms", drain_ms));
	atomic_store(&hub->draining, true);
	watchers_drain(hub->watchers);
	server_drain(server, drain_ms);
	verifier_drain(authenticator_verifier(hub->authenticator));
	queue_drain(hub->queue);
	history_drain(hub->history);
	server_stop(server);
}

static int serve_until_stopped(const struct settings *settings, struct hub *hub)
{
	struct server *server;
	enum lifecycle_wake woken;

	if (start_server(settings, hub, &server))
		return EXIT_FAILED;
	for (size_t i = 0; i < settings->listen.count; i++)
		log_info("listening", LOG_STR("address", settings->listen.items[i]),
			 LOG_STR("version", SILODNS_VERSION));
	while ((woken = lifecycle_wait(hub->tls ? RENEW_EVERY_MS : -1, -1)) != LIFECYCLE_STOP)
		if (hub->tls)
			tls_renew(hub->tls, woken == LIFECYCLE_RELOAD);
	stop_serving(hub, server, settings->drain_timeout_ms);
	return 0;
}

static int start_tls(const struct settings *settings, struct tls **ret_tls)
{
	const struct tls_settings tls_settings = {.cert_file = settings->tls_cert_file,
						  .key_file = settings->tls_key_file,
						  .handshake_timeout_ms = settings->idle_timeout_ms};
	struct why why = {0};

	if (!settings->tls_cert_file)
		return ERR_OK;
	int err = tls_start(&tls_settings, ret_tls, &why);
	if (err)
		log_error("cannot use the certificate", LOG_STR("reason", why.text));
	return err;
}

/* The user itself changes its hash, if it is still the one that was found to be stale. */
static void rehashed(void *arg, const char *old_hash, const char *new_hash)
{
	struct hub *hub = arg;
	_cleanup_free_ struct user *users = NULL;
	size_t count = 0, i = 0;

	if (store_users(hub->store, &users, &count))
		return;
	while (i < count && strcmp(users[i].password_hash, old_hash) != 0) /* (each has a salt of its own) */
		i++;
	if (i == count)
		return;
	struct principal self = {.user_id = users[i].id, .role = users[i].role};
	struct change change = {.kind = CHANGE_USER_PUT};

	memcpy(self.name, users[i].name, sizeof self.name);
	change_set_actor(&change, &self);
	memcpy(change.subject, users[i].name, sizeof users[i].name);
	snprintf(change.password_hash, sizeof change.password_hash, "%s", new_hash);
	snprintf(change.former_hash, sizeof change.former_hash, "%s", old_hash);
	int err = queue_post_take(hub->queue, &change);
	if (err)
		log_warn("a password keeps its hash of former parameters until the next log-in",
			 LOG_STR("user", self.name), LOG_ERR(err));
	else
		log_info("a password gets a hash of today's parameters", LOG_STR("user", self.name));
}

static bool is_loaded(void *store)
{
	return store_is_loaded(store);
}

int serve(const struct settings *settings)
{
	const struct writer_settings writer_settings = {
		.db = settings->db, .poll_ms = settings->poll_ms, .migrate = true};
	struct ratelimit_settings limits = settings->limits;
	struct bootstrap bootstrap = {.settings = settings};
	struct writer *writer = NULL;
	struct periodic *periodic = NULL;
	_cleanup_free_ struct cidr *proxies = NULL;
	_cleanup_free_ struct cidr *exempt = NULL;
	struct hub hub = {.body_max = (size_t)settings->body_max,
			  .records_max = (size_t)settings->records_max,
			  .retention.age_ms = settings->history_age_ms,
			  .bootstrap = &bootstrap,
			  .cors_origins = settings->cors_origins,
			  .started_us = clock_wall_us(),
			  .metrics_for_anyone = strcmp(settings->metrics, "anyone") == 0};
	struct why why = {0};
	int code = EXIT_FAILED;

	/* What the table of settings cannot know: which go together. */
	if (!settings->tls_cert_file != !settings->tls_key_file)
		return cmd_fail(EXIT_USAGE, "SILODNS_TLS_CERT_FILE and SILODNS_TLS_KEY_FILE are needed together");
	if (bootstrap_check(settings, &why))
		return cmd_fail(EXIT_USAGE, "%s%s%s", why.field, why.field[0] ? " " : "", why.text);
	hub.store = bootstrap.store = store_new();
	raise_descriptor_limit(settings->connections_max);
	int err = hub.store ? settings_networks(&settings->trusted_proxies, &proxies, &hub.trust.count) : ERR_NOMEM;
	hub.trust.proxies = proxies;
	hub.trust.header = settings->proxy_header;
	if (!err)
		err = start_tls(settings, &hub.tls);
	if (!err)
		err = settings_networks(&settings->limit_exempt, &exempt, &limits.exempt_count);
	limits.exempt = exempt;
	if (!err)
		err = ratelimit_new(&limits, &hub.ratelimit);
	if (!err)
		err = authenticator_new(hub.store, hub.ratelimit, &hub.authenticator);
	if (!err)
		err = history_start(&settings->db, &hub.history);
	if (!err)
		err = watchers_start(hub.store, &hub.watchers);
	if (!err)
		err = queue_new(&hub.queue);
	if (!err)
		err = writer_start(hub.store, hub.queue, &writer_settings, &writer);
	if (!err)
		verifier_on_rehash(authenticator_verifier(hub.authenticator), rehashed, &hub);
	if (!err)
		err = refusals_new(&hub.refusals);
	bootstrap.queue = hub.queue;
	const struct periodic_job jobs[] = {
		{"bootstrap", BOOTSTRAP_EVERY_MS, bootstrap_make, &bootstrap, NULL},
		{"token usage", TOKEN_USAGE_EVERY_MS, token_usage_exchange, hub.store, token_usage_has_work},
		{"refusals", REFUSALS_EVERY_MS, refusals_write, hub.refusals, refusals_wait},
		{"retention", RETENTION_EVERY_MS, retention_remove_old, &hub.retention, NULL},
	};
	if (!err)
		err = periodic_start(&settings->db, jobs, sizeof jobs / sizeof jobs[0], is_loaded, hub.store,
				     &periodic);
	if (err)
		log_error("cannot start", LOG_ERR(err));
	else
		code = serve_until_stopped(settings, &hub);
	periodic_stop(periodic);
	authenticator_free(hub.authenticator); /* before the queue, to which it hands new hashes */
	writer_stop(writer);
	queue_free(hub.queue);
	refusals_free(hub.refusals);
	history_stop(hub.history);
	watchers_stop(hub.watchers);
	tls_free(hub.tls);
	ratelimit_free(hub.ratelimit);
	store_free(hub.store);
	if (!code)
		log_info("stopped", LOG_I64("code", code));
	return code;
}
