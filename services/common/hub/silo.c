#include "common/hub/silo.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/jsontext.h"

#define QUOTE_MAX 60 /* bytes of a refused value in a message */

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int silo_id_check(const char *id, size_t len, struct why *ret_why)
{
	if (len < 1 || len > SILO_ID_MAX)
		return why_set(ret_why, ERR_INVALID, "id", "a silo id has 1 to %d characters, this one has %zu",
			       SILO_ID_MAX, len);
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(id[i]) && (i == 0 || (id[i] != '.' && id[i] != '_' && id[i] != '-')))
			return why_set(ret_why, ERR_INVALID, "id",
				       "a silo id has letters, digits, '.', '_' and '-' and begins with a letter or "
				       "digit; character %zu of this one is something else",
				       i + 1);
	return ERR_OK;
}

int silo_id_conf_check(const char *value, struct why *ret_why)
{
	return silo_id_check(value, strlen(value), ret_why);
}

int record_compare(const struct record *a, const struct record *b)
{
	int order = strcmp(a->hostname, b->hostname);

	return order ? order : ipaddr_compare(&a->ip, &b->ip);
}

static int compare_records(const void *a, const void *b)
{
	return record_compare(a, b);
}

int silo_add(struct silo *silo, const char *hostname, const struct ipaddr *ip)
{
	if (silo->count == SILO_RECORDS_MAX)
		return ERR_TOO_LARGE;
	if (silo->count == silo->capacity) {
		size_t capacity = silo->capacity ? silo->capacity * 2 : 4;
		struct record *records = realloc(silo->records, capacity * sizeof *records);
		if (!records)
			return ERR_NOMEM;
		silo->records = records;
		silo->capacity = capacity;
	}
	char *copy = strdup(hostname);
	if (!copy)
		return ERR_NOMEM;
	silo->records[silo->count++] = (struct record){.hostname = copy, .ip = *ip};
	return ERR_OK;
}

void silo_sort(struct silo *silo)
{
	size_t kept = 0;

	if (silo->count > 1)
		qsort(silo->records, silo->count, sizeof silo->records[0], compare_records);
	for (size_t i = 0; i < silo->count; i++) {
		if (kept && compare_records(&silo->records[kept - 1], &silo->records[i]) == 0)
			free(silo->records[i].hostname);
		else
			silo->records[kept++] = silo->records[i];
	}
	silo->count = kept;
}

void silo_release(struct silo *silo)
{
	if (!silo)
		return;
	for (size_t i = 0; i < silo->count; i++)
		free(silo->records[i].hostname);
	free(silo->records);
	*silo = (struct silo){0};
}

bool silo_equal(const struct silo *a, const struct silo *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (compare_records(&a->records[i], &b->records[i]) != 0)
			return false;
	return true;
}

int silo_diff(const struct silo *before, const struct silo *after, silo_diff_fn fn, void *arg)
{
	size_t b = 0, a = 0;

	while (b < before->count || a < after->count) {
		int order = b == before->count  ? 1
			    : a == after->count ? -1
						: compare_records(&before->records[b], &after->records[a]);
		int err = order < 0   ? fn(arg, &before->records[b], true)
			  : order > 0 ? fn(arg, &after->records[a], false)
				      : 0;
		if (err)
			return err;
		b += order <= 0;
		a += order >= 0;
	}
	return ERR_OK;
}

/* --- JSON in ------------------------------------------------------------------------------------------------------ */

struct reading {
	const char *list;                /* the member that has the records */
	const struct ipaddr *default_ip; /* of a record without one */
	const char *no_ip;               /* not NULL: why such a record is refused */
	bool ignore_unknown;
	struct silo *silo;
	struct why *why;
};

static const char *why_no_ip(const struct ipaddr *default_ip)
{
	if (!default_ip)
		return "is missing";
	return default_ip->family
		       ? NULL
		       : "is missing, and the caller's address is not known: a proxy that is not believed sent "
			 "this (Forwarded, X-Forwarded-For or X-Real-IP; see GET /ip?explain). Name it in the "
			 "hub's SILODNS_TRUSTED_PROXIES, give an \"ip\", or send no such header";
}

/* "dnsrecords[3].ip" from 3 and "ip". */
static int refuse_record(const struct reading *r, int err, size_t index, const char *member, const char *text)
{
	char field[sizeof r->why->field], copy[sizeof r->why->text];

	snprintf(copy, sizeof copy, "%s", text); /* `text` may be the one that is overwritten */
	snprintf(field, sizeof field, "%s[%zu]%s%s", r->list, index, member[0] ? "." : "", member);
	return why_set(r->why, err, field, "%s", copy);
}

static const char *type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};
	return names[json_typeof(value)];
}

static int refuse_type(const struct reading *r, size_t index, const char *member, const char *wanted, const json_t *got)
{
	char text[96];

	snprintf(text, sizeof text, "is to be %s, not %s", wanted, type_name(got));
	return refuse_record(r, ERR_INVALID, index, member, text);
}

static int check_members(const struct reading *r, const json_t *object, const char *first, const char *second,
			 const char *path)
{
	const char *key;
	json_t *value;

	if (r->ignore_unknown)
		return ERR_OK;
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (strcmp(key, first) != 0 && strcmp(key, second) != 0)
			return why_set(r->why, ERR_INVALID, path,
				       "the member \"%.*s\" is not known: only \"%s\" and \"%s\" are", QUOTE_MAX, key,
				       first, second);
	}
	return ERR_OK;
}

static bool is_of_a_machine(const struct ipaddr *ip)
{
	enum ipaddr_scope scope = ipaddr_scope(ip);

	return scope != IPADDR_UNSPECIFIED && scope != IPADDR_MULTICAST && scope != IPADDR_BROADCAST;
}

static int read_ip(const struct reading *r, size_t index, const json_t *value, struct ipaddr *ret_ip)
{
	char text[128];

	if (!value && r->no_ip)
		return refuse_record(r, ERR_INVALID, index, "ip", r->no_ip);
	if (!value) {
		*ret_ip = *r->default_ip;
		return ERR_OK;
	}
	if (!json_is_string(value))
		return refuse_type(r, index, "ip", "a string", value);
	if (ipaddr_parse(json_string_value(value), json_string_length(value), ret_ip, r->why))
		return refuse_record(r, ERR_INVALID, index, "ip", r->why->text);
	if (is_of_a_machine(ret_ip))
		return ERR_OK;
	snprintf(text, sizeof text, "\"%s\" is %s: no machine has such an address", json_string_value(value),
		 ipaddr_scope_name(ipaddr_scope(ret_ip)));
	return refuse_record(r, ERR_INVALID, index, "ip", text);
}

static int read_record(const struct reading *r, size_t index, const json_t *object)
{
	char name[HOSTNAME_LEN_MAX + 1], path[40];
	struct ipaddr ip;

	if (!json_is_object(object))
		return refuse_type(r, index, "", "an object with \"hostname\" and \"ip\"", object);
	snprintf(path, sizeof path, "%s[%zu]", r->list, index);
	int err = check_members(r, object, "hostname", "ip", path);
	if (err)
		return err;
	const json_t *hostname = json_object_get(object, "hostname");
	if (!hostname)
		return refuse_record(r, ERR_INVALID, index, "hostname", "is missing");
	if (!json_is_string(hostname))
		return refuse_type(r, index, "hostname", "a string", hostname);
	if (hostname_parse(json_string_value(hostname), json_string_length(hostname), name, r->why))
		return refuse_record(r, ERR_INVALID, index, "hostname", r->why->text);
	err = read_ip(r, index, json_object_get(object, "ip"), &ip);
	if (!err && silo_add(r->silo, name, &ip))
		return why_set(r->why, ERR_NOMEM, "", "out of memory");
	return err;
}

/* Says where the second of two equal records stands in what the sender wrote. */
static int refuse_repetition(const struct reading *r, const struct record *repeated, const json_t *records)
{
	char ip[IPADDR_TEXT_MAX], text[160], name[HOSTNAME_LEN_MAX + 1];
	size_t i, found = 0, last = 0;
	json_t *object;
	struct ipaddr address;

	json_array_foreach((json_t *)(uintptr_t)records, i, object)
	{
		const json_t *hostname = json_object_get(object, "hostname");
		hostname_parse(json_string_value(hostname), json_string_length(hostname), name, NULL);
		if (strcmp(name, repeated->hostname) != 0 || read_ip(r, i, json_object_get(object, "ip"), &address) ||
		    ipaddr_compare(&address, &repeated->ip) != 0)
			continue;
		last = i;
		if (++found == 2)
			break;
	}
	ipaddr_format(&repeated->ip, ip);
	snprintf(text, sizeof text, "\"%.*s\"%s%s stands twice", QUOTE_MAX, repeated->hostname, ip[0] ? " with " : "",
		 ip);
	return refuse_record(r, ERR_INVALID, last, "", text);
}

static int read_records(const struct reading *r, const json_t *records)
{
	size_t i;
	json_t *object;
	int err = ERR_OK;

	if (!json_is_array(records))
		return why_set(r->why, ERR_INVALID, r->list, "is to be an array, not %s", type_name(records));
	if (json_array_size(records) > SILO_RECORDS_MAX)
		return why_set(r->why, ERR_INVALID, r->list, "a silo has at most %d records, these are %zu",
			       SILO_RECORDS_MAX, json_array_size(records));
	json_array_foreach((json_t *)(uintptr_t)records, i, object)
	{
		err = read_record(r, i, object);
		if (err)
			return err;
	}
	if (r->silo->count > 1)
		qsort(r->silo->records, r->silo->count, sizeof r->silo->records[0], compare_records);
	for (i = 1; i < r->silo->count; i++)
		if (compare_records(&r->silo->records[i - 1], &r->silo->records[i]) == 0)
			return refuse_repetition(r, &r->silo->records[i], records);
	return ERR_OK;
}

static int read_id(const struct reading *r, const char *id, const json_t *value)
{
	if (value && !json_is_string(value))
		return why_set(r->why, ERR_INVALID, "id", "is to be a string, not %s", type_name(value));
	const char *text = value ? json_string_value(value) : id;
	if (!text)
		return why_set(r->why, ERR_INVALID, "id", "is missing");
	int err = silo_id_check(text, value ? json_string_length(value) : strlen(text), r->why);
	if (err)
		return err;
	if (id && strcmp(text, id) != 0)
		return why_set(r->why, ERR_INVALID, "id", "\"%s\" is not the silo that was named, \"%s\"", text, id);
	snprintf(r->silo->id, sizeof r->silo->id, "%s", text);
	return ERR_OK;
}

static struct silo take(struct silo *silo)
{
	struct silo taken = *silo;

	*silo = (struct silo){0};
	return taken;
}

/* Whether it is the canonical text, as silodns' own programs write it, of a silo to which there is no objection. False:
 * a JSON library reads it, and finds the words for what is wrong. */
static bool read_canonical(const char *json, size_t len, const char *id, struct silo *ret_silo)
{
	char name[HOSTNAME_LEN_MAX + 1];

	if (!len || silo_read_canonical(json, len, ret_silo))
		return false;
	bool good = !silo_id_check(ret_silo->id, strlen(ret_silo->id), NULL) && (!id || strcmp(ret_silo->id, id) == 0);
	for (size_t i = 0; i < ret_silo->count && good; i++) {
		const struct record *record = &ret_silo->records[i];
		good = !hostname_parse(record->hostname, strlen(record->hostname), name, NULL) &&
		       strcmp(record->hostname, name) == 0 && is_of_a_machine(&record->ip);
	}
	if (!good)
		silo_release(ret_silo);
	return good;
}

static int read_silo(const char *json, size_t len, const char *id, const struct ipaddr *default_ip, bool ignore_unknown,
		     struct silo *ret_silo, struct why *ret_why)
{
	json_auto_t *root = NULL;
	_cleanup_(silo_release) struct silo silo = {0};
	static const char example[] = "{\"dnsrecords\":[{\"hostname\":\"a\",\"ip\":\"192.0.2.7\"}]}";
	struct why why;
	const struct reading r = {"dnsrecords", default_ip, why_no_ip(default_ip), ignore_unknown, &silo, &why};

	if (read_canonical(json, len, id, ret_silo))
		return ERR_OK;
	int err = jsontext_parse_object(json, len, example, &root, &why);

	if (!err)
		err = check_members(&r, root, "id", r.list, "");
	if (!err)
		err = read_id(&r, id, json_object_get(root, "id"));
	const json_t *records = json_object_get(root, r.list);
	if (!err && !records)
		err = why_set(&why, ERR_INVALID, r.list, "is missing: an array of records is needed, [] for none");
	if (!err)
		err = read_records(&r, records);
	if (!err)
		*ret_silo = take(&silo);
	else if (ret_why)
		*ret_why = why;
	return err;
}

int silo_parse(const char *json, size_t len, const char *id, const struct ipaddr *default_ip, struct silo *ret_silo,
	       struct why *ret_why)
{
	return read_silo(json, len, id, default_ip, false, ret_silo, ret_why);
}

int silo_read(const char *json, size_t len, struct silo *ret_silo)
{
	int err = silo_read_canonical(json, len, ret_silo);

	return err == ERR_MALFORMED ? silo_parse(json, len, NULL, NULL, ret_silo, NULL) : err;
}

int silo_parse_answer(const char *json, size_t len, const char *id, struct silo *ret_silo, struct why *ret_why)
{
	return read_silo(json, len, id, NULL, true, ret_silo, ret_why);
}

int silo_parse_patch(const char *json, size_t len, const struct ipaddr *default_ip, struct silo *ret_set,
		     struct silo *ret_removed, struct why *ret_why)
{
	static const struct ipaddr all_addresses = {.family = 0};
	static const char example[] =
		"{\"set\":[{\"hostname\":\"a\",\"ip\":\"192.0.2.7\"}],\"remove\":[{\"hostname\":\"b\"}]}";
	json_auto_t *root = NULL;
	_cleanup_(silo_release) struct silo set = {0};
	_cleanup_(silo_release) struct silo removed = {0};
	const struct reading lists[] = {{"set", default_ip, why_no_ip(default_ip), false, &set, ret_why},
					{"remove", &all_addresses, NULL, false, &removed, ret_why}};
	int err = jsontext_parse_object(json, len, example, &root, ret_why);

	if (!err)
		err = check_members(&lists[0], root, lists[0].list, lists[1].list, "");
	if (!err && json_object_size(root) == 0)
		err = why_set(ret_why, ERR_INVALID, "", "a patch has \"set\", \"remove\" or both, such as %s", example);
	for (size_t i = 0; !err && i < sizeof lists / sizeof lists[0]; i++) {
		const json_t *records = json_object_get(root, lists[i].list);
		err = records ? read_records(&lists[i], records) : ERR_OK;
	}
	if (err)
		return err;
	*ret_set = take(&set);
	*ret_removed = take(&removed);
	return ERR_OK;
}
