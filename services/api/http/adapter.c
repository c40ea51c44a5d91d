#include "api/http/adapter.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http/adapter_internal.h"
#include "api/http/tls.h"
#include "common/base/clock.h"

/* --- connections -------------------------------------------------------------------------------------------------- */

static const struct sockaddr *peer_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
}

void adapter_on_connection(void *arg, struct MHD_Connection *mhd, void **ret_context,
			   enum MHD_ConnectionNotificationCode code)
{
	struct adapter *adapter = arg;
	struct connection *connection = *ret_context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		connection = connection_begin(adapter->connections, fd, peer_of(mhd));
		if (connection && adapter->settings.tls)
			connection->tls = tls_connection_begin(adapter->settings.tls, mhd);
		*ret_context = connection;
	} else if (connection) {
		if (connection->busy)
			adapter_on_completed(adapter, mhd, &(void *){connection}, MHD_REQUEST_TERMINATED_WITH_ERROR);
		tls_connection_end(connection->tls);
		connection_end(adapter->connections, connection);
	}
}

/* --- a request's begin and end ------------------------------------------------------------------------------------ */

static void suspend(void *mhd)
{
	MHD_suspend_connection(mhd);
}

static void resume(void *mhd)
{
	MHD_resume_connection(mhd);
}

/* What is returned is `*info` of the request from now on. NULL: no memory, and the connection ends. */
void *adapter_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
	struct adapter *adapter = arg;
	struct connection *connection =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	size_t len = strlen(uri);
	struct exchange *exchange = connection ? malloc(sizeof *exchange + len + 1) : NULL;

	if (!exchange)
		return NULL;
	*exchange = (struct exchange){
		.mhd = mhd,
		.request = {.started_us = clock_mono_us(), .waiter = &exchange->waiter},
		.waiter = {.handle = mhd, .suspend = suspend, .resume = resume},
		.body = BUF_INIT(adapter->settings.body_max + 1), /* by the last byte the handler knows: too large */
		.end = uri + len,
	};
	memcpy(exchange->target, uri, len + 1); /* libmicrohttpd decodes its own in place */
	connection->exchange = exchange;
	connection->busy = true;
	atomic_fetch_add(&adapter->counters->begun, 1);
	return connection;
}

static void drop_body(struct adapter *adapter, struct exchange *exchange)
{
	atomic_fetch_sub(&adapter->counters->body_bytes, exchange->body.len);
	buf_release(&exchange->body);
	exchange->request.body = NULL;
	exchange->request.body_len = 0;
}

static void end_exchange(struct adapter *adapter, struct connection *connection)
{
	struct exchange *exchange = connection->exchange;

	if (!exchange)
		return;
	connection->exchange = NULL;
	request_release(&exchange->request);
	drop_body(adapter, exchange);
	free(exchange);
}

void adapter_on_completed(void *arg, struct MHD_Connection *mhd, void **info, enum MHD_RequestTerminationCode code)
{
	struct adapter *adapter = arg;
	struct connection *connection = *info;

	(void)mhd, (void)code;
	if (!connection)
		return;
	end_exchange(adapter, connection);
	connection->busy = false;
	connection_expects_request(adapter->connections, connection);
	atomic_fetch_add(&adapter->counters->ended, 1);
}

/* --- its head ----------------------------------------------------------------------------------------------------- */

static enum MHD_Result add_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct request *request = arg;
	int err = request_add_header(request, name, value);

	(void)kind;
	if (err)
		request->err = err;
	else if (name[strcspn(name, " \t")]) /* libmicrohttpd 0.9 takes it for another header (RFC 9112, 5.1) */
		request->err = why_set(&request->why, ERR_MALFORMED, "",
				       "a header has white space between its name and the colon");
	return err ? MHD_NO : MHD_YES;
}

static bool is_bad_target(const struct exchange *exchange)
{
#if MHD_VERSION < 0x01000000 /* later ones refuse a NUL byte themselves */
	/* The line's parts stand one after the other, each with one NUL behind it. */
	if (exchange->version[0] && exchange->version != exchange->end + 1)
		return true;
#endif
	return strchr(exchange->target, ' ') != NULL;
}

/* What a proxy in front may take for another request than the hub does, or for another host's (RFC 9112, 3.2, 6.3 and
 * 11.2). */
static int check_head(const struct exchange *exchange, struct why *why)
{
	const struct request *request = &exchange->request;
	const char *length = request_header(request, "Content-Length"), *host = request_header(request, "Host");
	const char *coding = request_header(request, "Transfer-Encoding");
	bool is_http_1_1 = strcmp(exchange->version, "HTTP/1.1") == 0;

	if (is_bad_target(exchange))
		return why_set(why, ERR_MALFORMED, "", "the request's target holds a space or a NUL byte");
	if (is_http_1_1 && (!host || strchr(host, ',')))
		return why_set(why, ERR_MALFORMED, "Host",
			       "is to be given once, with the name by which the hub was found");
	if (length && (strchr(length, ',') || coding))
		return why_set(why, ERR_MALFORMED, "",
			       "the length of the body is given twice: one Content-Length, or Transfer-Encoding alone");
	if (coding && (!is_http_1_1 || strcasecmp(coding, "chunked") != 0))
		return why_set(why, ERR_MALFORMED, "Transfer-Encoding",
			       "is to be \"chunked\", once, and of HTTP/1.1 only");
	return ERR_OK;
}

static void read_head(struct exchange *exchange, const char *method, const char *version)
{
	struct request *request = &exchange->request;
	const struct sockaddr *peer = peer_of(exchange->mhd);

	request->method = method;
	exchange->version = version;
	request_set_target(request, exchange->target);
	MHD_get_connection_values(exchange->mhd, MHD_HEADER_KIND, add_header, request);
	if (!peer || ipaddr_from_sockaddr(peer, &request->connection))
		request->err = ERR_INTERNAL;
	if (!request->err)
		request->err = check_head(exchange, &request->why);
}

/* --- its body ----------------------------------------------------------------------------------------------------- */

static bool has_room(struct adapter *adapter, size_t max, size_t len)
{
	if (atomic_fetch_add(&adapter->counters->body_bytes, len) + len <= max)
		return true;
	atomic_fetch_sub(&adapter->counters->body_bytes, len);
	return false;
}

/* Half of the memory is for those whose credentials are known: strangers cannot keep them from changing anything. */
static bool reserve(struct adapter *adapter, struct exchange *exchange, size_t len)
{
	const size_t max = adapter->settings.bodies_max;

	if (has_room(adapter, exchange->known ? max : max / 2, len))
		return true;
	if (exchange->known)
		return false;
	exchange->known =
		adapter->handler.is_known(adapter->handler.arg, request_header(&exchange->request, "Authorization"));
	return exchange->known && has_room(adapter, max, len);
}

/* What is beyond a limit is read to its end, and not kept. */
static void take_body(struct adapter *adapter, struct exchange *exchange, const char *data, size_t len)
{
	struct request *request = &exchange->request;
	struct buf *body = &exchange->body;

	if (len > body->max - body->len)
		len = body->max - body->len;
	if (request->body_refused || !len)
		return;
	request->body_refused = !reserve(adapter, exchange, len);
	if (!request->body_refused && buf_append(body, data, len)) {
		atomic_fetch_sub(&adapter->counters->body_bytes, len);
		request->body_refused = true;
	}
	request->body = body->data;
	request->body_len = body->len;
	if (request->body_refused)
		drop_body(adapter, exchange);
}

/* --- its reply ---------------------------------------------------------------------------------------------------- */

/* The whole request is here. */
static enum MHD_Result answer(struct adapter *adapter, struct connection *connection)
{
	struct exchange *exchange = connection->exchange;
	enum MHD_Result result = MHD_YES;
	struct reply reply;

	connection_has_request(connection);
	reply_init(&reply);
	if (adapter->handler.answer(adapter->handler.arg, &exchange->request, &reply) == ERR_PENDING)
		goto out; /* it waits, and is looked at again */
	if (exchange->request.err || atomic_load(&adapter->draining))
		reply_header(&reply, "Connection", "close");
	if (adapter->hsts[0])
		reply_header(&reply, "Strict-Transport-Security", adapter->hsts);
	result = adapter_reply(adapter, exchange, &reply);
	end_exchange(adapter, connection);
out:
	reply_release(&reply);
	return result;
}

/* Called for a request at its head's end, for each part of its body, and at its end: then again and again until there
 * is an answer. */
enum MHD_Result adapter_on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
				  const char *version, const char *data, size_t *len, void **info)
{
	struct adapter *adapter = arg;
	struct connection *connection = *info;
	struct exchange *exchange = connection ? connection->exchange : NULL;

	(void)mhd, (void)url;
	if (!exchange) /* no memory; or it has an answer, which libmicrohttpd dropped as it stops */
		return MHD_NO;
	if (!exchange->version) {
		read_head(exchange, method, version);
	} else if (*len) {
		take_body(adapter, exchange, data, *len);
		*len = 0;
	} else {
		return answer(adapter, connection);
	}
	return MHD_YES;
}
