/*
 * silodns-updater: tells the hub this machine's address.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "common/base/lifecycle.h"
#include "common/net/http.h"
#include "updater/run.h"

static enum exit_code updater_main(const struct settings *settings)
{
	if (settings->check)
		return run_check(settings);
	if (settings->state_dir && mkdir(settings->state_dir, 0755) && errno != EEXIST) {
		log_error("state directory cannot be made", LOG_STR("dir", settings->state_dir),
			  LOG_STR("reason", strerror(errno)));
		return EXIT_SETTINGS;
	}
	if (lifecycle_init() || http_global_init()) {
		log_error("signals or HTTP cannot be set up", LOG_ERR(ERR_SYSTEM));
		return EXIT_INTERNAL;
	}
	enum exit_code code = run_updater(settings);
	http_global_release();
	return code;
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	enum conf_outcome outcome;
	enum exit_code code = EXIT_SETTINGS;

	lifecycle_keep_secrets();
	if (sodium_init() < 0) {
		fputs("silodns-updater: cannot initialise\n", stderr);
		return EXIT_INTERNAL;
	}
	int err = conf_load(&updater_program, argc, argv, stderr, &settings, &outcome, NULL);
	if (err)
		return err == ERR_NOMEM ? EXIT_INTERNAL : EXIT_SETTINGS;
	if (outcome == CONF_EXIT)
		return EXIT_DONE;
	if (!settings_finish(&settings, stderr)) {
		log_init_texts("silodns-updater", settings.log_level, settings.log_format);
		code = updater_main(&settings);
	}
	conf_release(&updater_program, &settings);
	return code;
}
