#include "updater/extract.h"

#include <ctype.h>
#include <string.h>

#include <jansson.h>

#include "common/base/jsontext.h"

struct finding {
	int family;
	struct ipaddr ip; /* family 0: none yet */
	struct ipaddr other;
};

static void consider(struct finding *finding, const char *text, size_t len)
{
	struct ipaddr ip;

	if (ipaddr_parse(text, len, &ip, NULL) || ip.family != finding->family)
		return;
	if (!finding->ip.family)
		finding->ip = ip;
	else if (ipaddr_compare(&finding->ip, &ip) != 0)
		finding->other = ip;
}

static bool is_part_of_address(char c)
{
	return isxdigit((unsigned char)c) || c == '.' || c == ':';
}

/* A letter beside the word means that it is the part of a longer one ("cafe::beefy"). */
static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '%' || c == '/';
}

static void scan_text(struct finding *finding, const char *text, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t start = i;
		while (i < len && is_part_of_address(text[i]))
			i++;
		size_t end = i;
		while (end > start &&
		       (text[end - 1] == '.' || (text[end - 1] == ':' && end - start > 2 && text[end - 2] != ':')))
			end--; /* the end of a sentence */
		bool part = (start > 0 && is_word(text[start - 1])) || (i < len && is_word(text[i]));
		if (end > start && !part)
			consider(finding, text + start, end - start);
		if (i == start)
			i++;
	}
}

static void scan_json(struct finding *finding, const json_t *json)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_string(json))
		consider(finding, json_string_value(json), json_string_length(json));
	json_array_foreach((json_t *)(uintptr_t)json, i, value) scan_json(finding, value);
	json_object_foreach((json_t *)(uintptr_t)json, key, value) scan_json(finding, value);
}

int extract_address(const char *text, size_t len, int family, struct ipaddr *ret_ip, struct why *ret_why)
{
	struct finding finding = {.family = family};
	char one[IPADDR_TEXT_MAX], other[IPADDR_TEXT_MAX];
	json_t *json = NULL;

	if (jsontext_parse(text, len, 0, &json, NULL) == ERR_NOMEM)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	if (json)
		scan_json(&finding, json);
	else
		scan_text(&finding, text, len);
	json_decref(json);
	if (!finding.ip.family)
		return why_set(ret_why, ERR_DETECT, "", "there is no IPv%d address in the answer", family);
	if (finding.other.family) {
		ipaddr_format(&finding.ip, one);
		ipaddr_format(&finding.other, other);
		return why_set(ret_why, ERR_DOUBTFUL, "", "there are several addresses in the answer, %s and %s", one,
			       other);
	}
	*ret_ip = finding.ip;
	return ERR_OK;
}
