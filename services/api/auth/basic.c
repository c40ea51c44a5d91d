#include "api/auth/basic.h"

#include <string.h>
#include <strings.h>

#include <sodium.h>

void basic_wipe(struct credentials *credentials)
{
	sodium_memzero(credentials, sizeof *credentials);
}

const char *basic_encoded(const char *authorization)
{
	return strncasecmp(authorization, "Basic ", 6) == 0 ? authorization + 5 + strspn(authorization + 5, " ") : NULL;
}

/* RFC 7617: "Basic" SP base64(user-id ":" password), UTF-8. */
int basic_parse(const char *authorization, struct credentials *ret_credentials, struct why *ret_why)
{
	struct credentials *c = ret_credentials;
	size_t len;

	if (!authorization)
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "this needs a user name and a password (HTTP Basic), or a token (Bearer)");
	const char *encoded = basic_encoded(authorization);
	if (!encoded)
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "the Authorization header is not of the form \"Basic …\", or \"Bearer …\" with a token "
			       "of a hub");
	if (sodium_base642bin((unsigned char *)c->text, sizeof c->text - 1, encoded, strlen(encoded), NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL))
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "the credentials in the Authorization header are not base64, or are too long");
	c->text[len] = '\0';
	char *colon = memchr(c->text, ':', len);
	if (!colon || memchr(c->text, '\0', len))
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "the credentials in the Authorization header are not of the form user:password");
	*colon = '\0';
	c->user = c->text;
	c->password = colon + 1;
	c->password_len = len - (size_t)(c->password - c->text);
	return ERR_OK;
}
