#include "api/http/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http/reply.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

double request_ms(const struct request *request)
{
	return (double)(clock_mono_us() - request->started_us) / 1000.0;
}

void request_set_target(struct request *request, const char *target)
{
	const char *rest = target;

	if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
		rest = strchr(target, ':') + 3;
		rest += strcspn(rest, "/?");
	}
	request->path = *rest == '\0' || *rest == '?' ? "/" : rest; /* http://hub is http://hub/ (RFC 9110, 4.2.3) */
	request->path_len = strcspn(request->path, "?");
	const char *mark = strchr(rest, '?');
	request->query = mark ? mark + 1 : NULL;
}

void request_release(struct request *request)
{
	if (request->state)
		request->release_state(request->state);
	for (size_t i = 0; i < request->header_count; i++)
		free(request->headers[i].joined);
	free(request->headers);
	free(request->params);
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

/* In its place: what is decoded is never longer. */
static int decode_param(struct request *request, char *text)
{
	size_t len = strlen(text), decoded;

	if (percent_decode(text, len, text, len + 1, &decoded))
		return why_set(&request->why, ERR_MALFORMED, "",
			       "the query has a '%%' that is not followed by two hexadecimal digits");
	if (memchr(text, '\0', decoded))
		return why_set(&request->why, ERR_MALFORMED, "", "the query holds a NUL byte");
	return ERR_OK;
}

static int parse_query(struct request *request)
{
	if (!request->query || request->params)
		return ERR_OK;
	size_t size = strlen(request->query) + 1;
	_cleanup_free_ struct request_param *params = malloc(REQUEST_PARAMS_MAX * sizeof *params + size);
	if (!params)
		return ERR_NOMEM;

	char *rest = memcpy(params + REQUEST_PARAMS_MAX, request->query, size);
	size_t count = 0;
	for (char *value; (value = strsep(&rest, "&"));) {
		char *name = strsep(&value, "=");
		if (!*name && !value)
			continue;
		if (count == REQUEST_PARAMS_MAX)
			return why_set(&request->why, ERR_MALFORMED, "", "the query has more than %d parameters",
				       REQUEST_PARAMS_MAX);
		int err = decode_param(request, name);
		if (!err && value)
			err = decode_param(request, value);
		if (err)
			return err;
		params[count++] = (struct request_param){name, value ? value : ""};
	}
	request->param_count = count;
	request->params = TAKE_PTR(params);
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

uint64_t positive_number(const char *text, size_t len)
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

static int refuse_param(struct request *request, const char *name, const char *const *known)
{
	_cleanup_(buf_release) struct buf names = BUF_INIT(sizeof request->why.text);

	for (; known && *known; known++)
		buf_append_fmt(&names, "%s %s", names.len ? "," : "are", *known);
	return why_set(&request->why, ERR_MALFORMED, "", "the query parameter \"%s\" is not known here: there %s", name,
		       names.len ? names.data : "are none");
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
			return refuse_param(request, request->params[i].name, known);
	}
	return ERR_OK;
}

int request_link_next(const struct request *request, struct reply *reply, const char *name, const char *value)
{
	_cleanup_(buf_release) struct buf link = BUF_INIT(REPLY_HEADER_VALUE_MAX - 1);

	buf_append_str(&link, "<?");
	for (size_t i = 0; i < request->param_count; i++)
		if (strcmp(request->params[i].name, name) != 0)
			buf_append_fmt(&link, "%s=%s&", request->params[i].name, request->params[i].value);
	buf_append_fmt(&link, "%s=%s>; rel=\"next\"", name, value);
	return link.err ? link.err : reply_header(reply, "Link", link.data);
}
