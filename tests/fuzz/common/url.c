/* A hub's URL: it has no credentials, a host and a port, and only http and https pass. */
#include "../lib/fuzz.h"

#include <strings.h>

#include "common/net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size);
	struct url url;
	struct why why = {.text = ""};
	int err = url_parse(text, &url, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_INVALID && why.text[0]);
	} else {
		FUZZ_CHECK(strncasecmp(text, url.https ? "https:/" : "http:/", url.https ? 7 : 6) == 0);
		FUZZ_CHECK(url.host[0] && url.port[0] && strspn(url.port, "0123456789") == strlen(url.port));
		FUZZ_CHECK(!strchr(url.host, '@'));
	}
	free(text);
	return 0;
}
