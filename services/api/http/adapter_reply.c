#include "api/http/adapter_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPIED_MAX (32u << 10) /* bytes up to which a body is handed to Ulfius as a whole */
#define STREAM_BLOCK (32u << 10)
#define ENDLESS_BLOCK 256 /* of a stream that does not end: only HTTP/1.0 needs this buffer */

static bool has_no_body(const struct exchange *exchange)
{
	return exchange->reply->status == 304 ||
	       (exchange->reply->stream && strcmp(exchange->base.http_verb, "HEAD") == 0);
}

bool adapter_is_direct(const struct exchange *exchange)
{
	return exchange->reply->stream || exchange->reply->body_len >= COPIED_MAX || has_no_body(exchange);
}

/* --- headers ------------------------------------------------------------------------------------------------------ */

/* Calls `add` for each; what it returns for the last that failed, or 0. */
static int add_headers(const struct adapter *adapter, const struct exchange *exchange, void *to,
		       int (*add)(void *to, const char *name, const char *value))
{
	const struct reply *reply = exchange->reply;
	int failed = 0;

	if (reply->content_type && reply->status != 304)
		failed |= add(to, "Content-Type", reply->content_type);
	for (size_t i = 0; i < reply->header_count; i++)
		failed |= add(to, reply->headers[i].name, reply->headers[i].value);
	if (adapter->hsts[0])
		failed |= add(to, "Strict-Transport-Security", adapter->hsts);
	if (exchange->last)
		failed |= add(to, "Connection", "close");
	return failed;
}

static int add_to_map(void *map, const char *name, const char *value)
{
	return u_map_put(map, name, value);
}

static int add_to_response(void *response, const char *name, const char *value)
{
	return MHD_add_response_header(response, name, value) != MHD_YES;
}

/* --- by Ulfius ---------------------------------------------------------------------------------------------------- */

int adapter_on_request(const struct _u_request *request, struct _u_response *response, void *arg)
{
	const struct exchange *exchange = (struct exchange *)(uintptr_t)request; /* which is ours */
	struct reply *reply = exchange->reply;

	response->status = reply->status;
	if (add_headers(arg, exchange, response->map_header, add_to_map))
		return U_CALLBACK_ERROR;
	if (!reply->body)
		return U_CALLBACK_COMPLETE;
	if (reply->release_body != free && reply_body(reply, reply->content_type, reply->body, reply->body_len))
		return U_CALLBACK_ERROR;
	response->binary_body = reply->body_owner; /* by malloc(), as Ulfius frees it */
	response->binary_body_length = reply->body_len;
	reply->body = NULL;
	return U_CALLBACK_COMPLETE;
}

/* --- directly ----------------------------------------------------------------------------------------------------- */

/* What libmicrohttpd asks for a body, piece by piece: one that is there, or a stream. */
struct source {
	const char *body;
	size_t body_len;
	void *body_owner;
	void (*release_body)(void *owner);
	const struct stream_class *stream_class;
	void *stream; /* NULL: `body` */
	size_t used;  /* the most that was written to a stream's buffer since its pages were given back */
};

/* A stream that has nothing to tell may be silent for hours: its connection's buffer, of which nothing is waiting to be
 * sent, then takes no memory beyond its first page. */
static void give_pages_back(struct source *source, char *buffer, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)buffer;
	uintptr_t from = (start + page - 1) / page * page, to = (start + size) / page * page;

	if (from < to && source->used > from - start)
		madvise(buffer + (from - start), to - from, MADV_DONTNEED);
	source->used = 0;
}

static ssize_t read_stream(struct source *source, char *ret_data, size_t max)
{
	ssize_t len = source->stream_class->read(source->stream, ret_data, max);

	if (len == STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if ((size_t)len > source->used)
		source->used = (size_t)len;
	if (!len)
		give_pages_back(source, ret_data, max);
	return len;
}

static ssize_t read_source(void *arg, uint64_t offset, char *ret_data, size_t max)
{
	struct source *source = arg;

	if (source->stream)
		return read_stream(source, ret_data, max);
	size_t left = source->body_len - (size_t)offset, len = left < max ? left : max;
	memcpy(ret_data, source->body + offset, len);
	return (ssize_t)len;
}

static void close_source(void *arg)
{
	struct source *source = arg;

	if (source->stream)
		source->stream_class->close(source->stream);
	else
		source->release_body(source->body_owner);
	free(source);
}

static struct MHD_Response *with_body(struct exchange *exchange)
{
	struct reply *reply = exchange->reply;
	struct source *source = malloc(sizeof *source);

	if (!source)
		return NULL;
	*source = (struct source){.body = reply->body,
				  .body_len = reply->body_len,
				  .body_owner = reply->body_owner,
				  .release_body = reply->release_body,
				  .stream_class = reply->stream_class,
				  .stream = reply->stream,
				  .used = SIZE_MAX}; /* nobody knows what was there before */
	reply->body = NULL;                          /* both are the source's now */
	reply->stream = NULL;
	if (source->stream)
		source->stream_class->attach(source->stream, &exchange->waiter);
	struct MHD_Response *response = MHD_create_response_from_callback(
		source->stream ? MHD_SIZE_UNKNOWN : source->body_len, source->stream ? ENDLESS_BLOCK : STREAM_BLOCK,
		read_source, source, close_source);
	if (!response)
		close_source(source);
	return response;
}

static struct MHD_Response *without_body(void)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

#if MHD_VERSION >= 0x00097701
	if (response)
		MHD_set_response_options(response, MHD_RF_HEAD_ONLY_RESPONSE, MHD_RO_END);
#endif
	return response;
}

enum MHD_Result adapter_reply_directly(const struct adapter *adapter, struct exchange *exchange)
{
	struct MHD_Response *response = has_no_body(exchange) ? without_body() : with_body(exchange);
	enum MHD_Result result = MHD_NO;

	if (!response)
		return MHD_NO;
	if (!add_headers(adapter, exchange, response, add_to_response))
		result = MHD_queue_response(exchange->mhd, (unsigned)exchange->reply->status, response);
	MHD_destroy_response(response);
	/* A stream may last for hours, and needs nothing of its request. (Ulfius frees it again at its end.) */
	ulfius_clean_request(&exchange->base);
	exchange->base = (struct _u_request){0};
	return result;
}
