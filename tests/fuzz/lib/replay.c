/*
 * Runs one fuzz target over the files of tests/fuzz/seeds/NAME, or over the files that are named: each is a test case.
 * What a fuzzer has found stands there, too. Needs no libFuzzer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>

#include "fuzz.h"

#define INPUTS_MAX 512
#define INPUT_BYTES_MAX ((size_t)1 << 20)

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void feed(void **state)
{
	const char *path = *state;
	static uint8_t text[INPUT_BYTES_MAX];
	FILE *file = fopen(path, "rb");
	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	size_t size = fread(text, 1, sizeof text, file);
	fclose(file);
	assert_true(size < sizeof text);
	uint8_t *exact = malloc(size + !size); /* so that a sanitizer sees one byte too many */
	assert_non_null(exact);
	memcpy(exact, text, size);
	fprintf(stderr, "%s\n", path); /* should it be the last */
	assert_int_equal(LLVMFuzzerTestOneInput(exact, size), 0);
	free(exact);
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The seeds' paths, to be kept until the end. */
static size_t list_seeds(const char *name, char *paths[static INPUTS_MAX])
{
	char directory[PATH_MAX], path[2 * PATH_MAX];
	struct dirent **entries = NULL;
	snprintf(directory, sizeof directory, "tests/fuzz/seeds/%s", name);
	int count = scandir(directory, &entries, not_hidden, alphasort);
	if (count < 1 || count > INPUTS_MAX) {
		fprintf(stderr, "%s: %d inputs (to be run where the sources are)\n", directory, count);
		exit(1);
	}
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
		paths[i] = strdup(path);
		free(entries[i]);
	}
	free(entries);
	return (size_t)count;
}

int main(int argc, char **argv)
{
	static char *paths[INPUTS_MAX];
	static struct CMUnitTest tests[INPUTS_MAX];
	const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
	bool named = argc > 1;
	size_t count = named ? 0 : list_seeds(name, paths);
	for (; named && count < INPUTS_MAX && count + 1 < (size_t)argc; count++)
		paths[count] = argv[count + 1];
	for (size_t i = 0; i < count; i++) {
		const char *file = strrchr(paths[i], '/');
		tests[i] = (struct CMUnitTest){
			.name = file ? file + 1 : paths[i], .test_func = feed, .initial_state = paths[i]};
	}
	LLVMFuzzerInitialize(&argc, &argv);
	int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	for (size_t i = 0; !named && i < count; i++)
		free(paths[i]);
	return failed;
}
