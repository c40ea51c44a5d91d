/*
 * The canonical document as text. Ids, hostnames and addresses have no character that JSON escapes, and the order of
 * everything is fixed: so it is put together, and taken apart again, piece by piece. A JSON library does the same in
 * ten times as long, and this is half of what a change costs, and nearly all of what a start with a million silos does.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/hub/silo.h"

static const char before_id[] = "{\"id\":\"", before_records[] = "\",\"dnsrecords\":[", after_records[] = "]}";
static const char before_hostname[] = "{\"hostname\":\"", before_ip[] = "\",\"ip\":\"", after_ip[] = "\"}";

/* With the comma behind it. */
static size_t record_size(const struct record *record)
{
	return sizeof before_hostname + strlen(record->hostname) + sizeof before_ip + IPADDR_TEXT_MAX + sizeof after_ip;
}

int silo_to_json(const struct silo *silo, char **ret_json, size_t *ret_len)
{
	size_t size = sizeof before_id + sizeof silo->id + sizeof before_records + sizeof after_records;

	for (size_t i = 0; i < silo->count; i++)
		size += record_size(&silo->records[i]);
	char *json = malloc(size);
	if (!json)
		return ERR_NOMEM;
	char *at = stpcpy(stpcpy(stpcpy(json, before_id), silo->id), before_records);
	for (size_t i = 0; i < silo->count; i++) {
		if (i)
			*at++ = ',';
		at = stpcpy(stpcpy(stpcpy(at, before_hostname), silo->records[i].hostname), before_ip);
		ipaddr_format(&silo->records[i].ip, at);
		at = stpcpy(at + strlen(at), after_ip);
	}
	at = stpcpy(at, after_records);
	*ret_json = json;
	*ret_len = (size_t)(at - json);
	return ERR_OK;
}

void silo_append_hosts(const struct silo *silo, struct buf *out)
{
	char ip[IPADDR_TEXT_MAX];

	for (size_t i = 0; i < silo->count; i++) {
		ipaddr_format(&silo->records[i].ip, ip);
		buf_append_fmt(out, "%s\t%s\n", ip, silo->records[i].hostname);
	}
}

/* --- reading it back ---------------------------------------------------------------------------------------------- */

/* What is still to be read. (Not a string: each look at one would be a walk to its end under a strict sanitizer.) */
struct rest {
	const char *at, *end;
};

static bool skip(struct rest *rest, const char *piece)
{
	size_t len = strlen(piece);

	if ((size_t)(rest->end - rest->at) < len || memcmp(rest->at, piece, len) != 0)
		return false;
	rest->at += len;
	return true;
}

/* What stands up to the next quotation mark; false: nothing, or more than there is room for. */
static bool take_until_quote(struct rest *rest, char *ret_text, size_t size)
{
	size_t left = (size_t)(rest->end - rest->at);
	const char *quote = memchr(rest->at, '"', left < size ? left : size);
	size_t len = quote ? (size_t)(quote - rest->at) : 0;

	if (!len || memchr(rest->at, '\\', len))
		return false;
	memcpy(ret_text, rest->at, len);
	ret_text[len] = '\0';
	rest->at = quote;
	return true;
}

/* An IPv4 address that is accepted is canonical, an IPv6 address need not be. */
static bool is_canonical(const char *text, const struct ipaddr *ip)
{
	char canonical[IPADDR_TEXT_MAX];

	if (ip->family == 4)
		return true;
	ipaddr_format(ip, canonical);
	return strcmp(text, canonical) == 0;
}

static bool is_in_order(const struct silo *silo)
{
	const struct record *last = &silo->records[silo->count - 1];

	return silo->count < 2 || record_compare(last - 1, last) < 0;
}

static int read_record(struct rest *rest, struct silo *silo)
{
	char hostname[HOSTNAME_LEN_MAX + 1], text[IPADDR_TEXT_MAX];
	struct ipaddr ip;
	struct why why;

	if (!skip(rest, before_hostname) || !take_until_quote(rest, hostname, sizeof hostname) ||
	    !skip(rest, before_ip) || !take_until_quote(rest, text, sizeof text) || !skip(rest, after_ip) ||
	    ipaddr_parse(text, strlen(text), &ip, &why) || !is_canonical(text, &ip))
		return ERR_MALFORMED;
	int err = silo_add(silo, hostname, &ip);
	return err || is_in_order(silo) ? err : ERR_MALFORMED;
}

/* Up to the end, or to the end of the list. */
static int read_records(struct rest *rest, struct silo *silo)
{
	int err = ERR_OK;

	for (bool first = true; !err && rest->at < rest->end && *rest->at != ']'; first = false)
		err = first || skip(rest, ",") ? read_record(rest, silo) : ERR_MALFORMED;
	return err;
}

int silo_read_canonical(const char *json, size_t len, struct silo *ret_silo)
{
	_cleanup_(silo_release) struct silo silo = {0};
	struct rest rest = {json, json + len};

	if (memchr(json, '\0', len) || !skip(&rest, before_id) || !take_until_quote(&rest, silo.id, sizeof silo.id) ||
	    !skip(&rest, before_records))
		return ERR_MALFORMED;
	int err = read_records(&rest, &silo);
	if (!err && (!skip(&rest, after_records) || rest.at < rest.end))
		err = ERR_MALFORMED;
	if (err)
		return err;
	*ret_silo = silo;
	silo = (struct silo){0};
	return ERR_OK;
}

int silo_read_difference(const char *before, size_t before_len, const char *after, size_t after_len,
			 struct silo *ret_before, struct silo *ret_after)
{
	_cleanup_(silo_release) struct silo was = {0};
	_cleanup_(silo_release) struct silo is = {0};
	const char *list = strchr(before, '['), *before_end = before + before_len, *after_end = after + after_len;
	size_t first = list ? (size_t)(list - before) + 1 : 0,
	       shorter = before_len < after_len ? before_len : after_len;
	size_t from = first, same = 0; /* bytes that are the same before the difference, and behind it */

	if (!list || shorter < first || memcmp(before, after, first) != 0)
		return ERR_MALFORMED;
	while (from < shorter && before[from] == after[from])
		from++;
	while (from > first && !(before[from] == '{' && after[from] == '{'))
		from--;
	while (same < shorter - from && before_end[-1 - (ptrdiff_t)same] == after_end[-1 - (ptrdiff_t)same])
		same++;
	before_end -= same;
	after_end -= same;
	for (; same > sizeof after_records - 1; same--, before_end++, after_end++)
		if (*before_end == ',' && before_end[-1] == '}' && after_end[-1] == '}')
			break;
	struct rest stretches[2] = {{before + from, before_end}, {after + from, after_end}};
	int err = read_records(&stretches[0], &was);
	if (!err)
		err = read_records(&stretches[1], &is);
	if (err)
		return err;
	if (strcmp(before_end, after_end) != 0 || stretches[0].at < before_end || stretches[1].at < after_end)
		return ERR_MALFORMED;
	*ret_before = was;
	*ret_after = is;
	was = is = (struct silo){0};
	return ERR_OK;
}
