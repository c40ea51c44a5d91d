/*
 * Settings. Each line of the input is an argument, or, if it begins with a capital letter and has a '=', a variable
 * (SILODNS_ is put before it). What is accepted is within its limits; what is refused is refused with a line for each
 * reason, leaves nothing behind, and no message holds a secret.
 */
#include "../lib/fuzz.h"

#include <sodium.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/conf/conf.h"
#include "common/hub/silo.h"

#define WORDS_MAX 4
#define SECRET "correct-horse-battery"

struct settings {
	char *url, *user, *silo, *level, *format;
	char *password, *token;
	struct conf_list silos, hostnames, networks;
	long threads, quota, interval_ms, age_ms;
	bool once;
};

#define OPTION(name_, type_, field, ...)                                                                               \
	{                                                                                                              \
		.name = name_, .arg = "X", .help = "Something.", .type = type_,                                        \
		.offset = offsetof(struct settings, field), __VA_ARGS__                                                \
	}

static const struct conf_option options[] = {
	OPTION("URL", CONF_STRING, url, .shortflag = 'u', .check = conf_check_url),
	OPTION("USER", CONF_STRING, user, .required = true),
	OPTION("SILO", CONF_STRING, silo, .check = silo_id_conf_check),
	OPTION("LOG_LEVEL", CONF_STRING, level, .def = "info", .check = log_level_check),
	OPTION("LOG_FORMAT", CONF_STRING, format, .def = "json", .check = log_format_check),
	OPTION("PASSWORD", CONF_SECRET, password, .required = false),
	OPTION("TOKEN", CONF_SECRET, token, .required = false),
	OPTION("SILOS", CONF_LIST, silos, .check = silo_id_conf_check),
	OPTION("HOSTNAMES", CONF_LIST, hostnames, .check = conf_check_hostname),
	OPTION("NETWORKS", CONF_LIST, networks, .check = conf_check_cidr),
	OPTION("THREADS", CONF_INT, threads, .def = "4", .min = 2, .max = 64),
	OPTION("QUOTA", CONF_INT, quota, .required = false),
	OPTION("INTERVAL", CONF_DURATION, interval_ms, .def = "10s", .min = 100, .max = 86400000),
	OPTION("AGE", CONF_DURATION, age_ms, .def = "90d"),
	OPTION("ONCE", CONF_BOOL, once, .required = false),
};

static const struct conf_program program = {.name = "silodns-fuzz",
					    .summary = "",
					    .usage = "",
					    .options = options,
					    .option_count = sizeof options / sizeof options[0]};

static void check_settings(const struct settings *settings)
{
	struct why why;

	FUZZ_CHECK(settings->user && settings->level && settings->format);
	FUZZ_CHECK(!settings->url || conf_check_url(settings->url, &why) == 0);
	FUZZ_CHECK(settings->threads >= 2 && settings->threads <= 64);
	FUZZ_CHECK(settings->interval_ms >= 100 && settings->interval_ms <= 86400000 && settings->age_ms >= 0);
	for (size_t i = 0; i < settings->silos.count; i++)
		FUZZ_CHECK(silo_id_conf_check(settings->silos.items[i], &why) == 0);
	for (size_t i = 0; i < settings->hostnames.count; i++)
		FUZZ_CHECK(conf_check_hostname(settings->hostnames.items[i], &why) == 0);
	for (size_t i = 0; i < settings->networks.count; i++)
		FUZZ_CHECK(conf_check_cidr(settings->networks.items[i], &why) == 0);
}

static void check_refusal(const struct settings *settings, const char *messages)
{
	FUZZ_CHECK(messages[0] && messages[strlen(messages) - 1] == '\n');
	for (const char *line = messages; *line; line = strchr(line, '\n') + 1)
		FUZZ_CHECK(strncmp(line, "SILODNS_", 8) == 0 || line[0] == '-' || strncmp(line, "argument: ", 10) == 0);
	FUZZ_CHECK(!settings->url && !settings->user && !settings->password && !settings->silos.items &&
		   !settings->hostnames.items && !settings->networks.items);
	FUZZ_CHECK(!strstr(messages, SECRET));
}

static void load(int argc, char **argv)
{
	struct settings settings = {0};
	enum conf_outcome outcome = CONF_EXIT;
	int words = -1;
	char *messages = NULL;
	size_t size;
	FILE *stream = open_memstream(&messages, &size);
	FUZZ_CHECK(stream);
	int err = conf_load(&program, argc, argv, stream, &settings, &outcome, &words);
	fclose(stream);
	FUZZ_CHECK(!err || err == ERR_INVALID);
	if (err)
		check_refusal(&settings, messages);
	else if (outcome == CONF_RUN) {
		FUZZ_CHECK(words >= 0 && words < argc);
		check_settings(&settings);
		conf_release(&program, &settings);
	}
	free(messages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size), *at = text;
	char *argv[WORDS_MAX + 2] = {(char[]){"silodns-fuzz"}}, *variables[WORDS_MAX + 2] = {NULL}, **outer = environ;
	char *secret = fuzz_string("SILODNS_PASSWORD=" SECRET, strlen("SILODNS_PASSWORD=" SECRET));
	int argc = 1, count = 0;

	/* It reads files: not just any. And who puts the secret elsewhere may find it there. */
	bool wanted = !strstr(text, "/dev") && !strstr(text, "/proc") && !strstr(text, "/sys") && !strstr(text, SECRET);
	variables[count++] = secret;
	for (char *line; wanted && (line = fuzz_next_line(&at));) {
		if (line[0] < 'A' || line[0] > 'Z' || !strchr(line, '=')) {
			if (argc <= WORDS_MAX)
				argv[argc++] = line;
			continue;
		}
		char *variable = malloc(strlen(line) + 9);
		FUZZ_CHECK(variable);
		sprintf(variable, "SILODNS_%s", line);
		if (count <= WORDS_MAX)
			variables[count++] = variable;
		else
			free(variable);
	}
	char *owned[WORDS_MAX + 2]; /* unsetenv() moves what is in `variables` */
	memcpy(owned, variables, sizeof owned);
	environ = variables;
	if (wanted)
		load(argc, argv);
	environ = outer;
	for (int i = 0; i < count; i++)
		free(owned[i]);
	free(text);
	return 0;
}
