/* Hostnames: what is accepted differs from what was given in its case only, and is accepted as it is. */
#include "../lib/fuzz.h"

#include <strings.h>

#include "common/net/hostname.h"
#include "common/net/ipaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[HOSTNAME_LEN_MAX + 1] = "untouched", again[HOSTNAME_LEN_MAX + 1];
	struct why why = {.text = ""};
	struct ipaddr ip;
	int err = hostname_parse((const char *)data, size, name, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_INVALID && why.text[0] && strcmp(name, "untouched") == 0);
		return 0;
	}
	FUZZ_CHECK(strlen(name) == size && strncasecmp(name, (const char *)data, size) == 0);
	FUZZ_CHECK(hostname_parse(name, size, again, NULL) == ERR_OK && strcmp(name, again) == 0);
	FUZZ_CHECK(ipaddr_parse(name, size, &ip, NULL) != ERR_OK);
	FUZZ_CHECK(hostname_under(name, name));
	const char *dot = strchr(name, '.');
	if (dot)
		FUZZ_CHECK(hostname_under(name, dot + 1) && !hostname_under(dot + 1, name));
	return 0;
}
