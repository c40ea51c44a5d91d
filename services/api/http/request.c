#include "api/http/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

double request_ms(const struct request *request)
{
	return (double)(clock_mono_us() - request->started_us) / 1000.0;
}

int request_submit(struct request *request, struct change *change, handler_fn finish)
{
	if (!change->subject)
		change->subject = request->subject;
	change->actor = &request->principal;
	change->peer = request->peer;
	int err = journal_begin(request->hub->journal, change, request->waiter, &request->change, &request->why);
	if (err == ERR_PENDING)
		request->finish = finish;
	return err;
}

int request_collect(struct request *request, struct outcome *ret_outcome)
{
	int err = journal_collect_take(request->hub->journal, TAKE_PTR(request->change), ret_outcome);

	if (err)
		request->why = ret_outcome->why;
	return err;
}

void request_keep_take(struct request *request, void *kept, void (*release)(void *kept))
{
	if (request->kept)
		request->release_kept(request->kept);
	request->kept = kept;
	request->release_kept = release;
}

void request_release(struct request *request)
{
	request_keep_take(request, NULL, NULL);
	if (request->change)
		journal_abandon(request->hub->journal, TAKE_PTR(request->change));
	for (size_t i = 0; i < request->header_count; i++)
		free(request->headers[i].joined);
	free(request->headers);
	free(request->query_text);
	token_unref(request->principal.token);
	request->principal.token = NULL;
	request->headers = NULL;
	request->query_text = NULL;
	request->header_count = request->header_capacity = request->param_count = 0;
}

/* --- headers ------------------------------------------------------------------------------------------------------ */

static struct request_header *find_header(const struct request *request, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < request->header_count; i++)
		if (request->headers[i].name_len == len && strcasecmp(request->headers[i].name, name) == 0)
			return &request->headers[i];
	return NULL;
}

static int join_header(struct request_header *header, const char *value)
{
	char *joined;

	if (asprintf(&joined, "%s, %s", header->value, value) < 0)
		return ERR_NOMEM;
	free(header->joined);
	header->value = header->joined = joined;
	return ERR_OK;
}

int request_add_header(struct request *request, const char *name, const char *value)
{
	struct request_header *header = find_header(request, name);

	if (header)
		return join_header(header, value ? value : "");
	if (request->header_count == request->header_capacity) {
		size_t capacity = request->header_capacity ? request->header_capacity * 2 : 16;
		struct request_header *headers = reallocarray(request->headers, capacity, sizeof *headers);
		if (!headers)
			return ERR_NOMEM;
		request->headers = headers;
		request->header_capacity = capacity;
	}
	request->headers[request->header_count++] =
		(struct request_header){.name = name, .name_len = strlen(name), .value = value ? value : ""};
	return ERR_OK;
}

const char *request_header(const struct request *request, const char *name)
{
	const struct request_header *header = find_header(request, name);

	return header ? header->value : NULL;
}

/* --- path and query ----------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int percent_decode(const char *text, size_t len, char *ret_text, size_t size, size_t *ret_len)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		int byte = (unsigned char)text[i];
		if (byte == '%') {
			int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
			int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;
			if (high < 0 || low < 0)
				return ERR_MALFORMED;
			byte = high << 4 | low;
			i += 2;
		}
		if (used + 1 < size)
			ret_text[used++] = (char)byte;
	}
	ret_text[used] = '\0';
	*ret_len = used;
	return ERR_OK;
}

/* Decodes one side of "name=value" to `*at`, which moves on. */
static int decode_param(struct request *request, const char *text, size_t len, char **at, const char **ret_text)
{
	size_t decoded;

	if (percent_decode(text, len, *at, len + 1, &decoded))
		return why_set(&request->why, ERR_MALFORMED, "",
			       "the query has a '%%' that is not followed by two hexadecimal digits");
	if (memchr(*at, '\0', decoded))
		return why_set(&request->why, ERR_MALFORMED, "", "the query holds a NUL byte");
	*ret_text = *at;
	*at += decoded + 1;
	return ERR_OK;
}

static int parse_query(struct request *request)
{
	if (!request->query || request->query_text)
		return ERR_OK;
	/* Each '&' and '=' makes room for a NUL, but for the last one, and a name without '='. */
	_cleanup_free_ char *text = malloc(strlen(request->query) + 2 * REQUEST_PARAMS_MAX + 2);
	if (!text)
		return ERR_NOMEM;

	char *to = text;
	size_t count = 0;
	for (const char *at = request->query, *end; *at; at = *end ? end + 1 : end) {
		struct request_param param;
		end = strchrnul(at, '&');
		if (end == at)
			continue;
		if (count == REQUEST_PARAMS_MAX)
			return why_set(&request->why, ERR_MALFORMED, "", "the query has more than %d parameters",
				       REQUEST_PARAMS_MAX);
		const char *equals = memchr(at, '=', (size_t)(end - at));
		const char *name_end = equals ? equals : end;
		const char *value = equals ? equals + 1 : end;
		int err = decode_param(request, at, (size_t)(name_end - at), &to, &param.name);
		if (!err)
			err = decode_param(request, value, (size_t)(end - value), &to, &param.value);
		if (err)
			return err;
		request->params[count++] = param;
	}
	request->param_count = count;
	request->query_text = TAKE_PTR(text);
	return ERR_OK;
}

int request_query(struct request *request, const char *name, const char **ret_value)
{
	const char *value = NULL;
	int err = parse_query(request);

	if (err)
		return err;
	for (size_t i = 0; i < request->param_count; i++) {
		if (strcmp(request->params[i].name, name) != 0)
			continue;
		if (value)
			return why_set(&request->why, ERR_MALFORMED, name, "is given twice in the query");
		value = request->params[i].value;
	}
	*ret_value = value;
	return ERR_OK;
}

/* Digits, the first not 0; 0 if it is anything else. */
static uint64_t positive_number(const char *text, size_t len)
{
	uint64_t number = 0;

	if (!len || len > 19 || text[0] == '0')
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	return number;
}

int request_query_number(struct request *request, const char *name, uint64_t max, uint64_t *ret_value)
{
	const char *text = NULL;
	int err = request_query(request, name, &text);

	if (err || !text)
		return err;
	uint64_t number = positive_number(text, strlen(text));
	if (!number || number > max)
		return why_set(&request->why, ERR_INVALID, name, "is a number from 1 to %" PRIu64, max);
	*ret_value = number;
	return ERR_OK;
}

int request_query_time(struct request *request, const char *name, int64_t *ret_us)
{
	const char *text = NULL;
	int err = request_query(request, name, &text);

	if (err || !text)
		return err;
	err = clock_parse(text, ret_us, &request->why);
	if (err)
		snprintf(request->why.field, sizeof request->why.field, "%s", name);
	return err;
}

const char *request_query_next(const struct request *request, const char *name, size_t *at)
{
	while (*at < request->param_count) {
		const struct request_param *param = &request->params[(*at)++];
		if (strcmp(param->name, name) == 0)
			return param->value;
	}
	return NULL;
}

int request_query_only(struct request *request, const char *const *known)
{
	int err = parse_query(request);

	if (err)
		return err;
	for (size_t i = 0; i < request->param_count; i++) {
		const char *const *name = known;
		while (name && *name && strcmp(*name, request->params[i].name) != 0)
			name++;
		if (!name || !*name)
			return why_set(&request->why, ERR_MALFORMED, "", "the query parameter \"%s\" is not known here",
				       request->params[i].name);
	}
	return ERR_OK;
}

/* --- entity tags -------------------------------------------------------------------------------------------------- */

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

int request_precondition(struct request *request, struct precondition *ret_precondition)
{
	const char *match = request_header(request, "If-Match");
	const char *none_match = request_header(request, "If-None-Match");
	struct precondition precondition = {.kind = PRECONDITION_NONE};
	int err = ERR_OK;

	if (match && none_match)
		return why_set(&request->why, ERR_MALFORMED, "", "If-Match and If-None-Match cannot be given together");
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

bool request_has_revision(const struct request *request, uint64_t revision)
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
