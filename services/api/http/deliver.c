#include "api/http/deliver.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

#define COPIED_MAX (32u << 10) /* bytes up to which a body is handed to Ulfius as a whole */
#define STREAM_BLOCK (32u << 10)
#define ENDLESS_BLOCK 256 /* of a stream that does not end: only HTTP/1.0 needs this buffer */

struct source {
	struct source **seen_at; /* NULL: it is libmicrohttpd's */
	void (*release)(struct source *source);
};

static void close_source(void *arg)
{
	struct source *source = arg;

	if (source->seen_at)
		*source->seen_at = NULL;
	source->release(source);
}

void deliver_end(struct source *source, bool taken)
{
	if (source && taken)
		source->seen_at = NULL;
	else if (source)
		close_source(source);
}

static int hand_over(struct source *source, ssize_t (*read)(void *, uint64_t, char *, size_t), uint64_t size,
		     size_t block, int status, struct _u_response *response, struct source **ret_source)
{
	if (ulfius_set_stream_response(response, (unsigned)status, read, close_source, size, block, source) != U_OK) {
		close_source(source);
		return ERR_INTERNAL;
	}
	source->seen_at = ret_source;
	*ret_source = source;
	return ERR_OK;
}

/* --- a body that is there ----------------------------------------------------------------------------------------- */

struct text {
	struct source source;
	const char *data;
	size_t len;
	void *owner;
	void (*release_owner)(void *owner);
};

static ssize_t read_text(void *arg, uint64_t offset, char *ret_data, size_t max)
{
	const struct text *text = arg;

	if (offset >= text->len)
		return U_STREAM_END;
	size_t len = text->len - (size_t)offset < max ? text->len - (size_t)offset : max;
	memcpy(ret_data, text->data + offset, len);
	return (ssize_t)len;
}

static void release_text(struct source *source)
{
	struct text *text = (struct text *)source;

	text->release_owner(text->owner);
	free(text);
}

static int deliver_text(const struct text *text, int status, struct _u_response *response, struct source **ret_source)
{
	struct text *copy = malloc(sizeof *copy);

	if (!copy) {
		text->release_owner(text->owner);
		return ERR_NOMEM;
	}
	*copy = *text;
	copy->source.release = release_text;
	return hand_over(&copy->source, read_text, copy->len, STREAM_BLOCK, status, response, ret_source);
}

/* --- one that comes into being ------------------------------------------------------------------------------------ */

/* A reply's stream on its connection. */
struct outlet {
	struct source source;
	const struct stream_class *class;
	void *stream;
};

static ssize_t read_outlet(void *arg, uint64_t offset, char *ret_data, size_t max)
{
	const struct outlet *outlet = arg;

	(void)offset;
	ssize_t len = outlet->class->read(outlet->stream, ret_data, max);
	return len == STREAM_END ? U_STREAM_END : len;
}

static void release_outlet(struct source *source)
{
	struct outlet *outlet = (struct outlet *)source;

	outlet->class->close(outlet->stream);
	free(outlet);
}

static int deliver_stream(struct reply *reply, const struct waiter *waiter, struct _u_response *response,
			  struct source **ret_source)
{
	struct outlet *outlet = malloc(sizeof *outlet);

	if (!outlet)
		return ERR_NOMEM;
	outlet->source = (struct source){.release = release_outlet};
	outlet->class = reply->stream_class;
	outlet->stream = TAKE_PTR(reply->stream);
	outlet->class->attach(outlet->stream, waiter);
	return hand_over(&outlet->source, read_outlet, U_STREAM_SIZE_UNKNOWN, ENDLESS_BLOCK, reply->status, response,
			 ret_source);
}

int deliver_body(struct reply *reply, const struct waiter *waiter, struct _u_response *response,
		 struct source **ret_source)
{
	if (reply->stream)
		return deliver_stream(reply, waiter, response, ret_source);
	if (!reply->body)
		return ERR_OK;
	if (reply->body_len >= COPIED_MAX) {
		const struct text text = {{0}, reply->body, reply->body_len, reply->body_owner, reply->release_body};
		reply->body = NULL;
		return deliver_text(&text, reply->status, response, ret_source);
	}
	if (reply->release_body != free && reply_body(reply, reply->content_type, reply->body, reply->body_len))
		return ERR_NOMEM;
	response->binary_body = reply->body_owner; /* by malloc(), as Ulfius frees it: spare.h */
	response->binary_body_length = reply->body_len;
	reply->body = NULL;
	return ERR_OK;
}
