#include "api/routes/precondition.h"

#include <string.h>

struct etag {
	bool weak;
	uint64_t revision; /* 0: not one of the hub's, which are revisions */
};

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

/* One entity-tag (RFC 9110, 8.8.3) of a list; `*at` moves behind it and its comma. 1: a tag; 0: the end; ERR_MALFORMED.
 */
static int next_etag(const char **at, struct etag *ret_etag)
{
	const char *p = *at + strspn(*at, " \t,");

	*at = p;
	if (!*p)
		return 0;
	bool weak = p[0] == 'W' && p[1] == '/';
	p += weak ? 2 : 0;
	if (*p != '"')
		return ERR_MALFORMED;
	const char *text = ++p;
	while (*p && *p != '"' && (unsigned char)*p > 0x20 && *p != 0x7f)
		p++;
	if (*p != '"')
		return ERR_MALFORMED;
	*ret_etag = (struct etag){.weak = weak, .revision = positive_number(text, (size_t)(p - text))};
	p = skip_space(p + 1);
	if (*p && *p != ',')
		return ERR_MALFORMED;
	*at = p;
	return 1;
}

static bool is_any(const char *value)
{
	value = skip_space(value);
	return value[0] == '*' && !*skip_space(value + 1);
}

static int parse_etags(struct request *request, const char *name, const char *value, struct precondition *precondition)
{
	bool weak_counts = precondition->kind == PRECONDITION_NONE_MATCH; /* RFC 9110, 13.1.1 and 13.1.2 */
	size_t tags = 0;
	struct etag etag;
	int more;

	precondition->any = is_any(value);
	if (precondition->any)
		return ERR_OK;
	while ((more = next_etag(&value, &etag)) == 1) {
		if (++tags > PRECONDITION_TAGS_MAX)
			return why_set(&request->why, ERR_MALFORMED, name, "has more than %d entity tags",
				       PRECONDITION_TAGS_MAX);
		if (etag.revision && (weak_counts || !etag.weak))
			precondition->revisions[precondition->count++] = etag.revision;
	}
	if (more < 0 || !tags)
		return why_set(&request->why, ERR_MALFORMED, name,
			       "is neither * nor a list of entity tags such as \"42\", with the quotes");
	return ERR_OK;
}

int precondition_read(struct request *request, struct precondition *ret_precondition)
{
	const char *match = request_header(request, "If-Match");
	const char *none_match = request_header(request, "If-None-Match");
	struct precondition precondition = {.kind = PRECONDITION_NONE};
	int err = ERR_OK;

	if (match && none_match)
		return why_set(&request->why, ERR_MALFORMED, "",
			       "If-Match and If-None-Match cannot be given together: leave one out");
	if (match) {
		precondition.kind = PRECONDITION_MATCH;
		err = parse_etags(request, "If-Match", match, &precondition);
	} else if (none_match) {
		precondition.kind = PRECONDITION_NONE_MATCH;
		err = parse_etags(request, "If-None-Match", none_match, &precondition);
	}
	if (!err)
		*ret_precondition = precondition;
	return err;
}

bool precondition_has_revision(const struct request *request, uint64_t revision)
{
	const char *value = request_header(request, "If-None-Match");
	struct etag etag;

	if (!value)
		return false;
	if (is_any(value))
		return true;
	while (next_etag(&value, &etag) == 1)
		if (etag.revision == revision)
			return true;
	return false;
}
