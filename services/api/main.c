/*
 * silodns-api: the hub. This file only picks the subcommand.
 */
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "api/cli/cmd.h"
#include "api/db/migrate.h"
#include "api/serve.h"
#include "api/settings/exitcode.h"
#include "api/settings/settings.h"
#include "common/base/lifecycle.h"
#include "common/base/log.h"
#include "common/net/http.h"

static int run_migrate(const struct settings *settings)
{
	unsigned applied = 0;
	struct why why = {0};
	int err = migrate_run(&settings->db, NULL, &applied, &why);

	if (err)
		return cmd_fail(err == ERR_UNAVAILABLE ? EXIT_DATABASE : EXIT_FAILED, "%s", why.text);
	printf("%u migration%s applied; the schema is at %u\n", applied, applied == 1 ? "" : "s", migration_count);
	return 0;
}

/* Asks this machine's own hub. */
static int run_check(const struct settings *settings)
{
	const struct http_settings http_settings = {
		.connect_timeout_ms = 2000, .timeout_ms = 4000, .answer_max = 65536, .any_certificate = true};
	const char *address = settings->listen.items[0], *colon = strrchr(address, ':');
	size_t host_len = colon ? (size_t)(colon - address) : 0;
	bool wildcard = !host_len || !strncmp(address, "[::]", host_len) || !strncmp(address, "0.0.0.0", host_len) ||
			!strncmp(address, "*", host_len);
	struct http_answer answer = {0};
	struct http *http;
	struct why why = {0};
	char url[512];

	snprintf(url, sizeof url, "%s://%s%s/readyz", settings->tls_cert_file ? "https" : "http",
		 wildcard ? "127.0.0.1" : "", wildcard ? (colon ? colon : "") : address);
	if (http_global_init() || http_open(&http_settings, &http))
		return EXIT_FAILED;
	int err = http_send(http, &(struct http_request){.method = "GET", .url = url}, &answer, &why);
	int code = err ? cmd_fail(EXIT_DATABASE, "%s", why.text) : answer.status != 200 ? EXIT_DATABASE : 0;
	if (!err)
		printf("%s\n", answer.body.data ? answer.body.data : "");
	http_answer_release(&answer);
	http_close(http);
	http_global_release();
	return code;
}

static int run(const struct settings *settings, char **words, int count)
{
	const char *word = count ? words[0] : "serve";
	bool has_threads = !strcmp(word, "serve") || !strcmp(word, "user") || !strcmp(word, "token");

	/* The others are to be ended by a signal as any command is. */
	if (has_threads && lifecycle_init())
		return cmd_fail(EXIT_FAILED, "cannot initialise");
	if (!strcmp(word, "serve") && count <= 1)
		return serve(settings);
	if (!strcmp(word, "migrate") && count == 1)
		return run_migrate(settings);
	if (!strcmp(word, "user"))
		return cmd_run(settings, cmd_user, "user list, or user add, set, passwd or remove NAME", words + 1,
			       count - 1);
	if (!strcmp(word, "token"))
		return cmd_run(settings, cmd_token, "token list [USER], or token add or remove USER NAME", words + 1,
			       count - 1);
	if (!strcmp(word, "secrets") && count >= 2)
		return cmd_secrets(settings, words[1], words + 2, count - 2);
	if (!strcmp(word, "check") && count == 1)
		return run_check(settings);
	return cmd_fail(EXIT_USAGE, "unknown or incomplete command \"%s\"; see silodns-api --help", word);
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	enum conf_outcome outcome;
	int words = 0;

	lifecycle_keep_secrets();
	if (sodium_init() < 0)
		return cmd_fail(EXIT_FAILED, "cannot initialise");
	int err = conf_load(&settings_program, argc, argv, stderr, &settings, &outcome, &words);
	if (err)
		return err == ERR_NOMEM ? EXIT_FAILED : EXIT_USAGE;
	if (outcome == CONF_EXIT)
		return 0;
	/* A person at a prompt wants to hear of trouble only. */
	bool quiet = words && strcmp(argv[1], "serve") != 0 && strcmp(settings.log_level, "info") == 0;
	log_init_texts("silodns-api", quiet ? "warn" : settings.log_level, settings.log_format);
	int code = run(&settings, argv + 1, words);
	conf_release(&settings_program, &settings);
	return code;
}
