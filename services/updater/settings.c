#include "updater/settings.h"

#include <string.h>

#include "common/conf/conf_rows.h"
#include "common/net/hostname.h"
#include "updater/detect.h"

static const struct conf_option options[] = {
	{.name = "URL",
	 .type = CONF_STRING,
	 CONF_FIELD(url),
	 .arg = "URL",
	 .check = conf_check_url,
	 .help = "The hub, such as https://hub.example.net. Required, except with --check."},
	CONF_ROWS_CREDENTIALS,
	{.name = "SILO",
	 .type = CONF_STRING,
	 CONF_FIELD(silo),
	 .arg = "ID",
	 .check = silo_id_conf_check,
	 .help = "The silo that holds this machine's records. Required, except with --check."},
	{.name = "HOSTNAMES",
	 .type = CONF_LIST,
	 CONF_FIELD(hostnames),
	 .arg = "LIST",
	 .check = conf_check_hostname,
	 .help = "This machine's hostnames in the silo; no other records are touched. Required, except with --check."},
	{.name = "SOURCE",
	 .type = CONF_STRING,
	 CONF_FIELD(source),
	 .def = "server",
	 .arg = "SOURCE",
	 .check = detect_check,
	 .help = "Where the IPv4 address comes from: server (the address the hub sees), socket (the local address of "
		 "the "
		 "route to the hub), interface:NAME, url:URL [URL…] (tried in turn), command:TEXT (for /bin/sh), or "
		 "off. "
		 "Several, separated by spaces, must agree; a command goes last."},
	{.name = "SOURCE_IPV6",
	 .type = CONF_STRING,
	 CONF_FIELD(source_ipv6),
	 .def = "off",
	 .arg = "SOURCE",
	 .check = detect_check,
	 .help = "The same for the IPv6 address."},
	{.name = "ALLOW_PRIVATE",
	 .type = CONF_BOOL,
	 CONF_FIELD(allow_private),
	 .help = "Private (RFC 1918, fc00::/7) and carrier-grade NAT addresses may be published."},
	{.name = "INTERVAL",
	 .type = CONF_DURATION,
	 CONF_FIELD(interval_ms),
	 .def = "60s",
	 .min = 1000,
	 .max = 86400000,
	 .arg = "TIME",
	 .help = "How often to look, ±10%."},
	{.name = "ONCE",
	 .type = CONF_BOOL,
	 CONF_FIELD(once),
	 .help = "Look once, publish, exit: for cron and CronJobs."},
	{.name = "CHECK",
	 .type = CONF_BOOL,
	 CONF_FIELD(check),
	 .help = "Health check: is the updater that shares SILODNS_STATE_DIR well?"},
	{.name = "STATE_DIR",
	 .type = CONF_STRING,
	 CONF_FIELD(state_dir),
	 .arg = "DIR",
	 .help = "Where the status for --check is kept."},
	{.name = "TIMEOUT",
	 .type = CONF_DURATION,
	 CONF_FIELD(timeout_ms),
	 .def = "10s",
	 .min = 100,
	 .max = 600000,
	 .arg = "TIME",
	 .help = "For one request, and for the command."},
	CONF_ROWS_WAY_TO_THE_HUB,
	CONF_ROWS_LOG,
};

const struct conf_program updater_program = {
	.name = "silodns-updater",
	.summary = "Tells a silodns hub the address of this machine.",
	.usage = "[options]",
	.epilog =
		"Exit codes, with --once:\n"
		"  0   published, or nothing to do\n"
		"  1   internal error (out of memory); --check: not well\n"
		"  2   bad settings\n"
		"  3   hub not reachable or not available\n"
		"  4   hub refused the credentials, the silo or the quota\n"
		"  5   hub refused the records, or its answer makes no sense\n"
		"  10  no address detected\n"
		"  11  address doubtful: not published\n"
		"  12  one of IPv4 and IPv6 is as it should be, the other was not detected or doubtful\n"
		"  13  others kept changing the silo at the same time\n"
		"Whatever fails, no record is deleted or replaced by a guess. Without --once it runs until SIGTERM or\n"
		"SIGINT; SIGHUP looks at once.\n",
	.options = options,
	.option_count = sizeof options / sizeof options[0],
};

static int missing(FILE *err_stream, const char *name)
{
	fprintf(err_stream, "SILODNS_%s: required\n", name);
	return ERR_INVALID;
}

int settings_finish(struct settings *settings, FILE *err_stream)
{
	int err = ERR_OK;

	if (settings->check && !settings->state_dir)
		return missing(err_stream, "STATE_DIR");
	if (settings->check)
		return ERR_OK;
	if (!settings->url)
		err = missing(err_stream, "URL");
	if (settings->token && (settings->user || settings->password)) {
		fprintf(err_stream, CONF_TOKEN_OR_PASSWORD "\n");
		err = ERR_INVALID;
	}
	if (!settings->silo)
		err = missing(err_stream, "SILO");
	if (!settings->hostnames.count)
		err = missing(err_stream, "HOSTNAMES");
	if (detect_is_off(settings->source) && detect_is_off(settings->source_ipv6)) {
		fprintf(err_stream, "SILODNS_SOURCE: off, as is SILODNS_SOURCE_IPV6: nothing is left to do\n");
		err = ERR_INVALID;
	}
	for (size_t i = 0; i < settings->hostnames.count; i++) {
		char name[HOSTNAME_LEN_MAX + 1];
		char *item = settings->hostnames.items[i]; /* checked: only its case can differ */
		if (!hostname_parse(item, strlen(item), name, NULL))
			memcpy(item, name, strlen(name) + 1);
	}
	return err;
}

enum exit_code settings_exit_code(int err)
{
	static const struct {
		int err;
		enum exit_code code;
	} codes[] = {
		{ERR_OK, EXIT_DONE},
		{ERR_STOPPED, EXIT_DONE},
		{ERR_NETWORK, EXIT_HUB_AWAY},
		{ERR_TIMEOUT, EXIT_HUB_AWAY},
		{ERR_TLS, EXIT_HUB_AWAY},
		{ERR_UNAVAILABLE, EXIT_HUB_AWAY},
		{ERR_BUSY, EXIT_HUB_AWAY},
		{ERR_RATE, EXIT_HUB_AWAY},
		{ERR_UNKNOWN_OUTCOME, EXIT_HUB_AWAY},
		{ERR_UNAUTHORIZED, EXIT_CREDENTIALS},
		{ERR_FORBIDDEN, EXIT_CREDENTIALS},
		{ERR_QUOTA, EXIT_CREDENTIALS},
		{ERR_DETECT, EXIT_NOTHING_DETECTED},
		{ERR_DOUBTFUL, EXIT_DOUBTFUL},
		{ERR_PRECONDITION, EXIT_CONFLICT},
		{ERR_NOMEM, EXIT_INTERNAL},
		{ERR_SYSTEM, EXIT_INTERNAL},
		{ERR_INTERNAL, EXIT_INTERNAL},
	};

	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		if (codes[i].err == err)
			return codes[i].code;
	return EXIT_REFUSED;
}
