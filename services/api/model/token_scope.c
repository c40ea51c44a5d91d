#include "api/model/token_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/jsontext.h"
#include "common/net/hostname.h"

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool token_scope_has(const struct token_names *names, const char *name)
{
	return !names->count || bsearch(&name, names->items, names->count, sizeof(char *), compare_names);
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
		char *copy = strdup(text);
		if (!copy)
			return ERR_NOMEM;
		names->items[names->count++] = copy;
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

int token_scope_read(const json_t *document, struct token *token, struct why *ret_why)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)document, name, value)
	{
		int err = take_member(name, value, token, ret_why);
		if (err)
			return err;
	}
	return check_whole(token, ret_why);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static json_t *verbs_json(const struct token *token)
{
	char *names[VERB_COUNT];
	size_t count = 0;

	for (size_t i = 0; i < VERB_COUNT; i++)
		if (token->verbs & verbs[i].verb)
			names[count++] = (char *)(uintptr_t)verbs[i].name;
	return jsontext_list(names, count);
}

static json_t *networks_json(const struct token *token)
{
	char texts[TOKEN_NETWORKS_MAX][IPADDR_TEXT_MAX + 4], *items[TOKEN_NETWORKS_MAX];

	for (size_t i = 0; i < token->network_count; i++) {
		char ip[IPADDR_TEXT_MAX];
		ipaddr_format(&token->networks[i].base, ip);
		snprintf(texts[i], sizeof texts[i], "%s/%d", ip, token->networks[i].bits);
		items[i] = texts[i];
	}
	return jsontext_list(items, token->network_count);
}

static json_t *names_json(const struct token_names *names)
{
	return jsontext_list(names->items, names->count);
}

/* A limit that is left out is a right that nobody has given. */
char *token_scope_write(const struct token *token)
{
	json_auto_t *json = json_object();
	char expires[CLOCK_TEXT_MAX];

	clock_format(token->expires_us, expires);
	int err = jsontext_set(json, "verbs", true, verbs_json(token));
	err |= jsontext_set(json, "silos", token->silos.count, names_json(&token->silos));
	err |= jsontext_set(json, "hostnames", token->hostnames.count, names_json(&token->hostnames));
	err |= jsontext_set(json, "family", token->family, json_integer(token->family));
	err |= jsontext_set(json, "networks", token->network_count, networks_json(token));
	err |= jsontext_set(json, "expires", token->expires_us, json_string(expires));
	err |= jsontext_set(json, "unused", token->unused_s, json_integer(token->unused_s));
	return err ? NULL : json_dumps(json, JSON_COMPACT);
}
