#include "api/routes/precondition.h"

#include <inttypes.h>
#include <string.h>

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

/* One entity-tag (RFC 9110, 8.8.3) of a list; `*at` moves behind it and its comma. 1: a tag; 0: the end; ERR_MALFORMED.
 * `*ret_revision` 0: not one of the hub's. A proxy that compresses makes "7" weak, W/"7", or "7-gzip": it is a revision
 * still, and the client has no other to give back. */
static int next_etag(const char **at, uint64_t *ret_revision)
{
	const char *p = *at + strspn(*at, " \t,");

	*at = p;
	if (!*p)
		return 0;
	p += strncmp(p, "W/", 2) == 0 ? 2 : 0;
	if (*p != '"')
		return ERR_MALFORMED;
	const char *text = ++p;
	while (*p && *p != '"' && (unsigned char)*p > 0x20 && *p != 0x7f)
		p++;
	if (*p != '"')
		return ERR_MALFORMED;
	*ret_revision = positive_number(text, strcspn(text, "-\""));
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
	size_t tags = 0;
	uint64_t revision;
	int more;

	precondition->any = is_any(value);
	if (precondition->any)
		return ERR_OK;
	while ((more = next_etag(&value, &revision)) == 1) {
		if (++tags > PRECONDITION_TAGS_MAX)
			return why_set(&request->why, ERR_MALFORMED, name, "has more than %d entity tags",
				       PRECONDITION_TAGS_MAX);
		if (revision)
			precondition->revisions[precondition->count++] = revision;
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

static bool names_revision(const struct precondition *precondition, uint64_t revision)
{
	size_t i = 0;

	while (i < precondition->count && precondition->revisions[i] != revision)
		i++;
	return precondition->any || i < precondition->count;
}

int precondition_status(struct request *request, uint64_t revision, int *ret_status)
{
	const char *match = request_header(request, "If-Match");
	const char *none_match = request_header(request, "If-None-Match");
	struct precondition wanted = {.any = !match}, known = {0};
	int err = match ? parse_etags(request, "If-Match", match, &wanted) : ERR_OK;

	if (!err && !names_revision(&wanted, revision))
		err = why_set(&request->why, ERR_PRECONDITION, "", "it is at revision %" PRIu64 " now", revision);
	if (err)
		return err;
	if (none_match)
		(void)parse_etags(request, "If-None-Match", none_match, &known);
	*ret_status = names_revision(&known, revision) ? 304 : 200;
	return ERR_OK;
}
