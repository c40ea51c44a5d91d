#include "api/model/token.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/jsontext.h"
#include "common/net/hostname.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TEXT_(number) #number
#define TEXT(number) TEXT_(number)
#define LIST_OF(max, what) "is a list of 1 to " TEXT(max) " " what "; without it there is no such limit"

static const char *const verbs[] = {"read", "update", "admin"}; /* as the bits of enum token_verb */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* No names at all stand for every name. */
static bool has_name(const struct token_names *names, const char *name)
{
	return !names->count || bsearch(&name, names->items, names->count, sizeof name, compare_names);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int take_verb(const json_t *value, struct token *token, struct why *why)
{
	size_t i = 0;

	(void)why;
	while (i < COUNT(verbs) && strcmp(json_string_value(value), verbs[i]) != 0)
		i++;
	if (i == COUNT(verbs))
		return ERR_INVALID;
	token->verbs |= 1u << i;
	return ERR_OK;
}

static int add_name(struct token_names *names, const char *name, struct why *why)
{
	if (names->count && has_name(names, name))
		return why_set(why, ERR_INVALID, "", "holds \"%s\" twice", name);
	char **items = reallocarray(names->items, names->count + 1, sizeof *items);
	if (!items)
		return ERR_NOMEM;
	names->items = items;
	items[names->count] = strdup(name);
	if (!items[names->count])
		return ERR_NOMEM;
	qsort(items, ++names->count, sizeof *items, compare_names);
	return ERR_OK;
}

static int take_silo(const json_t *value, struct token *token, struct why *why)
{
	int err = silo_id_check(json_string_value(value), json_string_length(value), why);

	return err ? err : add_name(&token->silos, json_string_value(value), why);
}

static int take_hostname(const json_t *value, struct token *token, struct why *why)
{
	char name[HOSTNAME_LEN_MAX + 1];
	int err = hostname_parse(json_string_value(value), json_string_length(value), name, why);

	return err ? err : add_name(&token->hostnames, name, why);
}

static int take_family(const json_t *value, struct token *token, struct why *why)
{
	json_int_t family = json_integer_value(value);

	(void)why;
	token->family = (uint8_t)family;
	return family == 4 || family == 6 ? ERR_OK : ERR_INVALID;
}

static int take_network(const json_t *value, struct token *token, struct why *why)
{
	int err = cidr_parse(json_string_value(value), json_string_length(value),
			     &token->networks[token->network_count], why);

	token->network_count += !err;
	return err;
}

static int take_expires(const json_t *value, struct token *token, struct why *why)
{
	const char *text = json_string_value(value);
	int err = strlen(text) == json_string_length(value) ? clock_parse(text, &token->expires_us, why) : ERR_INVALID;

	if (!err && !token->expires_us)
		token->expires_us = 1; /* 0 is never; this is as long over */
	return err;
}

static int take_unused(const json_t *value, struct token *token, struct why *why)
{
	(void)why;
	token->unused_s = json_integer_value(value);
	return token->unused_s >= TOKEN_UNUSED_MIN_S && token->unused_s <= TOKEN_UNUSED_MAX_S ? ERR_OK : ERR_INVALID;
}

/* `take` takes one value of `type` into a token that has none yet. ERR_INVALID with its own reason, or without:
 * `wanted` is told. */
static const struct member {
	const char *name;
	size_t list_max; /* so many values in a list; 0: one without a list */
	json_type type;
	int (*take)(const json_t *value, struct token *token, struct why *why);
	const char *wanted;
} members[] = {
	{"verbs", SIZE_MAX, JSON_STRING, take_verb, "is a list of \"read\", \"update\" and \"admin\", or one of them"},
	{"silos", TOKEN_SILOS_MAX, JSON_STRING, take_silo, LIST_OF(TOKEN_SILOS_MAX, "strings")},
	{"hostnames", TOKEN_HOSTNAMES_MAX, JSON_STRING, take_hostname, LIST_OF(TOKEN_HOSTNAMES_MAX, "strings")},
	{"family", 0, JSON_INTEGER, take_family, "is 4 or 6; without it there is no such limit"},
	{"networks", TOKEN_NETWORKS_MAX, JSON_STRING, take_network,
	 LIST_OF(TOKEN_NETWORKS_MAX, "networks such as \"192.0.2.0/24\"")},
	{"expires", 0, JSON_STRING, take_expires, "is a time such as \"2027-01-31T12:00:00Z\""},
	{"unused", 0, JSON_INTEGER, take_unused,
	 "is a whole number of seconds from " TEXT(TOKEN_UNUSED_MIN_S) " to " TEXT(TOKEN_UNUSED_MAX_S)},
};

static int take_one(const struct member *member, const json_t *value, struct token *token, struct why *why)
{
	return json_typeof(value) == member->type ? member->take(value, token, why) : ERR_INVALID;
}

static int take_list(const struct member *member, const json_t *list, struct token *token, struct why *why)
{
	size_t count = json_array_size(list); /* 0 for what is no list */
	int err = count && count <= member->list_max ? ERR_OK : ERR_INVALID;

	for (size_t i = 0; i < count && !err; i++)
		err = take_one(member, json_array_get(list, i), token, why);
	return err;
}

static int read_member(const char *name, const json_t *value, struct token *token, struct why *ret_why)
{
	struct why why;
	size_t i = 0;

	while (i < COUNT(members) && strcmp(members[i].name, name) != 0)
		i++;
	if (i == COUNT(members))
		return why_set(ret_why, ERR_INVALID, name,
			       "is not a member of a token: verbs, silos, hostnames, family, networks, expires and "
			       "unused are");
	why_set(&why, ERR_INVALID, "", "%s", members[i].wanted);
	int err = (members[i].list_max ? take_list : take_one)(&members[i], value, token, &why);
	return err == ERR_INVALID ? why_set(ret_why, err, name, "%s", why.text) : err;
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

/* The canonical form. A limit that is left out is a right that nobody has given. NULL: no memory. */
static char *write_document(const struct token *token)
{
	json_auto_t *json = json_object();
	json_t *verb_list = json_array(), *networks = json_array();
	char expires[CLOCK_TEXT_MAX];
	int err = 0;

	for (size_t i = 0; i < COUNT(verbs); i++)
		if (token->verbs & 1u << i)
			err |= json_array_append_new(verb_list, json_string(verbs[i]));
	for (size_t i = 0; i < token->network_count; i++)
		err |= json_array_append_new(networks, json_sprintf("%s/%d", IPADDR_TEXT(&token->networks[i].base),
								    token->networks[i].bits));
	clock_format(token->expires_us, expires);
	err |= jsontext_set(json, "verbs", true, verb_list);
	err |= jsontext_set(json, "silos", token->silos.count, jsontext_list(token->silos.items, token->silos.count));
	err |= jsontext_set(json, "hostnames", token->hostnames.count,
			    jsontext_list(token->hostnames.items, token->hostnames.count));
	err |= jsontext_set(json, "family", token->family, json_integer(token->family));
	err |= jsontext_set(json, "networks", token->network_count, networks);
	err |= jsontext_set(json, "expires", token->expires_us, json_string(expires));
	err |= jsontext_set(json, "unused", token->unused_s, json_integer(token->unused_s));
	return err ? NULL : json_dumps(json, JSON_COMPACT);
}

int token_parse(const char *json, size_t len, struct token **ret_token, struct why *ret_why)
{
	json_auto_t *document = NULL;
	_cleanup_(token_cleanup) struct token *token = token_new_void();
	const char *name;
	json_t *value;

	if (!token)
		return ERR_NOMEM;
	int err = jsontext_parse_object(json, len, "{\"verbs\":[\"read\"],\"silos\":[\"silo1\"]}", &document, ret_why);
	json_object_foreach(document, name, value)
	{
		err = read_member(name, value, token, ret_why);
		if (err)
			return err;
	}
	if (!err)
		err = check_whole(token, ret_why);
	if (err)
		return err;
	free(token->document);
	token->document = write_document(token);
	if (!token->document)
		return ERR_NOMEM;
	*ret_token = TAKE_PTR(token);
	return ERR_OK;
}

/* --- what it may do ----------------------------------------------------------------------------------------------- */

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

	if (!has_name(&token->hostnames, record->hostname)) {
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
