#include "api/auth/credentials.h"

#include <string.h>
#include <strings.h>

#include <sodium.h>

void credentials_wipe(struct credentials *credentials)
{
	sodium_memzero(credentials, sizeof *credentials);
}

static bool parse_bearer(const char *token, struct credentials *c)
{
	c->text[0] = '\0';
	c->user = c->password = c->text;
	c->password_len = 0;
	c->is_token = token_hash_secret(token, strlen(token), c->token_hash);
	return c->is_token;
}

/* base64(user-id ":" password), UTF-8. */
static int parse_basic(const char *base64, struct credentials *c, struct why *why)
{
	size_t len;

	if (sodium_base642bin((unsigned char *)c->text, sizeof c->text - 1, base64, strlen(base64), NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL))
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "the credentials in the Authorization header are not base64, or are too long");
	c->text[len] = '\0';
	char *colon = memchr(c->text, ':', len);
	if (!colon || memchr(c->text, '\0', len))
		return why_set(why, ERR_UNAUTHORIZED, "",
			       "the credentials in the Authorization header are not of the form user:password");
	*colon = '\0';
	c->user = c->text;
	c->password = colon + 1;
	c->password_len = len - (size_t)(c->password - c->text);
	/* No password has this form (password_check): a token that is none any more costs no Argon2. */
	c->is_token = token_hash_secret(c->password, c->password_len, c->token_hash);
	return ERR_OK;
}

const char *credentials_encoded(const char *authorization)
{
	return strncasecmp(authorization, "Basic ", 6) == 0 ? authorization + 5 + strspn(authorization + 5, " ") : NULL;
}

int credentials_parse(const char *authorization, struct credentials *ret_credentials, struct why *ret_why)
{
	if (!authorization)
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "this needs a user name and a password (HTTP Basic), or a token (Bearer)");
	const char *encoded = credentials_encoded(authorization);
	if (encoded)
		return parse_basic(encoded, ret_credentials, ret_why);
	if (strncasecmp(authorization, "Bearer ", 7) == 0 &&
	    parse_bearer(authorization + 6 + strspn(authorization + 6, " "), ret_credentials))
		return ERR_OK;
	return why_set(
		ret_why, ERR_UNAUTHORIZED, "",
		"the Authorization header is not of the form \"Basic …\", or \"Bearer …\" with a token of a hub");
}
