#include "updater/run.h"

#include <limits.h>
#include <string.h>

#include "common/base/backoff.h"
#include "common/base/cleanup.h"
#include "common/base/lifecycle.h"
#include "common/hub/status.h"
#include "updater/detect.h"
#include "updater/push.h"

#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 60000
#define JITTER_PERCENT 10

/* One of the two address families that the settings name. */
struct family {
	int family;
	const char *source;
	struct ipaddr ip; /* as detected in this round */
	int err;
	struct why why;
	char logged[sizeof((struct why *)0)->text]; /* the last failure that stands in the log */
};

struct updater {
	const struct settings *settings;
	struct hubclient *hub;
	struct backoff backoff;
	struct family families[2];
	uint64_t revision;
	int hub_err; /* of the last round */
	char hub_logged[sizeof((struct why *)0)->text];
};

/* Three rounds, each with its requests at their slowest. */
static int64_t status_max_age_ms(const struct settings *settings)
{
	return 3 * (settings->interval_ms + 4 * settings->timeout_ms);
}

enum exit_code run_check(const struct settings *settings)
{
	char path[PATH_MAX];
	struct why why = {0};

	if (status_path(settings->state_dir, "updater", path))
		return EXIT_SETTINGS;
	if (!status_check(path, status_max_age_ms(settings), &why))
		return EXIT_DONE;
	fprintf(stderr, "%s\n", why.text);
	return EXIT_INTERNAL;
}

static void write_status(struct updater *u, int err, const char *detail)
{
	char path[PATH_MAX];

	if (!u->settings->state_dir || status_path(u->settings->state_dir, "updater", path))
		return;
	if (status_write(path, !err, u->revision, detail))
		log_warn("status cannot be written", LOG_STR("file", path), LOG_ERR(ERR_SYSTEM));
}

/* A failure that goes on is logged once, and once more when it changes or is over. */
static void log_once(char *logged, size_t size, const char *message, const char *what, int err, const char *text)
{
	if (err && strcmp(logged, text) != 0)
		log_warn(message, LOG_STR("what", what), LOG_ERR(err), LOG_STR("reason", text));
	else if (!err && logged[0])
		log_info("well again", LOG_STR("what", what));
	snprintf(logged, size, "%s", err ? text : "");
}

static void detect(struct updater *u, struct family *f)
{
	const struct detect_settings settings = {.hub = u->hub,
						 .allow_private = u->settings->allow_private,
						 .timeout_ms = u->settings->timeout_ms,
						 .stopped = lifecycle_stop_requested};

	f->ip = (struct ipaddr){0};
	f->err = ERR_OK;
	if (detect_is_off(f->source))
		return;
	f->err = detect_address(&settings, f->source, f->family, &f->ip, &f->why);
	if (f->err != ERR_STOPPED)
		log_once(f->logged, sizeof f->logged, "nothing published for this family",
			 f->family == 4 ? "IPv4" : "IPv6", f->err, f->why.text);
}

static void log_published(const struct updater *u, const struct push_result *result)
{
	for (size_t i = 0; i < 2; i++)
		for (size_t h = 0; u->families[i].ip.family && h < u->settings->hostnames.count; h++)
			log_info("address published", LOG_STR("silo", u->settings->silo),
				 LOG_STR("hostname", u->settings->hostnames.items[h]),
				 LOG_STR("ip", IPADDR_TEXT(&u->families[i].ip)), LOG_U64("revision", result->revision));
}

static int publish(struct updater *u)
{
	const struct ipaddr ips[2] = {u->families[0].ip, u->families[1].ip};
	struct push_result result = {0};
	struct why why = {0};

	if (!ips[0].family && !ips[1].family)
		return ERR_OK;
	int err = push_publish(u->hub, u->settings->silo, &u->settings->hostnames, ips, lifecycle_stop_requested,
			       &result, &why);
	if (err == ERR_STOPPED)
		return err;
	log_once(u->hub_logged, sizeof u->hub_logged, "not published", "hub", err, why.text);
	if (err)
		return err;
	u->revision = result.revision;
	if (result.changed)
		log_published(u, &result);
	else
		log_debug("nothing to do", LOG_U64("revision", result.revision));
	return ERR_OK;
}

/* The first thing that is wrong after a round, as an exit code. */
static enum exit_code verdict(const struct updater *u)
{
	const struct family *a = &u->families[0], *b = &u->families[1];

	if (u->hub_err)
		return settings_exit_code(u->hub_err);
	if ((a->err && b->ip.family) || (b->err && a->ip.family))
		return EXIT_PARTIAL;
	return settings_exit_code(a->err ? a->err : b->err);
}

static enum exit_code round_once(struct updater *u)
{
	for (size_t i = 0; i < 2; i++)
		detect(u, &u->families[i]);
	u->hub_err = publish(u);
	enum exit_code code = verdict(u);
	const struct family *bad = u->families[0].err ? &u->families[0] : &u->families[1];
	write_status(u, code,
		     u->hub_err ? u->hub_logged
		     : bad->err ? bad->why.text
				: "the hub has this machine's address");
	return code;
}

static int64_t wait_ms(struct updater *u, enum exit_code code)
{
	if (code == EXIT_DONE || code == EXIT_PARTIAL) {
		backoff_reset(&u->backoff);
		return backoff_jitter((uint32_t)u->settings->interval_ms, JITTER_PERCENT);
	}
	return backoff_next(&u->backoff, u->hub_err ? hubclient_failure(u->hub)->retry_after_ms : 0);
}

static int open_hub(struct updater *u, struct why *why)
{
	const struct settings *settings = u->settings;
	const struct http_settings http = {.user = settings->user,
					   .password = settings->password,
					   .token = settings->token,
					   .ca_file = settings->tls_ca,
					   .connect_timeout_ms = settings->timeout_ms,
					   .timeout_ms = settings->timeout_ms,
					   .answer_max = (size_t)8 << 20,
					   .allow_plain = settings->allow_plain_http,
					   .plain_host = settings->plain_http_host};
	int err = hubclient_open(settings->url, &http, &u->hub, why);

	if (!err)
		hubclient_set_stop(u->hub, lifecycle_stop_requested);
	return err;
}

enum exit_code run_updater(const struct settings *settings)
{
	struct updater u = {.settings = settings,
			    .families = {{.family = 4, .source = settings->source},
					 {.family = 6, .source = settings->source_ipv6}}};
	struct why why = {0};
	enum exit_code code = EXIT_DONE;
	int err = open_hub(&u, &why);

	if (err) {
		log_error("cannot start", LOG_ERR(err), LOG_STR("reason", why.text));
		return err == ERR_INVALID ? EXIT_SETTINGS : EXIT_INTERNAL;
	}
	long longest = settings->interval_ms < RETRY_MAX_MS ? settings->interval_ms : RETRY_MAX_MS;
	backoff_init(&u.backoff, RETRY_FIRST_MS, (uint32_t)(longest < RETRY_FIRST_MS ? RETRY_FIRST_MS : longest));
	do
		code = round_once(&u);
	while (!settings->once && lifecycle_wait(wait_ms(&u, code), -1) != LIFECYCLE_STOP);
	hubclient_close(u.hub);
	return settings->once ? code : EXIT_DONE;
}
