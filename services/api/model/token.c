#include "api/model/token.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/base/clock.h"

#define SECRET_BYTES 32
#define USE_RESOLUTION_US 60000000
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

_Static_assert(TOKEN_SECRET_LEN + 1 == sizeof TOKEN_PREFIX - 1 + sodium_base64_ENCODED_LEN(SECRET_BYTES, VARIANT),
	       "a secret is 256 bits");

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

void token_set_subject(struct token *token, const char *owner, const char *name)
{
	snprintf(token->subject, sizeof token->subject, "%.*s/%.*s", USER_NAME_MAX, owner, TOKEN_NAME_MAX, name);
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
	if (token->network_count && !cidr_any_contains(token->networks, token->network_count, peer)) {
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
