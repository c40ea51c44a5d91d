/*
 * The settings of silodns-updater and what its exit codes mean.
 */
#ifndef SILODNS_UPDATER_SETTINGS_H
#define SILODNS_UPDATER_SETTINGS_H

#include <stdbool.h>

#include "common/base/log.h"
#include "common/conf/conf.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_INTERNAL = 1,
	EXIT_SETTINGS = 2,
	EXIT_HUB_AWAY = 3,
	EXIT_CREDENTIALS = 4,
	EXIT_REFUSED = 5,
	EXIT_NOTHING_DETECTED = 10,
	EXIT_DOUBTFUL = 11,
	EXIT_PARTIAL = 12,
	EXIT_CONFLICT = 13
};

struct settings {
	char *url, *user, *password, *token;
	char *silo;
	struct conf_list hostnames;
	char *source, *source_ipv6;
	bool allow_private;
	long interval_ms, timeout_ms;
	bool once, check;
	char *state_dir, *tls_ca;
	bool allow_plain_http;
	char *plain_http_host;
	char *log_level, *log_format;
};

extern const struct conf_program updater_program;

/* After conf_load(): what depends on several settings, and hostnames in lower case. Prints what is wrong to
 * `err_stream`. ERR_INVALID. */
int settings_finish(struct settings *settings, FILE *err_stream);

enum exit_code settings_exit_code(int err);

#endif
