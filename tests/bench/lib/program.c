#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void program_raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void program_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static const struct flag *find_flag(const char *word, const struct flag *flags, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, flags[i].name) == 0)
			return &flags[i];
	return NULL;
}

void program_flags(int argc, char **argv, const struct flag *flags, size_t count)
{
	for (int i = 1; i < argc; i += 2) {
		const struct flag *flag = find_flag(argv[i], flags, count);
		char *end = NULL;
		if (!flag || i + 1 == argc) {
			fprintf(stderr, "\"%s\" is not known here, or lacks its value\n", argv[i]);
			exit(2);
		}
		if (flag->text) {
			*flag->text = argv[i + 1];
			continue;
		}
		errno = 0;
		*flag->number = strtol(argv[i + 1], &end, 10);
		if (errno || end == argv[i + 1] || *end) {
			fprintf(stderr, "%s takes a number, not \"%s\"\n", argv[i], argv[i + 1]);
			exit(2);
		}
	}
}

json_t *program_statuses(const uint64_t counts[static PROGRAM_STATUS_MAX])
{
	json_t *statuses = json_object();

	for (unsigned i = 0; i < PROGRAM_STATUS_MAX; i++) {
		char name[8];
		snprintf(name, sizeof name, "%u", i);
		if (counts[i])
			json_object_set_new(statuses, name, json_integer((json_int_t)counts[i]));
	}
	return statuses;
}

void program_print_take(json_t *json)
{
	if (!json || json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6)) || printf("\n") < 0 ||
	    fflush(stdout))
		program_fail("cannot print the result");
	json_decref(json);
}
