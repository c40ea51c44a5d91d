/*
 * What the benchmark's programs have in common: flags from a table, a result as one line of JSON, and an end with a
 * reason. They are tools of tests/bench, so what goes wrong ends them.
 */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct flag {
	const char *name; /* --name VALUE */
	long *number;     /* one of the two is set */
	const char **text;
};

/* Every flag takes a value; the default is what the variable holds. Anything else ends the program with code 2. */
void program_flags(int argc, char **argv, const struct flag *flags, size_t count);

/* As many descriptors as the system allows: a connection is one. */
void program_raise_descriptor_limit(void);

_Noreturn void program_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define PROGRAM_STATUS_MAX 600

/* How many answers there were of each status: those that came, by name. */
json_t *program_statuses(const uint64_t counts[static PROGRAM_STATUS_MAX]);

/* One line on standard output, at once. Takes `json`; NULL (no memory) ends the program. */
void program_print_take(json_t *json);

#endif
