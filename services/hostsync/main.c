/*
 * silodns-hostsync: keeps the records of a hub's silos in a marked block of the hosts file.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/lifecycle.h"
#include "common/hub/status.h"
#include "common/net/http.h"
#include "hostsync/follow.h"
#include "hostsync/keeper.h"

static enum exit_code check(const struct settings *settings)
{
	char path[PATH_MAX];
	struct why why = {0};
	if (status_path(settings->state_dir, "hostsync", path))
		return EXIT_SETTINGS;
	if (status_check(path, follow_status_max_age_ms(settings), &why) == 0)
		return EXIT_DONE;
	fprintf(stderr, "%s\n", why.text);
	return EXIT_INTERNAL;
}

static enum exit_code remove_block(const struct settings *settings)
{
	_cleanup_(keeper_release) struct keeper keeper;
	struct why why = {0};
	keeper_init(&keeper, settings);
	int err = keeper_recover(&keeper, &why);
	if (err == 0)
		err = keeper_remove(&keeper, &why);
	if (err < 0)
		log_error("block not removed", LOG_STR("file", settings->hosts_file), LOG_ERR(err),
			  LOG_STR("detail", why.text));
	return settings_exit_code(err, true);
}

static enum exit_code follow(const struct settings *settings)
{
	if (http_global_init() < 0) {
		log_error("HTTP cannot be set up", LOG_ERR(ERR_INTERNAL));
		return EXIT_INTERNAL;
	}
	enum exit_code code = follow_run(settings);
	http_global_release();
	return code;
}

static enum exit_code hostsync_main(const struct settings *settings)
{
	if (settings->check)
		return check(settings);
	if (settings->state_dir && mkdir(settings->state_dir, 0755) < 0 && errno != EEXIST) {
		log_error("state directory cannot be made", LOG_STR("dir", settings->state_dir),
			  LOG_STR("detail", strerror(errno)));
		return EXIT_SETTINGS;
	}
	if (lifecycle_init() < 0) {
		log_error("signals cannot be set up", LOG_ERR(ERR_SYSTEM));
		return EXIT_INTERNAL;
	}
	return settings->remove ? remove_block(settings) : follow(settings);
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	enum conf_outcome outcome;

	lifecycle_keep_secrets();
	int err = conf_load(&hostsync_program, argc, argv, stderr, &settings, &outcome, NULL);
	if (err < 0)
		return err == ERR_NOMEM ? EXIT_INTERNAL : EXIT_SETTINGS;
	if (outcome == CONF_EXIT)
		return EXIT_DONE;
	enum exit_code code = EXIT_SETTINGS;
	if (settings_finish(&settings, stderr) == 0) {
		log_init_texts("hostsync", settings.log_level, settings.log_format);
		code = hostsync_main(&settings);
	}
	conf_release(&hostsync_program, &settings);
	return (int)code;
}
