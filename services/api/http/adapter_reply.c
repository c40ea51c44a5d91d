#include "api/http/adapter_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPIED_MAX (32u << 10) /* bytes up to which a body is handed to Ulfius */
#define ENDLESS_BLOCK 256      /* of a stream: only HTTP/1.0 needs this buffer */

/* --- by Ulfius ---------------------------------------------------------------------------------------------------- */

/* What this thread has Ulfius dispatch: the library hands on no pointer of ours. */
static _Thread_local struct reply *dispatched;

int adapter_on_request(const struct _u_request *request, struct _u_response *response, void *arg)
{
	struct reply *reply = dispatched;

	(void)request, (void)arg;
	response->status = reply->status;
	if (reply->content_type && u_map_put(response->map_header, "Content-Type", reply->content_type))
		return U_CALLBACK_ERROR;
	for (size_t i = 0; i < reply->header_count; i++)
		if (u_map_put(response->map_header, reply->headers[i].name, reply->headers[i].value))
			return U_CALLBACK_ERROR;
	if (reply->body) {
		response->binary_body = reply->body_owner; /* by malloc(), as Ulfius frees it */
		response->binary_body_length = reply->body_len;
		reply->body = NULL;
	}
	return U_CALLBACK_COMPLETE;
}

static enum MHD_Result reply_by_ulfius(struct adapter *adapter, const struct exchange *exchange, struct reply *reply)
{
	void *info = ulfius_uri_logger(NULL, exchange->target);
	enum MHD_Result result = info ? MHD_YES : MHD_NO;

	dispatched = reply;
	for (int call = 0; result == MHD_YES && call < 2; call++) /* for a request's head, and for its end */
		result = adapter->dispatch(&adapter->ulfius, exchange->mhd, exchange->target, exchange->request.method,
					   exchange->version, NULL, &(size_t){0}, &info);
	mhd_request_completed(NULL, exchange->mhd, &info, MHD_REQUEST_TERMINATED_COMPLETED_OK);
	return result;
}

/* --- directly: streams -------------------------------------------------------------------------------------------- */

struct source {
	const struct stream_class *stream_class;
	void *stream;
	size_t used; /* the most that was written to the buffer since its pages were given back */
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

static ssize_t read_stream(void *arg, uint64_t offset, char *ret_data, size_t max)
{
	struct source *source = arg;
	ssize_t len = source->stream_class->read(source->stream, ret_data, max);

	(void)offset;
	if (len == STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if ((size_t)len > source->used)
		source->used = (size_t)len;
	if (!len)
		give_pages_back(source, ret_data, max);
	return len;
}

static void close_stream(void *arg)
{
	struct source *source = arg;

	source->stream_class->close(source->stream);
	free(source);
}

static struct MHD_Response *from_stream(const struct exchange *exchange, struct reply *reply)
{
	struct source *source = malloc(sizeof *source);

	if (!source)
		return NULL;
	*source =
		(struct source){reply->stream_class, reply->stream, SIZE_MAX /* nobody knows what was there before */};
	reply->stream = NULL; /* it is the source's now */
	source->stream_class->attach(source->stream, &exchange->waiter);
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, ENDLESS_BLOCK, read_stream, source, close_stream);
	if (!response)
		close_stream(source);
	return response;
}

/* --- directly: the others ----------------------------------------------------------------------------------------- */

static struct MHD_Response *from_body(struct reply *reply)
{
	struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
		reply->body_len, (void *)(uintptr_t)reply->body, reply->release_body, reply->body_owner);

	if (response)
		reply->body = NULL; /* it is the response's now */
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

static bool add_headers(struct MHD_Response *response, const struct reply *reply)
{
	if (reply->content_type && reply->status != 304 &&
	    !MHD_add_response_header(response, "Content-Type", reply->content_type))
		return false;
	for (size_t i = 0; i < reply->header_count; i++)
		if (!MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value))
			return false;
	return true;
}

enum MHD_Result adapter_reply(struct adapter *adapter, const struct exchange *exchange, struct reply *reply)
{
	bool is_head = strcmp(exchange->request.method, "HEAD") == 0;
	struct MHD_Response *response;
	enum MHD_Result result = MHD_NO;

	if (reply->status == 304 || (reply->stream && is_head))
		response = without_body();
	else if (reply->stream)
		response = from_stream(exchange, reply);
	else if (reply->body && (reply->release_body != free || reply->body_len >= COPIED_MAX))
		response = from_body(reply);
	else
		return reply_by_ulfius(adapter, exchange, reply);
	if (!response)
		return MHD_NO;
	if (add_headers(response, reply))
		result = MHD_queue_response(exchange->mhd, (unsigned)reply->status, response);
	MHD_destroy_response(response);
	return result;
}
