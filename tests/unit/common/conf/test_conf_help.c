/* --help and the README are made of the same table as the settings. */
#include "conf_fixture.h"

static char *printed(const char *flag)
{
	static char text[16384];
	char path[128];
	snprintf(path, sizeof(path), "%s/out", dir);
	fflush(stdout);
	int saved = dup(STDOUT_FILENO);
	assert_non_null(freopen(path, "w", stdout));
	int err = load("--nonsense", "--threads=x", flag, NULL);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_int_equal(err, 0);
	assert_int_equal(outcome, CONF_EXIT);
	assert_string_equal(messages, "");
	assert_null(settings.url);
	FILE *file = fopen(path, "r");
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	unlink(path);
	return text;
}

static void help_names_every_setting_and_no_secret(void **state)
{
	setenv("SILODNS_PASSWORD", "hunter2", 1);
	assert_string_equal(printed("--version"), "silodns-test " SILODNS_VERSION "\n");
	const char *help = printed("--help");
	assert_non_null(strstr(help, "usage: silodns-test [options]\n       silodns-test other [options]\n"));
	assert_non_null(strstr(help, "  --hosts-file FILE\n      Where.\n      Default: /etc/hosts\n"));
	assert_non_null(strstr(
		help, "  --password-file FILE\n      Secret.\n      Or the secret itself in SILODNS_PASSWORD.\n"));
	assert_non_null(strstr(help, "  -u, --url URL\n      The hub.\n      Required.\n"));
	assert_non_null(strstr(help, "Allowed: 100ms to 1d\n"));
	assert_non_null(strstr(help, "\nExit codes: 0.\n"));
	assert_null(strstr(help, "--password\n"));
	assert_null(strstr(help, "hunter2"));
	for (const char *line = help; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		assert_true(strcspn(line, "\n") <= 100);
	assert_non_null(strstr(printed("-h"), "Tests."));
}

static void markdown_has_one_row_per_setting(void **state)
{
	const char *table = printed("--help=markdown");
	size_t lines = 0;
	for (const char *c = table; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, 2 + sizeof(options) / sizeof(options[0]));
	assert_non_null(strstr(table, "| `SILODNS_HOSTS_FILE` | `--hosts-file FILE` | `/etc/hosts` | Where. |\n"));
	assert_non_null(strstr(
		table, "| `SILODNS_PASSWORD`, `SILODNS_PASSWORD_FILE` | `--password-file FILE` | | Secret. |\n"));
	assert_non_null(strstr(table, "`--mode keep\\|replace`"));
	assert_non_null(strstr(table, "| Many. (1 to 64) |\n"));
}
