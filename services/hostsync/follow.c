#include "follow.h"

#include <limits.h>
#include <string.h>

#include "cleanup.h"
#include "filewatch.h"
#include "keeper.h"
#include "lifecycle.h"
#include "log.h"
#include "poll.h"
#include "status.h"

#define SETTLE_MS 100        /* lets a program that rewrites the file in several steps finish */
#define STATUS_EVERY_MS 5000 /* while nothing changes */

struct follow {
	const struct settings *settings;
	struct silos silos;
	struct poll poll;
	struct keeper keeper;
	struct filewatch watch;
	int hub_err, file_err;
	struct why file_why; /* of file_err, as logged */
	int64_t next_poll_ms;
	int64_t status_ms; /* when it was last written */
	bool status_ok;
};

int follow_status_path(const struct settings *settings, char *ret_path, size_t size)
{
	int n = snprintf(ret_path, size, "%s/hostsync.json", settings->state_dir);
	return n > 0 && (size_t)n < size ? 0 : ERR_TOO_LARGE;
}

/* Three missed rounds, whose requests may each take their whole time, and the pause between two status files. */
int64_t follow_status_max_age_ms(const struct settings *settings)
{
	return 3 * (settings->interval_ms + settings->timeout_ms) + 2 * STATUS_EVERY_MS;
}

static void write_status(struct follow *follow)
{
	char path[PATH_MAX];
	bool ok = follow->hub_err == 0 && follow->file_err == 0;
	int64_t now = clock_mono_ms();
	bool due = follow->status_ms == 0 || ok != follow->status_ok || now - follow->status_ms >= STATUS_EVERY_MS;
	if (!follow->settings->state_dir || !due || follow_status_path(follow->settings, path, sizeof(path)) < 0)
		return;
	const char *detail = follow->file_err  ? follow->file_why.text
			     : follow->hub_err ? err_info(follow->hub_err)->title
					       : "hosts file is as the hub says";
	if (status_write(path, ok, silos_revision(&follow->silos), detail) < 0)
		log_warn("status cannot be written", LOG_STR("file", path), LOG_ERR(ERR_SYSTEM));
	follow->status_ms = now;
	follow->status_ok = ok;
}

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

static void ask_hub(struct follow *follow)
{
	struct poll_result result = poll_round(&follow->poll, &follow->silos);
	follow->hub_err = result.err;
	follow->next_poll_ms = clock_mono_ms() + result.wait_ms;
}

static void keep_file(struct follow *follow)
{
	struct why why = {0};
	int err = follow->settings->print ? keeper_print(&follow->keeper, &follow->silos, stdout, &why)
					  : keeper_apply(&follow->keeper, &follow->silos, &why);
	log_file(follow, err, &why);
}

static int64_t wait_ms(const struct follow *follow)
{
	int64_t hub = follow->next_poll_ms - clock_mono_ms(), file = keeper_wait_ms(&follow->keeper);
	int64_t wait = file >= 0 && file < hub ? file : hub;
	return wait > 0 ? wait : 0;
}

static bool hub_is_due(const struct follow *follow)
{
	return clock_mono_ms() >= follow->next_poll_ms;
}

/* Until there is something to do. False: stop. */
static bool wait_for_work(struct follow *follow)
{
	enum lifecycle_wake wake;
	do
		wake = lifecycle_wait(wait_ms(follow), follow->watch.fd);
	while (wake == LIFECYCLE_READABLE && !filewatch_touched(&follow->watch, follow->settings->hosts_file) &&
	       wait_ms(follow) > 0);
	if (wake == LIFECYCLE_READABLE)
		wake = lifecycle_wait(SETTLE_MS, -1);
	if (wake == LIFECYCLE_RELOAD)
		follow->next_poll_ms = 0;
	return wake != LIFECYCLE_STOP;
}

static void loop(struct follow *follow)
{
	bool once = follow->settings->once || follow->settings->print;
	do {
		if (hub_is_due(follow))
			ask_hub(follow);
		if (lifecycle_stop_requested())
			return;
		filewatch_aim(&follow->watch, follow->settings->hosts_file);
		keep_file(follow);
		write_status(follow);
	} while (!once && wait_for_work(follow));
}

static int follow_open(struct follow *follow, struct why *ret_why)
{
	int err = silos_init(&follow->silos, &follow->settings->silos);
	if (err < 0)
		return why_set(ret_why, err, "", "out of memory");
	keeper_init(&follow->keeper, follow->settings);
	filewatch_open(&follow->watch);
	return poll_open(follow->settings, &follow->poll, ret_why);
}

static void follow_close(struct follow *follow)
{
	poll_close(&follow->poll);
	filewatch_close(&follow->watch);
	keeper_release(&follow->keeper);
	silos_release(&follow->silos);
}

enum exit_code follow_run(const struct settings *settings)
{
	_cleanup_(follow_close) struct follow follow = {.settings = settings, .watch = {.fd = -1}};
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
			 LOG_STR("file", settings->hosts_file), LOG_I64("interval_ms", settings->interval_ms));
	loop(&follow);
	if (!settings->once && !settings->print)
		return EXIT_DONE;
	enum exit_code code = settings_exit_code(follow.file_err, true);
	return code ? code : settings_exit_code(follow.hub_err, false);
}
