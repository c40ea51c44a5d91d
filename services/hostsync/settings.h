/*
 * The settings of silodns-hostsync and what its exit codes mean.
 */
#ifndef SILODNS_HOSTSYNC_SETTINGS_H
#define SILODNS_HOSTSYNC_SETTINGS_H

#include <stdbool.h>

#include "common/base/log.h"
#include "common/conf/conf.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_INTERNAL = 1,
	EXIT_SETTINGS = 2,
	EXIT_HUB_AWAY = 3,
	EXIT_CREDENTIALS = 4,
	EXIT_ANSWER = 5,
	EXIT_MARKERS = 10,
	EXIT_HOSTS_FILE = 11
};

struct settings {
	char *url, *user, *password, *token;
	struct conf_list silos, hostnames, deny, allow_suffixes;
	char *hosts_file, *conflict, *state_dir, *follow;
	long interval_ms, timeout_ms, watch_timeout_ms;
	bool once, print, remove, check;
	char *tls_ca;
	bool allow_plain_http;
	char *plain_http_host;
	char *log_level, *log_format;
};

extern const struct conf_program hostsync_program;

/* After conf_load(): what depends on several settings, and lists in lower case. Prints what is missing to `err_stream`.
 * ERR_INVALID. */
int settings_finish(struct settings *settings, FILE *err_stream);

/* SILODNS_FOLLOW is watch. */
bool settings_watch(const struct settings *settings);

/* The exit code for an error of the hub (`file` false) or of the hosts file (true). */
enum exit_code settings_exit_code(int err, bool file);

#endif
