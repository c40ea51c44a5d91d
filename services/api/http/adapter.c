#include "api/http/adapter.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "api/http/deliver.h"
#include "api/http/reply.h"
#include "api/http/request.h"
#include "api/http/spare.h"
#include "common/base/clock.h"

/* --- the connection of a request ---------------------------------------------------------------------------------- */

/*
 * Ulfius gives a callback neither the connection nor a peer address that is longer than 16 bytes. But libmicrohttpd
 * calls adapter_on_uri() with the connection, and Ulfius' own function for that place returns its public struct
 * connection_info_struct. So the request in it is made larger here, by what is missing. (Ulfius only ever passes the
 * pointer on, and frees it by o_free().)
 */
struct request_ext {
	struct _u_request base;
	struct MHD_Connection *connection;
	int64_t started_us;
	const char *target_end; /* of the request line; only to be compared */
	bool begun, bad_target;
	bool known;        /* its credentials have been verified before; asked only when bodies are many */
	bool body_refused; /* is read to its end, and not kept */
	size_t room, held; /* for the body; of it */
	struct waiter waiter;
	bool answered;           /* Ulfius has been given the whole request */
	struct request *request; /* owned; while one is at work, or waits for what it will finish with */
	struct reply *reply;     /* this and the next within answer() */
	struct source *source;   /* of the reply's body */
	bool last;
	struct connection_info_struct *info;
	struct request_ext *prev, *next; /* in `unfinished` */
};

/* Requests that have begun and of whose end libmicrohttpd has not told yet: those of this thread, for all of a
 * connection is done by one thread of the pool. */
static _Thread_local struct request_ext *unfinished;

static struct request_ext *ext_of(void **info)
{
	struct connection_info_struct *made = *info;

	return made ? (struct request_ext *)(void *)made->request : NULL;
}

/* NULL: there was no memory for it, and the connection is shut down. */
static struct arrival *arrival_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *own = info->socket_context;

	return own ? &own->arrival : NULL;
}

static void suspend(void *connection)
{
	MHD_suspend_connection(connection);
}

static void resume(void *connection)
{
	MHD_resume_connection(connection);
}

void *adapter_on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
	struct adapter *exchange = arg;
	void *made = spare_is_low() ? NULL : ulfius_uri_logger(NULL, uri);
	struct connection_info_struct *info = made;

	atomic_fetch_add(&exchange->counters->begun, 1);
	if (!info)
		return NULL; /* Ulfius then closes the connection */
	struct request_ext *ext = o_realloc(info->request, sizeof *ext);
	if (!ext) {
		mhd_request_completed(NULL, connection, &made, MHD_REQUEST_TERMINATED_WITH_ERROR);
		return NULL;
	}
	memset((char *)ext + sizeof ext->base, 0, sizeof *ext - sizeof ext->base);
	ext->connection = connection;
	ext->started_us = clock_mono_us();
	ext->target_end = uri + strlen(uri);
	ext->waiter = (struct waiter){.handle = connection, .suspend = suspend, .resume = resume};
	ext->info = info;
	info->request = &ext->base;
	DL_PREPEND(unfinished, ext);
	return info;
}

static void drop_request(struct request_ext *ext)
{
	if (ext->request)
		request_release(ext->request);
	free(ext->request);
	ext->request = NULL;
}

void adapter_on_completed(void *arg, struct MHD_Connection *connection, void **info,
			  enum MHD_RequestTerminationCode code)
{
	struct adapter *exchange = arg;
	struct request_ext *ext = ext_of(info);

	if (ext) {
		atomic_fetch_sub(&exchange->counters->body_bytes, ext->held);
		drop_request(ext);
		DL_DELETE(unfinished, ext);
	}
	mhd_request_completed(NULL, connection, info, code);
	arrivals_expect(exchange->arrivals, arrival_of(connection));
	atomic_fetch_add(&exchange->counters->ended, 1);
}

void adapter_on_closed(struct adapter *exchange, struct MHD_Connection *connection)
{
	for (struct request_ext *ext = unfinished, *next; ext; ext = next) {
		void *info = ext->info;
		next = ext->next;
		if (ext->connection == connection)
			adapter_on_completed(exchange, connection, &info, MHD_REQUEST_TERMINATED_WITH_ERROR);
	}
}

const struct sockaddr *adapter_peer(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info ? info->client_addr : NULL;
}

struct header_walk {
	struct request *request;
	int err;
};

static enum MHD_Result add_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_walk *walk = arg;

	(void)kind;
	walk->err = request_add_header(walk->request, name, value);
	return walk->err ? MHD_NO : MHD_YES;
}

/* Headers come from libmicrohttpd, not from Ulfius' map, which loses the order of names that differ in case only: a
 * client could put its X-Forwarded-For behind the proxy's. */
static int fill_request(struct request *request, struct request_ext *ext)
{
	struct header_walk walk = {.request = request};
	const struct sockaddr *peer = adapter_peer(ext->connection);

	if (!peer || ipaddr_from_sockaddr(peer, &request->connection))
		return ERR_INTERNAL;
	MHD_get_connection_values(ext->connection, MHD_HEADER_KIND, add_header, &walk);
	request->body = ext->base.binary_body;
	request->body_len = ext->base.binary_body_length;
	request->body_refused = ext->body_refused;
	request->started_us = ext->started_us;
	request->waiter = &ext->waiter;
	request->method = ext->base.http_verb;
	request_set_target(request, ext->base.http_url);
	return walk.err;
}

/* --- answering ---------------------------------------------------------------------------------------------------- */

/* For HEAD and 304 libmicrohttpd sends the length of the body, and not the body. */
static int deliver(const struct adapter *exchange, struct request_ext *ext, struct reply *reply,
		   struct _u_response *response)
{
	int failed = 0;

	response->status = reply->status;
	if (reply->content_type && reply->status != 304)
		failed |= u_map_put(response->map_header, "Content-Type", reply->content_type);
	for (size_t i = 0; i < reply->header_count; i++)
		failed |= u_map_put(response->map_header, reply->headers[i].name, reply->headers[i].value);
	if (exchange->hsts[0])
		failed |= u_map_put(response->map_header, "Strict-Transport-Security", exchange->hsts);
	if (ext->last)
		failed |= u_map_put(response->map_header, "Connection", "close");
	return failed ? ERR_NOMEM : deliver_body(reply, &ext->waiter, response, &ext->source);
}

/* A proxy in front may see another end of such a request, and so another beginning of the next one (RFC 9112, 6.3 and
 * 11.2). */
static int check_framing(struct request *request)
{
	const char *length = request_header(request, "Content-Length");

	if (length && (strchr(length, ',') || request_header(request, "Transfer-Encoding")))
		return why_set(&request->why, ERR_MALFORMED, "",
			       "the length of the body is given twice: one Content-Length, or Transfer-Encoding alone");
	return ERR_OK;
}

static int check_head(struct request *request, const struct request_ext *ext)
{
	if (ext->bad_target)
		return why_set(&request->why, ERR_MALFORMED, "", "the request's target holds a NUL byte");
	return check_framing(request);
}

/* Called by Ulfius from within answer(). */
int adapter_on_request(const struct _u_request *raw, struct _u_response *response, void *arg)
{
	const struct adapter *exchange = arg;
	struct request_ext *ext = (struct request_ext *)(uintptr_t)raw; /* which is ours */
	struct reply *reply = ext->reply;

	/* libmicrohttpd 0.9 would send the end of an endless body: to the client, the beginning of the next answer. */
	int err = reply->stream && strcmp(raw->http_verb, "HEAD") == 0 ? reply_body(reply, reply->content_type, "", 0)
								       : ERR_OK;
	if (!err)
		err = deliver(exchange, ext, reply, response);
	return err ? U_CALLBACK_ERROR : U_CALLBACK_COMPLETE;
}

/* --- before Ulfius ------------------------------------------------------------------------------------------------ */

/* One byte more than a body may have, by which routes knows; what comes behind is let go of. */
static size_t part_to_keep(const struct adapter *exchange, const struct request_ext *ext, size_t len)
{
	size_t room = exchange->body_max + 1 - ext->held;

	return len < room ? len : room;
}

static bool has_room(struct adapter *exchange, size_t max, size_t len)
{
	if (atomic_fetch_add(&exchange->counters->body_bytes, len) + len <= max)
		return true;
	atomic_fetch_sub(&exchange->counters->body_bytes, len);
	return false;
}

/* Half of the memory is for those whose credentials are known: strangers cannot keep them from changing anything. */
static bool reserve(struct adapter *exchange, struct request_ext *ext, size_t len)
{
	if (has_room(exchange, ext->known ? exchange->bodies_max : exchange->bodies_max / 2, len))
		return true;
	if (ext->known)
		return false;
	ext->known = exchange->handler->is_known(
		exchange->handler->arg, MHD_lookup_connection_value(ext->connection, MHD_HEADER_KIND, "Authorization"));
	return ext->known && has_room(exchange, exchange->bodies_max, len);
}

static void refuse_body(struct adapter *exchange, struct request_ext *ext)
{
	atomic_fetch_sub(&exchange->counters->body_bytes, ext->held);
	ext->held = 0;
	ext->body_refused = true;
	o_free(ext->base.binary_body);
	ext->base.binary_body = NULL;
	ext->base.binary_body_length = ext->room = 0;
}

static bool append_body(struct request_ext *ext, const char *data, size_t len)
{
	size_t have = ext->base.binary_body_length, need = have + len;

	if (need > ext->room) {
		/* It comes in pieces: of a few bytes each, where the headers leave little room. */
		size_t room = have ? need + need / 4 : need;
		char *body = o_realloc(ext->base.binary_body, room);
		if (!body)
			return false;
		ext->base.binary_body = body;
		ext->room = room;
	}
	memcpy((char *)ext->base.binary_body + have, data, len);
	ext->base.binary_body_length = need;
	return true;
}

/* A part of the body, of which Ulfius sees nothing: without memory it would lose what it has. */
static void take_body(struct adapter *exchange, struct request_ext *ext, const char *data, size_t len)
{
	size_t kept = part_to_keep(exchange, ext, len);

	if (ext->body_refused || !kept)
		return;
	if (!reserve(exchange, ext, kept)) {
		refuse_body(exchange, ext);
		return;
	}
	ext->held += kept;
	if (!append_body(ext, data, kept))
		refuse_body(exchange, ext);
}

/* What libmicrohttpd calls with, to be handed on to Ulfius. */
struct call {
	struct MHD_Connection *connection;
	const char *url, *method, *version, *data;
	size_t *len;
	void **info;
};

static enum MHD_Result pass_on(const struct adapter *exchange, const struct call *call)
{
	return exchange->intercept.back(exchange->intercept.back_arg, call->connection, call->url, call->method,
					call->version, call->data, call->len, call->info);
}

static int begin_request(struct request_ext *ext, struct why *why)
{
	struct request *request = calloc(1, sizeof *request);

	if (!request)
		return why_set(why, ERR_NOMEM, "", "out of memory");
	ext->request = request;
	int err = fill_request(request, ext);
	if (!err)
		err = check_head(request, ext);
	if (err)
		*why = request->why;
	return err;
}

/* False: it waits, and is looked at again. */
static bool make_reply(struct adapter *exchange, struct request_ext *ext, struct reply *reply)
{
	struct why why = {0};
	int err = ext->request ? ERR_OK : begin_request(ext, &why);

	ext->last = err || atomic_load(&exchange->draining);
	if (err)
		reply_problem(reply, err, &why);
	else
		err = exchange->handler->answer(exchange->handler->arg, ext->request, reply);
	if (err != ERR_PENDING)
		drop_request(ext);
	return err != ERR_PENDING;
}

/* The whole request is here. */
static enum MHD_Result answer(struct adapter *exchange, struct request_ext *ext, const struct call *call)
{
	struct reply *reply = calloc(1, sizeof *reply); /* not a part of `ext`, which a stream keeps for hours */

	arrivals_here(arrival_of(call->connection));
	if (!reply)
		return MHD_NO;
	ext->reply = reply;
	ext->answered = make_reply(exchange, ext, reply);
	enum MHD_Result result = ext->answered ? pass_on(exchange, call) : MHD_YES;
	deliver_end(ext->source, result == MHD_YES);
	ext->source = NULL;
	reply_release(reply);
	free(reply);
	return result;
}

/* Called for a request at its head's end, for each part of its body, and at its end: then again and again until there
 * is an answer. */
enum MHD_Result adapter_on_access(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *data, size_t *len, void **info)
{
	const struct call call = {connection, url, method, version, data, len, info};
	struct adapter *exchange = arg;
	struct request_ext *ext = ext_of(info);

	if (ext && !ext->begun) {
		ext->begun = true;
#if MHD_VERSION < 0x01000000 /* later ones refuse it themselves */
		/* The line's parts stand one after the other, each with one NUL behind it. */
		ext->bad_target = version[0] && version != ext->target_end + 1;
#endif
	} else if (ext && *len) {
		take_body(exchange, ext, data, *len);
		*len = 0;
		return MHD_YES;
	} else if (ext) {
		/* When it stops, libmicrohttpd says yes to an answer, drops it, and asks again. */
		return ext->answered ? MHD_NO : answer(exchange, ext, &call);
	}
	return pass_on(exchange, &call);
}
