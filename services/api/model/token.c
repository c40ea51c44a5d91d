#include "api/model/token.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/model/token_internal.h"
#include "api/model/user.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"

#define SECRET_BYTES 32
#define USE_RESOLUTION_US 60000000
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

_Static_assert(TOKEN_OWNER_MAX == USER_NAME_MAX, "a token's owner is a user");
_Static_assert(TOKEN_SECRET_LEN + 1 == sizeof TOKEN_PREFIX - 1 + sodium_base64_ENCODED_LEN(SECRET_BYTES, VARIANT),
	       "a secret is 256 bits");

int token_name_check(const char *name, size_t len, struct why *ret_why)
{
	int err = user_name_check(name, len, NULL);

	return err ? why_set(ret_why, err, "name",
			     "the name of a token has 1 to %d letters, digits, '.', '_', '@' and '-' and begins with a "
			     "letter or digit",
			     TOKEN_NAME_MAX)
		   : ERR_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void token_cleanup(struct token **token)
{
	token_unref(*token);
}

struct token *token_new_void(void)
{
	struct token *token = calloc(1, sizeof *token);

	if (!token)
		return NULL;
	atomic_init(&token->refs, 1);
	token->document = strdup("{\"verbs\":[]}");
	if (!token->document) {
		free(token);
		return NULL;
	}
	return token;
}

int token_parse(const char *json, size_t len, struct token **ret_token, struct why *ret_why)
{
	json_auto_t *document = NULL;
	_cleanup_(token_cleanup) struct token *token = token_new_void();

	int err = token ? jsontext_parse_object(json, len, "{\"verbs\":[\"read\"],\"silos\":[\"silo1\"]}", &document,
						ret_why)
			: ERR_NOMEM;
	if (!err)
		err = token_scope_read(document, token, ret_why);
	if (err)
		return err;
	free(token->document);
	token->document = token_scope_write(token);
	if (!token->document)
		return ERR_NOMEM;
	*ret_token = TAKE_PTR(token);
	return ERR_OK;
}

void token_set_subject(struct token *token, const char *owner, const char *name)
{
	snprintf(token->subject, sizeof token->subject, "%.*s/%.*s", TOKEN_OWNER_MAX, owner, TOKEN_NAME_MAX, name);
}

struct token *token_ref(struct token *token)
{
	if (token)
		atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
	return token;
}

static void names_free(struct token_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
}

void token_unref(struct token *token)
{
	if (!token || atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) != 1)
		return;
	names_free(&token->silos);
	names_free(&token->hostnames);
	free(token->document);
	free(token);
}

const char *token_name(const struct token *token)
{
	const char *slash = token ? strchr(token->subject, '/') : NULL;

	return slash ? slash + 1 : "";
}

/* --- the secret --------------------------------------------------------------------------------------------------- */

void token_make_secret(char ret_secret[static TOKEN_SECRET_LEN + 1], unsigned char ret_hash[static TOKEN_HASH_BYTES])
{
	unsigned char random[SECRET_BYTES];

	randombytes_buf(random, sizeof random);
	memcpy(ret_secret, TOKEN_PREFIX, sizeof TOKEN_PREFIX - 1);
	sodium_bin2base64(ret_secret + sizeof TOKEN_PREFIX - 1, TOKEN_SECRET_LEN + 2 - sizeof TOKEN_PREFIX, random,
			  sizeof random, VARIANT);
	crypto_generichash(ret_hash, TOKEN_HASH_BYTES, random, sizeof random, NULL, 0);
	sodium_memzero(random, sizeof random);
}

bool token_hash_secret(const char *text, size_t len, unsigned char ret_hash[static TOKEN_HASH_BYTES])
{
	unsigned char random[SECRET_BYTES];
	size_t prefix = sizeof TOKEN_PREFIX - 1, bytes = 0;

	if (len != TOKEN_SECRET_LEN || memcmp(text, TOKEN_PREFIX, prefix) != 0 ||
	    sodium_base642bin(random, sizeof random, text + prefix, len - prefix, NULL, &bytes, NULL, VARIANT) ||
	    bytes != sizeof random)
		return false;
	crypto_generichash(ret_hash, TOKEN_HASH_BYTES, random, sizeof random, NULL, 0);
	sodium_memzero(random, sizeof random);
	return true;
}

/* --- what it may do ----------------------------------------------------------------------------------------------- */

bool token_has_verb(const struct token *token, enum token_verb verb)
{
	return !token || token->verbs & verb;
}

bool token_covers_silo(const struct token *token, const char *id)
{
	return !token || token_scope_has(&token->silos, id);
}

bool token_is_partial(const struct token *token)
{
	return token && (token->hostnames.count || token->family);
}

struct comparison {
	const struct token *token;
	struct why *why;
};

/* A silo_diff_fn: a record that comes or goes. */
static int check_record(void *arg, const struct record *record, bool removed)
{
	const struct comparison *comparison = arg;
	const struct token *token = comparison->token;
	const char *verb = removed ? "remove" : "set";

	if (!token_scope_has(&token->hostnames, record->hostname)) {
		/* One that may not read is not told what else there is. */
		const char *name = removed && !token_has_verb(token, TOKEN_READ) ? "others" : record->hostname;
		return why_set(comparison->why, ERR_FORBIDDEN, "",
			       "this token may not %s records of \"%s\": only those of its own hostnames", verb, name);
	}
	if (token->family && token->family != record->ip.family)
		return why_set(comparison->why, ERR_FORBIDDEN, "",
			       "this token may not %s an IPv%d address of \"%s\": it is for IPv%d only", verb,
			       record->ip.family, record->hostname, token->family);
	return ERR_OK;
}

int token_check_records(const struct token *token, const struct silo *before, const struct silo *after,
			struct why *ret_why)
{
	struct comparison comparison = {token, ret_why};

	return token_is_partial(token) ? silo_diff(before, after, check_record, &comparison) : ERR_OK;
}

static bool is_from(const struct token *token, const struct ipaddr *peer)
{
	for (size_t i = 0; i < token->network_count; i++)
		if (cidr_contains(&token->networks[i], peer))
			return true;
	return !token->network_count;
}

int token_check_use(const struct token *token, const struct ipaddr *peer, int64_t now_us, struct why *ret_why)
{
	char text[CLOCK_TEXT_MAX], ip[IPADDR_TEXT_MAX];
	int64_t used_us = atomic_load_explicit(&token->used_us, memory_order_relaxed);
	int64_t last_us = used_us > token->created_us ? used_us : token->created_us;

	if (token->expires_us && now_us >= token->expires_us) {
		clock_format(token->expires_us, text);
		return why_set(ret_why, ERR_UNAUTHORIZED, "", "the token \"%s\" expired at %s", token_name(token),
			       text);
	}
	if (token->unused_s && now_us - last_us >= token->unused_s * 1000000) {
		clock_format(last_us, text);
		return why_set(ret_why, ERR_UNAUTHORIZED, "",
			       "the token \"%s\" expired, as it was not used since %s: its limit is %" PRId64
			       " seconds",
			       token_name(token), text, token->unused_s);
	}
	if (!is_from(token, peer)) {
		ipaddr_format(peer, ip);
		return why_set(ret_why, ERR_FORBIDDEN, "", "the token \"%s\" may not be used from %s",
			       token_name(token), ip);
	}
	return ERR_OK;
}

/* --- the last use ------------------------------------------------------------------------------------------------- */

void token_touch(struct token *token, int64_t now_us)
{
	int64_t used_us = atomic_load_explicit(&token->used_us, memory_order_relaxed);

	if (now_us - used_us < USE_RESOLUTION_US)
		return;
	token_merge_use(token, now_us);
	atomic_store_explicit(&token->use_unsaved, true, memory_order_release);
}

void token_merge_use(struct token *token, int64_t used_us)
{
	int64_t known_us = atomic_load_explicit(&token->used_us, memory_order_relaxed);

	while (known_us < used_us && !atomic_compare_exchange_weak_explicit(&token->used_us, &known_us, used_us,
									    memory_order_relaxed, memory_order_relaxed))
		;
}

void token_correct_use(struct token *token, int64_t now_us)
{
	int64_t known_us = atomic_load_explicit(&token->used_us, memory_order_relaxed);

	if (known_us > now_us + USE_RESOLUTION_US)
		atomic_compare_exchange_strong_explicit(&token->used_us, &known_us, now_us, memory_order_relaxed,
							memory_order_relaxed);
}
