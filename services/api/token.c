#include "token.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "cleanup.h"
#include "hostname.h"
#include "lifecycle.h"
#include "password.h"

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

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A list's item in its canonical form; "" if it is no such thing. */
typedef int (*item_fn)(const char *text, size_t len, char *ret_text, struct why *why);

static int take_names(const json_t *value, size_t max, item_fn check, struct token_names *names, struct why *why)
{
	char text[HOSTNAME_LEN_MAX + 1];
	size_t i;
	json_t *item;

	if (!json_is_array(value) || !json_array_size(value) || json_array_size(value) > max)
		return why_set(why, ERR_INVALID, "", "is a list of 1 to %zu strings; without it there is no such limit",
			       max);
	names->items = calloc(json_array_size(value), sizeof(char *));
	if (!names->items)
		return ERR_NOMEM;
	json_array_foreach(value, i, item)
	{
		if (!json_is_string(item))
			return why_set(why, ERR_INVALID, "", "holds something that is no string");
		int err = check(json_string_value(item), json_string_length(item), text, why);
		if (err)
			return err;
		names->items[i] = strdup(text);
		if (!names->items[i])
			return ERR_NOMEM;
		names->count++;
	}
	qsort(names->items, names->count, sizeof(char *), compare_names);
	for (i = 1; i < names->count; i++)
		if (strcmp(names->items[i - 1], names->items[i]) == 0)
			return why_set(why, ERR_INVALID, "", "holds \"%s\" twice", names->items[i]);
	return ERR_OK;
}

static int check_silo_id(const char *text, size_t len, char *ret_text, struct why *why)
{
	int err = silo_id_check(text, len, why);

	if (!err)
		memcpy(ret_text, text, len + 1);
	return err;
}

static int check_hostname(const char *text, size_t len, char *ret_text, struct why *why)
{
	return hostname_parse(text, len, ret_text, why);
}

static int take_silos(const json_t *value, struct token *token, struct why *why)
{
	return take_names(value, TOKEN_SILOS_MAX, check_silo_id, &token->silos, why);
}

static int take_hostnames(const json_t *value, struct token *token, struct why *why)
{
	return take_names(value, TOKEN_HOSTNAMES_MAX, check_hostname, &token->hostnames, why);
}

static const struct {
	const char *name;
	enum token_verb verb;
} verbs[] = {{"read", TOKEN_READ}, {"update", TOKEN_UPDATE}, {"admin", TOKEN_ADMIN}};

#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static int take_verbs(const json_t *value, struct token *token, struct why *why)
{
	size_t i;
	json_t *item;

	if (!json_is_array(value) || !json_array_size(value))
		return why_set(why, ERR_INVALID, "", "is a list of \"read\", \"update\" and \"admin\", or one of them");
	json_array_foreach(value, i, item)
	{
		size_t v = 0;
		while (v < VERB_COUNT && (!json_is_string(item) || strcmp(json_string_value(item), verbs[v].name) != 0))
			v++;
		if (v == VERB_COUNT)
			return why_set(why, ERR_INVALID, "", "is a list of \"read\", \"update\" and \"admin\"");
		token->verbs |= verbs[v].verb;
	}
	return ERR_OK;
}

static int take_family(const json_t *value, struct token *token, struct why *why)
{
	json_int_t family = json_integer_value(value); /* 0 for what is no integer */

	if (family != 4 && family != 6)
		return why_set(why, ERR_INVALID, "", "is 4 or 6; without it there is no such limit");
	token->family = (uint8_t)family;
	return ERR_OK;
}

static int take_networks(const json_t *value, struct token *token, struct why *why)
{
	size_t i;
	json_t *item;

	if (!json_is_array(value) || !json_array_size(value) || json_array_size(value) > TOKEN_NETWORKS_MAX)
		return why_set(why, ERR_INVALID, "",
			       "is a list of 1 to %d networks such as \"192.0.2.0/24\"; without it there is no such "
			       "limit",
			       TOKEN_NETWORKS_MAX);
	json_array_foreach(value, i, item)
	{
		if (!json_is_string(item))
			return why_set(why, ERR_INVALID, "", "holds something that is no string");
		int err = cidr_parse(json_string_value(item), json_string_length(item),
				     &token->networks[token->network_count], why);
		if (err)
			return err;
		token->network_count++;
	}
	return ERR_OK;
}

static int take_expires(const json_t *value, struct token *token, struct why *why)
{
	if (!json_is_string(value) || json_string_length(value) != strlen(json_string_value(value)))
		return why_set(why, ERR_INVALID, "", "is a time such as \"2027-01-31T12:00:00Z\"");
	return clock_parse(json_string_value(value), &token->expires_us, why);
}

static int take_unused(const json_t *value, struct token *token, struct why *why)
{
	json_int_t seconds = json_integer_value(value);

	if (seconds < TOKEN_UNUSED_MIN_S || seconds > TOKEN_UNUSED_MAX_S)
		return why_set(why, ERR_INVALID, "", "is a whole number of seconds from %d to %d", TOKEN_UNUSED_MIN_S,
			       TOKEN_UNUSED_MAX_S);
	token->unused_s = seconds;
	return ERR_OK;
}

static const struct {
	const char *name;
	int (*take)(const json_t *value, struct token *token, struct why *why);
} members[] = {{"verbs", take_verbs},   {"silos", take_silos},       {"hostnames", take_hostnames},
	       {"family", take_family}, {"networks", take_networks}, {"expires", take_expires},
	       {"unused", take_unused}};

static int take_member(const char *name, const json_t *value, struct token *token, struct why *why)
{
	size_t i = 0;

	while (i < sizeof members / sizeof members[0] && strcmp(members[i].name, name) != 0)
		i++;
	if (i == sizeof members / sizeof members[0])
		return why_set(why, ERR_INVALID, name,
			       "is not a member of a token: verbs, silos, hostnames, family, networks, expires and "
			       "unused are");
	int err = members[i].take(value, token, why);
	if (err && why)
		snprintf(why->field, sizeof why->field, "%s", name);
	return err;
}

static int check_whole(const struct token *token, struct why *why)
{
	if (!token->verbs)
		return why_set(why, ERR_INVALID, "verbs", "is missing: a list of \"read\", \"update\" and \"admin\"");
	/* Who manages users can give itself any right: limits beside it would be a pretence. */
	if (token->verbs & TOKEN_ADMIN && (token->silos.count || token_is_partial(token)))
		return why_set(
			why, ERR_INVALID, "verbs",
			"\"admin\" does not go with silos, hostnames or family: whoever manages users and tokens "
			"can make one without these limits");
	if (token_is_partial(token) && !(token->verbs & TOKEN_UPDATE))
		return why_set(why, ERR_INVALID, "verbs",
			       "has no \"update\": hostnames and family limit changes, and nothing else");
	return ERR_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static json_t *names_json(const struct token_names *names)
{
	json_t *list = names->count ? json_array() : NULL;

	for (size_t i = 0; i < names->count; i++)
		json_array_append_new(list, json_string(names->items[i]));
	return list;
}

static json_t *networks_json(const struct token *token)
{
	json_t *list = token->network_count ? json_array() : NULL;

	for (size_t i = 0; i < token->network_count; i++) {
		char ip[IPADDR_TEXT_MAX], text[IPADDR_TEXT_MAX + 4];
		ipaddr_format(&token->networks[i].base, ip);
		snprintf(text, sizeof text, "%s/%d", ip, token->networks[i].bits);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static char *write_document(const struct token *token)
{
	json_auto_t *list = json_array();
	char expires[CLOCK_TEXT_MAX];

	clock_format(token->expires_us, expires);
	for (size_t i = 0; i < VERB_COUNT; i++)
		if (token->verbs & verbs[i].verb)
			json_array_append_new(list, json_string(verbs[i].name));
	json_auto_t *json = json_pack("{s:O, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*}", "verbs", list, "silos",
				      names_json(&token->silos), "hostnames", names_json(&token->hostnames), "family",
				      token->family ? json_integer(token->family) : NULL, "networks",
				      networks_json(token), "expires", token->expires_us ? json_string(expires) : NULL,
				      "unused", token->unused_s ? json_integer(token->unused_s) : NULL);
	return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void token_cleanup(struct token **token)
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
	json_error_t error;
	json_auto_t *document = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error);
	_cleanup_(token_cleanup) struct token *token = token_new_void();
	const char *name;
	json_t *value;

	if (!token)
		return ERR_NOMEM;
	if (!document)
		return why_set(ret_why, ERR_MALFORMED, "", "the body is not JSON: line %d, column %d", error.line,
			       error.column);
	if (!json_is_object(document))
		return why_set(ret_why, ERR_INVALID, "",
			       "the body is an object such as {\"verbs\":[\"read\"],\"silos\":[\"silo1\"]}");
	json_object_foreach(document, name, value)
	{
		int err = take_member(name, value, token, ret_why);
		if (err)
			return err;
	}
	int err = check_whole(token, ret_why);
	if (err)
		return err;
	free(token->document);
	token->document = write_document(token);
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

static bool has_name(const struct token_names *names, const char *name)
{
	return !names->count || bsearch(&name, names->items, names->count, sizeof(char *), compare_names);
}

bool token_has_verb(const struct token *token, enum token_verb verb)
{
	return !token || token->verbs & verb;
}

bool token_covers_silo(const struct token *token, const char *id)
{
	return !token || has_name(&token->silos, id);
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

	if (!has_name(&token->hostnames, record->hostname))
		return why_set(comparison->why, ERR_FORBIDDEN, "",
			       "this token may not %s records of \"%s\": only those of its own hostnames", verb,
			       record->hostname);
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
