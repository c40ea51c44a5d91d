#include "hostsync/follow.h"

#include <limits.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/lifecycle.h"
#include "common/base/log.h"
#include "common/hub/status.h"
#include "hostsync/filewatch.h"
#include "hostsync/keeper.h"
#include "hostsync/polling.h"
#include "hostsync/watch.h"

#define ANSWER_MAX ((size_t)8 << 20)
#define SETTLE_MS 100        /* lets a program that rewrites the file in several steps finish */
#define STATUS_EVERY_MS 5000 /* while nothing changes */
#define FILE_RETRY_MS 10000  /* after a failure: sooner than it would be looked at anyway */
#define NEVER INT64_MAX

struct follow {
	const struct settings *settings;
	struct hubclient *client;
	struct silos silos;
	struct hublog hublog;
	struct polling polling;
	struct watch watch;
	bool watches; /* the watch is used */
	struct keeper keeper;
	struct filewatch file;
	int hub_err, file_err;
	struct why file_why; /* of file_err, as logged */
	int64_t next_poll_ms;
	bool file_due;         /* to be looked at now, */
	int64_t settle_ms;     /* but not before this moment: somebody else is writing it; 0 = nobody is */
	int64_t look_again_ms; /* to be looked at for its own sake: touched, or an interval has passed */
	int64_t status_ms;     /* when it was last written */
	bool status_ok;
};

/* The pause between two status files, twice, and what may pass before the loop comes to write one: three missed rounds
 * of polling, whose requests may each take their whole time. While it watches, it notices a silence itself. */
int64_t follow_status_max_age_ms(const struct settings *settings)
{
	int64_t pause = settings_watch(settings) ? settings->watch_timeout_ms : 3 * settings->interval_ms;
	return pause + 3 * settings->timeout_ms + 2 * STATUS_EVERY_MS;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t status_due_ms(const struct follow *follow)
{
	return follow->settings->state_dir ? follow->status_ms + STATUS_EVERY_MS : NEVER;
}

static void write_status(struct follow *follow)
{
	char path[PATH_MAX];
	bool ok = follow->hub_err == 0 && follow->file_err == 0;
	bool due = follow->status_ms == 0 || ok != follow->status_ok || clock_mono_ms() >= status_due_ms(follow);
	if (!follow->settings->state_dir || !due || status_path(follow->settings->state_dir, "hostsync", path))
		return;
	const char *detail = follow->file_err  ? follow->file_why.text
			     : follow->hub_err ? err_info(follow->hub_err)->title
					       : "hosts file is as the hub says";
	if (status_write(path, ok, silos_revision(&follow->silos), detail) < 0)
		log_warn("status cannot be written", LOG_STR("file", path), LOG_ERR(ERR_SYSTEM));
	follow->status_ms = clock_mono_ms();
	follow->status_ok = ok;
}

/* ---- the file ---- */

/* Once per failure, not once per attempt. */
static void log_file(struct follow *follow, int err, const struct why *why)
{
	if (err && (err != follow->file_err || strcmp(why->text, follow->file_why.text) != 0))
		log_error("hosts file left as it is", LOG_STR("file", follow->settings->hosts_file), LOG_ERR(err),
			  LOG_STR("detail", why->text));
	else if (!err && follow->file_err)
		log_info("hosts file can be kept again", LOG_STR("file", follow->settings->hosts_file));
	follow->file_err = err;
	follow->file_why = *why;
}

/* Somebody has touched the file: it is looked at when that is over. What comes with a write of our own is most likely
 * our own; then the hub's next change does not have to wait. */
static void take_touches(struct follow *follow, bool own)
{
	if (follow->file.fd < 0 || !filewatch_touched(&follow->file, follow->settings->hosts_file))
		return;
	/* The first touch counts: who goes on writing must not hold up the hub. */
	follow->look_again_ms = sooner(follow->look_again_ms, clock_mono_ms() + SETTLE_MS);
	if (!own && follow->settle_ms == 0)
		follow->settle_ms = clock_mono_ms() + SETTLE_MS;
}

static void keep_file(struct follow *follow)
{
	struct why why = {0};
	uint64_t writes = follow->keeper.writes;
	filewatch_aim(&follow->file, follow->settings->hosts_file);
	follow->file_due = false;
	follow->settle_ms = 0;
	follow->look_again_ms = NEVER;
	int err = follow->settings->print ? keeper_print(&follow->keeper, &follow->silos, stdout, &why)
					  : keeper_apply(&follow->keeper, &follow->silos, &why);
	log_file(follow, err, &why);
	if (follow->keeper.writes != writes)
		take_touches(follow, true);
	int64_t pause = err < 0 ? sooner(follow->settings->interval_ms, FILE_RETRY_MS) : follow->settings->interval_ms;
	follow->look_again_ms = sooner(follow->look_again_ms, clock_mono_ms() + pause);
}

/* When the file is to be looked at. */
static int64_t file_due_ms(const struct follow *follow)
{
	int64_t repair = keeper_wait_ms(&follow->keeper);
	int64_t due = sooner(follow->look_again_ms, repair < 0 ? NEVER : clock_mono_ms() + repair);
	return follow->file_due ? follow->settle_ms : due;
}

/* ---- the hub ---- */

static bool polls(const struct follow *follow)
{
	return !follow->watches || follow->watch.unusable;
}

static void poll_hub(struct follow *follow)
{
	bool was_away = follow->hublog.away;
	struct polling_result result = polling_round(&follow->polling, &follow->silos);
	follow->hub_err = result.err;
	follow->next_poll_ms = clock_mono_ms() + result.wait_ms;
	follow->file_due = true;
	if (was_away && !follow->hublog.away && follow->watches) /* perhaps it is another one now */
		watch_hurry(&follow->watch);
}

static void hear_hub(struct follow *follow)
{
	if (follow->watches) {
		watch_step(&follow->watch);
		if (watch_take_news(&follow->watch))
			follow->file_due = true;
	}
	if (!polls(follow)) {
		follow->hub_err = watch_err(&follow->watch);
		follow->next_poll_ms = 0; /* at once, should it come to that */
	} else if (clock_mono_ms() >= follow->next_poll_ms) {
		poll_hub(follow);
	}
}

static void hurry(struct follow *follow)
{
	follow->next_poll_ms = 0;
	follow->file_due = true;
	if (follow->watches)
		watch_hurry(&follow->watch);
}

/* ---- the loop ---- */

/* Until there is something to do. False: stop. */
static bool wait_for_work(struct follow *follow)
{
	const int fds[] = {follow->file.fd, follow->watches ? watch_fd(&follow->watch) : -1};
	int64_t due = sooner(file_due_ms(follow), status_due_ms(follow));
	if (polls(follow))
		due = sooner(due, follow->next_poll_ms);
	int64_t now = clock_mono_ms(), wait = due > now ? due - now : 0;
	if (follow->watches)
		wait = sooner(wait, watch_wait_ms(&follow->watch));
	enum lifecycle_wake wake = lifecycle_wait_any(wait, fds, sizeof(fds) / sizeof(fds[0]));
	if (wake == LIFECYCLE_RELOAD)
		hurry(follow);
	take_touches(follow, false);
	return wake != LIFECYCLE_STOP;
}

static void loop(struct follow *follow)
{
	bool once = follow->settings->once || follow->settings->print;
	do {
		hear_hub(follow);
		if (lifecycle_stop_requested())
			return;
		if (clock_mono_ms() >= file_due_ms(follow))
			keep_file(follow);
		write_status(follow);
	} while (!once && wait_for_work(follow));
}

static int open_client(const struct settings *settings, struct hubclient **ret_client, struct why *ret_why)
{
	const struct http_settings http = {
		.user = settings->user,
		.password = settings->password,
		.token = settings->token,
		.ca_file = settings->tls_ca,
		.connect_timeout_ms = settings->timeout_ms,
		.timeout_ms = settings->timeout_ms,
		.answer_max = ANSWER_MAX,
		.allow_plain = settings->allow_plain_http,
		.plain_host = settings->plain_http_host,
	};
	int err = hubclient_open(settings->url, &http, ret_client, ret_why);
	if (err == 0)
		hubclient_set_stop(*ret_client, lifecycle_stop_requested);
	return err;
}

static int follow_open(struct follow *follow, struct why *ret_why)
{
	const struct settings *settings = follow->settings;
	keeper_init(&follow->keeper, settings);
	filewatch_open(&follow->file);
	int err = silos_init(&follow->silos, &settings->silos);
	if (err < 0)
		return why_set(ret_why, err, "", "out of memory");
	err = open_client(settings, &follow->client, ret_why);
	if (err < 0)
		return err;
	if (watch_init(&follow->watch, settings, follow->client, &follow->silos, &follow->hublog) < 0)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	polling_init(&follow->polling, settings, follow->client, &follow->hublog);
	follow->watches = settings_watch(settings) && !settings->once && !settings->print;
	if (follow->watches && follow->silos.count > HUBWATCH_SILOS_MAX) {
		log_warn("too many silos to watch: the hub is polled", LOG_U64("silos", follow->silos.count),
			 LOG_U64("max", HUBWATCH_SILOS_MAX));
		follow->watches = false;
	}
	return 0;
}

static void follow_close(struct follow *follow)
{
	watch_release(&follow->watch);
	hubclient_close(follow->client);
	filewatch_close(&follow->file);
	keeper_release(&follow->keeper);
	silos_release(&follow->silos);
}

enum exit_code follow_run(const struct settings *settings)
{
	_cleanup_(follow_close) struct follow follow = {
		.settings = settings, .file = {.fd = -1}, .file_due = true, .look_again_ms = NEVER};
	struct why why = {0};
	int err = follow_open(&follow, &why);
	if (err < 0) {
		log_error("cannot start", LOG_ERR(err), LOG_STR("detail", why.text));
		return err == ERR_INVALID ? EXIT_SETTINGS : EXIT_INTERNAL;
	}
	if (!settings->print) {
		err = keeper_recover(&follow.keeper, &why);
		log_file(&follow, err, &why);
	}
	if (!settings->once && !settings->print)
		log_info("following", LOG_STR("url", settings->url), LOG_U64("silos", follow.silos.count),
			 LOG_STR("file", settings->hosts_file), LOG_STR("by", follow.watches ? "watch" : "poll"),
			 LOG_I64("interval_ms", settings->interval_ms));
	loop(&follow);
	if (!settings->once && !settings->print)
		return EXIT_DONE;
	enum exit_code code = settings_exit_code(follow.file_err, true);
	return code ? code : settings_exit_code(follow.hub_err, false);
}
