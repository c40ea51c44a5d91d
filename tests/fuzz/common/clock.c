/* Times in queries: what is accepted, printed and read again is the same instant, to the microsecond. */
#include "../lib/fuzz.h"

#include "common/base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size), printed[CLOCK_TEXT_MAX];
	int64_t us = -7, again;
	struct why why = {.text = ""};
	int err = clock_parse(text, &us, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_INVALID && why.text[0] && us == -7);
	} else {
		FUZZ_CHECK(us >= 0);
		clock_format(us, printed);
		FUZZ_CHECK(strncmp(printed, text, strlen("2026-11-24T13:29:09")) == 0);
		FUZZ_CHECK(clock_parse(printed, &again, NULL) == ERR_OK && again == us);
	}
	free(text);
	return 0;
}
