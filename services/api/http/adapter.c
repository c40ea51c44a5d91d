#include "api/http/adapter.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http/adapter_internal.h"
#include "api/http/tls.h"
#include "common/base/clock.h"

/* --- connections -------------------------------------------------------------------------------------------------- */

static struct connection *connection_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

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
		if (connection && adapter->tls)
			connection->tls = tls_connection_begin(adapter->tls, mhd);
		*ret_context = connection;
	} else if (connection) {
		if (connection->request)
			adapter_on_completed(adapter, mhd, &connection->request, MHD_REQUEST_TERMINATED_WITH_ERROR);
		tls_connection_end(connection->tls);
		connection_end(adapter->connections, connection);
	}
}

/* --- a request's begin and end ------------------------------------------------------------------------------------ */

static struct exchange *exchange_of(void *info)
{
	struct connection_info_struct *made = info;

	return made ? (struct exchange *)(void *)made->request : NULL;
}

static void suspend(void *mhd)
{
	MHD_suspend_connection(mhd);
}

static void resume(void *mhd)
{
	MHD_resume_connection(mhd);
}

/* What is returned is `*info` from now on: Ulfius' public struct, in which it passes the request on. NULL: no memory,
 * and the connection ends. */
void *adapter_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
	struct adapter *adapter = arg;
	struct connection *connection = connection_of(mhd);
	void *made = connection ? ulfius_uri_logger(NULL, uri) : NULL;
	struct connection_info_struct *info = made;

	if (!info)
		return NULL;
	struct exchange *exchange = o_realloc(info->request, sizeof *exchange);
	if (!exchange) {
		mhd_request_completed(NULL, mhd, &made, MHD_REQUEST_TERMINATED_WITH_ERROR);
		return NULL;
	}
	memset((char *)exchange + sizeof exchange->base, 0, sizeof *exchange - sizeof exchange->base);
	exchange->mhd = mhd;
	exchange->connection = connection;
	exchange->started_us = clock_mono_us();
	exchange->target_end = uri + strlen(uri);
	exchange->bad_target = strchr(uri, ' ') != NULL;
	exchange->waiter = (struct waiter){.handle = mhd, .suspend = suspend, .resume = resume};
	info->request = &exchange->base;
	connection->request = info;
	atomic_fetch_add(&adapter->counters->begun, 1);
	return info;
}

static void end_request(struct exchange *exchange)
{
	if (exchange->request)
		request_release(exchange->request);
	free(exchange->request);
	exchange->request = NULL;
}

void adapter_on_completed(void *arg, struct MHD_Connection *mhd, void **info, enum MHD_RequestTerminationCode code)
{
	struct adapter *adapter = arg;
	struct exchange *exchange = exchange_of(*info);

	if (!exchange)
		return;
	struct connection *connection = exchange->connection;
	end_request(exchange);
	adapter_drop_body(adapter, exchange);
	mhd_request_completed(NULL, mhd, info, code);
	connection->request = NULL;
	connection_expects_request(adapter->connections, connection);
	atomic_fetch_add(&adapter->counters->ended, 1);
}

/* --- a request ---------------------------------------------------------------------------------------------------- */

struct header_walk {
	struct request *request;
	int err;
};

static enum MHD_Result add_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_walk *walk = arg;

	(void)kind;
	walk->err = request_add_header(walk->request, name, value);
	if (name[strcspn(name, " \t")]) /* libmicrohttpd 0.9 takes it for a header of another name (RFC 9112, 5.1) */
		walk->err = why_set(&walk->request->why, ERR_MALFORMED, "",
				    "a header has white space between its name and the colon");
	return walk->err ? MHD_NO : MHD_YES;
}

static int fill_request(struct request *request, const struct exchange *exchange)
{
	struct header_walk walk = {.request = request};
	const struct sockaddr *peer = peer_of(exchange->mhd);

	if (!peer || ipaddr_from_sockaddr(peer, &request->connection))
		return ERR_INTERNAL;
	MHD_get_connection_values(exchange->mhd, MHD_HEADER_KIND, add_header, &walk);
	request->body = exchange->base.binary_body;
	request->body_len = exchange->base.binary_body_length;
	request->body_refused = exchange->body_refused;
	request->started_us = exchange->started_us;
	request->waiter = &exchange->waiter;
	request->method = exchange->base.http_verb;
	request_set_target(request, exchange->base.http_url);
	return walk.err;
}

/* What a proxy in front may take for another request than the hub does, or for another host's (RFC 9112, 3.2, 6.3 and
 * 11.2). */
static int check_head(struct request *request, const struct exchange *exchange)
{
	const char *length = request_header(request, "Content-Length"), *host = request_header(request, "Host");
	const char *coding = request_header(request, "Transfer-Encoding");

	if (exchange->bad_target)
		return why_set(&request->why, ERR_MALFORMED, "", "the request's target holds a space or a NUL byte");
	if (exchange->needs_host && (!host || strchr(host, ',')))
		return why_set(&request->why, ERR_MALFORMED, "Host",
			       "is to be given once, with the name by which the hub was found");
	if (length && (strchr(length, ',') || coding))
		return why_set(&request->why, ERR_MALFORMED, "",
			       "the length of the body is given twice: one Content-Length, or Transfer-Encoding alone");
	if (coding && (!exchange->needs_host || strcasecmp(coding, "chunked") != 0))
		return why_set(&request->why, ERR_MALFORMED, "Transfer-Encoding",
			       "is to be \"chunked\", once, and of HTTP/1.1 only");
	return ERR_OK;
}

static int begin_request(struct exchange *exchange, struct why *why)
{
	struct request *request = malloc(sizeof *request);

	if (!request)
		return why_set(why, ERR_NOMEM, "", "out of memory");
	*request = (struct request){0};
	exchange->request = request;
	int err = fill_request(request, exchange);
	if (!err)
		err = check_head(request, exchange);
	if (err)
		*why = request->why;
	return err;
}

/* --- its reply ---------------------------------------------------------------------------------------------------- */

/* False: it waits, and is looked at again. */
static bool make_reply(struct adapter *adapter, struct exchange *exchange)
{
	struct why why = {0};
	int err = exchange->request ? ERR_OK : begin_request(exchange, &why);

	exchange->last = err || atomic_load(&adapter->draining);
	if (err)
		reply_problem(exchange->reply, err, &why);
	else
		err = adapter->handler->answer(adapter->handler->arg, exchange->request, exchange->reply);
	if (err != ERR_PENDING)
		end_request(exchange);
	return err != ERR_PENDING;
}

/* What libmicrohttpd calls with, to be handed on to Ulfius. */
struct access {
	struct MHD_Connection *mhd;
	const char *url, *method, *version, *data;
	size_t *len;
	void **info;
};

static enum MHD_Result pass_on(const struct adapter *adapter, const struct access *access)
{
	return adapter->back(adapter->back_arg, access->mhd, access->url, access->method, access->version, access->data,
			     access->len, access->info);
}

/* The whole request is here. */
static enum MHD_Result answer(struct adapter *adapter, struct exchange *exchange, const struct access *access)
{
	enum MHD_Result result = MHD_YES;
	struct reply reply;

	connection_has_request(exchange->connection);
	reply_init(&reply);
	exchange->reply = &reply;
	exchange->answered = make_reply(adapter, exchange);
	if (exchange->answered) {
		adapter_drop_body(adapter, exchange); /* the answer may take hours, and a stream's does */
		result = adapter_is_direct(exchange) ? adapter_reply_directly(adapter, exchange)
						     : pass_on(adapter, access);
	}
	exchange->reply = NULL;
	reply_release(&reply);
	return result;
}

/* Called for a request at its head's end, for each part of its body, and at its end: then again and again until there
 * is an answer. */
enum MHD_Result adapter_on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
				  const char *version, const char *data, size_t *len, void **info)
{
	const struct access access = {mhd, url, method, version, data, len, info};
	struct adapter *adapter = arg;
	struct exchange *exchange = exchange_of(*info);

	if (!exchange)
		return MHD_NO;
	if (!exchange->begun) {
		exchange->begun = true;
		exchange->needs_host = strcmp(version, "HTTP/1.1") == 0;
#if MHD_VERSION < 0x01000000 /* later ones refuse it themselves */
		/* The line's parts stand one after the other, each with one NUL behind it. */
		exchange->bad_target |= version[0] && version != exchange->target_end + 1;
#endif
		return pass_on(adapter, &access);
	}
	if (*len) {
		adapter_take_body(adapter, exchange, data, *len);
		*len = 0;
		return MHD_YES;
	}
	/* When it stops, libmicrohttpd says yes to an answer, drops it, and asks again. */
	return exchange->answered ? MHD_NO : answer(adapter, exchange, &access);
}
