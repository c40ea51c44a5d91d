#include "hostsync/settings.h"

#include <ctype.h>
#include <string.h>

#include "common/conf/conf_rows.h"
#include "hostsync/policy.h"

static const struct conf_option options[] = {
	{.name = "URL",
	 .type = CONF_STRING,
	 CONF_FIELD(url),
	 .arg = "URL",
	 .check = conf_check_url,
	 .help = "The hub, such as https://hub.example.net. Required, except with --remove and --check."},
	CONF_ROWS_CREDENTIALS,
	{.name = "SILOS",
	 .type = CONF_LIST,
	 CONF_FIELD(silos),
	 .arg = "LIST",
	 .check = silo_id_conf_check,
	 .help = "The silos to follow. A hostname in several of them is taken from the first. Required, except with "
		 "--remove and --check."},
	{.name = "HOSTNAMES",
	 .type = CONF_LIST,
	 CONF_FIELD(hostnames),
	 .arg = "LIST",
	 .check = conf_check_hostname,
	 .help = "Only these hostnames of the silos; all when empty."},
	{.name = "HOSTS_FILE",
	 .type = CONF_STRING,
	 CONF_FIELD(hosts_file),
	 .def = "/etc/hosts",
	 .arg = "FILE",
	 .help = "The file to keep. A symbolic link is followed."},
	{.name = "CONFLICT",
	 .type = CONF_STRING,
	 CONF_FIELD(conflict),
	 .def = "keep",
	 .arg = "keep|replace",
	 .help = "A hostname that stands in the file outside the block: keep leaves it alone and warns, replace takes "
		 "it out of "
		 "its line for good (--remove does not bring it back) and sets it in the block."},
	{.name = "DENY",
	 .type = CONF_LIST,
	 CONF_FIELD(deny),
	 .arg = "LIST",
	 .check = policy_check_suffix,
	 .help = "Names that the hub may not set, nor anything under them; besides localhost and this machine's own "
		 "names, which "
		 "it never may."},
	{.name = "ALLOW_SUFFIXES",
	 .type = CONF_LIST,
	 CONF_FIELD(allow_suffixes),
	 .arg = "LIST",
	 .check = policy_check_suffix,
	 .help = "If given, the hub may set only these names and what is under them."},
	{.name = "FOLLOW",
	 .type = CONF_STRING,
	 CONF_FIELD(follow),
	 .def = "watch",
	 .arg = "watch|poll",
	 .help = "watch: the hub tells each change at once, over one connection that stays; where that is not "
		 "possible (an old hub, a proxy that holds answers back) it polls, and tries again every 30 intervals. "
		 "poll: it asks every SILODNS_INTERVAL, as it does with more than 64 silos."},
	{.name = "INTERVAL",
	 .type = CONF_DURATION,
	 CONF_FIELD(interval_ms),
	 .def = "10s",
	 .min = 100,
	 .max = 86400000,
	 .arg = "TIME",
	 .help = "How often to look whether the hosts file is in order; and to ask the hub when polling, ±10%."},
	{.name = "ONCE", .type = CONF_BOOL, CONF_FIELD(once), .help = "Ask once, write, exit."},
	{.name = "PRINT",
	 .type = CONF_BOOL,
	 CONF_FIELD(print),
	 .help = "Ask once, print the file as it would be, write nothing."},
	{.name = "REMOVE", .type = CONF_BOOL, CONF_FIELD(remove), .help = "Take the block out of the file and exit."},
	{.name = "CHECK",
	 .type = CONF_BOOL,
	 CONF_FIELD(check),
	 .help = "Health check: is the hostsync that shares SILODNS_STATE_DIR well?"},
	{.name = "STATE_DIR",
	 .type = CONF_STRING,
	 CONF_FIELD(state_dir),
	 .arg = "DIR",
	 .help = "Where the status for --check is kept, and the copy that writing in place needs when the hosts file "
		 "is a mount "
		 "point (without it: the file's own directory). One directory per hosts file; it should outlive a "
		 "restart."},
	{.name = "TIMEOUT",
	 .type = CONF_DURATION,
	 CONF_FIELD(timeout_ms),
	 .def = "10s",
	 .min = 100,
	 .max = 600000,
	 .arg = "TIME",
	 .help = "For one request to the hub; for a watch, how long nothing may come until all is told."},
	{.name = "WATCH_TIMEOUT",
	 .type = CONF_DURATION,
	 CONF_FIELD(watch_timeout_ms),
	 .def = "45s",
	 .min = 100,
	 .max = 3600000,
	 .arg = "TIME",
	 .help = "A watch on which nothing comes for so long is given up and made anew; the hub says something every "
		 "15s."},
	CONF_ROWS_WAY_TO_THE_HUB,
	CONF_ROWS_LOG,
};

const struct conf_program hostsync_program = {
	.name = "silodns-hostsync",
	.summary = "Keeps the records of a silodns hub's silos in a marked block of the hosts file.",
	.usage = "[options]",
	.epilog = "Exit codes, with --once, --print and --remove:\n"
		  "  0   done, or nothing to do\n"
		  "  1   internal error (out of memory); --check: not well\n"
		  "  2   bad settings\n"
		  "  3   hub not reachable or not available; the last good state stays\n"
		  "  4   hub refused the credentials or the silo\n"
		  "  5   hub has no such silo, or its answer makes no sense\n"
		  "  10  hosts file refused: the markers of the block are not as they were written\n"
		  "  11  hosts file could not be read or written\n"
		  "Of several failures the hosts file's is told first. Without these flags it runs until SIGTERM or "
		  "SIGINT;\n"
		  "SIGHUP asks the hub at once.\n",
	.options = options,
	.option_count = sizeof(options) / sizeof(options[0]),
};

static void lower(struct conf_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		for (char *c = list->items[i]; *c; c++)
			*c = (char)tolower((unsigned char)*c);
}

int settings_finish(struct settings *settings, FILE *err_stream)
{
	bool hub = !settings->remove && !settings->check;
	int err = 0;
	const struct {
		bool wrong;
		const char *text;
	} rules[] = {
		{hub && !settings->url, "SILODNS_URL: required"},
		{hub && settings->silos.count == 0, "SILODNS_SILOS: required"},
		{settings->check && !settings->state_dir, "SILODNS_STATE_DIR: required for --check"},
		{settings->print + settings->remove + settings->check > 1,
		 "SILODNS_PRINT, SILODNS_REMOVE, SILODNS_CHECK: only one of them"},
		{hub && settings->token && (settings->user || settings->password), CONF_TOKEN_OR_PASSWORD},
		{hub && settings->user && !settings->password, "SILODNS_PASSWORD: required with SILODNS_USER"},
		{hub && settings->password && !settings->user, "SILODNS_USER: required with SILODNS_PASSWORD"},
	};
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (!rules[i].wrong)
			continue;
		fprintf(err_stream, "%s\n", rules[i].text);
		err = ERR_INVALID;
	}
	lower(&settings->hostnames);
	lower(&settings->deny);
	lower(&settings->allow_suffixes);
	return err;
}

bool settings_watch(const struct settings *settings)
{
	return strcmp(settings->follow, "watch") == 0;
}

enum exit_code settings_exit_code(int err, bool file)
{
	static const struct {
		int err;
		enum exit_code hub, file;
	} rows[] = {
		{ERR_OK, EXIT_DONE, EXIT_DONE},
		{ERR_STOPPED, EXIT_DONE, EXIT_DONE},
		{ERR_NOMEM, EXIT_INTERNAL, EXIT_INTERNAL},
		{ERR_INTERNAL, EXIT_INTERNAL, EXIT_INTERNAL},
		{ERR_CONFLICT, EXIT_ANSWER, EXIT_MARKERS},
		{ERR_UNAUTHORIZED, EXIT_CREDENTIALS, EXIT_HOSTS_FILE},
		{ERR_FORBIDDEN, EXIT_CREDENTIALS, EXIT_HOSTS_FILE},
		{ERR_NETWORK, EXIT_HUB_AWAY, EXIT_HOSTS_FILE},
		{ERR_TIMEOUT, EXIT_HUB_AWAY, EXIT_HOSTS_FILE},
		{ERR_TLS, EXIT_HUB_AWAY, EXIT_HOSTS_FILE},
		{ERR_UNAVAILABLE, EXIT_HUB_AWAY, EXIT_HOSTS_FILE},
		{ERR_BUSY, EXIT_HUB_AWAY, EXIT_HOSTS_FILE},
		{ERR_RATE, EXIT_HUB_AWAY, EXIT_HOSTS_FILE},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].err == err)
			return file ? rows[i].file : rows[i].hub;
	return file ? EXIT_HOSTS_FILE : EXIT_ANSWER;
}
