/* Whatever is wrong with the settings is said at once and by name; no secret is ever said. */
#include "conf_fixture.h"

static void defaults_hold(void **state)
{
	good(load(NULL));
	assert_string_equal(settings.url, "https://hub.example.net");
	assert_null(settings.user);
	assert_null(settings.password);
	assert_int_equal(settings.silos.count, 0);
	assert_string_equal(settings.mode, "keep");
	assert_int_equal(settings.threads, 4);
	assert_int_equal(settings.interval_ms, 10000);
	assert_false(settings.once);
}

static void environment_sets_and_flags_win(void **state)
{
	setenv("SILODNS_USER", "env", 1);
	setenv("SILODNS_MODE", "replace", 1);
	setenv("SILODNS_ONCE", "true", 1);
	setenv("SILODNS_HOSTS_FILE", "/env", 1);
	setenv("SILODNS_SILOS", "x", 1);
	good(load("--user=flag", "--once=no", "--hosts-file", "/flag", "--threads", "64", "-u", "http://[::1]:80/",
		  "--user", "last", "--quota", "-7", NULL));
	assert_string_equal(settings.user, "last");
	assert_string_equal(settings.mode, "replace");
	assert_string_equal(settings.hosts_file, "/flag");
	assert_string_equal(settings.url, "http://[::1]:80/");
	assert_int_equal(settings.threads, 64);
	assert_int_equal(settings.quota, -7);
	assert_false(settings.once);
	assert_int_equal(settings.silos.count, 1);
}

static void empty_variables_count_as_not_set(void **state)
{
	setenv("SILODNS_MODE", "", 1);
	setenv("SILODNS_THREADS", "", 1);
	setenv("SILODNS_PASSWORD", "", 1);
	setenv("SILODNS_PASSWORD_FILE", "", 1);
	setenv("SILODNS_NO_SUCH", "", 1);
	good(load(NULL));
	assert_string_equal(settings.mode, "keep");
	assert_null(settings.password);
}

static void empty_flags_count_as_not_given(void **state)
{
	good(load("--user", "", "--hosts-file=", "--mode", "", "--silos", " , ",
		  "--threads=", "--interval=", "--once=", "--quota=", "--password-file", "", NULL));
	assert_null(settings.user);
	assert_null(settings.password);
	assert_string_equal(settings.hosts_file, "/etc/hosts");
	assert_string_equal(settings.mode, "keep");
	assert_int_equal(settings.silos.count, 0);
	assert_int_equal(settings.threads, 4);
	assert_int_equal(settings.interval_ms, 10000);
	assert_false(settings.once);
	release(NULL);
	setenv("SILODNS_SILOS", "a", 1);
	setenv("SILODNS_MODE", "replace", 1);
	good(load("--silos=", "--mode", "", "--url=", NULL));
	assert_int_equal(settings.silos.count, 1);
	assert_string_equal(settings.mode, "replace");
	assert_string_equal(settings.url, "https://hub.example.net");
	release(NULL);
	setenv("SILODNS_URL", "", 1);
	bad(load("--url=", NULL), "SILODNS_URL: required\n");
}

static void everything_wrong_is_said_at_once(void **state)
{
	clear_environment();
	setenv("SILODNS_THREADS", "many", 1);
	setenv("SILODNS_MODE", "drop", 1);
	setenv("SILODNS_SILOS", "ok,-no", 1);
	setenv("SILODNS_PASWORD", "hunter2", 1);
	setenv("SILODNS_DB_HOST", "db", 1);
	setenv("SILODNS_ZZZZZZ", "1", 1);
	assert_int_equal(load("--intervall", "5s", "--interval", "5y", "word", "--user", NULL), ERR_INVALID);
	static const char *const lines[] = {
		"--intervall: unknown; did you mean --interval?\n",
		"--user: needs a value\n",
		"argument: \"word\" is not a flag; silodns-test takes no arguments\n",
		"SILODNS_PASWORD: unknown; did you mean SILODNS_PASSWORD?\n",
		"SILODNS_ZZZZZZ: unknown; silodns-test --help lists what there is\n",
		"SILODNS_URL: required\n",
		"SILODNS_MODE: \"drop\" is none of keep|replace\n",
		"SILODNS_THREADS: \"many\" is not a whole number (or too large)\n",
		"--interval: \"5y\" is not a duration such as 250ms, 15s, 5m, 2h or 90d\n",
		"SILODNS_SILOS: ",
	};
	size_t count = 0;
	for (const char *c = messages; *c; c++)
		count += *c == '\n';
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_non_null(strstr(messages, lines[i]));
	assert_int_equal(count, sizeof(lines) / sizeof(lines[0]));
	assert_null(strstr(messages, "hunter2"));
}

static void what_kubernetes_adds_for_a_service_is_ignored(void **state)
{
	setenv("SILODNS_SERVICE_HOST", "10.0.0.1", 1);
	setenv("SILODNS_API_SERVICE_PORT_HTTP", "8080", 1);
	setenv("SILODNS_API_PORT", "tcp://10.0.0.1:8080", 1);
	setenv("SILODNS_API_PORT_8080_TCP_ADDR", "10.0.0.1", 1);
	setenv("SILODNS_API_PORT_8080_TCP", "tcp://10.0.0.1:8080", 1);
	good(load(NULL));
	release(NULL);
	setenv("SILODNS_API_PORT", "8080", 1); /* a person wrote this */
	assert_int_equal(load(NULL), ERR_INVALID);
	assert_non_null(strstr(messages, "SILODNS_API_PORT: unknown"));
}

static void secrets_come_from_environment_or_file(void **state)
{
	setenv("SILODNS_TOKEN", "from env", 1);
	setenv("SILODNS_PASSWORD_FILE", put_file("secret", "line 1\nline 2\n", 14), 1);
	good(load(NULL));
	assert_string_equal(settings.token, "from env");
	assert_string_equal(settings.password, "line 1\nline 2");
	release(NULL);
	put_file("secret", "windows\r\n", 9);
	setenv("SILODNS_TOKEN", "from env", 1);
	good(load("--token-file", getenv("SILODNS_PASSWORD_FILE"), NULL));
	assert_string_equal(settings.password, "windows");
	assert_string_equal(settings.token, "windows");
	unlink(getenv("SILODNS_PASSWORD_FILE"));
}

static void a_file_may_say_that_there_is_no_secret(void **state)
{
	setenv("SILODNS_TOKEN_FILE", put_file("secret", "-\n", 2), 1);
	good(load(NULL));
	assert_null(settings.token);
	release(NULL);
	put_file("secret", "", 0);
	assert_int_equal(load(NULL), ERR_INVALID);
	assert_non_null(strstr(messages, "is empty"));
	unlink(getenv("SILODNS_TOKEN_FILE"));
}

static void name_and_name_file_exclude_each_other(void **state)
{
	setenv("SILODNS_PASSWORD", "hunter2", 1);
	setenv("SILODNS_PASSWORD_FILE", "/somewhere", 1);
	bad(load(NULL), "SILODNS_PASSWORD_FILE: set as well as SILODNS_PASSWORD; only one of them can be meant\n");
}

static void a_secret_on_the_command_line_is_refused_and_not_repeated(void **state)
{
	static const char *const forms[][2] = {
		{"--password", "hunter2"},    {"--password=hunter2", NULL}, {"--pasword", "hunter2"},
		{"--passwort=hunter2", NULL}, {"--token", "hunter2"},
	};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		assert_int_equal(load(forms[i][0], forms[i][1], NULL), ERR_INVALID);
		assert_null(strstr(messages, "hunter2"));
	}
	bad(load("--password=hunter2", NULL),
	    "--password: has no flag, everybody could read it in the process list; use "
	    "SILODNS_PASSWORD or --password-file\n");
}

static void a_secret_leaves_the_environment(void **state)
{
	setenv("SILODNS_PASSWORD", "hunter2", 1);
	const char *place = getenv("SILODNS_PASSWORD");
	good(load(NULL));
	assert_string_equal(settings.password, "hunter2");
	assert_null(getenv("SILODNS_PASSWORD"));
	assert_int_equal(place[0], '\0');
}

static void other_arguments_are_handed_over_in_order(void **state)
{
	char *words[ARGS_MAX];
	int count = 0;
	good(load_words(&count, words, "user", "--threads", "2", "add", "--once", "alice", "--", "--once", "-", NULL));
	assert_int_equal(count, 5);
	assert_string_equal(words[0], "user");
	assert_string_equal(words[1], "add");
	assert_string_equal(words[2], "alice");
	assert_string_equal(words[3], "--once");
	assert_string_equal(words[4], "-");
	assert_int_equal(settings.threads, 2);
}

static void odd_flags_are_unknown(void **state)
{
	static const char *const flags[] = {"-x",      "-ux", "--URL=x", "--hosts_file=x",
					    "---once", "--=", "--hos=x", "-\x1b"};
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		assert_int_equal(load(flags[i], NULL), ERR_INVALID);
		assert_non_null(strstr(messages, ": unknown; "));
		assert_null(strchr(messages, '\x1b'));
	}
	char longest[300];
	memset(longest, '-', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(load(longest, NULL), ERR_INVALID);
}
