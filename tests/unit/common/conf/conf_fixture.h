/*
 * A program with one setting of each kind, and a way to load it and to see what was printed.
 */
#ifndef TEST_CONF_FIXTURE_H
#define TEST_CONF_FIXTURE_H

#include "../../unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/conf/conf.h"
#include "common/hub/silo.h"

struct settings {
	char *url, *user, *mode, *hosts_file;
	char *password, *token;
	struct conf_list silos;
	long threads, interval_ms, quota;
	bool once;
};

static inline int check_length(const char *value, struct why *ret_why)
{
	return strlen(value) >= 3 ? 0 : why_set(ret_why, ERR_INVALID, "", "shorter than 3 bytes");
}

#define OPTION(name_, type_, field, help_, ...)                                                                        \
	{                                                                                                              \
		.name = name_, .type = type_, .offset = offsetof(struct settings, field), .help = help_, __VA_ARGS__   \
	}

static const struct conf_option options[] = {
	OPTION("URL", CONF_STRING, url, "The hub.", .required = true, .arg = "URL", .check = conf_check_url,
	       .shortflag = 'u'),
	OPTION("USER", CONF_STRING, user, "Who.", .arg = "NAME"),
	OPTION("PASSWORD", CONF_SECRET, password, "Secret.", .check = check_length),
	OPTION("TOKEN", CONF_SECRET, token, "Also secret.", .required = false),
	OPTION("SILOS", CONF_LIST, silos, "Which.", .check = silo_id_conf_check, .arg = "LIST"),
	OPTION("MODE", CONF_STRING, mode,
	       "What to do with a name that is there already: a rather long help text, so that it has to be "
	       "broken into several lines somewhere.",
	       .def = "keep", .arg = "keep|replace"),
	OPTION("HOSTS_FILE", CONF_STRING, hosts_file, "Where.", .def = "/etc/hosts", .arg = "FILE"),
	OPTION("THREADS", CONF_INT, threads, "Many.", .def = "4", .min = 1, .max = 64, .arg = "N"),
	OPTION("QUOTA", CONF_INT, quota, "No limit.", .arg = "N"),
	OPTION("INTERVAL", CONF_DURATION, interval_ms, "How often.", .def = "10s", .min = 100, .max = 86400000,
	       .arg = "TIME"),
	OPTION("ONCE", CONF_BOOL, once, "Once.", .required = false),
};

static const struct conf_program program = {
	.name = "silodns-test",
	.summary = "Tests.",
	.usage = "[options]\nother [options]",
	.epilog = "Exit codes: 0.\n",
	.options = options,
	.option_count = sizeof(options) / sizeof(options[0]),
};

static char messages[8192], dir[] = "/tmp/test_conf.XXXXXX";
static struct settings settings;
static enum conf_outcome outcome;

static inline int set_up(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static inline int tear_down(void **state)
{
	return rmdir(dir);
}

/* Of settings only: cmocka has variables of its own there. */
static inline void clear_environment(void)
{
	size_t i = 0;

	while (environ[i]) {
		char name[128];
		snprintf(name, sizeof name, "%.*s", (int)strcspn(environ[i], "="), environ[i]);
		if (strncmp(name, "SILODNS_", 8) == 0)
			unsetenv(name);
		else
			i++;
	}
}

static inline int clear(void **state)
{
	clear_environment();
	setenv("SILODNS_URL", "https://hub.example.net", 1);
	settings = (struct settings){0};
	outcome = CONF_EXIT;
	return 0;
}

static inline int release(void **state)
{
	conf_release(&program, &settings);
	conf_release(&program, &settings); /* twice does no harm */
	return 0;
}

#define ARGS_MAX 16

/* Loads with these arguments (ended by NULL); what was printed is in `messages`. */
static inline int load_words(int *ret_count, char **ret_words, ...)
{
	char *argv[ARGS_MAX] = {(char[]){"silodns-test"}};
	int argc = 1;
	va_list args;
	va_start(args, ret_words);
	for (char *arg; (arg = va_arg(args, char *)) && argc < ARGS_MAX - 1;)
		argv[argc++] = arg;
	va_end(args);
	memset(messages, 0, sizeof(messages));
	FILE *stream = fmemopen(messages, sizeof(messages), "w");
	assert_non_null(stream);
	int err = conf_load(&program, argc, argv, stream, &settings, &outcome, ret_count);
	fclose(stream);
	for (int i = 0; err == 0 && ret_count && i < *ret_count; i++)
		ret_words[i] = argv[1 + i];
	return err;
}

#define load(...) load_words(NULL, NULL, __VA_ARGS__)

static inline void good(int err)
{
	assert_string_equal(messages, "");
	assert_int_equal(err, 0);
	assert_int_equal(outcome, CONF_RUN);
}

/* Refused with exactly these lines, and nothing is left to release. */
static inline void bad(int err, const char *expected)
{
	assert_string_equal(messages, expected);
	assert_int_equal(err, ERR_INVALID);
	assert_null(settings.url);
	assert_null(settings.password);
	assert_null(settings.silos.items);
}

static inline const char *put_file(const char *name, const void *content, size_t len)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(content, 1, len, file), len);
	fclose(file);
	return path;
}

#define SET_UP clear
#define TEAR_DOWN release
#define GROUP_SET_UP set_up
#define GROUP_TEAR_DOWN tear_down

#endif
