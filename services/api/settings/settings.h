/*
 * The api's settings: one table for all subcommands.
 */
#ifndef SILODNS_API_SETTINGS_SETTINGS_H
#define SILODNS_API_SETTINGS_SETTINGS_H

#include <stdbool.h>

#include "api/auth/ratelimit.h"
#include "api/db/db.h"
#include "common/conf/conf.h"
#include "common/net/ipaddr.h"

struct settings {
	struct conf_list listen, trusted_proxies, cors_origins, limit_exempt;
	long threads; /* 0: as many as the machine has processors */
	long headers_max, records_max, body_max, bodies_max, connections_max, connections_per_address_max;
	struct ratelimit_settings limits; /* but for who is exempt */
	long idle_timeout_ms, request_timeout_ms, drain_timeout_ms;

	struct db_settings db;
	long poll_ms, history_age_ms;

	char *admin_user, *admin_password;
	struct conf_list client_silos, client_hostnames;
	char *updater_token, *hostsync_token;

	char *role; /* user add, user set */
	long quota; /* -1: not given */
	char *new_password;
	char *mode; /* secrets */

	char *tls_cert_file, *tls_key_file;
	long hsts_ms;

	struct conf_list verbs, for_silos, for_hostnames, from_networks; /* token add */
	char *for_family;
	long expires_ms, unused_ms; /* 0: not given */

	char *proxy_header;
	char *metrics;
	char *log_level, *log_format;
};

extern const struct conf_program settings_program;

/* Networks of a list that has been checked; "none" is none. free() the array. ERR_NOMEM. */
int settings_networks(const struct conf_list *list, struct cidr **ret_networks, size_t *ret_count);

#endif
