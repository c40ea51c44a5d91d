#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/conf/conf_internal.h"

void conf_variable_name(const char *name, const char *suffix, char ret_name[static CONF_NAME_SIZE])
{
	snprintf(ret_name, CONF_NAME_SIZE, "%s%s%s", CONF_PREFIX, name, suffix);
}

void conf_flag_name(const char *name, const char *suffix, char ret_name[static CONF_NAME_SIZE])
{
	snprintf(ret_name, CONF_NAME_SIZE, "--%s%s", name, suffix);
	for (char *c = ret_name; *c; c++)
		*c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
}

/* A test keeps it complete. The last four are docker-compose.yml's own. */
static const char *const all_names[] = {
	"ADMIN_PASSWORD",
	"ADMIN_PASSWORD_FILE",
	"ADMIN_USER",
	"ALLOW_PLAIN_HTTP",
	"ALLOW_PRIVATE",
	"ALLOW_SUFFIXES",
	"CHECK",
	"CLIENT_HOSTNAMES",
	"CLIENT_SILOS",
	"CONFLICT",
	"CORS_ORIGINS",
	"DB_HOST",
	"DB_NAME",
	"DB_PASSWORD",
	"DB_PASSWORD_FILE",
	"DB_PORT",
	"DB_SOCKET",
	"DB_TIMEOUT",
	"DB_TLS_CA",
	"DB_USER",
	"DENY",
	"DRAIN_TIMEOUT",
	"EXPIRES",
	"FOLLOW",
	"FOR_FAMILY",
	"FOR_HOSTNAMES",
	"FOR_SILOS",
	"FROM_NETWORKS",
	"HISTORY_AGE",
	"HOSTNAMES",
	"HOSTSYNC_TOKEN",
	"HOSTSYNC_TOKEN_FILE",
	"HOSTS_FILE",
	"HSTS",
	"IDLE_TIMEOUT",
	"INTERVAL",
	"LIMIT_EXEMPT",
	"LIMIT_LOGINS",
	"LIMIT_REQUESTS",
	"LIMIT_REQUESTS_BURST",
	"LIMIT_USER_REQUESTS",
	"LIMIT_USER_REQUESTS_BURST",
	"LISTEN",
	"LOCKOUT",
	"LOCKOUT_MAX",
	"LOG_FORMAT",
	"LOG_LEVEL",
	"MAX_BODIES",
	"MAX_BODY",
	"MAX_CONNECTIONS",
	"MAX_CONNECTIONS_PER_ADDRESS",
	"MAX_HEADERS",
	"MAX_RECORDS",
	"METRICS",
	"MODE",
	"NEW_PASSWORD",
	"NEW_PASSWORD_FILE",
	"ONCE",
	"PASSWORD",
	"PASSWORD_FILE",
	"PLAIN_HTTP_HOST",
	"POLL",
	"PRINT",
	"PROXY_HEADER",
	"QUOTA",
	"REMOVE",
	"REQUEST_TIMEOUT",
	"ROLE",
	"SILO",
	"SILOS",
	"SOURCE",
	"SOURCE_IPV6",
	"STATE_DIR",
	"THREADS",
	"TIMEOUT",
	"TLS_CA",
	"TLS_CERT_FILE",
	"TLS_KEY_FILE",
	"TOKEN",
	"TOKEN_FILE",
	"TRUSTED_PROXIES",
	"UNUSED",
	"UPDATER_TOKEN",
	"UPDATER_TOKEN_FILE",
	"URL",
	"USER",
	"VERBS",
	"WATCH_TIMEOUT",
	"HOSTS_DIR",
	"HOSTSYNC_HOSTNAMES",
	"HOSTSYNC_INTERVAL",
	"PORT",
};

bool conf_is_known(const char *name)
{
	for (size_t i = 0; i < sizeof all_names / sizeof all_names[0]; i++)
		if (strcmp(all_names[i], name) == 0)
			return true;
	return false;
}
