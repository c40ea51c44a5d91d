/*
 * What the fuzz targets share. A target is one file, tests/fuzz/PART/NAME.c, with libFuzzer's entry point. It states
 * what holds for every input by FUZZ_CHECK; that nothing crashes and nothing leaks is the sanitizers' to see.
 *
 * It is built twice: with Clang and libFuzzer (make fuzz), and with any compiler and lib/replay.c, which feeds it the
 * files of tests/fuzz/seeds/NAME (part of make unit).
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv); /* optional */

#define FUZZ_CHECK(condition)                                                                                          \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                 \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* A copy of exactly that size, ended by a NUL; free() it. */
static inline char *fuzz_string(const void *data, size_t size)
{
	char *copy = malloc(size + 1);
	FUZZ_CHECK(copy);
	if (size)
		memcpy(copy, data, size);
	copy[size] = '\0';
	return copy;
}

/* Cuts the string at its next line break and moves `*at` behind it; NULL at the end. */
static inline char *fuzz_next_line(char **at)
{
	char *line = *at;
	if (!line || !*line)
		return NULL;
	char *end = strchr(line, '\n');
	*at = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line;
}

#endif
