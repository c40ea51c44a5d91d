/*
 * The reader of canonical documents, which does without a JSON library: what it takes is written back byte by byte, and
 * it never takes a text for another silo than the JSON library does. (But for hostnames in upper case, which it is not
 * asked to look at.)
 */
#include "../lib/fuzz.h"

#include <ctype.h>

#include "common/hub/silo.h"

static bool has_upper_case(const struct silo *silo)
{
	for (size_t i = 0; i < silo->count; i++)
		for (const char *c = silo->records[i].hostname; *c; c++)
			if (isupper((unsigned char)*c))
				return true;
	return false;
}

static char *print(const struct silo *silo)
{
	char *json;
	size_t len;

	FUZZ_CHECK(silo_to_json(silo, &json, &len) == ERR_OK && strlen(json) == len);
	return json;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size), *spaced, *json;
	struct silo canonical = {0}, general = {0};
	int err = silo_read_canonical(text, strlen(text), &canonical);

	FUZZ_CHECK(err == ERR_OK || (err == ERR_MALFORMED && !canonical.records));
	if (!err) {
		json = print(&canonical);
		FUZZ_CHECK(strcmp(json, text) == 0);
		free(json);
	}
	FUZZ_CHECK(asprintf(&spaced, " %s", text) > 0); /* so that it is not canonical: the JSON library reads it */
	if (silo_parse(spaced, strlen(spaced), NULL, NULL, &general, NULL) == ERR_OK && !has_upper_case(&canonical)) {
		json = print(&general);
		FUZZ_CHECK((strcmp(json, text) == 0) == !err);
		FUZZ_CHECK(err || (strcmp(canonical.id, general.id) == 0 && silo_equal(&canonical, &general)));
		free(json);
	}
	silo_release(&canonical);
	silo_release(&general);
	free(spaced);
	free(text);
	return 0;
}
