/*
 * The Authorization header. What is taken from it is what was encoded in it.
 */
#include "../lib/fuzz.h"

#include <sodium.h>

#include "api/auth/credentials.h"

static void check_encoded(const struct credentials *c)
{
	char plain[CREDENTIALS_MAX + 1], header[4 * CREDENTIALS_MAX] = "basic  ";
	struct credentials again = {.user = "", .password = ""};
	size_t user_len = strlen(c->user);

	memcpy(plain, c->user, user_len);
	plain[user_len] = ':';
	memcpy(plain + user_len + 1, c->password, c->password_len);
	sodium_bin2base64(header + 7, sizeof header - 7, (const unsigned char *)plain, user_len + 1 + c->password_len,
			  sodium_base64_VARIANT_ORIGINAL);
	FUZZ_CHECK(credentials_parse(header, &again, NULL) == ERR_OK);
	FUZZ_CHECK(strcmp(c->user, again.user) == 0 && c->password_len == again.password_len);
	FUZZ_CHECK(memcmp(c->password, again.password, c->password_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *header = fuzz_string(data, size);
	struct credentials credentials = {.user = "", .password = ""};
	struct why why = {.text = ""};
	int err = credentials_parse(header, &credentials, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_UNAUTHORIZED && why.text[0]);
	} else {
		FUZZ_CHECK(!strchr(credentials.user, ':'));
		FUZZ_CHECK(strlen(credentials.user) + 1 + credentials.password_len <= CREDENTIALS_MAX);
		check_encoded(&credentials);
	}
	free(header);
	return 0;
}
