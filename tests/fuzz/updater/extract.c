/* An address out of what a service said: it is of the family that was asked for, and stands in the text as one word. */
#include "../lib/fuzz.h"

#include "updater/extract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int families[] = {4, 6};

	for (size_t i = 0; i < 2; i++) {
		struct ipaddr ip = {.family = 77}, again;
		struct why why = {.text = ""};
		char text[IPADDR_TEXT_MAX], json[IPADDR_TEXT_MAX + 16];
		int err = extract_address((const char *)data, size, families[i], &ip, &why);

		if (err) {
			FUZZ_CHECK((err == ERR_DETECT || err == ERR_DOUBTFUL) && why.text[0] && ip.family == 77);
			continue;
		}
		FUZZ_CHECK(ip.family == families[i]);
		ipaddr_format(&ip, text);
		FUZZ_CHECK(extract_address(text, strlen(text), families[i], &again, NULL) == ERR_OK);
		FUZZ_CHECK(ipaddr_compare(&ip, &again) == 0);
		snprintf(json, sizeof json, "{\"ip\":[\"%s\"]}", text);
		FUZZ_CHECK(extract_address(json, strlen(json), families[i], &again, NULL) == ERR_OK);
		FUZZ_CHECK(ipaddr_compare(&ip, &again) == 0);
		FUZZ_CHECK(extract_address(text, strlen(text), 10 - families[i], &again, NULL) == ERR_DETECT);
	}
	return 0;
}
