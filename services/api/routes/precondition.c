#include "api/routes/handlers.h"

#include <inttypes.h>
#include <string.h>

#define SPACE " \t"

/* One entity-tag (RFC 9110, 8.8.3) of a list; `*at` moves behind it and its comma. 1: a tag; 0: the end; ERR_MALFORMED.
 * `*ret_revision` 0: not one of the hub's. A proxy that compresses makes "7" weak, W/"7", or "7-gzip": it is a revision
 * still, and the client has no other to give back. */
static int next_etag(const char **at, uint64_t *ret_revision)
{
	const char *p = *at + strspn(*at, SPACE ",");

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
	p++;
	p += strspn(p, SPACE);
	if (*p && *p != ',')
		return ERR_MALFORMED;
	*at = p;
	return 1;
}

static bool is_any(const char *value)
{
	value += strspn(value, SPACE);
	return value[0] == '*' && !value[1 + strspn(value + 1, SPACE)];
}

/* One of the two headers; `ret_precondition` stays as it is if it is absent. */
static int read_header(struct request *request, const char *name, enum precondition_kind kind,
		       struct precondition *ret_precondition)
{
	const char *value = request_header(request, name);
	size_t tags = 0;
	uint64_t revision;
	int more;

	if (!value)
		return ERR_OK;
	*ret_precondition = (struct precondition){.kind = kind, .any = is_any(value)};
	if (ret_precondition->any)
		return ERR_OK;
	while ((more = next_etag(&value, &revision)) == 1) {
		if (++tags > PRECONDITION_TAGS_MAX)
			return why_set(&request->why, ERR_MALFORMED, name, "has more than %d entity tags",
				       PRECONDITION_TAGS_MAX);
		if (revision)
			ret_precondition->revisions[ret_precondition->count++] = revision;
	}
	if (more < 0 || !tags)
		return why_set(&request->why, ERR_MALFORMED, name,
			       "is neither * nor a list of entity tags such as \"42\", with the quotes");
	return ERR_OK;
}

int precondition_read(struct request *request, struct precondition *ret_precondition)
{
	struct precondition match = {0}, none_match = {0};
	int err = read_header(request, "If-Match", PRECONDITION_MATCH, &match);

	if (!err)
		err = read_header(request, "If-None-Match", PRECONDITION_NONE_MATCH, &none_match);
	if (!err && match.kind && none_match.kind)
		err = why_set(&request->why, ERR_MALFORMED, "",
			      "If-Match and If-None-Match cannot be given together: leave one out");
	if (!err)
		*ret_precondition = match.kind ? match : none_match;
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
	struct precondition match = {.any = true}, none_match = {0};
	int err = read_header(request, "If-Match", PRECONDITION_MATCH, &match);

	if (!err && !names_revision(&match, revision))
		err = why_set(&request->why, ERR_PRECONDITION, "", "it is at revision %" PRIu64 " now", revision);
	if (err)
		return err;
	(void)read_header(request, "If-None-Match", PRECONDITION_NONE_MATCH, &none_match);
	*ret_status = names_revision(&none_match, revision) ? 304 : 200;
	return ERR_OK;
}
