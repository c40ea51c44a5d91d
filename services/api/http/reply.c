#include "api/http/reply.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"

static void drop_body(struct reply *reply)
{
	if (reply->body)
		reply->release_body(reply->body_owner);
	if (reply->stream)
		reply->stream_class->close(reply->stream);
	reply->stream = NULL;
	reply->body = NULL;
	reply->body_len = 0;
	reply->content_type = NULL;
}

void reply_init(struct reply *reply)
{
	memset(reply, 0, offsetof(struct reply, headers));
}

void reply_release(struct reply *reply)
{
	drop_body(reply);
	reply->header_count = 0;
}

void reply_status(struct reply *reply, int status)
{
	reply->status = status;
}

int reply_header(struct reply *reply, const char *name, const char *value)
{
	size_t len = strlen(value);
	size_t i = 0;

	while (i < reply->header_count && strcasecmp(reply->headers[i].name, name) != 0)
		i++;
	if (len >= REPLY_HEADER_VALUE_MAX || i == REPLY_HEADERS_MAX)
		return ERR_TOO_LARGE;
	reply->headers[i].name = name;
	memcpy(reply->headers[i].value, value, len + 1);
	if (i == reply->header_count)
		reply->header_count++;
	return ERR_OK;
}

int reply_etag(struct reply *reply, uint64_t revision)
{
	char etag[24], *at = etag + sizeof etag;

	/* (by hand: each GET has one, and snprintf() takes a third of what else a GET takes here) */
	*--at = '\0';
	*--at = '"';
	do
		*--at = (char)('0' + revision % 10);
	while (revision /= 10);
	*--at = '"';
	return reply_header(reply, "ETag", at);
}

void reply_body_shared(struct reply *reply, const char *content_type, const char *body, size_t len, void *owner,
		       void (*release)(void *owner))
{
	drop_body(reply);
	reply->content_type = content_type;
	reply->body = body;
	reply->body_len = len;
	reply->body_owner = owner;
	reply->release_body = release;
}

void reply_body_take(struct reply *reply, const char *content_type, char *body, size_t len)
{
	reply_body_shared(reply, content_type, body, len, body, free);
}

int reply_body_buf(struct reply *reply, const char *content_type, struct buf *text)
{
	size_t len;
	char *body = buf_take(text, &len);

	if (!body)
		return text->err;
	reply_body_take(reply, content_type, body, len);
	return ERR_OK;
}

int reply_body(struct reply *reply, const char *content_type, const void *body, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, body, len);
	copy[len] = '\0';
	reply_body_take(reply, content_type, copy, len);
	return ERR_OK;
}

void reply_stream_take(struct reply *reply, const char *content_type, const struct stream_class *class, void *stream)
{
	drop_body(reply);
	reply->content_type = content_type;
	reply->stream_class = class;
	reply->stream = stream;
}

int reply_json_take(struct reply *reply, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(json);
	if (!text)
		return ERR_NOMEM;
	reply_body_take(reply, "application/json", text, strlen(text));
	reply->status = status;
	return ERR_OK;
}

/* --- problems ----------------------------------------------------------------------------------------------------- */

static const struct {
	int err;
	const char *name, *value;
} problem_headers[] = {
	{ERR_UNAUTHORIZED, "WWW-Authenticate", "Basic realm=\"silodns\", charset=\"UTF-8\", Bearer realm=\"silodns\""},
	{ERR_ENCODING, "Accept-Encoding", "identity"}, /* RFC 9110, 15.5.16 */
	{ERR_UNAVAILABLE, "Retry-After", "1"},
	{ERR_BUSY, "Retry-After", "1"},
	{ERR_NOMEM, "Retry-After", "1"},
};

/* A reason may quote bytes of a request that are not UTF-8, which JSON cannot hold. */
static json_t *json_text(const char *text)
{
	json_t *json = json_string(text);
	_cleanup_free_ char *ascii = json ? NULL : strdup(text);

	if (!ascii)
		return json;
	for (char *c = ascii; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(ascii);
}

static char *problem_text(int err, const struct why *why)
{
	const struct err_info *info = err_info(err);
	bool has_field = why && why->field[0], has_text = why && why->text[0];
	json_t *json = json_pack("{s:s+, s:s, s:i}", "type", "urn:silodns:error:", info->name, "title", info->title,
				 "status", info->http_status);

	if (json && has_text) {
		char detail[sizeof why->field + sizeof why->text + 2];
		snprintf(detail, sizeof detail, "%s%s%s", why->field, has_field ? ": " : "", why->text);
		json_object_set_new(json, "detail", json_text(detail));
	}
	if (json && has_text && has_field)
		json_object_set_new(
			json, "errors",
			json_pack("[{s:o, s:o}]", "field", json_text(why->field), "detail", json_text(why->text)));
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

void reply_problem(struct reply *reply, int err, const struct why *why)
{
	static const char fallback[] = "{\"type\":\"urn:silodns:error:out-of-memory\",\"status\":503}";
	char *text = problem_text(err, why);

	if (!text)
		err = ERR_NOMEM;
	for (size_t i = 0; i < sizeof problem_headers / sizeof problem_headers[0]; i++)
		if (problem_headers[i].err == err)
			reply_header(reply, problem_headers[i].name, problem_headers[i].value);
	reply->status = err_info(err)->http_status;
	if (text)
		reply_body_take(reply, "application/problem+json", text, strlen(text));
	else if (reply_body(reply, "application/problem+json", fallback, sizeof fallback - 1))
		drop_body(reply);
}
